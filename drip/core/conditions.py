"""Conditions: one syntax tree, and the reader that says why a contact does not meet it.

The other reader, `storage.people.audience_sql`, turns the same tree into SQL: who is
in. They agree on every contact.

Rules where the words leave room: text is compared without regard to case; an unknown
value equals nothing, so `not x` holds for it and every comparison fails; "ago" and "in
the next" count local days; the day of an event is the workspace's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from drip.core.calendar import Birthday, Duration, at_minute, local, shift, zone
from drip.core.fields import NO, YES, FieldKind, Value, parse_date, parse_number
from drip.errors import Place

Comparison = Literal[
    "is",
    "at least",
    "at most",
    "more than",
    "less than",
    "between",
    "known",
    "unknown",
    "includes",
    "starts with",
    "before",
    "after",
    "ago more",
    "ago less",
    "in the last",
    "in the next",
]


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """One line: a field of a kind, and its phrase.

    `values` are as written; `span` for phrases with a duration.
    """

    field: str
    kind: FieldKind
    comparison: Comparison
    values: tuple[str, ...]
    text: str
    place: Place
    span: Duration = Duration()


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Consent to a topic.

    On the e-mail channel, or on whatever channel the topic allows by its opt-in.
    """

    topic: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Rank:
    """The best of all contacts by a number, looked for once a night.

    `top` is a share of heads; `makes` the smallest set that together has that share of
    the sum. Contacts whose number is unknown or not above zero are not counted. Of
    equals, the one known longer comes first.
    """

    field: str
    kind: Literal["top", "makes"]
    percent: int

    @property
    def name(self) -> str:
        """`contact.spent: top 20%`: under which the set is kept."""
        return (
            f"{self.field}: top {self.percent}%"
            if self.kind == "top"
            else f"{self.field}: makes {self.percent}%"
        )


@dataclass(frozen=True, slots=True)
class Member:
    """Membership of a segment, or of the best by a number."""

    name: str
    rank: Rank | None
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Tagged:
    """At least one of these tags."""

    tags: tuple[str, ...]
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class HoldsCoupon:
    """A code of this coupon that is neither redeemed nor expired."""

    coupon: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Did:
    """An event, at least `times` times.

    Since the run began, in the last `span`, or ever.

    A span in seconds is elapsed, one in days counts days of the workspace. `matching`
    are fields that the event must have, with their values. A run about a record counts
    events of other records not.
    """

    event: str
    matching: tuple[tuple[str, str], ...]
    since_entry: bool
    span: Duration | None
    times: int
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


Condition = (
    FieldCondition | Subscribed | Member | Tagged | HoldsCoupon | Did | All | Any | Not
)


class Happened(Protocol):
    """An event as conditions see it; `record_id` 0 where it names no record."""

    @property
    def at(self) -> datetime: ...

    @property
    def record_id(self) -> int: ...

    @property
    def fields(self) -> Mapping[str, str]: ...


class History(Protocol):
    """What conditions ask about a contact beyond its fields.

    Asked only when a condition wants to know.
    """

    def tags(self) -> Collection[str]: ...

    def sets(self) -> Collection[str]:
        """The segments and ranks that the contact is in."""
        ...

    def coupons(self) -> Collection[str]:
        """The coupons that the contact holds."""
        ...

    def events(self, name: str) -> Sequence[Happened]: ...


class NoHistory:
    """A contact of whom nothing but fields is known."""

    def tags(self) -> Collection[str]:
        return ()

    def sets(self) -> Collection[str]:
        return ()

    def coupons(self) -> Collection[str]:
        return ()

    def events(self, name: str) -> Sequence[Happened]:
        return ()


class Facts(NamedTuple):
    """What is known about one contact when a condition is read.

    And about the run's record and event.

    `zone` is the contact's, `home` the workspace's; `since` is when the run began,
    `record_id` what it is about.
    """

    values: Mapping[str, Value]
    subscribed: Container[str]
    now: datetime
    zone: str
    home: str = "UTC"
    history: History = NoHistory()
    since: datetime | None = None
    record_id: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """The line that does not hold, and what was found instead."""

    sentence: str
    place: Place


