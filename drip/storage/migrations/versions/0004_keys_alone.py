"""Tables of which rows are little more than their key, without a number for each row beside it"""

from alembic import op

revision = "0004"
down_revision = "0003"

KEY_ALONE = {"sqlite_with_rowid": False}


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # Elsewhere a table is one way only.
    for name in (
        "dates",
        "consents",
        "tags",
        "pauses",
        "segment_members",
        "counters",
        "readings",
    ):
        with op.batch_alter_table(name, recreate="always", table_kwargs=KEY_ALONE):
            pass  # Written anew as it is, but for that.
