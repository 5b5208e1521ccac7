"""Indexes of messages by what they wait for; what has ended is in none of them"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("messages_due", "messages")
    _index("messages_due", ["due_at"], "state = 'deferred'")
    _index("messages_waiting", ["channel", "priority", "due_at"], "state = 'pending'")
    _index("messages_open", ["state"], "state = 'sending' OR state = 'held'")


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "messages", columns, sqlite_where=where, postgresql_where=where)
