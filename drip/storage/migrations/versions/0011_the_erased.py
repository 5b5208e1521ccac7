"""Who was erased is a column; whom links and notices are about; what is still to be cleared of an erased person

A key that begins with `erased-` and is not of an erased person gets `not-` before it.
"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number

revision = "0011"
down_revision = "0010"
RESERVED = "erased_at IS NOT NULL OR substr(key, 1, 7) <> 'erased-'"


def upgrade() -> None:
    for table in ("contacts", "records", "events"):
        _keep_for_the_erased(table)
    _mark_the_erased()
    number = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    for table in ("links", "notices"):
        # In words of its own: Alembic adds no reference to a table of SQLite.
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN contact_id {number} REFERENCES contacts (id)"
        )
        known = sa.text("contact_id IS NOT NULL")
        op.create_index(
            f"{table}_by_contact",
            table,
            ["contact_id"],
            sqlite_where=known,
            postgresql_where=known,
        )
    op.create_table(
        "erasures",
        sa.Column("contact_id", Number, sa.ForeignKey("contacts.id"), primary_key=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("cleared_at", Instant),
        sqlite_with_rowid=False,
    )

    # What earlier versions have left of them is cleared too.
    op.execute(
        "INSERT INTO erasures (contact_id, at) SELECT id, erased_at FROM contacts WHERE erased_at IS NOT NULL"
    )


def _keep_for_the_erased(table: str) -> None:
    op.execute(
        f"UPDATE {table} SET key = 'not-' || key WHERE substr(key, 1, 7) = 'erased-' AND key <> 'erased-' || id"
    )


def _mark_the_erased() -> None:
    """A rule that comes with a column is true of all rows from the first: meanwhile the erased have other keys."""
    op.execute(
        "UPDATE contacts SET key = 'is-' || key WHERE substr(key, 1, 7) = 'erased-'"
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"ALTER TABLE contacts ADD COLUMN erased_at BIGINT CONSTRAINT erased_is_a_reserved_word CHECK ({RESERVED})"
        )
    else:
        op.add_column("contacts", sa.Column("erased_at", Instant))
        op.create_check_constraint("erased_is_a_reserved_word", "contacts", RESERVED)
    # When each was is not known any more: no later than an address was given up last.
    latest = "SELECT coalesce(max(at), 0) FROM suppressions"
    op.execute(
        f"UPDATE contacts SET key = 'erased-' || id, erased_at = ({latest}) WHERE key = 'is-erased-' || id"
    )
