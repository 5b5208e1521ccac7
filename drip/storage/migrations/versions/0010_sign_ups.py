"""Of whom nothing is known but a sign-up, and until when that can be confirmed"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "sign_ups",
        sa.Column("contact_id", Number, sa.ForeignKey("contacts.id"), primary_key=True),
        sa.Column("state", Words, nullable=False),
        sa.Column("until", Instant),
        sa.CheckConstraint(
            "(state = 'open') = (until IS NOT NULL)", name="what_is_open_ends"
        ),
        sa.CheckConstraint(
            "state IN ('open', 'over', 'single')", name="state_is_known"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("sign_ups_by_state", "sign_ups", ["state", "until"])
