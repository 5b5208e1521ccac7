"""An index of the messages that wait to leave, by channel and priority"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    op.create_index(
        "messages_waiting",
        "messages",
        ["channel", "priority", "due_at"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
