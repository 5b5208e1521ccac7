"""The uses that caps count: what left, is about to leave, or may have left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    not_,
    or_,
    select,
    type_coerce,
)

from drip.core.calendar import MILLISECOND, millis
from drip.core.caps import Use
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import messages
from drip.storage.base.sql import Prepared, listed_in, numbers, select_as
from drip.storage.operating.daemons import LEASE

_message = messages.c

# Held for another reason than that nobody knows whether it left, a message never left.
IN_FLIGHT = ("pending", "sending")
_LEASE_MS = LEASE // MILLISECOND
# Sent, once: that is all there is to say of nearly every message.
_PLAIN = and_(
    _message.state == "sent",
    _message.maybe_left_at.is_(None),
)


class UnsureMessage(NamedTuple):
    """A message of which there is more to say than that it was sent, once."""

    contact_id: int
    state: str
    granted_at: datetime | None
    sent_at: datetime | None
    settled_at: datetime | None
    maybe_left_at: datetime | None
    channel: str
    topic: str | None
    campaign: str


def _number(name: str) -> ColumnElement[int]:
    return cast(ColumnElement[int], bindparam(name))


def _relevant() -> ColumnElement[bool]:
    # A message left up to a lease after what is noted.
    since = _number("since") - _LEASE_MS
    may_count = or_(
        and_(
            _message.state == "sent",
            _message.sent_at > since,
        ),
        *(_message.state == state for state in IN_FLIGHT),
        and_(
            _message.state == "held",
            _message.code == "unknown",
        ),
        _message.maybe_left_at > since,
    )
    return and_(
        _message.contact_id.in_(listed_in("ids")),
        _message.counted,
        may_count,
    )


def _usage() -> Select[tuple[int, int, int, str, str | None, str, bool]]:
    """A row is a contact, a `Use`, and whether that is all there is to say."""
    sent = type_coerce(_message.sent_at, BigInteger)
    settled = type_coerce(_message.settled_at, BigInteger)
    # It left between the last check and the answer, before its daemon's lease ran out.
    last = case(
        (settled <= sent, sent),
        (settled <= sent + _LEASE_MS, settled),
        else_=sent + _LEASE_MS,
    )
    use = (
        sent,
        last,
        _message.channel,
        _message.topic,
        _message.campaign,
    )
    return select(
        _message.contact_id,
        *use,
        _PLAIN,
    ).where(_relevant())


def _is_full(n: int) -> ColumnElement[bool]:
    sent = type_coerce(_message.sent_at, BigInteger)
    # It may have left up to a lease after what is noted.
    left = func.count().filter(sent > _number(f"since{n}") - _LEASE_MS)
    return left >= _number(f"limit{n}")


# There are as many as a workspace has different numbers of limits: one or two.
@lru_cache
def _near_a_limit(limits: int) -> Prepared[int]:
    """For so many limits: the statement is as long as they are many."""
    full = map(_is_full, range(limits))
    unsure = func.count().filter(not_(_PLAIN)) > 0
    by_contact = (
        select(_message.contact_id).where(_relevant()).group_by(_message.contact_id)
    )
    return Prepared(by_contact.having(or_(unsure, *full)), into=int)


_USAGE = Prepared(_usage())
_UNSURE = Prepared(
    select_as(messages, UnsureMessage).where(
        _relevant(),
        not_(_PLAIN),
    ),
    into=UnsureMessage,
)


def near_a_limit(
    connection: Connection,
    contact_ids: Collection[int],
    since: datetime,
    limits: Mapping[datetime, int],
) -> list[int]:
    """Those of these contacts who have so many uses that a cap could be full.

    `limits` says how many counted messages are too many, by the instant after which
    they left. Also those of whom a message after `since` may have left, or still may:
    how often and when is a longer story. For all others `uses_of` is spared.
    """
    if not limits:
        return []
    since_n = {f"since{n}": to_ms(at) for n, at in enumerate(limits)}
    limit_n = {f"limit{n}": limit for n, limit in enumerate(limits.values())}
    ids = numbers(contact_ids)
    prepared = _near_a_limit(len(limits))
    return prepared.rows(connection, ids=ids, since=to_ms(since), **since_n, **limit_n)


def uses_of(
    connection: Connection,
    contact_ids: Collection[int],
    since: datetime,
    now: datetime,
) -> dict[int, list[Use]]:
    """The counted messages of these contacts, by contact.

    They were sent after `since`, are in flight, or of unknown outcome.
    """
    found: dict[int, list[Use]] = defaultdict(list)
    unsure: set[int] = set()
    # Whoever is judged is asked for: into a class of its own first, each row took
    # twice as long.
    rows = _USAGE.rows(
        connection,
        ids=numbers(contact_ids),
        since=to_ms(since),
    )
    for contact, first, last, channel, topic, campaign, plain in rows:
        if plain:
            found[contact].append(Use(first, last, channel, topic, campaign))
        else:
            unsure.add(contact)
    for message in _unsure_messages(connection, unsure, since):
        found[message.contact_id] += _uses(message, now)
    return found


def _unsure_messages(
    connection: Connection, contact_ids: Collection[int], since: datetime
) -> list[UnsureMessage]:
    if not contact_ids:
        return []
    ids = numbers(sorted(contact_ids))
    return _UNSURE.rows(connection, ids=ids, since=to_ms(since))


def _uses(message: UnsureMessage, now: datetime) -> Iterator[Use]:
    about = (message.channel, message.topic, message.campaign)
    for first, last in _times(message, now):
        yield Use(millis(first), millis(last), *about)


def _times(
    message: UnsureMessage, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """From when to when a message may have left, or may still."""
    sent_at, settled_at = message.sent_at, message.settled_at
    maybe = message.maybe_left_at
    if maybe:
        # One that was given up left before its daemon's lease ran out, if it left.
        yield maybe, max(maybe, min(maybe + LEASE, now))
    if message.state in IN_FLIGHT and message.granted_at:
        yield message.granted_at, max(message.granted_at, now)
    elif message.state == "held" and sent_at:
        # Nobody knows when, if at all: it counts in every window until somebody
        # settles it.
        yield sent_at, max(sent_at, now)
    elif message.state == "sent" and sent_at and settled_at:
        yield sent_at, max(sent_at, min(settled_at, sent_at + LEASE))
