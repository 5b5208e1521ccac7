"""All that is known of one person, as plain data: for the person to read, and to take along."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, and_, select

from drip.storage.base.schema import (
    consent_log,
    counter_entries,
    counters,
    coupons,
    deliveries,
    events,
    messages,
    pauses,
    readings,
    records,
    runs,
    segment_members,
    tags,
    tasks,
)
from drip.storage.base.schema_operating import audit, data_mails, links
from drip.storage.people import people
from drip.storage.people.people import PLAIN

# Tables that hold something of a person and are not in it, and why.
LEFT_OUT = {
    "consents": "the last word of each topic, which the log of consents has with its proof",
    "dates": "the dates of contacts and records once more, to be found by their day",
    "erasures": "what is still to be cleared of somebody erased, of whom there is nothing to download",
    "judgements": "why a message waited, by rules that are the same for everybody",
    "webhook_outbox": "what other programs are told of what is in it, until they know",
    "refusals": "of a mail server that takes nobody, for as long as it does; how the message ended is in it",
    "sign_ups": "until when a sign-up can be confirmed; that it was asked for is among the events",
    "session_deaths": "how often a connection broke off, while it is tried again",
}


def of_contact(connection: Connection, contact_id: int) -> dict[str, Any]:
    """A contact with all that is stored of it but for `LEFT_OUT`. Instants are ISO texts."""
    contact = people.contacts_by_id(connection, [contact_id])[contact_id]
    own = {name: getattr(contact, name) for name in ("key", *PLAIN)}
    given_up = [
        {"channel": each.channel, "reason": each.reason, "at": _plain(each.at)}
        for each in people.given_up(connection, contact)
    ]
    found = {
        name: _rows(connection, statement)
        for name, statement in parts(contact_id).items()
    }
    known = {name: value for name, value in own.items() if value} | contact.attributes
    return {"contact": known, "never_written_to": given_up, **found}


def parts(contact_id: int) -> dict[str, Select[Any]]:
    """What is asked for each part, in the order in which it came about."""
    c, m, d, r, t = consent_log.c, messages.c, deliveries.c, records.c, tasks.c
    # Of a click, `reason` is the short name of the link.
    clicked = and_(d.kind == "clicked", links.c.name == d.reason)
    back = select(
        d.kind, d.at, d.meaning, d.reason, links.c.address.label("link")
    ).join_from(deliveries, messages, m.id == d.message_id)
    e, p, entries = events.c, coupons.c, counter_entries.c
    return {
        "tags": select(tags.c.tag)
        .where(tags.c.contact_id == contact_id)
        .order_by(tags.c.tag),
        "records": select(r.kind, r.key, r.attributes)
        .where(r.contact_id == contact_id)
        .order_by(r.id),
        "readings": select(
            r.kind, r.key, readings.c.meter, readings.c.day, readings.c.value
        )
        .join_from(readings, records, r.id == readings.c.record_id)
        .where(r.contact_id == contact_id)
        .order_by(readings.c.day),
        "events": select(e.name, e.key, e.at, e.fields)
        .where(e.contact_id == contact_id)
        .order_by(e.at, e.id),
        "consents": select(
            c.topic,
            c.channel,
            c.given,
            c.at,
            c.source,
            c.address,
            c.recorded_at,
            c.proof,
        )
        .where(c.contact_id == contact_id)
        .order_by(c.id),
        "pauses": select(pauses.c.topic, pauses.c.until, pauses.c.place).where(
            pauses.c.contact_id == contact_id
        ),
        "campaigns": select(
            runs.c.campaign, runs.c.started_at, runs.c.ended_at, runs.c.sentence
        )
        .where(runs.c.contact_id == contact_id)
        .order_by(runs.c.id),
        "messages": select(
            m.campaign,
            m.step,
            m.channel,
            m.topic,
            m.state,
            m.due_at,
            m.sent_at,
            m.sentence,
        )
        .where(m.contact_id == contact_id)
        .order_by(m.id),
        "came_back": back.outerjoin(links, clicked)
        .where(m.contact_id == contact_id)
        .order_by(d.at, d.id),
        "coupons": select(p.coupon, p.code, p.issued_at, p.expires, p.redeemed_at)
        .where(p.contact_id == contact_id)
        .order_by(p.id),
        "counters": select(counters.c.counter, counters.c.balance).where(
            counters.c.contact_id == contact_id
        ),
        "counted": select(entries.counter, entries.amount, entries.balance, entries.at)
        .where(entries.contact_id == contact_id)
        .order_by(entries.id),
        "segments": select(segment_members.c.segment, segment_members.c.since).where(
            segment_members.c.contact_id == contact_id
        ),
        "tasks": select(
            t.title,
            t.notes,
            t.assign_to,
            t.created_at,
            t.due,
            t.state,
            t.done_at,
            t.outcome,
        )
        .where(t.contact_id == contact_id)
        .order_by(t.id),
        "asked_for_data": select(
            data_mails.c.asked_at, data_mails.c.state, data_mails.c.ended_at
        )
        .where(data_mails.c.contact_id == contact_id)
        .order_by(data_mails.c.id),
        # Who ordered it is another person, and not in it.
        "orders": select(audit.c.at, audit.c.command, audit.c.why)
        .where(audit.c.contact_id == contact_id)
        .order_by(audit.c.id),
    }


def _rows(connection: Connection, statement: Select[Any]) -> list[dict[str, Any]]:
    return [
        {name: _plain(value) for name, value in row._mapping.items()}
        for row in connection.execute(statement)
    ]


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
