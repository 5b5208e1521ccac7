"""What an operator has to look at: kept until it is over, and told once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, insert, select, update

from drip.storage.base.schema import alarms
from drip.storage.base.sql import count_changed, typed_rows

_alarm = alarms.c

# What lasts, and what happens again, is told again after this.
AGAIN = timedelta(days=1)
# What ended so lately and is there again has not ended: a server that comes and goes
# would otherwise be an alarm a minute.
FLAPPING = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Alarm:
    """`action` is stable, for programs; `about` is the campaign or channel.

    `ended_at` is None for what still is so, `notified_at` until somebody knows.
    """

    number: int
    action: str
    about: str
    sentence: str
    at: datetime
    ended_at: datetime | None
    notified_at: datetime | None


def raised(
    connection: Connection,
    action: str,
    about: str,
    sentence: str,
    now: datetime,
) -> bool:
    """Whether this is news.

    It is not if there is one of the last day, of the same action and thing, that has
    not ended for good.
    """
    if _goes_on(connection, action, about, now):
        return False
    row = {
        "action": action,
        "about": about,
        "sentence": sentence,
        "at": now,
    }
    connection.execute(insert(alarms).values(row))
    return True


def _goes_on(connection: Connection, action: str, about: str, now: datetime) -> bool:
    """Whether there is such an alarm, which then has not ended."""
    lasts = _alarm.ended_at.is_(None) | (_alarm.ended_at > now - FLAPPING)
    same = update(alarms).where(
        _alarm.action == action,
        _alarm.about == about,
        _alarm.at > now - AGAIN,
        lasts,
    )
    return count_changed(connection, same.values(ended_at=None)) > 0


def over(
    connection: Connection,
    actions: Collection[str],
    now: datetime,
    but: Collection[str] = (),
    about: Collection[str] | None = None,
) -> None:
    """What these actions say is so no more.

    `about` these things (None: about all), and not about those in `but`.
    """
    these = update(alarms).where(
        _alarm.action.in_(actions),
        _alarm.ended_at.is_(None),
        _alarm.about.not_in(but),
    )
    if about is not None:
        these = these.where(_alarm.about.in_(about))
    connection.execute(these.values(ended_at=now))


def not_notified(connection: Connection, since: datetime) -> Sequence[Alarm]:
    """Those since an instant of which nobody has been notified yet."""
    waiting = _since(since).where(_alarm.notified_at.is_(None))
    return typed_rows(connection, waiting, into=Alarm)


def lately(connection: Connection, since: datetime) -> Sequence[Alarm]:
    """Those since an instant, the newest first."""
    return typed_rows(connection, _since(since), into=Alarm)[::-1]


def notified(connection: Connection, number: int, now: datetime) -> None:
    """Somebody has been notified of it."""
    own = update(alarms).where(_alarm.id == number)
    connection.execute(own.values(notified_at=now))


def _since(since: datetime) -> Select[tuple[object, ...]]:
    columns = (
        _alarm.id.label("number"),
        _alarm.action,
        _alarm.about,
        _alarm.sentence,
        _alarm.at,
        _alarm.ended_at,
        _alarm.notified_at,
    )
    later = select(*columns).where(_alarm.at > since)
    return later.order_by(_alarm.at, _alarm.id)
