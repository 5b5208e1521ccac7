"""All that is known of one person, as plain data.

It is for the person to read, and to take along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, select

from drip.storage.base.schema import (
    audit,
    consent_log,
    counter_entries,
    counters,
    coupons,
    data_mails,
    deliveries,
    events,
    links,
    messages,
    pauses,
    readings,
    records,
    runs,
    segment_members,
    tags,
    tasks,
)
from drip.storage.people import suppressions
from drip.storage.people.contacts import PLAIN, Contact, contacts_by_id

# Tables that hold something of a person and are not in it, and why.
LEFT_OUT = {
    "consents": "the last word of each topic: the log of consents has it with its proof",
    "dates": "the dates of contacts and records once more, to be found by their day",
    "erasures": "what is still to be cleared of somebody erased: there is nothing left",
    "judgements": "why a message waited, by rules that are the same for everybody",
    "webhook_outbox": "what other programs get of what is in it, until they have it",
    "refusals": "of a mail server that takes nobody, for as long as it does: how the "
    "message ended is in it",
    "sign_ups": "until when a sign-up can be confirmed: that it was asked for is among "
    "the events",
    "session_deaths": "how often a connection broke off, while it is tried again",
}


def of_contact(connection: Connection, contact_id: int) -> dict[str, Any]:
    """A contact with all that is stored of it but for `LEFT_OUT`.

    Instants are ISO texts.
    """
    contact = contacts_by_id(connection, [contact_id])[contact_id]
    columns = {name: getattr(contact, name) for name in ("key", *PLAIN)}
    known = {name: value for name, value in columns.items() if value}
    asked = parts(contact_id).items()
    return {
        "contact": known | contact.attributes,
        "never_written_to": _given_up(connection, contact),
        **{name: _rows(connection, statement) for name, statement in asked},
    }


def _given_up(connection: Connection, contact: Contact) -> list[dict[str, str]]:
    return [
        {
            "channel": gone.channel,
            "reason": gone.reason,
            "at": gone.at.isoformat(),
        }
        for gone in suppressions.given_up(connection, contact)
    ]


@dataclass(frozen=True, slots=True)
class _ExportedPart:
    """What of a table is in it: these columns of the contact's rows."""

    table: Table
    columns: tuple[str, ...]
    in_order: tuple[str, ...] = ("id",)

    def of(self, contact_id: int) -> Select[Any]:
        column = self.table.c
        own = select(*(column[name] for name in self.columns))
        return own.where(column.contact_id == contact_id).order_by(
            *(column[name] for name in self.in_order)
        )


_TAGS = _ExportedPart(tags, ("tag",), in_order=("tag",))
_RECORDS = _ExportedPart(records, ("kind", "key", "attributes"))
_EVENTS = _ExportedPart(events, ("name", "key", "at", "fields"), in_order=("at", "id"))
_CONSENTS = _ExportedPart(
    consent_log,
    (
        "topic",
        "channel",
        "given",
        "at",
        "source",
        "address",
        "recorded_at",
        "proof",
    ),
)
_PAUSES = _ExportedPart(pauses, ("topic", "until", "place"), in_order=())
_CAMPAIGNS = _ExportedPart(runs, ("campaign", "started_at", "ended_at", "sentence"))
_MESSAGES = _ExportedPart(
    messages,
    (
        "campaign",
        "step",
        "channel",
        "topic",
        "state",
        "due_at",
        "sent_at",
        "sentence",
    ),
)
_COUPONS = _ExportedPart(
    coupons, ("coupon", "code", "issued_at", "expires", "redeemed_at")
)
_COUNTERS = _ExportedPart(counters, ("counter", "balance"), in_order=())
_COUNTED = _ExportedPart(counter_entries, ("counter", "amount", "balance", "at"))
_SEGMENTS = _ExportedPart(segment_members, ("segment", "since"), in_order=())
_TASKS = _ExportedPart(
    tasks,
    (
        "title",
        "notes",
        "assign_to",
        "created_at",
        "due",
        "state",
        "done_at",
        "outcome",
    ),
)
_ASKED_FOR_DATA = _ExportedPart(data_mails, ("asked_at", "state", "ended_at"))
# Who ordered it is another person, and not in it.
_ORDERS = _ExportedPart(audit, ("at", "command", "why"))


def parts(contact_id: int) -> dict[str, Select[Any]]:
    """What is asked for each part, in the order in which it came about."""
    return {
        "tags": _TAGS.of(contact_id),
        "records": _RECORDS.of(contact_id),
        "readings": _readings(contact_id),
        "events": _EVENTS.of(contact_id),
        "consents": _CONSENTS.of(contact_id),
        "pauses": _PAUSES.of(contact_id),
        "campaigns": _CAMPAIGNS.of(contact_id),
        "messages": _MESSAGES.of(contact_id),
        "came_back": _came_back(contact_id),
        "coupons": _COUPONS.of(contact_id),
        "counters": _COUNTERS.of(contact_id),
        "counted": _COUNTED.of(contact_id),
        "segments": _SEGMENTS.of(contact_id),
        "tasks": _TASKS.of(contact_id),
        "asked_for_data": _ASKED_FOR_DATA.of(contact_id),
        "orders": _ORDERS.of(contact_id),
    }


def _readings(contact_id: int) -> Select[Any]:
    record, shown = records.c, readings.c
    columns = (
        record.kind,
        record.key,
        shown.meter,
        shown.day,
        shown.value,
    )
    own = select(*columns).where(record.contact_id == contact_id)
    of_records = own.join_from(readings, records, record.id == shown.record_id)
    return of_records.order_by(shown.day)


def _came_back(contact_id: int) -> Select[Any]:
    back, message = deliveries.c, messages.c
    columns = (
        back.kind,
        back.at,
        back.meaning,
        back.reason,
        links.c.address.label("link"),
    )
    own = select(*columns).where(message.contact_id == contact_id)
    of_messages = own.join_from(deliveries, messages, message.id == back.message_id)
    # Of a click, `reason` is the short name of the link.
    clicked = and_(back.kind == "clicked", links.c.name == back.reason)
    return of_messages.outerjoin(links, clicked).order_by(back.at, back.id)


# As they are stored: whoever asks has a right to all of it, and not to a selection.
def _rows(connection: Connection, statement: Select[Any]) -> list[dict[str, Any]]:
    return [
        {name: _plain(value) for name, value in row.items()}
        for row in connection.execute(statement).mappings()
    ]


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
