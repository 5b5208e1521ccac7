"""Conditions: one syntax tree, and the reader that says why a contact does not meet it.

Rules where the words leave room: text is compared without regard to case; an unknown value equals
nothing, so `not x` holds for it and every comparison fails; "ago" and "in the next" count local days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from drip.core.calendar import Birthday, Duration, local, shift, zone
from drip.core.fields import Value, parse_date, parse_number
from drip.errors import Place

Comparison = Literal[
    "is", "at least", "at most", "more than", "less than", "between", "known", "unknown", "includes",
    "starts with", "before", "after", "ago more", "ago less", "in the last", "in the next",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a field and its phrase. `values` are as written; `span` for the phrases with a duration."""

    field: str
    comparison: Comparison
    values: tuple[str, ...]
    text: str
    place: Place
    span: Duration = Duration()


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Consent to a topic on the e-mail channel, or whatever channel the topic allows by its opt-in."""

    topic: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    parts: tuple[Condition, ...]
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition
    text: str
    place: Place


Condition = Line | Subscribed | All | Any | Not


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one contact (and the run's record and event) when a condition is read."""

    values: Mapping[str, Value]
    subscribed: frozenset[str]
    now: datetime
    zone: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The line that does not hold, and what was found instead."""

    sentence: str
    place: Place


def why_not(condition: Condition, facts: Facts) -> Failure | None:
    """None if the condition holds, else the first line that does not."""
    match condition:
        case All(parts):
            return next((failure for part in parts if (failure := why_not(part, facts))), None)
        case Any(parts, text, place):
            if any(why_not(part, facts) is None for part in parts):
                return None
            return Failure(f"none of these holds: {text}", place)
        case Not(part, text, place):
            return None if why_not(part, facts) else Failure(f"this holds, and must not: {text}", place)
        case Subscribed(topic, _, place):
            return None if topic in facts.subscribed else Failure(f"not subscribed to {topic}", place)
        case Line():
            value = facts.values.get(condition.field)
            if _holds(condition, value, facts):
                return None
            found = "unknown" if value is None else str(value)
            return Failure(f"{condition.field} is {found}, not {condition.text}", condition.place)


def fields_of(condition: Condition) -> set[str]:
    """Every field that the condition reads."""
    match condition:
        case All(parts) | Any(parts):
            return {name for part in parts for name in fields_of(part)}
        case Not(part):
            return fields_of(part)
        case Line(field=field):
            return {field}
        case _:
            return set()


def _holds(line: Line, value: Value | None, facts: Facts) -> bool:
    if line.comparison == "known":
        return value is not None
    if line.comparison == "unknown":
        return value is None
    if value is None:
        return False
    return _COMPARE[line.comparison](line, value, facts)


def _is(line: Line, value: Value, facts: Facts) -> bool:
    return any(_same(value, written) for written in line.values)


def _same(value: Value, written: str) -> bool:
    if isinstance(value, bool):
        return written.casefold() in (("yes", "true") if value else ("no", "false"))
    if isinstance(value, int | float):
        number = _number(written)
        return number is not None and number == value
    if _text(value) == written.casefold():
        return True
    # A number that a file gave as text, as the fields of events are kept.
    left, right = _number(value), _number(written)
    return left is not None and left == right


def _by_number(fits: Callable[[float, list[float]], bool]) -> Callable[[Line, Value, Facts], bool]:
    def compare(line: Line, value: Value, facts: Facts) -> bool:
        number = _number(value)
        return number is not None and fits(number, [parse_number(each) for each in line.values])

    return compare


def _by_date(fits: Callable[[date, Line, date], bool]) -> Callable[[Line, Value, Facts], bool]:
    def compare(line: Line, value: Value, facts: Facts) -> bool:
        day = _date(value, facts)
        return day is not None and fits(day, line, local(facts.now, zone(facts.zone)).date())

    return compare


def _in_the_last(day: date, line: Line, today: date) -> bool:
    return shift(today, -line.span) < day <= today


def _in_the_next(day: date, line: Line, today: date) -> bool:
    return today <= day < shift(today, line.span) + timedelta(days=1)


_COMPARE: dict[str, Callable[[Line, Value, Facts], bool]] = {
    "is": _is,
    "includes": lambda line, value, _: line.values[0].casefold() in _text(value),
    "starts with": lambda line, value, _: _text(value).startswith(line.values[0].casefold()),
    "at least": _by_number(lambda number, limits: number >= limits[0]),
    "at most": _by_number(lambda number, limits: number <= limits[0]),
    "more than": _by_number(lambda number, limits: number > limits[0]),
    "less than": _by_number(lambda number, limits: number < limits[0]),
    "between": _by_number(lambda number, limits: limits[0] <= number <= limits[1]),
    "before": _by_date(lambda day, line, _: day < parse_date(line.values[0])),
    "after": _by_date(lambda day, line, _: day > parse_date(line.values[0])),
    "ago more": _by_date(lambda day, line, today: day < shift(today, -line.span)),
    "ago less": _by_date(_in_the_last),
    "in the last": _by_date(_in_the_last),
    "in the next": _by_date(_in_the_next),
}


def _text(value: Value) -> str:
    return str(value).casefold()


def _number(value: Value) -> float | None:
    if isinstance(value, bool | date | Birthday):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return parse_number(value)
    except ValueError:
        return None


def _date(value: Value, facts: Facts) -> date | None:
    if isinstance(value, datetime):
        return local(value, zone(facts.zone)).date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return parse_date(value)
        except ValueError:
            return None
    return None
