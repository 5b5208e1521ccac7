"""What is known of the servers behind the channels: whether they take anybody, whom they refused, what sessions died on"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "relays",
        sa.Column("channel", Words, primary_key=True),
        sa.Column("server", Words, nullable=False),
        sa.Column("accepted_at", Instant),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refusals",
        sa.Column("message_id", Number, sa.ForeignKey("messages.id"), primary_key=True),
        sa.Column("channel", Words, nullable=False),
        sa.Column("contact_id", Number, sa.ForeignKey("contacts.id"), nullable=False),
        sa.Column("answer", Words, nullable=False),
        sa.Column("first_at", Instant, nullable=False),
    )
    op.create_index("refusals_by_channel", "refusals", ["channel"])
    op.create_table(
        "session_deaths",
        sa.Column("message_id", Number, sa.ForeignKey("messages.id"), primary_key=True),
        sa.Column("number", Number, primary_key=True),
        sa.Column("at", Instant, nullable=False),
        sqlite_with_rowid=False,
    )
