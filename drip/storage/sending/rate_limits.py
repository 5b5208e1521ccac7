"""When the next message of a channel, or to one of its domains, may begin.

It holds for all processes that send together.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, delete, select, update

from drip.core.calendar import from_millis, millis
from drip.core.rates import backoff
from drip.storage.base.schema import rate_limits
from drip.storage.base.sql import (
    Prepared,
    count_changed,
    first_row,
    select_as,
    texts_in,
    typed_rows,
    upsert,
)

_limit = rate_limits.c


class _Lane(NamedTuple):
    domain: str
    next_at: float
    closed_until: float


class _Refusals(NamedTuple):
    closed_until: float
    refusals: int


class _Closed(NamedTuple):
    channel: str
    domain: str
    closed_until: float
    reason: str | None


class _Reason(NamedTuple):
    reason: str | None


_LANES = Prepared(
    select_as(rate_limits, _Lane).where(
        _limit.channel == bindparam("of_channel"),
        _limit.domain.in_(texts_in("domains")),
    ),
    into=_Lane,
)
_CLOSED = Prepared(
    select(_limit.reason).where(
        _limit.channel == bindparam("of_channel"),
        _limit.domain == "",
        _limit.closed_until > bindparam("now"),
        _limit.reason.is_not(None),
    ),
    into=_Reason,
)
# What closed a lane is not touched by whoever paces messages.
_SAVE = upsert(rate_limits, "next_at")
_CLOSE = upsert(rate_limits, "closed_until", "refusals", "reason")


def read(
    connection: Connection,
    channel: str,
    domains: Collection[str],
) -> dict[str, float]:
    """When the next message of a channel, and to these of its domains, may begin.

    As `core.rates.Paced` has it: milliseconds with their fractions, since a lane moves
    on by its interval, which at 3 a second is 333.3 of them.
    """
    asked = json.dumps(sorted({"", *domains}))
    lanes = _LANES.rows(connection, of_channel=channel, domains=asked)
    return {lane.domain: max(lane.next_at, lane.closed_until) for lane in lanes}


def save(connection: Connection, channel: str, known: Mapping[str, float]) -> None:
    """Where the lanes stand now, as `read` gives them."""
    rows = [
        {
            "channel": channel,
            "domain": domain,
            "next_at": next_at,
            "closed_until": 0.0,
            "refusals": 0,
        }
        for domain, next_at in known.items()
    ]
    if rows:
        connection.execute(_SAVE, rows)


def close(
    connection: Connection,
    channel: str,
    domain: str,
    now: datetime,
    first: timedelta,
    longest: timedelta,
    reason: str,
    *,
    probed: bool = False,
) -> None:
    """The other side wants less, or takes nothing: nothing begins for a time.

    It is twice as long each time it says so again, up to `longest`. `probed`: it was
    closed before, and a probe has failed.
    """
    known = _refusals(connection, channel, domain)
    # Of many messages that are refused at once each says so.
    if known is not None and known.closed_until > millis(now) and not probed:
        return
    refusals = _refusals_with_this(known, now - longest)
    row = {
        "channel": channel,
        "domain": domain,
        "next_at": 0.0,
        "closed_until": float(millis(now + backoff(first, refusals, longest))),
        "refusals": refusals,
        "reason": reason,
    }
    connection.execute(_CLOSE, row)


def _refusals_with_this(known: _Refusals | None, forgiven: datetime) -> int:
    # Whoever was quiet for the longest pause is forgiven: the count begins anew.
    if known is None or known.closed_until <= millis(forgiven):
        return 1
    return known.refusals + 1


def _refusals(connection: Connection, channel: str, domain: str) -> _Refusals | None:
    own = (
        _limit.channel == channel,
        _limit.domain == domain,
    )
    return first_row(
        connection, select_as(rate_limits, _Refusals).where(*own), into=_Refusals
    )


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A channel, or one of its domains, to which nothing leaves until an instant."""

    channel: str
    domain: str
    until: datetime
    reason: str


def left_alone(connection: Connection, now: datetime) -> list[LeftAlone]:
    """What is left alone at the moment, whole channels first."""
    still = _limit.closed_until > millis(now)
    closed = select_as(rate_limits, _Closed).where(still)
    in_order = closed.order_by(_limit.domain, _limit.channel)
    # Without a reason it is a rate of ours, and nobody's refusal.
    return [
        _left_alone(row, row.reason)
        for row in typed_rows(connection, in_order, into=_Closed)
        if row.reason is not None
    ]


def _left_alone(row: _Closed, reason: str) -> LeftAlone:
    until = from_millis(round(row.closed_until))
    return LeftAlone(row.channel, row.domain, until, reason)


def trouble(connection: Connection, channel: str) -> str | None:
    """Why a channel was closed as a whole, if nothing has left since."""
    asked = select(_limit.reason).where(_whole(channel))
    found = first_row(connection, asked, into=_Reason)
    return found.reason if found else None


def closed(connection: Connection, channel: str, now: datetime) -> str | None:
    """Why a channel is closed as a whole at the moment, if it is."""
    found = _CLOSED.first(connection, of_channel=channel, now=millis(now))
    return found.reason if found else None


def may_probe(
    connection: Connection,
    channel: str,
    now: datetime,
    until: datetime,
) -> bool:
    """Whether the one message that a closed channel is tried with is this caller's.

    Then it is nobody else's until `until`.
    """
    # In one statement: of several processes that ask at once one is told yes.
    over = _limit.closed_until <= millis(now)
    mine = update(rate_limits).where(_whole(channel), over)
    taken = mine.values(closed_until=float(millis(until)))
    return count_changed(connection, taken) == 1


def probed(connection: Connection, channel: str, now: datetime) -> None:
    """The probe said nothing of the other side: another one may be made at once."""
    own = update(rate_limits).where(_whole(channel))
    connection.execute(own.values(closed_until=float(millis(now))))


def open_channels(connection: Connection, channels: Collection[str]) -> None:
    """By these channels, and to all their domains, messages may begin again at once."""
    connection.execute(delete(rate_limits).where(_limit.channel.in_(channels)))


def open_all(connection: Connection) -> None:
    """All may begin at once again."""
    connection.execute(delete(rate_limits))


def reopened(connection: Connection, channel: str) -> None:
    """By this channel messages leave again."""
    connection.execute(delete(rate_limits).where(_whole(channel)))


def _whole(channel: str) -> ColumnElement[bool]:
    """The lane of a whole channel."""
    return (_limit.channel == channel) & (_limit.domain == "")
