"""The uses that caps count: what left, is about to leave, or may have left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)

from drip.core.calendar import MILLISECOND, millis
from drip.core.caps import Use
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import messages
from drip.storage.base.sql import Prepared, listed_in, numbers
from drip.storage.operating.control import LEASE

# Held for another reason than that nobody knows whether it left, a message never left.
IN_FLIGHT = ("pending", "sending")


def _relevant() -> ColumnElement[bool]:
    # A message left up to a lease after what is noted.
    m, since = (
        messages.c,
        cast(ColumnElement[int], bindparam("since")) - LEASE // MILLISECOND,
    )
    return and_(
        m.contact_id.in_(listed_in("ids")),
        m.counted,
        or_(
            and_(m.state == "sent", m.sent_at > since),
            *(m.state == state for state in IN_FLIGHT),
            and_(m.state == "held", m.code == "unknown"),
            m.maybe_left_at > since,
        ),
    )


def _usage() -> Select[Any]:
    """A row is a contact, a `Use`, and whether that is all there is to say: the message was sent, once."""
    m, lease = messages.c, LEASE // MILLISECOND
    sent, settled = (
        type_coerce(m.sent_at, BigInteger),
        type_coerce(m.settled_at, BigInteger),
    )
    # It left between the last check and the answer, before the lease of its daemon ran out.
    last = case(
        (settled <= sent, sent), (settled <= sent + lease, settled), else_=sent + lease
    )
    plain = and_(m.state == "sent", m.maybe_left_at.is_(None))
    return select(
        m.contact_id, sent, last, m.channel, m.topic, m.campaign, literal(0), plain
    ).where(_relevant())


@lru_cache
def _near_a_limit(count: int) -> Prepared:
    m, lease = messages.c, LEASE // MILLISECOND
    sent = type_coerce(m.sent_at, BigInteger)
    unsure = not_(and_(m.state == "sent", m.maybe_left_at.is_(None)))
    full = [
        func.count().filter(
            sent > cast(ColumnElement[int], bindparam(f"since{n}")) - lease
        )
        >= cast(ColumnElement[int], bindparam(f"limit{n}"))
        for n in range(count)
    ]
    having = or_(func.count().filter(unsure) > 0, *full)
    return Prepared(
        select(m.contact_id).where(_relevant()).group_by(m.contact_id).having(having)
    )


def _unsure() -> Select[Any]:
    m = messages.c
    columns = (
        m.contact_id,
        m.state,
        m.granted_at,
        m.sent_at,
        m.settled_at,
        m.maybe_left_at,
        m.channel,
        m.topic,
        m.campaign,
    )
    return select(*columns).where(
        _relevant(), not_(and_(m.state == "sent", m.maybe_left_at.is_(None)))
    )


_USAGE, _UNSURE = Prepared(_usage()), Prepared(_unsure())


def near_a_limit(
    connection: Connection,
    contact_ids: Collection[int],
    since: datetime,
    limits: Mapping[datetime, int],
) -> list[int]:
    """Those of these contacts of whom so many counted messages left after an instant that a cap could be full.

    `limits` says how many are too many, by the instant. Also those of whom a message after `since` may have left, or still
    may: how often and when is a longer story. For all others a look at `uses_of` is spared.
    """
    if not limits:
        return []
    values = {f"since{n}": to_ms(at) for n, at in enumerate(limits)} | {
        f"limit{n}": limit for n, limit in enumerate(limits.values())
    }
    rows = _near_a_limit(len(limits)).rows(
        connection, ids=numbers(contact_ids), since=to_ms(since), **values
    )
    return [row[0] for row in rows]


def uses_of(
    connection: Connection, contact_ids: Collection[int], since: datetime, now: datetime
) -> dict[int, list[Use]]:
    """The counted messages of these contacts, by contact: sent after `since`, in flight, or of unknown outcome."""
    found: dict[int, list[Use]] = defaultdict(list)
    unsure: set[int] = set()
    make = Use._make
    for row in _USAGE.rows(connection, ids=numbers(contact_ids), since=to_ms(since)):
        if row[7]:
            # As nearly all are.
            found[row[0]].append(make(row[1:7]))
        else:
            unsure.add(row[0])
    if unsure:
        at = millis(now)
        for contact, state, granted, sent, settled, maybe, *about in _UNSURE.rows(
            connection, ids=numbers(sorted(unsure)), since=to_ms(since)
        ):
            times = _times(state, granted, sent, settled, maybe, at)
            found[contact] += [Use(first, last, *about) for first, last in times]
    return found


def _times(
    state: str,
    granted: int | None,
    sent: int | None,
    settled: int | None,
    maybe: int | None,
    now: int,
) -> Iterator[tuple[int, int]]:
    """From when to when a message may have left, or may still."""
    lease = LEASE // MILLISECOND
    if maybe:
        # An attempt that was given up left before its daemon's lease ran out, if it left.
        yield maybe, max(maybe, min(maybe + lease, now))
    if state in IN_FLIGHT and granted:
        yield granted, max(granted, now)
    elif state == "held" and sent:
        # Nobody knows when, if at all: it counts in every window until somebody settles it.
        yield sent, max(sent, now)
    elif state == "sent" and sent and settled:
        yield sent, max(sent, min(settled, sent + lease))
