"""Fields that follow from others.

How often, how much, the newest, the earliest, and when a meter will reach a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import attrgetter
from typing import Literal

from drip.core.calendar import Duration, shifted
from drip.core.fields import Value

# How many readings an estimate looks back on.
READINGS = 3
# A meter that hardly moves reaches nothing in a lifetime.
FARTHEST = timedelta(days=365 * 50)


@dataclass(frozen=True, slots=True)
class DateField:
    """A stored date, moved by `steps` (6 months after vehicle.last_service).

    A run can hang on it.
    """

    field: str
    steps: tuple[Duration, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """How many events of a name there are, or the sum of one of their fields.

    0 where there are none.
    """

    event: str
    summed: str | None
    span: Duration | None


@dataclass(frozen=True, slots=True)
class Seen:
    """The day of the newest or the first event of a name.

    On the workspace's calendar.
    """

    event: str
    which: Literal["latest", "first"]


@dataclass(frozen=True, slots=True)
class Reaches:
    """The day on which a meter is estimated to reach `base` plus `plus`.

    The base is another number field, or (`base_date`) what the meter showed on that
    date, or 0.
    """

    meter: str
    base: str | None
    base_date: str | None
    plus: float


@dataclass(frozen=True, slots=True)
class Extreme:
    """The earliest or the latest of several dates.

    Those that are unknown are left out.
    """

    which: Literal["earliest", "latest"]
    parts: tuple[DateField | Seen | Reaches, ...]


Derived = DateField | Total | Seen | Reaches | Extreme
# These are worked out when something comes in, and kept with the stored dates.
KEPT = (Seen, Reaches, Extreme)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter showed on a day."""

    day: date
    value: float


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one contact or record.

    Values by bare name, readings by meter, first and latest day by event.
    """

    values: Mapping[str, Value]
    readings: Mapping[str, Sequence[Reading]]
    seen: Mapping[tuple[str, str], date]


def derive(what: Derived, known: Known) -> date | None:
    """The date that a field stands for; None if it cannot be known."""
    match what:
        case DateField(field, steps):
            source = known.values.get(field.partition(".")[2])
            return shifted(source, steps) if isinstance(source, date) else None
        case Seen(event, which):
            return known.seen.get((event, which))
        case Reaches():
            return _reaches(what, known)
        case Extreme(which, parts):
            days = [day for part in parts if (day := derive(part, known)) is not None]
            return (min if which == "earliest" else max)(days, default=None)
        case Total():
            raise AssertionError("a total is no date")


def _reaches(what: Reaches, known: Known) -> date | None:
    readings = sorted(known.readings.get(what.meter, ()), key=attrgetter("day"))
    base = _base(what, known, readings)
    return None if base is None else estimate(readings, base + what.plus)


def _base(what: Reaches, known: Known, readings: Sequence[Reading]) -> float | None:
    if what.base is not None:
        value = known.values.get(what.base)
        return value if isinstance(value, int | float) else None
    if what.base_date is not None:
        day = known.values.get(what.base_date)
        if not isinstance(day, date):
            return None
        before = [reading.value for reading in readings if reading.day <= day]
        return before[-1] if before else None
    return 0


def estimate(readings: Sequence[Reading], target: float) -> date | None:
    """When a meter shows `target`.

    By its pace over the last three readings, in order of their days.

    A value that was read already is that reading's day. None with fewer than two
    readings on different days, or for a meter that stands still.
    """
    for reading in readings:
        if reading.value >= target:
            return reading.day
    if len(readings) < 2:
        return None
    first, last = readings[-READINGS:][0], readings[-1]
    days = (last.day - first.day).days
    pace = (last.value - first.value) / days if days else 0
    if pace <= 0:
        return None
    ahead = math.ceil((target - last.value) / pace)
    return last.day + timedelta(days=ahead) if ahead <= FARTHEST.days else None


def meters(derived: Iterable[Derived]) -> set[str]:
    """The number fields whose readings have to be kept."""
    found: set[str] = set()
    for field in derived:
        if isinstance(field, Reaches):
            found.add(field.meter)
        elif isinstance(field, Extreme):
            found |= meters(field.parts)
    return found


def events_seen(derived: Iterable[Derived]) -> set[str]:
    """The events whose first or newest day is asked for."""
    found: set[str] = set()
    for field in derived:
        if isinstance(field, Seen):
            found.add(field.event)
        elif isinstance(field, Extreme):
            found |= events_seen(field.parts)
    return found
