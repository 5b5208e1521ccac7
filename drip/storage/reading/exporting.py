"""All that is known of one person, as plain data.

It is for the person to read, and to take along.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select

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

_pause = pauses.c

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


def parts(contact_id: int) -> dict[str, Select[Any]]:
    """What is asked for each part, in the order in which it came about."""
    return {
        "tags": _own(tags.c.contact_id == contact_id, tags.c.tag).order_by(tags.c.tag),
        "records": _records(contact_id),
        "readings": _readings(contact_id),
        "events": _events(contact_id),
        "consents": _consents(contact_id),
        "pauses": _own(
            _pause.contact_id == contact_id,
            _pause.topic,
            _pause.until,
            _pause.place,
        ),
        "campaigns": _campaigns(contact_id),
        "messages": _messages(contact_id),
        "came_back": _came_back(contact_id),
        "coupons": _coupons(contact_id),
        "counters": _own(
            counters.c.contact_id == contact_id, counters.c.counter, counters.c.balance
        ),
        "counted": _counted(contact_id),
        "segments": _own(
            segment_members.c.contact_id == contact_id,
            segment_members.c.segment,
            segment_members.c.since,
        ),
        "tasks": _tasks(contact_id),
        "asked_for_data": _asked_for_data(contact_id),
        "orders": _orders(contact_id),
    }


def _own(whose: ColumnElement[bool], *columns: ColumnElement[Any]) -> Select[Any]:
    return select(*columns).where(whose)


def _records(contact_id: int) -> Select[Any]:
    r = records.c
    own = _own(
        r.contact_id == contact_id,
        r.kind,
        r.key,
        r.attributes,
    )
    return own.order_by(r.id)


def _readings(contact_id: int) -> Select[Any]:
    r, shown = records.c, readings.c
    columns = (
        r.kind,
        r.key,
        shown.meter,
        shown.day,
        shown.value,
    )
    own = _own(r.contact_id == contact_id, *columns)
    return own.join_from(readings, records, r.id == shown.record_id).order_by(shown.day)


def _events(contact_id: int) -> Select[Any]:
    e = events.c
    own = _own(
        e.contact_id == contact_id,
        e.name,
        e.key,
        e.at,
        e.fields,
    )
    return own.order_by(e.at, e.id)


def _consents(contact_id: int) -> Select[Any]:
    word = consent_log.c
    said = (
        word.topic,
        word.channel,
        word.given,
        word.at,
    )
    proved = (
        word.source,
        word.address,
        word.recorded_at,
        word.proof,
    )
    return _own(
        word.contact_id == contact_id,
        *said,
        *proved,
    ).order_by(word.id)


def _campaigns(contact_id: int) -> Select[Any]:
    r = runs.c
    columns = (
        r.campaign,
        r.started_at,
        r.ended_at,
        r.sentence,
    )
    return _own(r.contact_id == contact_id, *columns).order_by(r.id)


def _messages(contact_id: int) -> Select[Any]:
    m = messages.c
    what = (
        m.campaign,
        m.step,
        m.channel,
        m.topic,
    )
    ended = (
        m.state,
        m.due_at,
        m.sent_at,
        m.sentence,
    )
    return _own(
        m.contact_id == contact_id,
        *what,
        *ended,
    ).order_by(m.id)


def _came_back(contact_id: int) -> Select[Any]:
    d = deliveries.c
    columns = (
        d.kind,
        d.at,
        d.meaning,
        d.reason,
        links.c.address.label("link"),
    )
    own = _own(messages.c.contact_id == contact_id, *columns)
    of_messages = own.join_from(deliveries, messages, messages.c.id == d.message_id)
    # Of a click, `reason` is the short name of the link.
    clicked = and_(
        d.kind == "clicked",
        links.c.name == d.reason,
    )
    return of_messages.outerjoin(links, clicked).order_by(
        d.at,
        d.id,
    )


def _coupons(contact_id: int) -> Select[Any]:
    c = coupons.c
    columns = (
        c.coupon,
        c.code,
        c.issued_at,
        c.expires,
        c.redeemed_at,
    )
    return _own(c.contact_id == contact_id, *columns).order_by(c.id)


def _counted(contact_id: int) -> Select[Any]:
    entry = counter_entries.c
    columns = (
        entry.counter,
        entry.amount,
        entry.balance,
        entry.at,
    )
    return _own(entry.contact_id == contact_id, *columns).order_by(entry.id)


def _tasks(contact_id: int) -> Select[Any]:
    t = tasks.c
    given = (
        t.title,
        t.notes,
        t.assign_to,
        t.created_at,
        t.due,
    )
    ended = (
        t.state,
        t.done_at,
        t.outcome,
    )
    return _own(
        t.contact_id == contact_id,
        *given,
        *ended,
    ).order_by(t.id)


def _asked_for_data(contact_id: int) -> Select[Any]:
    mail = data_mails.c
    columns = (
        mail.asked_at,
        mail.state,
        mail.ended_at,
    )
    return _own(mail.contact_id == contact_id, *columns).order_by(mail.id)


def _orders(contact_id: int) -> Select[Any]:
    # Who ordered it is another person, and not in it.
    columns = (audit.c.at, audit.c.command, audit.c.why)
    return _own(audit.c.contact_id == contact_id, *columns).order_by(audit.c.id)


# As they are stored: whoever asks has a right to all of it, and not to a selection.
def _rows(connection: Connection, statement: Select[Any]) -> list[dict[str, Any]]:
    return [
        {name: _plain(value) for name, value in row.items()}
        for row in connection.execute(statement).mappings()
    ]


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