def why_not(condition: Condition, facts: Facts) -> Failure | None:
    """None if the condition holds, else the first line that does not."""
    return WHY_NOT[type(condition)](condition, facts)


def _all(condition: All, facts: Facts) -> Failure | None:
    for part in condition.parts:
        failure = why_not(part, facts)
        if failure:
            return failure
    return None


def _any(condition: Any, facts: Facts) -> Failure | None:
    for part in condition.parts:
        if why_not(part, facts) is None:
            return None
    return Failure(f"none of these holds: {condition.text}", condition.place)


def _not(condition: Not, facts: Facts) -> Failure | None:
    if why_not(condition.part, facts):
        return None
    return Failure(f"this holds, and must not: {condition.text}", condition.place)


def _subscribed(condition: Subscribed, facts: Facts) -> Failure | None:
    if condition.topic in facts.subscribed:
        return None
    return Failure(f"not subscribed to {condition.topic}", condition.place)


def _member(condition: Member, facts: Facts) -> Failure | None:
    if condition.name in facts.history.sets():
        return None
    rank = condition.rank
    if rank is None:
        return Failure(f"not in the segment {condition.name}", condition.place)
    found = facts.values.get(rank.field, "unknown")
    sentence = f"{rank.field} is {found}, which is not {condition.text}"
    return Failure(sentence, condition.place)


def _tagged(condition: Tagged, facts: Facts) -> Failure | None:
    if not set(facts.history.tags()).isdisjoint(condition.tags):
        return None
    return Failure(f"not tagged {' or '.join(condition.tags)}", condition.place)


def _holds_coupon(condition: HoldsCoupon, facts: Facts) -> Failure | None:
    if condition.coupon in facts.history.coupons():
        return None
    sentence = f"holds no coupon {condition.coupon} that is still good"
    return Failure(sentence, condition.place)


def _field(condition: FieldCondition, facts: Facts) -> Failure | None:
    value = facts.values.get(condition.field)
    if _holds(condition, value, facts):
        return None
    found = "unknown" if value is None else value
    sentence = f"{condition.field} is {found}, not {condition.text}"
    return Failure(sentence, condition.place)


