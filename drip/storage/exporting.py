"""All that is known of one person, as plain data: for the person to read, and to take along."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from drip.storage import consents, people
from drip.storage.schema import counters, coupons, deliveries, events, messages, records, tags


def of_contact(connection: Connection, contact_id: int) -> dict[str, Any]:
    """A contact with records, events, consents, messages and what came back of them. Instants are ISO texts."""
    contact = people.contacts_by_id(connection, [contact_id])[contact_id]
    own = {name: getattr(contact, name) for name in ("key", "email", "phone", "locale", "country", "timezone")}
    m, e, r, d = messages.c, events.c, records.c, deliveries.c
    sent = select(m.campaign, m.step, m.channel, m.topic, m.sent_at).where(
        m.contact_id == contact_id, m.state == "sent"
    )
    happened = select(e.name, e.at, e.fields).where(e.contact_id == contact_id).order_by(e.at)
    back = (
        select(d.kind, d.at, d.meaning, d.reason).join(messages, m.id == d.message_id).where(m.contact_id == contact_id)
    )
    things = select(r.kind, r.key, r.attributes).where(r.contact_id == contact_id).order_by(r.id)
    codes = select(coupons.c.coupon, coupons.c.code, coupons.c.expires, coupons.c.redeemed_at)
    points = select(counters.c.counter, counters.c.balance).where(counters.c.contact_id == contact_id)
    marks = select(tags.c.tag).where(tags.c.contact_id == contact_id).order_by(tags.c.tag)
    said = consents.log_of(connection, contact_id)
    return {
        "contact": {name: value for name, value in own.items() if value} | contact.attributes,
        "tags": list(connection.scalars(marks)),
        "records": _rows(connection, things),
        "events": _rows(connection, happened),
        "consents": [{name: _plain(getattr(each, name)) for name in each.__slots__} for each in said],
        "messages": _rows(connection, sent.order_by(m.sent_at)),
        "came_back": _rows(connection, back.order_by(d.at)),
        "coupons": _rows(connection, codes.where(coupons.c.contact_id == contact_id).order_by(coupons.c.id)),
        "counters": _rows(connection, points),
    }


def _rows(connection: Connection, statement: Any) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in row._mapping.items()} for row in connection.execute(statement)]


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
