"""Loyalty, segments, tasks, tags and what runs remember"""

import sqlalchemy as sa
from alembic import op

from drip.storage.columns import Instant

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("balance", sa.Integer(), nullable=False),
        sa.CheckConstraint("balance >= 0", name="balance_is_no_debt"),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "counter"),
    )
    with op.batch_alter_table("counters", schema=None) as batch_op:
        batch_op.create_index(
            "counters_by_balance", ["counter", "balance"], unique=False
        )

    op.create_table(
        "pauses",
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "topic"),
    )
    op.create_table(
        "segment_members",
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("segment", "contact_id"),
    )
    with op.batch_alter_table("segment_members", schema=None) as batch_op:
        batch_op.create_index(
            "segment_members_by_contact", ["contact_id"], unique=False
        )
        batch_op.create_index(
            "segment_members_by_number", ["segment", "number"], unique=False
        )

    op.create_table(
        "tags",
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "tag"),
    )
    with op.batch_alter_table("tags", schema=None) as batch_op:
        batch_op.create_index("tags_by_tag", ["tag", "contact_id"], unique=False)

    op.create_table(
        "counter_entries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("balance", sa.Integer(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["events.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("counter", "event_id"),
        sa.UniqueConstraint("run_id", "step"),
    )
    with op.batch_alter_table("counter_entries", schema=None) as batch_op:
        batch_op.create_index(
            "counter_entries_by_contact", ["contact_id", "counter"], unique=False
        )
        batch_op.create_index(
            "counter_entries_by_counter", ["counter", "id"], unique=False
        )

    op.create_table(
        "coupons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("coupon", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("issued_at", Instant(), nullable=True),
        sa.Column("expires", sa.Text(), nullable=True),
        sa.Column("redeemed_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("code"),
        sa.UniqueConstraint("run_id", "step"),
    )
    with op.batch_alter_table("coupons", schema=None) as batch_op:
        batch_op.create_index(
            "coupons_by_contact", ["contact_id", "coupon"], unique=False
        )
        batch_op.create_index(
            "coupons_in_stock", ["coupon", "contact_id"], unique=False
        )

    op.create_table(
        "readings",
        sa.Column("record_id", sa.Integer(), nullable=False),
        sa.Column("meter", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["records.id"],
        ),
        sa.PrimaryKeyConstraint("record_id", "meter", "day"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("assign_to", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("due", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("done_at", Instant(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "step"),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.create_index("tasks_by_contact", ["contact_id"], unique=False)
        batch_op.create_index("tasks_by_state", ["state", "due"], unique=False)
        batch_op.create_index("tasks_by_time", ["created_at"], unique=False)

    with op.batch_alter_table("consent_log", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("proof", sa.JSON(none_as_null=True), nullable=True)
        )

    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reason", sa.Text(), nullable=True))

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("heard", sa.JSON(none_as_null=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column("arms", sa.JSON(none_as_null=True), nullable=True)
        )
