"""Daemons: which of them has the database, and whether it is alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from drip.storage.base.columns import Instant
from drip.storage.base.schema import daemons
from drip.storage.base.sql import count_changed, first_row, one_row

_daemon = daemons.c

# A daemon that has not beaten for this long is taken for dead, and what it was handing
# over for unknown. Longer than servers wait for a sender that fell silent (five
# minutes, RFC 5321 section 4.5.3.2.7).
LEASE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class DaemonRecord:
    """A daemon.

    `ended_at` is when it ended, or was taken for dead; None for one that works, or
    died unnoticed.
    """

    number: int
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    trouble: str | None


class _HighestNumber(NamedTuple):
    number: int | None


class _LastHeartbeat(NamedTuple):
    heartbeat_at: datetime | None


_NOT_ENDED = _daemon.ended_at.is_(None)
_BEATS = _daemon.heartbeat_at > bindparam("before", type_=Instant)
_ALIVE = _NOT_ENDED & _BEATS
_RENEW = (
    update(daemons)
    .where(_daemon.number == bindparam("mine"), _ALIVE)
    .values(heartbeat_at=bindparam("now", type_=Instant))
)
_END_DEAD = (
    update(daemons)
    .where(_NOT_ENDED, ~_ALIVE)
    .values(ended_at=bindparam("now", type_=Instant))
)


def _highest(connection: Connection) -> int:
    highest = select(func.max(_daemon.number).label("number"))
    return one_row(connection, highest, into=_HighestNumber).number or 0


def start_daemon(
    connection: Connection,
    pid: int,
    now: datetime,
    *,
    alone: bool = True,
) -> int:
    """The number of the daemon that starts now: higher than every one before.

    `alone` says that none of those before can be alive, because the caller has the one
    lock that they need.
    """
    if alone:
        connection.execute(update(daemons).where(_NOT_ENDED).values(ended_at=now))
    # Under the write lock, so that no two have the same number: the fence of what they
    # hand over.
    number = _highest(connection) + 1
    row = {
        "number": number,
        "pid": pid,
        "started_at": now,
        "heartbeat_at": now,
    }
    connection.execute(insert(daemons).values(row))
    return number


def renew(connection: Connection, number: int, now: datetime) -> bool:
    """Whether this daemon is still taken for alive; then it is for another `LEASE`."""
    values = {
        "mine": number,
        "now": now,
        "before": now - LEASE,
    }
    return count_changed(connection, _RENEW, values) == 1


def keep_alive(connection: Connection, number: int, pid: int, now: datetime) -> int:
    """The number under which the one daemon of a database goes on.

    Its own while it is taken for alive, else a new one.
    """
    if renew(connection, number, now):
        return number
    return start_daemon(connection, pid, now)


def end_dead(connection: Connection, now: datetime) -> None:
    """Ends the daemons whose lease has run out: what they hand over is nobody's."""
    connection.execute(_END_DEAD, {"now": now, "before": now - LEASE})


def report(connection: Connection, number: int, trouble: str | None) -> None:
    """Keeps for `drip status` what keeps messages from leaving, if anything does."""
    own = update(daemons).where(_daemon.number == number)
    connection.execute(own.values(trouble=trouble))


def end_daemon(connection: Connection, number: int, now: datetime) -> None:
    """The daemon ended in order."""
    own = update(daemons).where(_daemon.number == number)
    connection.execute(own.values(ended_at=now))


def known_until(connection: Connection) -> datetime | None:
    """The latest heartbeat that any daemon ever left here."""
    last = select(func.max(_daemon.heartbeat_at).label("heartbeat_at"))
    return one_row(connection, last, into=_LastHeartbeat).heartbeat_at


def last_daemon(connection: Connection) -> DaemonRecord | None:
    """The newest daemon; None if none ever ran here."""
    newest = select(daemons).order_by(_daemon.number.desc()).limit(1)
    return first_row(connection, newest, into=DaemonRecord)
