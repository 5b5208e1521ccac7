"""Tokens of other programs, what was answered to them and what they are told; contacts by address"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant, Number, Words

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Number, primary_key=True),
        sa.Column("name", Words, nullable=False, unique=True),
        sa.Column("digest", Words, nullable=False, unique=True),
        sa.Column("scopes", Words, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("revoked_at", Instant),
    )
    op.create_table(
        "answered",
        sa.Column("api_key_id", Number, sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("name", Words, primary_key=True),
        sa.Column("digest", Words, nullable=False),
        sa.Column("status", Number, nullable=False),
        sa.Column("body", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("answered_by_time", "answered", ["at"])
    op.create_table(
        "notices",
        sa.Column("id", Number, primary_key=True),
        sa.Column("kind", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_table(
        "told",
        sa.Column("webhook", Words, primary_key=True),
        sa.Column("notice", Number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "links",
        sa.Column("name", Words, primary_key=True),
        sa.Column("address", Words, nullable=False),
    )
    _pauses_by_place()
    op.create_index("contacts_by_email", "contacts", [sa.text("lower(email)")])


def _pauses_by_place() -> None:
    op.create_table(
        "pauses_by_place",
        sa.Column("contact_id", Number, sa.ForeignKey("contacts.id"), primary_key=True),
        sa.Column("topic", Words, primary_key=True),
        sa.Column("until", Instant, nullable=False),
        sa.Column("place", Words, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO pauses_by_place SELECT contact_id, topic, until, place FROM pauses"
    )
    op.drop_table("pauses")
    op.rename_table("pauses_by_place", "pauses")
