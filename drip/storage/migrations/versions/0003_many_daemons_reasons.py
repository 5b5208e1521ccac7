"""Many daemons, each with its lease"""

import sqlalchemy as sa
from alembic import op

from drip.storage.schema import Instant

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
    for name, table, column in (
        ("runs_by_end", "runs", "ended_at"),
        ("messages_by_settling", "messages", "settled_at"),
    ):
        op.drop_index(name, table)
        op.create_index(name, table, [column], sqlite_where=sa.text(f"{column} IS NOT NULL"))
