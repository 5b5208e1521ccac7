"""What came back of messages that left: bounces, delays, proofs of delivery, complaints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import deliveries, messages


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that came back about one message. `source` tells the mail that said so from every other."""

    message_id: int
    kind: str
    at: datetime
    meaning: str
    status: str
    reason: str
    source: str


def record(connection: Connection, each: Delivery) -> bool:
    """Stores it; whether it is new."""
    values = {name: getattr(each, name) for name in Delivery.__slots__}
    statement = (
        insert_or(deliveries)
        .values(values)
        .on_conflict_do_nothing()
        .returning(deliveries.c.id)
    )
    return connection.execute(statement).first() is not None


@dataclass(frozen=True, slots=True)
class CameBack:
    """How many of a contact's messages came back for the time being, and when its domain was first said not to exist."""

    count: int
    no_domain_at: datetime | None


def came_back(
    connection: Connection,
    contact_id: int,
    channel: str,
    since: datetime,
    now_about: int,
) -> CameBack:
    """What came back of a contact's messages since an instant, after the last one that is known to have arrived. What was said
    of the domain counts by other messages than the one that it is about now."""
    of_contact = (messages.c.contact_id == contact_id, messages.c.channel == channel)
    joined = deliveries.join(messages, messages.c.id == deliveries.c.message_id)
    arrived = (
        select(func.max(deliveries.c.at))
        .select_from(joined)
        .where(*of_contact, deliveries.c.kind == "delivered")
    )
    last = connection.execute(arrived).scalar()
    after = max(since, last) if last else since
    of_now = (*of_contact, deliveries.c.kind == "bounce", deliveries.c.at > after)
    count = select(func.count(func.distinct(deliveries.c.message_id))).select_from(
        joined
    )
    first = (
        select(func.min(deliveries.c.at))
        .select_from(joined)
        .where(*of_now, deliveries.c.meaning == "no-domain")
    )
    first = first.where(deliveries.c.message_id != now_about)
    number = connection.execute(
        count.where(*of_now, deliveries.c.meaning == "temporary")
    ).scalar()
    return CameBack(int(number or 0), connection.execute(first).scalar())


@dataclass(frozen=True, slots=True)
class Complaints:
    """A campaign's complaints and how many of its mails left, in the same time."""

    count: int
    sent: int

    @property
    def rate(self) -> float:
        return self.count / self.sent if self.sent else 0.0


def complaints(connection: Connection, campaign: str, since: datetime) -> Complaints:
    """Of one campaign since an instant."""
    joined = deliveries.join(messages, messages.c.id == deliveries.c.message_id)
    said = select(func.count(func.distinct(deliveries.c.message_id))).select_from(
        joined
    )
    said = said.where(
        messages.c.campaign == campaign,
        deliveries.c.kind == "complaint",
        deliveries.c.at > since,
    )
    left = select(func.count()).where(
        messages.c.campaign == campaign,
        messages.c.state == "sent",
        messages.c.sent_at > since,
    )
    return Complaints(
        int(connection.execute(said).scalar() or 0),
        int(connection.execute(left).scalar() or 0),
    )


def counts(connection: Connection, since: datetime) -> Sequence[tuple[str, str, int]]:
    """How many messages each kind and meaning came back about since an instant."""
    number = func.count(func.distinct(deliveries.c.message_id))
    statement = (
        select(deliveries.c.kind, deliveries.c.meaning, number)
        .where(deliveries.c.at > since)
        .group_by(deliveries.c.kind, deliveries.c.meaning)
        .order_by(deliveries.c.kind, deliveries.c.meaning)
    )
    return [tuple(row) for row in connection.execute(statement)]
