"""The tables. Instants are UTC milliseconds, floating dates are ISO text, attributes are JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from drip.core.calendar import from_millis, millis


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as whole milliseconds since 1970 in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return kept(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return moment(value)


def kept(at: datetime | None) -> int | None:
    """An instant as it is kept; None for none."""
    return None if at is None else millis(at)


def moment(milliseconds: int | None) -> datetime | None:
    """A kept instant as the program knows it; None for none."""
    return None if milliseconds is None else from_millis(milliseconds)


metadata = MetaData()

# One row per fact about the database itself: the workspace's id, the key that hashes suppressed addresses.
meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary, nullable=False))

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

contacts = Table(
    "contacts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("email", Text),
    Column("phone", Text),
    Column("locale", Text),
    Column("country", Text),
    # What the contact's file said, and the zone that holds: NULL is the workspace's.
    Column("timezone", Text),
    Column("zone", Text),
    Column("attributes", JSON, nullable=False),
    # Counts up with each transaction that changes people: what the planner has not seen yet has a higher one.
    Column("change", Integer, nullable=False),
    Index("contacts_by_zone", "zone"),
    Index("contacts_by_change", "change"),
)

records = Table(
    "records",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("change", Integer, nullable=False),
    UniqueConstraint("kind", "key"),
    Index("records_by_contact", "contact_id", "kind"),
    Index("records_by_change", "change"),
)

# Every date of a contact or record, so that who is due on a day is one look-up. `record_id` is 0 for the contact's.
dates = Table(
    "dates",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("record_id", Integer, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("day", Text),
    Column("month_day", Text, nullable=False),
    Index("dates_by_record", "record_id"),
    Index("dates_by_day", "field", "day"),
    Index("dates_by_month_day", "field", "month_day"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("record_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("fields", JSON, nullable=False),
    UniqueConstraint("name", "key"),
    Index("events_by_contact", "contact_id", "name", "at"),
    Index("events_by_name", "name", "at"),
)

consents = Table(
    "consents",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("given", Boolean, nullable=False),
    Column("at", Instant, nullable=False),
    Index("consents_by_topic", "topic", "channel", "given"),
)

# Append-only: the proof behind `consents`.
consent_log = Table(
    "consent_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False, index=True),
    Column("topic", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("given", Boolean, nullable=False),
    Column("at", Instant, nullable=False),
    Column("source", Text, nullable=False),
    Column("address", Text),
    Column("recorded_at", Instant, nullable=False),
    # What the event that confirmed it said of itself: address of the computer, hash of the wording.
    Column("proof", JSON(none_as_null=True)),
)

# Addresses never to be written to again, as keyed hashes, so that an erased person stays suppressed.
suppressions = Table(
    "suppressions",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

campaign_versions = Table(
    "campaign_versions",
    metadata,
    Column("version", Text, primary_key=True),
    Column("campaign", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

# How far each campaign has looked: up to an instant, an event's number and a change's number.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("event_id", Integer, nullable=False),
    Column("change", Integer, nullable=False),
    # The version of campaign and settings that looked; under other ones the past is looked at again.
    Column("rules", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("record_id", Integer, nullable=False),
    Column("occurrence", Text, nullable=False),
    Column("event_id", Integer),
    # The date that `at:` steps hang on; the index of the step it is at; when the step before was done.
    Column("anchor", Text),
    Column("position", Integer, nullable=False),
    Column("since", Instant, nullable=False),
    # When to look at it next: NULL means recompute now, an ended run has none either.
    Column("next_due_at", Instant),
    Column("active", Boolean, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("code", Text),
    Column("sentence", Text),
    Column("place", Text),
    # The events that it waited for, by the first part of their names; the arms of its splits, by step.
    Column("heard", JSON(none_as_null=True)),
    Column("arms", JSON(none_as_null=True)),
    # The guarantee behind "planning the same thing twice is harmless".
    UniqueConstraint("campaign", "contact_id", "record_id", "occurrence"),
    Index("runs_due", "active", "next_due_at"),
    Index("runs_by_contact", "contact_id", "active"),
    Index("runs_by_start", "started_at"),
    Index("runs_by_end", "ended_at", sqlite_where=text("ended_at IS NOT NULL")),
)

# The outbox, and the ledger that the caps count from.
messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", Text, nullable=False),
    Column("campaign", Text, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("topic", Text),
    Column("channel", Text, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    # deferred, pending, sending, sent, skipped, failed, held
    Column("state", Text, nullable=False),
    Column("planned_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("granted_at", Instant),
    # The daemon (by its number) that hands it over: only that one may say how it ended.
    Column("fence", Integer),
    Column("attempts", Integer, nullable=False),
    Column("sent_at", Instant),
    Column("settled_at", Instant),
    # When an attempt of unknown outcome began that was followed by another one.
    Column("maybe_left_at", Instant),
    Column("code", Text),
    Column("sentence", Text),
    Column("place", Text),
    UniqueConstraint("run_id", "step"),
    Index("messages_due", "state", "due_at"),
    Index("messages_by_contact", "contact_id", "sent_at"),
    Index("messages_by_settling", "settled_at", sqlite_where=text("settled_at IS NOT NULL")),
)

# Why messages did not go: each sentence once, however many people it was said of. `filled_by` names the campaigns whose
# messages filled a cap, with commas.
reasons = Table(
    "reasons",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("code", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("filled_by", Text),
    UniqueConstraint("sentence", "place", "code"),
)

# Every decision that is not Send, append-only. One that waits says until when; one without `until` is skipped.
judgements = Table(
    "judgements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False, index=True),
    Column("at", Instant, nullable=False, index=True),
    # No foreign key: it would need an index of its own to forget reasons by.
    Column("reason_id", Integer, nullable=False),
    Column("until", Instant),
)

# Every daemon that worked on this database. `number` grows with each start: the fencing token. One that is alive has
# beaten lately (`heartbeat_at`, its lease) and has not ended.
daemons = Table(
    "daemons",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("heartbeat_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("trouble", Text),
)

# What an operator holds back: a campaign's key, or `*` for everything.
holds = Table(
    "holds",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    # Why the program itself did it; NULL when a person did.
    Column("reason", Text),
)

tags = Table(
    "tags",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("tag", Text, primary_key=True),
    Index("tags_by_tag", "tag", "contact_id"),
)

# Topics that a campaign holds back for a contact.
pauses = Table(
    "pauses",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("place", Text, nullable=False),
)

# Who is in each segment and rank, as of the last look.
segment_members = Table(
    "segment_members",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("since", Instant, nullable=False),
    # Counts up with each contact that comes in, so that a campaign finds those it has not seen.
    Column("number", Integer, nullable=False),
    Index("segment_members_by_contact", "contact_id"),
    Index("segment_members_by_number", "segment", "number"),
)

# Where each counter of each contact stands.
counters = Table(
    "counters",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("counter", Text, primary_key=True),
    Column("balance", Integer, nullable=False),
    Index("counters_by_balance", "counter", "balance"),
    CheckConstraint("balance >= 0", name="balance_is_no_debt"),
)

# Append-only: what made each counter what it is. An event and a step count once.
counter_entries = Table(
    "counter_entries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("counter", Text, nullable=False),
    Column("amount", Integer, nullable=False),
    Column("balance", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("event_id", ForeignKey("events.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("step", Text),
    UniqueConstraint("counter", "event_id"),
    UniqueConstraint("run_id", "step"),
    Index("counter_entries_by_contact", "contact_id", "counter"),
    Index("counter_entries_by_counter", "counter", "id"),
)

# Codes: made for a run, or imported and waiting for one. `expires` is the last day on which it is good.
coupons = Table(
    "coupons",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("coupon", Text, nullable=False),
    Column("code", Text, nullable=False, unique=True),
    Column("contact_id", ForeignKey("contacts.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("step", Text),
    Column("issued_at", Instant),
    Column("expires", Text),
    Column("redeemed_at", Instant),
    UniqueConstraint("run_id", "step"),
    Index("coupons_by_contact", "contact_id", "coupon"),
    Index("coupons_in_stock", "coupon", "contact_id"),
)

# Work for people.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", Text, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("assign_to", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due", Text),
    # open, done, dropped
    Column("state", Text, nullable=False),
    Column("done_at", Instant),
    Column("outcome", Text),
    Column("place", Text, nullable=False),
    UniqueConstraint("run_id", "step"),
    Index("tasks_by_state", "state", "due"),
    Index("tasks_by_contact", "contact_id"),
    Index("tasks_by_time", "created_at"),
)

# What meters showed: for estimating when they will reach something.
readings = Table(
    "readings",
    metadata,
    Column("record_id", ForeignKey("records.id"), primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("value", Float, nullable=False),
)
