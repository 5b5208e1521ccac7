"""The tables of operation: who works on the database, who is to hear what."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
)

from drip.storage.base.columns import KEY_ALONE, Instant, Number, Words
from drip.storage.base.schema.metadata import metadata, rows_where

# One row per fact about the database itself: the workspace's id, the key that hashes
# suppressed addresses.
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

# Every daemon that worked on this database. `number` grows with each start: the fencing
# token. One that is alive has beaten lately (`heartbeat_at`, its lease) and has not
# ended.
daemons = Table(
    "daemons",
    metadata,
    Column("number", Number, primary_key=True),
    Column("pid", Number, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("heartbeat_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("trouble", Words),
)

# What an operator holds back: a campaign's key, or `*` for everything.
holds = Table(
    "holds",
    metadata,
    Column("scope", Words, primary_key=True),
    Column("at", Instant, nullable=False),
    # Why the program itself did it; NULL when a person did.
    Column("reason", Words),
)

# Who ordered what, when and why. The key of the person it is about stands with that
# person alone, so that erasing one leaves the row without it.
audit = Table(
    "audit",
    metadata,
    Column("id", Number, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("by", Words, nullable=False),
    Column("command", Words, nullable=False),
    # A campaign, `*` for everything, the name of a key, numbers of messages.
    Column("about", Words),
    Column("contact_id", ForeignKey("contacts.id")),
    Column("why", Words),
    Index("audit_by_time", "at"),
    Index("audit_by_contact", "contact_id", **rows_where("contact_id IS NOT NULL")),
)

# What an operator has to look at. `action` and `about` (a campaign, a channel) tell one
# from another; one that lasts ends.
alarms = Table(
    "alarms",
    metadata,
    Column("id", Number, primary_key=True),
    Column("action", Words, nullable=False),
    Column("about", Words, nullable=False),
    Column("sentence", Words, nullable=False),
    Column("at", Instant, nullable=False),
    Column("ended_at", Instant),
    # When whoever the settings name was told of it.
    Column("notified_at", Instant),
    Index("alarms_by_action", "action", "about", "at"),
    Index("alarms_by_time", "at"),
)

# Who may use the API: only a hash of each token. `scopes` are words with commas.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Number, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("digest", Words, nullable=False, unique=True),
    Column("scopes", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

# What was answered to requests that name themselves (Idempotency-Key), so that a repeat
# gets the same answer.
answered = Table(
    "answered",
    metadata,
    Column("api_key_id", ForeignKey("api_keys.id"), primary_key=True),
    Column("name", Words, primary_key=True),
    Column("digest", Words, nullable=False),
    Column("status", Number, nullable=False),
    Column("body", Words, nullable=False),
    Column("at", Instant, nullable=False),
    Index("answered_by_time", "at"),
    **KEY_ALONE,
)

# What other programs are to be told, and up to which one each of them was.
webhook_outbox = Table(
    "webhook_outbox",
    metadata,
    Column("id", Number, primary_key=True),
    Column("kind", Words, nullable=False),
    Column("at", Instant, nullable=False),
    Column("data", JSON, nullable=False),
    # Whom it is about: what is not told yet of a person who is erased is told to
    # nobody.
    Column("contact_id", ForeignKey("contacts.id")),
    Index("notices_by_contact", "contact_id", **rows_where("contact_id IS NOT NULL")),
)

webhook_positions = Table(
    "webhook_positions",
    metadata,
    Column("webhook", Words, primary_key=True),
    Column("notice", Number, nullable=False),
    **KEY_ALONE,
)

# Mails with somebody's own data, which were asked for on the preferences page. `text`
# has a place for the link, which is made as the mail leaves.
data_mails = Table(
    "data_mails",
    metadata,
    Column("id", Number, primary_key=True),
    Column("contact_id", ForeignKey("contacts.id"), nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("subject", Words, nullable=False),
    Column("text", Words, nullable=False),
    # waiting, sent, failed
    Column("state", Words, nullable=False),
    Column("attempts", Number, nullable=False),
    Column("again_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("answer", Words),
    Index("data_mails_by_contact", "contact_id", "asked_at"),
    Index("data_mails_by_state", "state", "again_at"),
)

# Erased people of whom something may still lie in files, or in the unused parts of the
# database's own: until `daemon` or a command has cleared it. `cleared_at` is when the
# files were.
erasures = Table(
    "erasures",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("cleared_at", Instant),
    **KEY_ALONE,
)

# Who may log in to the dashboard. Of a password only its hash (Argon2id, RFC 9106) is
# kept.
operators = Table(
    "operators",
    metadata,
    Column("id", Number, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("password", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# Who is logged in: the hash of what the browser keeps, and until when it is good.
sessions = Table(
    "sessions",
    metadata,
    Column("digest", Words, primary_key=True),
    Column("operator_id", ForeignKey("operators.id"), nullable=False),
    Column("until", Instant, nullable=False),
    Index("sessions_by_operator", "operator_id"),
    **KEY_ALONE,
)
