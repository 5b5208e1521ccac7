"""What an operator has to look at: kept until it is over, and told once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from drip.storage.base.schema_operating import alarms

# What lasts, and what happens again, is told again after this.
AGAIN = timedelta(days=1)
# What ended so lately and is there again has not ended.
FLAPPING = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Alarm:
    """`action` is stable, for programs; `about` is the campaign or channel. `ended_at` is None for what still is so."""

    number: int
    action: str
    about: str
    sentence: str
    at: datetime
    ended_at: datetime | None
    told_at: datetime | None


def raised(
    connection: Connection, action: str, about: str, sentence: str, now: datetime
) -> bool:
    """Whether this is news: of the same action and thing there is none of the last day that has not ended for good."""
    open_ = alarms.c.ended_at.is_(None) | (alarms.c.ended_at > now - FLAPPING)
    same = (
        alarms.c.action == action,
        alarms.c.about == about,
        alarms.c.at > now - AGAIN,
        open_,
    )
    if connection.execute(update(alarms).where(*same).values(ended_at=None)).rowcount:
        return False
    values = {"action": action, "about": about, "sentence": sentence, "at": now}
    connection.execute(insert(alarms).values(values))
    return True


def over(
    connection: Connection,
    actions: Collection[str],
    now: datetime,
    but: Collection[str] = (),
    about: Collection[str] | None = None,
) -> None:
    """What these actions told of is so no more: `about` these things (None: about all), and not about those in `but`."""
    where = [
        alarms.c.action.in_(actions),
        alarms.c.ended_at.is_(None),
        alarms.c.about.not_in(but),
    ]
    where += [alarms.c.about.in_(about)] if about is not None else []
    connection.execute(update(alarms).where(*where).values(ended_at=now))


def untold(connection: Connection, since: datetime) -> Sequence[Alarm]:
    """Those since an instant of which nobody was told yet."""
    return _found(connection, since, told=False)


def lately(connection: Connection, since: datetime) -> Sequence[Alarm]:
    """Those since an instant, the newest first."""
    return _found(connection, since)[::-1]


def told(connection: Connection, number: int, now: datetime) -> None:
    """Somebody was told of it."""
    connection.execute(update(alarms).where(alarms.c.id == number).values(told_at=now))


def _found(
    connection: Connection, since: datetime, told: bool = True
) -> Sequence[Alarm]:
    statement = (
        select(alarms).where(alarms.c.at > since).order_by(alarms.c.at, alarms.c.id)
    )
    return [
        Alarm(*row)
        for row in connection.execute(
            statement if told else statement.where(alarms.c.told_at.is_(None))
        )
    ]
