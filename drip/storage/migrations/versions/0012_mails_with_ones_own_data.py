"""Mails with somebody's own data, which were asked for on the preferences page"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "data_mails",
        sa.Column("id", Number, primary_key=True),
        sa.Column("contact_id", Number, sa.ForeignKey("contacts.id"), nullable=False),
        sa.Column("asked_at", Instant, nullable=False),
        sa.Column("subject", Words, nullable=False),
        sa.Column("text", Words, nullable=False),
        sa.Column("state", Words, nullable=False),
        sa.Column("attempts", Number, nullable=False),
        sa.Column("again_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("answer", Words),
    )
    op.create_index("data_mails_by_contact", "data_mails", ["contact_id", "asked_at"])
    op.create_index("data_mails_by_state", "data_mails", ["state", "again_at"])
