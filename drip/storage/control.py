"""What the operator holds back, and which daemon has the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from drip.storage.schema import daemons, holds

EVERYTHING = "*"
_HOLDS = select(holds).order_by(holds.c.scope)


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon that has the database, or had it last (then `ended_at` is set, unless it died)."""

    number: int
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    trouble: str | None


def hold(connection: Connection, scope: str, now: datetime, reason: str | None = None) -> None:
    """Holds back a campaign, or everything. `reason` says why the program itself does it."""
    connection.execute(insert_or(holds).values(scope=scope, at=now, reason=reason).on_conflict_do_nothing())


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


def start_daemon(connection: Connection, pid: int, now: datetime) -> int:
    """The number of the daemon that starts now: higher than every one before."""
    before = connection.execute(select(daemons.c.number)).scalar() or 0
    row = {
        "number": before + 1,
        "pid": pid,
        "started_at": now,
        "heartbeat_at": now,
        "ended_at": None,
        "trouble": None,
    }
    statement = insert_or(daemons).values(id=1, **row)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))
    return before + 1


def heartbeat(connection: Connection, now: datetime, trouble: str | None) -> None:
    """The daemon is alive; `trouble` is what keeps messages from leaving, if anything does."""
    connection.execute(update(daemons).values(heartbeat_at=now, trouble=trouble))


def end_daemon(connection: Connection, now: datetime) -> None:
    """The daemon ended in order."""
    connection.execute(update(daemons).values(ended_at=now))


def last_daemon(connection: Connection) -> Daemon | None:
    """None if no daemon ever ran here."""
    row = connection.execute(select(daemons)).first()
    if row is None:
        return None
    return Daemon(row.number, row.pid, row.started_at, row.heartbeat_at, row.ended_at, row.trouble)
