"""What came back of messages that left.

Bounces, delays, proofs of delivery, complaints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import deliveries, messages
from drip.storage.base.sql import one_row, typed_rows

_delivery = deliveries.c
_message = messages.c


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that came back about one message.

    `source` tells the mail that said so from every other.
    """

    message_id: int
    kind: str
    at: datetime
    meaning: str
    status: str
    reason: str
    source: str


class _At(NamedTuple):
    at: datetime | None


class _KindCount(NamedTuple):
    kind: str
    meaning: str
    messages: int


_OF_MESSAGES = deliveries.join(messages, _message.id == _delivery.message_id)
# One that came back twice is one message all the same.
_DISTINCT = func.count(func.distinct(_delivery.message_id))


def record(connection: Connection, delivery: Delivery) -> bool:
    """Stores it; whether it is new."""
    # By the unique key of message, kind and source: a mailbox that is read twice, or a
    # provider that repeats itself, changes nothing.
    unknown = insert_or(deliveries).on_conflict_do_nothing()
    stored = unknown.values(asdict(delivery)).returning(_delivery.id)
    return connection.execute(stored).first() is not None


@dataclass(frozen=True, slots=True)
class CameBack:
    """How many of a contact's messages came back for the time being.

    And when its domain was first said not to exist.
    """

    count: int
    no_domain_at: datetime | None


def came_back(
    connection: Connection,
    contact_id: int,
    channel: str,
    since: datetime,
    now_about: int,
) -> CameBack:
    """What came back of a contact's messages since an instant.

    It counts from the last one on that is known to have arrived. What was said of the
    domain counts by other messages than the one that it is about now.
    """
    of_contact = (
        _message.contact_id == contact_id,
        _message.channel == channel,
    )
    arrived = _last_arrival(connection, of_contact)
    # Whatever came back before one arrived is over: the mailbox is there.
    after = max(since, arrived) if arrived else since
    bounced = (
        *of_contact,
        _delivery.kind == "bounce",
        _delivery.at > after,
    )
    return CameBack(
        _count_temporary(connection, bounced),
        _first_without_domain(connection, bounced, now_about),
    )


Where = tuple[ColumnElement[bool], ...]


def _last_arrival(connection: Connection, of_contact: Where) -> datetime | None:
    last = select(func.max(_delivery.at).label("at")).select_from(_OF_MESSAGES)
    delivered = last.where(*of_contact, _delivery.kind == "delivered")
    return one_row(connection, delivered, into=_At).at


def _count_temporary(connection: Connection, bounced: Where) -> int:
    count = select(_DISTINCT).select_from(_OF_MESSAGES)
    temporary = count.where(*bounced, _delivery.meaning == "temporary")
    return one_row(connection, temporary, into=int)


def _first_without_domain(
    connection: Connection,
    bounced: Where,
    now_about: int,
) -> datetime | None:
    first = select(func.min(_delivery.at).label("at")).select_from(_OF_MESSAGES)
    no_domain = first.where(*bounced, _delivery.meaning == "no-domain")
    of_others = no_domain.where(_delivery.message_id != now_about)
    return one_row(connection, of_others, into=_At).at


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
    own = _message.campaign == campaign
    complained = select(_DISTINCT).select_from(_OF_MESSAGES)
    complained = complained.where(
        own,
        _delivery.kind == "complaint",
        _delivery.at > since,
    )
    left = select(func.count()).where(
        own,
        _message.state == "sent",
        _message.sent_at > since,
    )
    return Complaints(
        one_row(connection, complained, into=int),
        one_row(connection, left, into=int),
    )


def counts(connection: Connection, since: datetime) -> Sequence[tuple[str, str, int]]:
    """How many messages each kind and meaning came back about since an instant."""
    key = (_delivery.kind, _delivery.meaning)
    by_kind = (
        select(*key, _DISTINCT.label("messages"))
        .where(_delivery.at > since)
        .group_by(*key)
        .order_by(*key)
    )
    return typed_rows(connection, by_kind, into=_KindCount)
