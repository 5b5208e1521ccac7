"""Which runs met their campaign's goal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from drip.core.calendar import later, zone
from drip.core.campaign import Goal
from drip.core.conditions import Facts, why_not
from drip.core.settings import Settings
from drip.storage.people import events
from drip.storage.people.events import Event

AT_ONCE = 5_000


class StartedRun(Protocol):
    """What has to be known of a run."""

    @property
    def contact_id(self) -> int: ...
    @property
    def record_id(self) -> int: ...
    @property
    def started_at(self) -> datetime: ...


Run = TypeVar("Run", bound=StartedRun)


def met(
    connection: Connection,
    settings: Settings,
    goal: Goal,
    came: Sequence[Run],
    now: datetime,
) -> Iterator[tuple[Run, Event]]:
    """Those of these runs that met the goal by now, each once, with the first event by which it did."""
    where, holidays = zone(settings.timezone), settings.holidays
    for n in range(0, len(came), AT_ONCE):
        some = came[n : n + AT_ONCE]
        happened = events.events_of(
            connection, {each.contact_id for each in some}, [goal.event]
        )
        for each in some:
            limit = (
                later(each.started_at, goal.within, where, holidays)
                if goal.within
                else now
            )
            for event in happened.get(each.contact_id, []):
                about_it = (
                    not (event.record_id and each.record_id)
                    or event.record_id == each.record_id
                )
                if (
                    about_it
                    and each.started_at < event.at <= min(limit, now)
                    and _fits(goal, event, now)
                ):
                    yield each, event
                    break


def _fits(goal: Goal, event: Event, now: datetime) -> bool:
    """Whether an event is the goal by its own fields, which is all that `where` asks about."""
    prefix = event.name.partition(".")[0]
    values = {
        f"{name}.{field}": value
        for name in (prefix, "event")
        for field, value in event.fields.items()
    }
    return (
        goal.where is None
        or why_not(goal.where, Facts(values, frozenset(), now, "UTC")) is None
    )
