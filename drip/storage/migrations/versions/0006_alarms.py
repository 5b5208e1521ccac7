"""Alarms for the operator; why a channel is closed; what is to be said in a call"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("lanes") as table:
        table.add_column(sa.Column("reason", Words))
    with op.batch_alter_table("tasks") as table:
        table.add_column(sa.Column("notes", Words))
    op.create_table(
        "alarms",
        sa.Column("id", Number, primary_key=True),
        sa.Column("action", Words, nullable=False),
        sa.Column("about", Words, nullable=False),
        sa.Column("sentence", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("told_at", Instant),
    )
    op.create_index("alarms_by_action", "alarms", ["action", "about", "at"])
    op.create_index("alarms_by_time", "alarms", ["at"])
