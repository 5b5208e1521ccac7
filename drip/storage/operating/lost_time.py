"""Times of which the ledger was lost, and a clock that went back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import cursors, meta

LOST = "lost-time"
_LOST = select(meta.c.value).where(meta.c.name == LOST)


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
