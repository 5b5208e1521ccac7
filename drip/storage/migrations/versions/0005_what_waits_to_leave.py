"""Indexes of messages by what they wait for; what has ended is in none of them. What came back; how fast messages leave"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("messages_due", "messages")
    _index("messages_due", ["due_at"], "state = 'deferred'")
    _index("messages_waiting", ["channel", "priority", "due_at"], "state = 'pending'")
    _index("messages_open", ["state"], "state = 'sending' OR state = 'held'")

    op.create_table(
        "deliveries",
        sa.Column("id", Number, primary_key=True),
        sa.Column("message_id", Number, sa.ForeignKey("messages.id"), nullable=False),
        sa.Column("kind", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("meaning", Words, nullable=False),
        sa.Column("status", Words, nullable=False),
        sa.Column("reason", Words, nullable=False),
        sa.Column("source", Words, nullable=False),
        sa.UniqueConstraint("message_id", "kind", "source"),
    )
    op.create_index("deliveries_by_time", "deliveries", ["at"])
    op.create_table(
        "lanes",
        sa.Column("channel", Words, primary_key=True),
        sa.Column("domain", Words, primary_key=True),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("closed_until", sa.Float, nullable=False),
        sa.Column("refusals", Number, nullable=False),
        sqlite_with_rowid=False,
    )


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        name, "messages", columns, sqlite_where=where, postgresql_where=where
    )
