"""When the next message of a channel, or to one of its domains, may begin: for all who send together."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.calendar import from_millis, millis
from drip.storage.base.schema_operating import rate_limits
from drip.storage.base.sql import Prepared, texts_in

_LANES = Prepared(
    select(
        rate_limits.c.domain, rate_limits.c.next_at, rate_limits.c.closed_until
    ).where(
        rate_limits.c.channel == bindparam("of_channel"),
        rate_limits.c.domain.in_(texts_in("domains")),
    )
)

_CLOSED = Prepared(
    select(rate_limits.c.reason).where(
        rate_limits.c.channel == bindparam("of_channel"),
        rate_limits.c.domain == "",
        rate_limits.c.closed_until > bindparam("now"),
        rate_limits.c.reason.is_not(None),
    )
)

_SAVE = insert_or(rate_limits)
_SAVE = _SAVE.on_conflict_do_update(
    index_elements=["channel", "domain"], set_={"next_at": _SAVE.excluded.next_at}
)


def read(
    connection: Connection, channel: str, domains: Collection[str]
) -> dict[str, float]:
    """Milliseconds at which the next message of a channel, and to these of its domains, may begin."""
    rows = _LANES.rows(
        connection, of_channel=channel, domains=json.dumps(sorted({"", *domains}))
    )
    return {
        domain: max(next_at, closed_until) for domain, next_at, closed_until in rows
    }


def save(connection: Connection, channel: str, known: Mapping[str, float]) -> None:
    """Where the lanes stand now."""
    if not known:
        return
    nothing = {"closed_until": 0.0, "refusals": 0}
    rows = [
        {"channel": channel, "domain": name, "next_at": at, **nothing}
        for name, at in known.items()
    ]
    connection.execute(_SAVE, rows)


def close(
    connection: Connection,
    channel: str,
    domain: str,
    now: int,
    first_ms: int,
    longest_ms: int,
    reason: str,
    *,
    probed: bool = False,
) -> None:
    """The other side wants less, or takes nothing: nothing begins for a time, twice as long each time it says so again.

    `probed`: it was closed before, and a probe has failed.
    """
    own = (rate_limits.c.channel == channel, rate_limits.c.domain == domain)
    row = connection.execute(
        select(rate_limits.c.closed_until, rate_limits.c.refusals).where(*own)
    ).first()
    if row is not None and row.closed_until > now and not probed:
        return  # Of many messages that are refused at once each says so.
    lately = row is not None and row.closed_until > now - longest_ms
    refusals = row.refusals + 1 if row is not None and lately else 1
    until = float(now + min(first_ms * 2 ** min(refusals - 1, 20), longest_ms))
    values = {"closed_until": until, "refusals": refusals, "reason": reason}
    statement = insert_or(rate_limits).values(
        channel=channel, domain=domain, next_at=0.0, **values
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["channel", "domain"], set_=values
        )
    )


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A channel, or one domain of it, to which nothing leaves until an instant, and why."""

    channel: str
    domain: str
    until: datetime
    reason: str


def left_alone(connection: Connection, now: datetime) -> list[LeftAlone]:
    """What is left alone at the moment, whole channels first."""
    columns = (
        rate_limits.c.channel,
        rate_limits.c.domain,
        rate_limits.c.closed_until,
        rate_limits.c.reason,
    )
    shut = (rate_limits.c.closed_until > millis(now), rate_limits.c.reason.is_not(None))
    rows = connection.execute(
        select(*columns)
        .where(*shut)
        .order_by(rate_limits.c.domain, rate_limits.c.channel)
    )
    return [
        LeftAlone(channel, domain, from_millis(round(until)), reason)
        for channel, domain, until, reason in rows
    ]


def trouble(connection: Connection, channel: str) -> str | None:
    """Why a channel was closed as a whole, if nothing has left since."""
    own = (rate_limits.c.channel == channel, rate_limits.c.domain == "")
    reason: str | None = connection.execute(
        select(rate_limits.c.reason).where(*own)
    ).scalar()
    return reason


def closed(connection: Connection, channel: str, now: int) -> str | None:
    """Why a channel is closed as a whole at the moment, if it is."""
    rows = _CLOSED.rows(connection, of_channel=channel, now=now)
    return rows[0][0] if rows else None


def may_probe(connection: Connection, channel: str, now: int, until: int) -> bool:
    """Whether the one message that a closed channel is tried with is this caller's; then it is nobody else's until `until`."""
    own = (
        rate_limits.c.channel == channel,
        rate_limits.c.domain == "",
        rate_limits.c.closed_until <= now,
    )
    return (
        connection.execute(
            update(rate_limits).where(*own).values(closed_until=float(until))
        ).rowcount
        == 1
    )


def probed(connection: Connection, channel: str, now: int) -> None:
    """The probe said nothing of the other side: another one may be made at once."""
    own = (rate_limits.c.channel == channel, rate_limits.c.domain == "")
    connection.execute(update(rate_limits).where(*own).values(closed_until=float(now)))


def open_channels(connection: Connection, channels: Collection[str]) -> None:
    """By these channels, and to all of their domains, messages may begin at once again."""
    connection.execute(delete(rate_limits).where(rate_limits.c.channel.in_(channels)))


def open_all(connection: Connection) -> None:
    """All may begin at once again."""
    connection.execute(delete(rate_limits))


def reopened(connection: Connection, channel: str) -> None:
    """By this channel messages leave again."""
    connection.execute(
        delete(rate_limits).where(
            rate_limits.c.channel == channel, rate_limits.c.domain == ""
        )
    )
