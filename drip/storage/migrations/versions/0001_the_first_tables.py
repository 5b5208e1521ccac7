"""The first tables"""

import sqlalchemy as sa
from alembic import op

from drip.storage.base.columns import Instant, Number, Words

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", Number, nullable=False),
        sa.Column("action", Words, nullable=False),
        sa.Column("about", Words, nullable=False),
        sa.Column("sentence", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("notified_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "alarms_by_action", "alarms", ["action", "about", "at"], unique=False
    )
    op.create_index("alarms_by_time", "alarms", ["at"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", Number, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("digest", Words, nullable=False),
        sa.Column("scopes", Words, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("revoked_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "campaign_versions",
        sa.Column("version", Words, nullable=False),
        sa.Column("campaign", Words, nullable=False),
        sa.Column("text", Words, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("version", "campaign"),
    )
    op.create_table(
        "contacts",
        sa.Column("id", Number, nullable=False),
        sa.Column("key", Words, nullable=False),
        sa.Column("email", Words, nullable=True),
        sa.Column("phone", Words, nullable=True),
        sa.Column("locale", Words, nullable=True),
        sa.Column("country", Words, nullable=True),
        sa.Column("timezone", Words, nullable=True),
        sa.Column("zone", Words, nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("change", Number, nullable=False),
        sa.Column("erased_at", Instant, nullable=True),
        sa.CheckConstraint(
            "erased_at IS NOT NULL OR substr(key, 1, 7) <> 'erased-'",
            name="erased_is_a_reserved_word",
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("contacts_by_change", "contacts", ["change"], unique=False)
    op.create_index(
        "contacts_by_email",
        "contacts",
        [sa.literal_column("lower(email)")],
        unique=False,
    )
    op.create_index("contacts_by_zone", "contacts", ["zone"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("name", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("event_id", Number, nullable=False),
        sa.Column("change", Number, nullable=False),
        sa.Column("rules", Words, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "daemons",
        sa.Column("number", Number, nullable=False),
        sa.Column("pid", Number, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("heartbeat_at", Instant, nullable=False),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("trouble", Words, nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "holds",
        sa.Column("scope", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("reason", Words, nullable=True),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "meta",
        sa.Column("name", Words, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "operators",
        sa.Column("id", Number, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("password", Words, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "rate_limits",
        sa.Column("channel", Words, nullable=False),
        sa.Column("domain", Words, nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("closed_until", sa.Float(), nullable=False),
        sa.Column("refusals", Number, nullable=False),
        sa.Column("reason", Words, nullable=True),
        sa.PrimaryKeyConstraint("channel", "domain"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reasons",
        sa.Column("id", Number, nullable=False),
        sa.Column("code", Words, nullable=False),
        sa.Column("sentence", Words, nullable=False),
        sa.Column("place", Words, nullable=False),
        sa.Column("filled_by", Words, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sentence", "place", "code"),
    )
    op.create_table(
        "relays",
        sa.Column("channel", Words, nullable=False),
        sa.Column("server", Words, nullable=False),
        sa.Column("accepted_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("channel"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", Words, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "suppressions",
        sa.Column("digest", Words, nullable=False),
        sa.Column("reason", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "webhook_positions",
        sa.Column("webhook", Words, nullable=False),
        sa.Column("notice", Number, nullable=False),
        sa.PrimaryKeyConstraint("webhook"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "answered",
        sa.Column("api_key_id", Number, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("digest", Words, nullable=False),
        sa.Column("status", Number, nullable=False),
        sa.Column("body", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"],
            ["api_keys.id"],
        ),
        sa.PrimaryKeyConstraint("api_key_id", "name"),
        sqlite_with_rowid=False,
    )
    op.create_index("answered_by_time", "answered", ["at"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", Number, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("command", Words, nullable=False),
        sa.Column("about", Words, nullable=True),
        sa.Column("contact_id", Number, nullable=True),
        sa.Column("why", Words, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "audit_by_contact",
        "audit",
        ["contact_id"],
        unique=False,
        sqlite_where=sa.text("contact_id IS NOT NULL"),
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_index("audit_by_time", "audit", ["at"], unique=False)
    op.create_table(
        "consent_log",
        sa.Column("id", Number, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("topic", Words, nullable=False),
        sa.Column("channel", Words, nullable=False),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("source", Words, nullable=False),
        sa.Column("address", Words, nullable=True),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("proof", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        op.f("ix_consent_log_contact_id"), "consent_log", ["contact_id"], unique=False
    )
    op.create_table(
        "consents",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("topic", Words, nullable=False),
        sa.Column("channel", Words, nullable=False),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "topic", "channel"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "consents_by_topic", "consents", ["topic", "channel", "given"], unique=False
    )
    op.create_table(
        "counters",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("counter", Words, nullable=False),
        sa.Column("balance", Number, nullable=False),
        sa.CheckConstraint("balance >= 0", name="balance_is_no_debt"),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "counter"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "counters_by_balance", "counters", ["counter", "balance"], unique=False
    )
    op.create_table(
        "data_mails",
        sa.Column("id", Number, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("asked_at", Instant, nullable=False),
        sa.Column("subject", Words, nullable=False),
        sa.Column("text", Words, nullable=False),
        sa.Column("state", Words, nullable=False),
        sa.Column("attempts", Number, nullable=False),
        sa.Column("again_at", Instant, nullable=False),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("answer", Words, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "data_mails_by_contact", "data_mails", ["contact_id", "asked_at"], unique=False
    )
    op.create_index(
        "data_mails_by_state", "data_mails", ["state", "again_at"], unique=False
    )
    op.create_table(
        "dates",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("record_id", Number, nullable=False),
        sa.Column("field", Words, nullable=False),
        sa.Column("day", Words, nullable=False),
        sa.Column("month_day", Words, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "record_id", "field"),
        sqlite_with_rowid=False,
    )
    op.create_index("dates_by_day", "dates", ["field", "day"], unique=False)
    op.create_index("dates_by_month_day", "dates", ["field", "month_day"], unique=False)
    op.create_index("dates_by_record", "dates", ["record_id"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("cleared_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("id", Number, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("record_id", Number, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("key", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "key"),
    )
    op.create_index(
        "events_by_contact", "events", ["contact_id", "name", "at"], unique=False
    )
    op.create_index("events_by_name", "events", ["name", "at"], unique=False)
    op.create_table(
        "links",
        sa.Column("name", Words, nullable=False),
        sa.Column("address", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(
        "links_by_contact",
        "links",
        ["contact_id"],
        unique=False,
        sqlite_where=sa.text("contact_id IS NOT NULL"),
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_table(
        "pauses",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("topic", Words, nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.Column("place", Words, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "topic", "place"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "records",
        sa.Column("id", Number, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("kind", Words, nullable=False),
        sa.Column("key", Words, nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("change", Number, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "key"),
    )
    op.create_index("records_by_change", "records", ["change"], unique=False)
    op.create_index(
        "records_by_contact", "records", ["contact_id", "kind"], unique=False
    )
    op.create_table(
        "runs",
        sa.Column("id", Number, nullable=False),
        sa.Column("campaign", Words, nullable=False),
        sa.Column("version", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("record_id", Number, nullable=False),
        sa.Column("occurrence", Words, nullable=False),
        sa.Column("event_id", Number, nullable=True),
        sa.Column("anchor", Words, nullable=True),
        sa.Column("position", Number, nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("wake", Words, nullable=True),
        sa.Column("due_at", Instant, nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("ended_at", Instant, nullable=True),
        sa.Column("code", Words, nullable=True),
        sa.Column("sentence", Words, nullable=True),
        sa.Column("place", Words, nullable=True),
        sa.Column("heard", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("arms", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint(
            "CASE WHEN wake IS NULL THEN NOT active AND due_at IS NULL WHEN wake = 'new' OR wake = 'due' OR wake = 'held' THEN active AND due_at IS NOT NULL ELSE active AND due_at IS NULL AND (wake = 'waits-for-message' OR wake = 'waits-for-event' OR wake = 'looks-again' OR wake = 'goes-on') END",
            name="wake_is_a_word_that_fits",
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign", "contact_id", "record_id", "occurrence"),
    )
    op.create_index("runs_by_contact", "runs", ["contact_id", "active"], unique=False)
    op.create_index(
        "runs_by_end",
        "runs",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("runs_by_start", "runs", ["started_at"], unique=False)
    op.create_index(
        "runs_due",
        "runs",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "runs_going_on",
        "runs",
        ["id"],
        unique=False,
        sqlite_where=sa.text("wake = 'goes-on'"),
        postgresql_where=sa.text("wake = 'goes-on'"),
    )
    op.create_index(
        "runs_looking_again",
        "runs",
        ["id"],
        unique=False,
        sqlite_where=sa.text("wake = 'looks-again'"),
        postgresql_where=sa.text("wake = 'looks-again'"),
    )
    op.create_table(
        "segment_members",
        sa.Column("segment", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("segment", "contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "segment_members_by_contact", "segment_members", ["contact_id"], unique=False
    )
    op.create_index(
        "segment_members_by_number",
        "segment_members",
        ["segment", "number"],
        unique=False,
    )
    op.create_table(
        "sessions",
        sa.Column("digest", Words, nullable=False),
        sa.Column("operator_id", Number, nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["operator_id"],
            ["operators.id"],
        ),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("sessions_by_operator", "sessions", ["operator_id"], unique=False)
    op.create_table(
        "sign_ups",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("state", Words, nullable=False),
        sa.Column("until", Instant, nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (until IS NOT NULL)", name="what_is_open_ends"
        ),
        sa.CheckConstraint(
            "state IN ('open', 'over', 'single')", name="state_is_known"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("sign_ups_by_state", "sign_ups", ["state", "until"], unique=False)
    op.create_table(
        "tags",
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("tag", Words, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("contact_id", "tag"),
        sqlite_with_rowid=False,
    )
    op.create_index("tags_by_tag", "tags", ["tag", "contact_id"], unique=False)
    op.create_table(
        "webhook_outbox",
        sa.Column("id", Number, nullable=False),
        sa.Column("kind", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("contact_id", Number, nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "notices_by_contact",
        "webhook_outbox",
        ["contact_id"],
        unique=False,
        sqlite_where=sa.text("contact_id IS NOT NULL"),
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_table(
        "counter_entries",
        sa.Column("id", Number, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("counter", Words, nullable=False),
        sa.Column("amount", Number, nullable=False),
        sa.Column("balance", Number, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("event_id", Number, nullable=True),
        sa.Column("run_id", Number, nullable=True),
        sa.Column("step", Words, nullable=True),
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
    op.create_index(
        "counter_entries_by_contact",
        "counter_entries",
        ["contact_id", "counter"],
        unique=False,
    )
    op.create_index(
        "counter_entries_by_counter", "counter_entries", ["counter", "id"], unique=False
    )
    op.create_table(
        "coupons",
        sa.Column("id", Number, nullable=False),
        sa.Column("coupon", Words, nullable=False),
        sa.Column("code", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=True),
        sa.Column("run_id", Number, nullable=True),
        sa.Column("step", Words, nullable=True),
        sa.Column("issued_at", Instant, nullable=True),
        sa.Column("expires", Words, nullable=True),
        sa.Column("redeemed_at", Instant, nullable=True),
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
    op.create_index(
        "coupons_by_contact", "coupons", ["contact_id", "coupon"], unique=False
    )
    op.create_index(
        "coupons_in_stock", "coupons", ["coupon", "contact_id"], unique=False
    )
    op.create_table(
        "messages",
        sa.Column("id", Number, nullable=False),
        sa.Column("run_id", Number, nullable=False),
        sa.Column("step", Words, nullable=False),
        sa.Column("campaign", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("topic", Words, nullable=True),
        sa.Column("channel", Words, nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("priority", Number, nullable=False),
        sa.Column("state", Words, nullable=False),
        sa.Column("planned_at", Instant, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("granted_at", Instant, nullable=True),
        sa.Column("fence", Number, nullable=True),
        sa.Column("attempts", Number, nullable=False),
        sa.Column("sent_at", Instant, nullable=True),
        sa.Column("settled_at", Instant, nullable=True),
        sa.Column("maybe_left_at", Instant, nullable=True),
        sa.Column("code", Words, nullable=True),
        sa.Column("sentence", Words, nullable=True),
        sa.Column("place", Words, nullable=True),
        sa.CheckConstraint(
            "state IN ('deferred', 'pending', 'sending', 'sent', 'skipped', 'failed', 'held')",
            name="state_is_known",
        ),
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
    op.create_index(
        "messages_by_contact", "messages", ["contact_id", "sent_at"], unique=False
    )
    op.create_index(
        "messages_by_settling",
        "messages",
        ["settled_at"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NOT NULL"),
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    op.create_index(
        "messages_due",
        "messages",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'deferred'"),
        postgresql_where=sa.text("state = 'deferred'"),
    )
    op.create_index(
        "messages_open",
        "messages",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state = 'sending' OR state = 'held'"),
        postgresql_where=sa.text("state = 'sending' OR state = 'held'"),
    )
    op.create_index(
        "messages_waiting",
        "messages",
        ["channel", "priority", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "readings",
        sa.Column("record_id", Number, nullable=False),
        sa.Column("meter", Words, nullable=False),
        sa.Column("day", Words, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["records.id"],
        ),
        sa.PrimaryKeyConstraint("record_id", "meter", "day"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tasks",
        sa.Column("id", Number, nullable=False),
        sa.Column("run_id", Number, nullable=False),
        sa.Column("step", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("title", Words, nullable=False),
        sa.Column("assign_to", Words, nullable=False),
        sa.Column("priority", Number, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("due", Words, nullable=True),
        sa.Column("state", Words, nullable=False),
        sa.Column("done_at", Instant, nullable=True),
        sa.Column("outcome", Words, nullable=True),
        sa.Column("place", Words, nullable=False),
        sa.Column("notes", Words, nullable=True),
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
    op.create_index("tasks_by_contact", "tasks", ["contact_id"], unique=False)
    op.create_index("tasks_by_state", "tasks", ["state", "due"], unique=False)
    op.create_index("tasks_by_time", "tasks", ["created_at"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", Number, nullable=False),
        sa.Column("message_id", Number, nullable=False),
        sa.Column("kind", Words, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("meaning", Words, nullable=False),
        sa.Column("status", Words, nullable=False),
        sa.Column("reason", Words, nullable=False),
        sa.Column("source", Words, nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("message_id", "kind", "source"),
    )
    op.create_index("deliveries_by_time", "deliveries", ["at"], unique=False)
    op.create_table(
        "judgements",
        sa.Column("id", Number, nullable=False),
        sa.Column("message_id", Number, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("reason_id", Number, nullable=False),
        sa.Column("until", Instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_judgements_at"), "judgements", ["at"], unique=False)
    op.create_index(
        op.f("ix_judgements_message_id"), "judgements", ["message_id"], unique=False
    )
    op.create_table(
        "refusals",
        sa.Column("message_id", Number, nullable=False),
        sa.Column("channel", Words, nullable=False),
        sa.Column("contact_id", Number, nullable=False),
        sa.Column("answer", Words, nullable=False),
        sa.Column("first_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
        ),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_index("refusals_by_channel", "refusals", ["channel"], unique=False)
    op.create_table(
        "session_deaths",
        sa.Column("message_id", Number, nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
        ),
        sa.PrimaryKeyConstraint("message_id", "number"),
        sqlite_with_rowid=False,
    )
