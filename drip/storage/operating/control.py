"""What the operator holds back, and which daemon has the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import Instant
from drip.storage.base.schema import cursors, meta
from drip.storage.base.schema_operating import daemons, holds

EVERYTHING = "*"
LOST = "lost-time"
_LOST = select(meta.c.value).where(meta.c.name == LOST)
_HOLDS = select(holds).order_by(holds.c.scope)
# A daemon that has not beaten for this long is taken for dead, and what it was handing over for unknown. Longer than
# servers wait for a sender that fell silent (five minutes, RFC 5321 section 4.5.3.2.7).
LEASE = timedelta(minutes=10)
_ALIVE = daemons.c.ended_at.is_(None) & (
    daemons.c.heartbeat_at > bindparam("before", type_=Instant)
)
_RENEW = (
    update(daemons)
    .where(daemons.c.number == bindparam("mine"), _ALIVE)
    .values(heartbeat_at=bindparam("now", type_=Instant))
)
_END_DEAD = (
    update(daemons)
    .where(daemons.c.ended_at.is_(None), ~_ALIVE)
    .values(ended_at=bindparam("now", type_=Instant))
)


@dataclass(frozen=True, slots=True)
class DaemonRecord:
    """A daemon. `ended_at` is when it ended, or was taken for dead; None for one that works, or died unnoticed."""

    number: int
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    trouble: str | None


def hold(
    connection: Connection, scope: str, now: datetime, reason: str | None = None
) -> None:
    """Holds back a campaign, or everything. `reason` says why the program itself does it."""
    connection.execute(
        insert_or(holds)
        .values(scope=scope, at=now, reason=reason)
        .on_conflict_do_nothing()
    )


def let_go(connection: Connection, scope: str) -> bool:
    """Whether there was such a hold; there is none now."""
    return connection.execute(delete(holds).where(holds.c.scope == scope)).rowcount == 1


@dataclass(frozen=True, slots=True)
class Hold:
    """Since when something is held back, and why where the program did it."""

    at: datetime
    reason: str | None


def held_scopes(connection: Connection) -> dict[str, Hold]:
    """What is held back."""
    return {row.scope: Hold(row.at, row.reason) for row in connection.execute(_HOLDS)}


def start_daemon(
    connection: Connection, pid: int, now: datetime, *, alone: bool = True
) -> int:
    """The number of the daemon that starts now: higher than every one before.

    `alone` says that none of those before can be alive, because the caller has the one lock that they need.
    """
    if alone:
        connection.execute(
            update(daemons).where(daemons.c.ended_at.is_(None)).values(ended_at=now)
        )
    number: int = (
        connection.execute(select(func.max(daemons.c.number))).scalar() or 0
    ) + 1
    row = {"number": number, "pid": pid, "started_at": now, "heartbeat_at": now}
    connection.execute(insert(daemons).values(row))
    return number


def renew(connection: Connection, number: int, now: datetime) -> bool:
    """Whether this daemon is still taken for alive; then it is for another `LEASE`."""
    return (
        connection.execute(
            _RENEW, {"mine": number, "now": now, "before": now - LEASE}
        ).rowcount
        == 1
    )


def keep_alive(connection: Connection, number: int, pid: int, now: datetime) -> int:
    """The number under which the one daemon of a database goes on: its own while it is taken for alive, else a new one."""
    return (
        number if renew(connection, number, now) else start_daemon(connection, pid, now)
    )


def end_dead(connection: Connection, now: datetime) -> None:
    """Ends the daemons whose lease has run out: what they hand over is nobody's any more."""
    connection.execute(_END_DEAD, {"now": now, "before": now - LEASE})


def report(connection: Connection, number: int, trouble: str | None) -> None:
    """Keeps for `drip status` what keeps messages from leaving, if anything does."""
    connection.execute(
        update(daemons).where(daemons.c.number == number).values(trouble=trouble)
    )


def set_back(connection: Connection, now: datetime) -> None:
    """The clock was wrong, and is behind what was looked at: from here on campaigns look again."""
    connection.execute(update(cursors).where(cursors.c.at > now).values(at=now))


@dataclass(frozen=True, slots=True)
class Lost:
    """A time of which the ledger was lost, because the database was put back: what was due in it may have left."""

    start: datetime
    end: datetime


def lose(connection: Connection, lost: Lost) -> None:
    """Remembers the newest time of which the ledger was lost."""
    value = f"{lost.start.isoformat()} {lost.end.isoformat()}".encode()
    statement = insert_or(meta).values(name=LOST, value=value)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def lost(connection: Connection) -> Lost | None:
    """The newest time of which the ledger was lost, if it ever was."""
    found = connection.execute(_LOST).scalar()
    return (
        Lost(*map(datetime.fromisoformat, bytes(found).decode().split()))
        if found
        else None
    )


def end_daemon(connection: Connection, number: int, now: datetime) -> None:
    """The daemon ended in order."""
    connection.execute(
        update(daemons).where(daemons.c.number == number).values(ended_at=now)
    )


def known_until(connection: Connection) -> datetime | None:
    """The latest heartbeat that any daemon ever left here."""
    at: datetime | None = connection.execute(
        select(func.max(daemons.c.heartbeat_at))
    ).scalar()
    return at


def last_daemon(connection: Connection) -> DaemonRecord | None:
    """The newest daemon; None if none ever ran here."""
    row = connection.execute(
        select(daemons).order_by(daemons.c.number.desc()).limit(1)
    ).first()
    return DaemonRecord(*row) if row else None
