"""Who may log in to the dashboard, and who is"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "operators",
        sa.Column("id", Number, primary_key=True),
        sa.Column("name", Words, nullable=False, unique=True),
        sa.Column("password", Words, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", Words, primary_key=True),
        sa.Column("operator_id", Number, sa.ForeignKey("operators.id"), nullable=False),
        sa.Column("until", Instant, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("sessions_by_operator", "sessions", ["operator_id"])
