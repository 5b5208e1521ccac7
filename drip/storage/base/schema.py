"""The tables of people, campaigns and messages; those of operation are in `schema_operating`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    UniqueConstraint,
    and_,
    literal_column,
    text,
)

from drip.core.lifecycle import TIMED, UNTIMED, Wake
from drip.storage.base.columns import KEY_ALONE, Instant, Number, Words

# It has all tables once this module is imported.
from drip.storage.base.schema_operating import metadata as metadata

# One row per fact about the database itself: the workspace's id, the key that hashes suppressed addresses.
meta = Table(
    "meta",
    metadata,
    Column("name", Words, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Words, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

contacts = Table(
    "contacts",
    metadata,
    Column("id", Number, primary_key=True),
    Column("key", Words, nullable=False, unique=True),
    Column("email", Words),
    Column("phone", Words),
    Column("locale", Words),
    Column("country", Words),
    # What the contact's file said, and the zone that holds: NULL is the workspace's.
    Column("timezone", Words),
    Column("zone", Words),
    Column("attributes", JSON, nullable=False),
    # Counts up with each transaction that changes people: what the planner has not seen yet has a higher one.
    Column("change", Number, nullable=False),
    # An erased person: nothing is left but the number. Its key begins with `erased-`, and nobody else's does.
    Column("erased_at", Instant),
    CheckConstraint(
        "erased_at IS NOT NULL OR substr(key, 1, 7) <> 'erased-'",
        name="erased_is_a_reserved_word",
    ),
    Index("contacts_by_zone", "zone"),
    Index("contacts_by_change", "change"),
    Index("contacts_by_email", text("lower(email)")),
)

# Of whom nothing is known but that somebody signed them up: a row goes when anything else is. `open` waits to be confirmed
# up to an instant, `over` was not and is erased, `single` was taken at its word. Those that are not single are hidden.
sign_ups = Table(
    "sign_ups",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("state", Words, nullable=False),
    Column("until", Instant),
    CheckConstraint("(state = 'open') = (until IS NOT NULL)", name="what_is_open_ends"),
    CheckConstraint("state IN ('open', 'over', 'single')", name="state_is_known"),
    Index("sign_ups_by_state", "state", "until"),
    **KEY_ALONE,
)


def ordinary(contact_id: Column[int]) -> ColumnElement[bool]:
    """Whether a contact is one of the people, and no sign-up that nobody has confirmed.

    Whatever lists, counts or chooses people asks this. Of each row that is found it is one look-up, however many sign-ups
    there are. Written out, since putting it together took a quarter of the time of a question that an index answers.
    """
    of_row = f"sign_ups.contact_id = {contact_id.table.name}.{contact_id.name}"
    return literal_column(
        f"NOT EXISTS (SELECT 1 FROM sign_ups WHERE {of_row} AND sign_ups.state <> 'single')",
        Boolean,
    )


# Of contacts: those who were not erased and are `ordinary`. Nobody else is in an audience, a segment, a list or a count.
PEOPLE = and_(contacts.c.erased_at.is_(None), ordinary(contacts.c.id))


records = Table(
    "records",
    metadata,
    Column("id", Number, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("kind", Words, nullable=False),
    Column("key", Words, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("change", Number, nullable=False),
    UniqueConstraint("kind", "key"),
    Index("records_by_contact", "contact_id", "kind"),
    Index("records_by_change", "change"),
)

# Every date of a contact or record, so that who is due on a day is one look-up. `record_id` is 0 for the contact's.
dates = Table(
    "dates",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("record_id", Number, primary_key=True),
    Column("field", Words, primary_key=True),
    Column("day", Words),
    Column("month_day", Words, nullable=False),
    Index("dates_by_record", "record_id"),
    Index("dates_by_day", "field", "day"),
    Index("dates_by_month_day", "field", "month_day"),
    **KEY_ALONE,
)

events = Table(
    "events",
    metadata,
    Column("id", Number, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("record_id", Number, nullable=False),
    Column("name", Words, nullable=False),
    Column("key", Words, nullable=False),
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
    Column("topic", Words, primary_key=True),
    Column("channel", Words, primary_key=True),
    Column("given", Boolean, nullable=False),
    Column("at", Instant, nullable=False),
    Index("consents_by_topic", "topic", "channel", "given"),
    **KEY_ALONE,
)

# Append-only: the proof behind `consents`.
consent_log = Table(
    "consent_log",
    metadata,
    Column("id", Number, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False, index=True),
    Column("topic", Words, nullable=False),
    Column("channel", Words, nullable=False),
    Column("given", Boolean, nullable=False),
    Column("at", Instant, nullable=False),
    Column("source", Words, nullable=False),
    Column("address", Words),
    Column("recorded_at", Instant, nullable=False),
    # What the event that confirmed it said of itself: address of the computer, hash of the wording.
    Column("proof", JSON(none_as_null=True)),
)

# Addresses never to be written to again, as keyed hashes, so that an erased person stays suppressed.
suppressions = Table(
    "suppressions",
    metadata,
    Column("digest", Words, primary_key=True),
    Column("reason", Words, nullable=False),
    Column("at", Instant, nullable=False),
)

campaign_versions = Table(
    "campaign_versions",
    metadata,
    Column("version", Words, primary_key=True),
    Column("campaign", Words, primary_key=True),
    Column("text", Words, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

# How far each campaign has looked: up to an instant, an event's number and a change's number.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Words, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("event_id", Number, nullable=False),
    Column("change", Number, nullable=False),
    # The version of campaign and settings that looked; under other ones the past is looked at again.
    Column("rules", Words, nullable=False),
)


def _where(condition: str) -> dict[str, Any]:
    """An index of some rows alone."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _is_one_of(column: str, words: Iterable[str]) -> str:
    """For a rule of a table. SQLite builds a table of its own for an `IN` of each row that is stored: 3 µs, and this takes 0.1."""
    return " OR ".join(f"{column} = '{word}'" for word in words)