def leaves(condition: Condition) -> Iterator[Condition]:
    """Every line of the condition, without the words that join them."""
    match condition:
        case All(parts) | Any(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case _:
            yield condition


def _did(did: Did, facts: Facts) -> Failure | None:
    events = facts.history.events(did.event)
    times = sum(_counts(did, event, facts) for event in events)
    if times >= did.times:
        return None
    found = f"has happened {_times(times)}" if times else "has not happened"
    return Failure(f"{did.event} {found}, not {did.text}", did.place)


def _times(number: int) -> str:
    return "1 time" if number == 1 else f"{number} times"


# What each kind of line asks. A table: a `match` tries one class after the other, and
# conditions are read for every contact at every message.
WHY_NOT: dict[type, Callable[..., Failure | None]] = {
    All: _all,
    Any: _any,
    Not: _not,
    Subscribed: _subscribed,
    Member: _member,
    Tagged: _tagged,
    HoldsCoupon: _holds_coupon,
    Did: _did,
    FieldCondition: _field,
}


def _counts(did: Did, event: Happened, facts: Facts) -> bool:
    """Whether an event is one of those that are asked for."""
    # The preview plays events that are still to come.
    if event.at > facts.now or _is_of_another(event, facts.record_id):
        return False
    if did.since_entry and facts.since is not None and event.at <= facts.since:
        return False
    span = did.span
    if span is not None and event.at < first_instant(span, facts.now, facts.home):
        return False
    return all(
        event.fields.get(name, "").casefold() == value.casefold()
        for name, value in did.matching
    )


def _is_of_another(event: Happened, record_id: int) -> bool:
    """Whether an event names another record than the run is about."""
    return bool(event.record_id and record_id) and event.record_id != record_id


def first_instant(span: Duration, now: datetime, home: str) -> datetime:
    """When "in the last `span`" begins.

    Elapsed for hours, else with the first of that many days of the workspace.
    """
    if span.seconds:
        return now - timedelta(seconds=span.seconds)
    # Today is one of the days: `in the last 1 day` is since midnight.
    day = shift(local(now, zone(home)).date(), -span) + timedelta(days=1)
    return at_minute(day, 0, zone(home))


def _holds(line: FieldCondition, value: Value | None, facts: Facts) -> bool:
    if line.comparison == "known":
        return value is not None
    if line.comparison == "unknown":
        return value is None
    if value is None:
        return False
    return _COMPARE[line.comparison](line, value, facts)


def _is(line: FieldCondition, value: Value, facts: Facts) -> bool:
    return any(_same(line.kind, value, written) for written in line.values)


def _same(kind: FieldKind, value: Value, written: str) -> bool:
    # `True == 1` in Python: a yes must not equal the number.
    if isinstance(value, bool):
        return written.casefold() in YES if value else written.casefold() in NO
    if isinstance(value, int | float):
        number = _number(written)
        return number is not None and number == value
    if _text(value) == written.casefold():
        return True
    # A number that a file gave as text, as the fields of events are kept.
    left, right = _number(value), _number(written)
    return kind == "any" and left is not None and left == right


def _by_number(
    fits: Callable[[float, list[float]], bool],
) -> Callable[[FieldCondition, Value, Facts], bool]:
    def compare(line: FieldCondition, value: Value, facts: Facts) -> bool:
        number = _number(value)
        if number is None:
            return False
        limits = [parse_number(written) for written in line.values]
        return fits(number, limits)

    return compare


def _in_range(line: FieldCondition, value: Value, facts: Facts) -> bool:
    day = _date(value, facts)
    if day is None:
        return False
    today = local(facts.now, zone(facts.zone)).date()
    first, end = day_range(line, today)
    from_first = first is None or day >= first
    return from_first and (end is None or day < end)


DAY = timedelta(days=1)
DATED = ("before", "after", "ago more", "ago less", "in the last", "in the next")
FROM_TODAY = ("ago more", "ago less", "in the last", "in the next")


def day_range(line: FieldCondition, today: date) -> tuple[date | None, date | None]:
    """The days for which a line about a date holds.

    From the first up to, not including, the end; None is open.
    """
    match line.comparison:
        case "before":
            return None, parse_date(line.values[0])
        case "after":
            return parse_date(line.values[0]) + DAY, None
        case "ago more":
            return None, shift(today, -line.span)
        case "in the next":
            return today, shift(today, line.span) + DAY
        case _:
            return shift(today, -line.span) + DAY, today + DAY


def _includes(line: FieldCondition, value: Value, facts: Facts) -> bool:
    return line.values[0].casefold() in _text(value)


def _starts_with(line: FieldCondition, value: Value, facts: Facts) -> bool:
    return _text(value).startswith(line.values[0].casefold())


_COMPARE: dict[str, Callable[[FieldCondition, Value, Facts], bool]] = {
    "is": _is,
    "includes": _includes,
    "starts with": _starts_with,
    "at least": _by_number(lambda number, limits: number >= limits[0]),
    "at most": _by_number(lambda number, limits: number <= limits[0]),
    "more than": _by_number(lambda number, limits: number > limits[0]),
    "less than": _by_number(lambda number, limits: number < limits[0]),
    "between": _by_number(lambda number, limits: limits[0] <= number <= limits[1]),
    **dict.fromkeys(DATED, _in_range),
}


def _text(value: Value) -> str:
    return str(value).casefold()


def _number(value: Value) -> float | None:
    # A yes is the number 1 to Python; nobody means `vip: at least 1` so.
    if isinstance(value, bool | date | Birthday):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return parse_number(value)
    except ValueError:
        return None


def _date(value: Value, facts: Facts) -> date | None:
    # Late in the evening it is another day by UTC.
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
