"""Many daemons, each with its lease; a reason is kept once"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_table("daemons")
    op.create_table(
        "daemons",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "reasons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("filled_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sentence", "place", "code"),
    )
    op.execute(
        "INSERT INTO reasons (code, sentence, place) SELECT DISTINCT code, sentence, place FROM judgements"
    )
    op.rename_table("judgements", "old_judgements")
    for name in ("at", "contact_id", "message_id"):
        op.drop_index(f"ix_judgements_{name}", "old_judgements")
    op.create_table(
        "judgements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("reason_id", sa.Integer(), nullable=False),
        sa.Column("until", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute(
        "INSERT INTO judgements SELECT j.id, j.message_id, j.at, r.id, j.until FROM old_judgements j "
        "JOIN reasons r ON r.code = j.code AND r.sentence = j.sentence AND r.place = j.place"
    )
    op.drop_table("old_judgements")
    for name in ("at", "message_id"):
        op.create_index(f"ix_judgements_{name}", "judgements", [name])
    for name, table, column in (
        ("runs_by_end", "runs", "ended_at"),
        ("messages_by_settling", "messages", "settled_at"),
    ):
        op.drop_index(name, table)
        op.create_index(
            name, table, [column], sqlite_where=sa.text(f"{column} IS NOT NULL")
        )
