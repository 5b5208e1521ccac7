"""The tables of people: contacts, what they own, what happened to them, what they
allow."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
    and_,
    literal_column,
    text,
)

from drip.storage.base.columns import KEY_ALONE, Instant, Number, Words
from drip.storage.base.schema.metadata import metadata

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
    # Counts up with each transaction that changes people: what the planner has not seen
    # yet has a higher one.
    Column("change", Number, nullable=False),
    # An erased person: nothing is left but the number. Its key begins with `erased-`,
    # and nobody else's does.
    Column("erased_at", Instant),
    CheckConstraint(
        "erased_at IS NOT NULL OR substr(key, 1, 7) <> 'erased-'",
        name="erased_is_a_reserved_word",
    ),
    Index("contacts_by_zone", "zone"),
    Index("contacts_by_change", "change"),
    Index("contacts_by_email", text("lower(email)")),
)

# Of whom nothing is known but that somebody signed them up: a row goes when anything
# else is. `open` waits to be confirmed up to an instant, `over` was not and is erased,
# `single` was taken at its word. Those that are not single are hidden.
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

    Whatever lists, counts or chooses people asks this. Of each row that is found it is
    one look-up, however many sign-ups there are. Written out, since putting it together
    took a quarter of the time of a question that an index answers.
    """
    of_row = f"sign_ups.contact_id = {contact_id.table.name}.{contact_id.name}"
    hidden = f"SELECT 1 FROM sign_ups WHERE {of_row} AND sign_ups.state <> 'single'"
    return literal_column(f"NOT EXISTS ({hidden})", Boolean)


# Of contacts: those who were not erased and are `ordinary`. Nobody else is in an
# audience, a segment, a list or a count.
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

# Every date of a contact or record, so that who is due on a day is one look-up.
# `record_id` is 0 for the contact's.
dates = Table(
    "dates",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("record_id", Number, primary_key=True),
    Column("field", Words, primary_key=True),
    Column("day", Words, nullable=False),
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
    # What the event that confirmed it said of itself: address of the computer, hash of
    # the wording.
    Column("proof", JSON(none_as_null=True)),
)

# Addresses never to be written to again, as keyed hashes, so that an erased person
# stays suppressed.
suppressions = Table(
    "suppressions",
    metadata,
    Column("digest", Words, primary_key=True),
    Column("reason", Words, nullable=False),
    Column("at", Instant, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("contact_id", ForeignKey("contacts.id"), primary_key=True),
    Column("tag", Words, primary_key=True),
    Index("tags_by_tag", "tag", "contact_id"),
    **KEY_ALONE,
)

# Topics that are held back for a contact, by a campaign's step or by its own wish: the
# longest counts.
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
    # Counts up with each contact that comes in, so that a campaign finds those it has
    # not seen.
    Column("number", Number, nullable=False),
    Index("segment_members_by_contact", "contact_id"),
    Index("segment_members_by_number", "segment", "number"),
    **KEY_ALONE,
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
