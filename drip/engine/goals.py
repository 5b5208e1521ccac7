"""Which runs met their campaign's goal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from drip.core.calendar import later, zone
from drip.core.campaign import Goal
from drip.core.conditions import Facts, why_not
from drip.core.fields import Value
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
    """Those of these runs that met the goal by now, each once, with the first event by
    which it did."""
    for n in range(0, len(came), AT_ONCE):
        some = came[n : n + AT_ONCE]
        contacts = {run.contact_id for run in some}
        happened = events.events_of(connection, contacts, [goal.event])
        for run in some:
            until = min(_ends(goal, run, settings) or now, now)
            own = happened.get(run.contact_id, [])
            event = _first(
                goal,
                run,
                own,
                until,
                now,
            )
            if event:
                yield run, event


def _ends(
    goal: Goal,
    run: StartedRun,
    settings: Settings,
) -> datetime | None:
    """Up to when an event counts as the goal of a run; None if for ever."""
    if goal.within is None:
        return None
    where = zone(settings.timezone)
    return later(
        run.started_at,
        goal.within,
        where,
        settings.holidays,
    )


def _first(
    goal: Goal,
    run: StartedRun,
    happened: Sequence[Event],
    until: datetime,
    now: datetime,
) -> Event | None:
    """The first of these events by which a run met the goal."""
    for event in happened:
        in_time = run.started_at < event.at <= until
        if in_time and _about_it(run, event) and _fits(goal, event, now):
            return event
    return None


def _about_it(run: StartedRun, event: Event) -> bool:
    """Whether an event is not about another record than the run's."""
    either_none = not event.record_id or not run.record_id
    return either_none or event.record_id == run.record_id


def _fits(
    goal: Goal,
    event: Event,
    now: datetime,
) -> bool:
    """Whether an event is the goal by its own fields, which is all that `where` asks
    about."""
    if goal.where is None:
        return True
    facts = Facts(
        _values(event),
        frozenset(),
        now,
        "UTC",
    )
    return why_not(goal.where, facts) is None


def _values(event: Event) -> dict[str, Value]:
    """Its fields by both names that a condition may call them by."""
    prefix = event.name.partition(".")[0]
    return {
        f"{name}.{field}": value
        for name in (prefix, "event")
        for field, value in event.fields.items()
    }
