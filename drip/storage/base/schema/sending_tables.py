"""The tables of sending: messages, what was decided of them, what came back."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
    literal_column,
)

from drip.core.lifecycle import MessageState
from drip.storage.base.columns import KEY_ALONE, Instant, Number, Words
from drip.storage.base.schema.metadata import metadata, rows_where

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
    # Which may follow which is said by `core.lifecycle`.
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
    CheckConstraint(
        f"state IN ({', '.join(repr(str(state)) for state in MessageState)})",
        name="state_is_known",
    ),
    # What has ended, which is nearly all, is in none of these.
    Index("messages_due", "due_at", **rows_where("state = 'deferred'")),
    Index(
        "messages_waiting",
        "channel",
        "priority",
        "due_at",
        **rows_where("state = 'pending'"),
    ),
    Index(
        "messages_open", "state", **rows_where("state = 'sending' OR state = 'held'")
    ),
    Index("messages_by_contact", "contact_id", "sent_at"),
    Index("messages_by_settling", "settled_at", **rows_where("settled_at IS NOT NULL")),
)


def in_state(state: str) -> ColumnElement[bool]:
    """Messages in a state.

    It is written out: an index of some rows serves a statement that says that it is
    about these.
    """
    return messages.c.state == literal_column(f"'{state}'")


# What came back. `source` tells the mail that said so, so that reading it twice changes
# nothing.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Number, primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False),
    # bounce, delayed, delivered, complaint, opened, clicked
    Column("kind", Words, nullable=False),
    Column("at", Instant, nullable=False),
    # address-dead, no-domain, temporary, policy, unknown; of what was opened or
    # clicked: person, machine
    Column("meaning", Words, nullable=False),
    Column("status", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("source", Words, nullable=False),
    UniqueConstraint("message_id", "kind", "source"),
    Index("deliveries_by_time", "at"),
)

# Why messages did not go: each sentence once, however many people it was said of.
# `filled_by` names the campaigns whose messages filled a cap, with commas.
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

# Every decision that is not Send, append-only. One that waits says until when; one
# without `until` is skipped.
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

# When the next message may begin: of a channel (domain ""), or to one of its domains.
# Milliseconds, with their fractions.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("channel", Words, primary_key=True),
    Column("domain", Words, primary_key=True),
    Column("next_at", Float, nullable=False),
    # The other side has said so often in a row that it is too much, and is left alone
    # until then.
    Column("closed_until", Float, nullable=False),
    Column("refusals", Number, nullable=False),
    # What it said, where nothing leaves by the channel at all.
    Column("reason", Words),
    **KEY_ALONE,
)

# The server behind a channel, and as whom we log in there; when it took a recipient for
# the first time.
relays = Table(
    "relays",
    metadata,
    Column("channel", Words, primary_key=True),
    Column("server", Words, nullable=False),
    Column("accepted_at", Instant),
    **KEY_ALONE,
)

# Messages whose recipient a server refused, and it has taken nobody since. If it never
# did, they prove nothing.
refusals = Table(
    "refusals",
    metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True),
    Column("channel", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("answer", Words, nullable=False),
    Column("first_at", Instant, nullable=False),
    Index("refusals_by_channel", "channel"),
)

# Sessions that ended while it was open whether a message had been taken.
session_deaths = Table(
    "session_deaths",
    metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True),
    Column("number", Number, primary_key=True),
    Column("at", Instant, nullable=False),
    **KEY_ALONE,
)

# Links of messages that go over a page of ours. One that was in the messages of a
# single contact is that contact's, and goes with it.
links = Table(
    "links",
    metadata,
    Column("name", Words, primary_key=True),
    Column("address", Words, nullable=False),
    Column("contact_id", ForeignKey("contacts.id")),
    Index("links_by_contact", "contact_id", **rows_where("contact_id IS NOT NULL")),
)
