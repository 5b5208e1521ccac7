"""Times of which the ledger was lost, and a clock that went back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, update

from drip.storage.base.facts import fact, set_fact
from drip.storage.base.schema import cursors

# Only the newest is known: what was lost before it has been looked at.
LOST = "lost-time"


@dataclass(frozen=True, slots=True)
class Lost:
    """A time of which the ledger was lost, because the database was put back.

    What was due in it may have left.
    """

    start: datetime
    end: datetime


def set_back(connection: Connection, now: datetime) -> None:
    """The clock was wrong, and is behind what was looked at.

    From here on campaigns look again.
    """
    connection.execute(update(cursors).where(cursors.c.at > now).values(at=now))


def lose(connection: Connection, lost: Lost) -> None:
    """Remembers the newest time of which the ledger was lost."""
    written = f"{lost.start.isoformat()} {lost.end.isoformat()}"
    set_fact(connection, LOST, written.encode())


def lost(connection: Connection) -> Lost | None:
    """The newest time of which the ledger was lost, if it ever was."""
    written = fact(connection, LOST)
    if written is None:
        return None
    start, end = written.decode().split()
    return Lost(datetime.fromisoformat(start), datetime.fromisoformat(end))