runs = Table(
    "runs",
    metadata,
    Column("id", Number, primary_key=True),
    Column("campaign", Words, nullable=False),
    Column("version", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("record_id", Number, nullable=False),
    Column("occurrence", Words, nullable=False),
    Column("event_id", Number),
    # The date that `at:` steps hang on; the index of the step it is at; when the step before was done.
    Column("anchor", Words),
    Column("position", Number, nullable=False),
    Column("since", Instant, nullable=False),
    # Why it is looked at next (`core.lifecycle.Wake`), and when, where that hangs on the clock.
    Column("wake", Words),
    Column("due_at", Instant),
    Column("active", Boolean, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("code", Words),
    Column("sentence", Words),
    Column("place", Words),
    # The events that it waited for, by the first part of their names; the arms of its splits, by step.
    Column("heard", JSON(none_as_null=True)),
    Column("arms", JSON(none_as_null=True)),
    # The guarantee behind "planning the same thing twice is harmless".
    UniqueConstraint("campaign", "contact_id", "record_id", "occurrence"),
    CheckConstraint(
        "CASE WHEN wake IS NULL THEN NOT active AND due_at IS NULL "
        f"WHEN {_is_one_of('wake', TIMED)} THEN active AND due_at IS NOT NULL "
        f"ELSE active AND due_at IS NULL AND ({_is_one_of('wake', UNTIMED)}) END",
        name="wake_is_a_word_that_fits",
    ),
    # What waits for its message or an event, which is nearly all, is in none of these.
    Index("runs_due", "due_at", **_where("due_at IS NOT NULL")),
    Index("runs_looking_again", "id", **_where("wake = 'looks-again'")),
    Index("runs_going_on", "id", **_where("wake = 'goes-on'")),
    Index("runs_by_contact", "contact_id", "active"),
    Index("runs_by_start", "started_at"),
    Index("runs_by_end", "ended_at", **_where("ended_at IS NOT NULL")),
)


def waking(why: Wake) -> ColumnElement[bool]:
    """As `in_state`, for runs: each word that is asked for at once has an index of its own."""
    return runs.c.wake == literal_column(f"'{why}'")


# The outbox, and the ledger that the caps count from.
messages = Table(
    "messages",
    metadata,
    Column("id", Number, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", Words, nullable=False),
    Column("campaign", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("topic", Words),
    Column("channel", Words, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("priority", Number, nullable=False),
    # deferred, pending, sending, sent, skipped, failed, held
    Column("state", Words, nullable=False),
    Column("planned_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("granted_at", Instant),
    # The daemon (by its number) that hands it over: only that one may say how it ended.
    Column("fence", Number),
    Column("attempts", Number, nullable=False),
    Column("sent_at", Instant),
    Column("settled_at", Instant),
    # When an attempt of unknown outcome began that was followed by another one.
    Column("maybe_left_at", Instant),
    Column("code", Words),
    Column("sentence", Words),
    Column("place", Words),
    UniqueConstraint("run_id", "step"),
    # What has ended, which is nearly all, is in none of these.
    Index("messages_due", "due_at", **_where("state = 'deferred'")),
    Index(
        "messages_waiting",
        "channel",
        "priority",
        "due_at",
        **_where("state = 'pending'"),
    ),
    Index("messages_open", "state", **_where("state = 'sending' OR state = 'held'")),
    Index("messages_by_contact", "contact_id", "sent_at"),
    Index("messages_by_settling", "settled_at", **_where("settled_at IS NOT NULL")),
)


def in_state(state: str) -> ColumnElement[bool]:
    """Messages in a state, written out: an index of some rows serves a statement that says that it is about these."""
    return messages.c.state == literal_column(f"'{state}'")


# What came back. `source` tells the mail that said so, so that reading it twice changes nothing.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Number, primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False),
    # bounce, delayed, delivered, complaint, opened, clicked
    Column("kind", Words, nullable=False),
    Column("at", Instant, nullable=False),
    # address-dead, no-domain, temporary, policy, unknown; of what was opened or clicked: person, machine
    Column("meaning", Words, nullable=False),
    Column("status", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("source", Words, nullable=False),
    UniqueConstraint("message_id", "kind", "source"),
    Index("deliveries_by_time", "at"),
)

# Why messages did not go: each sentence once, however many people it was said of. `filled_by` names the campaigns whose
# messages filled a cap, with commas.
reasons = Table(
    "reasons",
    metadata,
    Column("id", Number, primary_key=True),
    Column("code", Words, nullable=False),
    Column("sentence", Words, nullable=False),
    Column("place", Words, nullable=False),
    Column("filled_by", Words),
    UniqueConstraint("sentence", "place", "code"),
)

# Every decision that is not Send, append-only. One that waits says until when; one without `until` is skipped.
judgements = Table(
    "judgements",
    metadata,
    Column("id", Number, primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False, index=True),
    Column("at", Instant, nullable=False, index=True),
    # No foreign key: it would need an index of its own to forget reasons by.
    Column("reason_id", Number, nullable=False),
    Column("until", Instant),
)

tags = Table(
    "tags",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("tag", Words, primary_key=True),
    Index("tags_by_tag", "tag", "contact_id"),
    **KEY_ALONE,
)

# Topics that are held back for a contact, by a campaign's step or by its own wish: the longest counts.
pauses = Table(
    "pauses",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("topic", Words, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("place", Words, primary_key=True),
    **KEY_ALONE,
)

# Who is in each segment and rank, as of the last look.
segment_members = Table(
    "segment_members",
    metadata,
    Column("segment", Words, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("since", Instant, nullable=False),
    # Counts up with each contact that comes in, so that a campaign finds those it has not seen.
    Column("number", Number, nullable=False),
    Index("segment_members_by_contact", "contact_id"),
    Index("segment_members_by_number", "segment", "number"),
    **KEY_ALONE,
)

# Where each counter of each contact stands.
counters = Table(
    "counters",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("counter", Words, primary_key=True),
    Column("balance", Number, nullable=False),
    Index("counters_by_balance", "counter", "balance"),
    CheckConstraint("balance >= 0", name="balance_is_no_debt"),
    **KEY_ALONE,
)

# Append-only: what made each counter what it is. An event and a step count once.
counter_entries = Table(
    "counter_entries",
    metadata,
    Column("id", Number, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("counter", Words, nullable=False),
    Column("amount", Number, nullable=False),
    Column("balance", Number, nullable=False),
    Column("at", Instant, nullable=False),
    Column("event_id", ForeignKey("events.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("step", Words),
    UniqueConstraint("counter", "event_id"),
    UniqueConstraint("run_id", "step"),
    Index("counter_entries_by_contact", "contact_id", "counter"),
    Index("counter_entries_by_counter", "counter", "id"),
)

# Codes: made for a run, or imported and waiting for one. `expires` is the last day on which it is good.
coupons = Table(
    "coupons",
    metadata,
    Column("id", Number, primary_key=True),
    Column("coupon", Words, nullable=False),
    Column("code", Words, nullable=False, unique=True),
    Column("contact_id", ForeignKey("contacts.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("step", Words),
    Column("issued_at", Instant),
    Column("expires", Words),
    Column("redeemed_at", Instant),
    UniqueConstraint("run_id", "step"),
    Index("coupons_by_contact", "contact_id", "coupon"),
    Index("coupons_in_stock", "coupon", "contact_id"),
)

# Work for people.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Number, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("title", Words, nullable=False),
    Column("assign_to", Words, nullable=False),
    Column("priority", Number, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due", Words),
    # open, done, dropped
    Column("state", Words, nullable=False),
    Column("done_at", Instant),
    Column("outcome", Words),
    Column("place", Words, nullable=False),
    # What a message said that became a call.
    Column("notes", Words),
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
    Column("meter", Words, primary_key=True),
    Column("day", Words, primary_key=True),
    Column("value", Float, nullable=False),
    **KEY_ALONE,
)
