"""Local dates and instants.

Durations, birthdays, clock ranges, and what daylight saving does to them.

Instants are aware datetimes in UTC; local times are naive datetimes; both to the
millisecond.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.metadata import version
from typing import Literal
from zoneinfo import ZoneInfo

# The zones that the processes of drip take (`process.own_zones`).
ZONES_VERSION = f"tzdata {version('tzdata')}"
Feb29 = Literal["Feb 28", "Mar 1", "skip"]
MINUTES_A_DAY = 24 * 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time.

    Months and days are wall-clock, seconds are elapsed. May be negative ("before").

    `business` days are those that are neither Saturday, Sunday nor a holiday; they
    stand alone.
    """

    months: int = 0
    days: int = 0
    seconds: int = 0
    business: int = 0

    def __neg__(self) -> Duration:
        return Duration(-self.months, -self.days, -self.seconds, -self.business)

    def longest(self) -> timedelta:
        """An upper bound of its length.

        Months of 31 days, days of 25 hours, three days for each business day.
        """
        days = abs(self.days) + abs(self.business) * 3 + (14 if self.business else 0)
        return timedelta(
            days=abs(self.months) * 31, hours=days * 25, seconds=abs(self.seconds)
        )


@dataclass(frozen=True, slots=True)
class Birthday:
    """A floating month and day, with the year where it is known."""

    month: int
    day: int
    year: int | None = None

    def __str__(self) -> str:
        day = f"{self.month:02d}-{self.day:02d}"
        return day if self.year is None else f"{self.year:04d}-{day}"


def shift(day: date, by: Duration) -> date:
    """`day` moved by the calendar part of `by`.

    Months clamp to the month's last day (31 Jan + 1 month = 28 Feb).
    """
    # A subscription that is due on the 31st is due on the last day of shorter months.
    months = day.year * 12 + day.month - 1 + by.months
    year, month = divmod(months, 12)
    last = monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last)) + timedelta(days=by.days)


@lru_cache(maxsize=4096)
def sources(due: date, steps: tuple[Duration, ...]) -> tuple[date, ...]:
    """Every date that, moved by each of `steps` in turn, is `due`.

    The inverse of `shift`.
    """
    guess = due
    for step in reversed(steps):
        guess = shift(guess, -step)
    # Clamping to a month's end loses up to three days a step.
    reach = 4 * (1 + len(steps))
    near = (guess + timedelta(days=n) for n in range(-reach, reach + 1))
    return tuple(day for day in near if shifted(day, steps) == due)


@lru_cache(maxsize=4096)
def first_source(due: date, steps: tuple[Duration, ...]) -> date:
    """The first date that, moved by each of `steps` in turn, is `due` or later.

    Moving keeps the order of dates.
    """
    guess = due
    for step in reversed(steps):
        guess = shift(guess, -step)
    reach = 4 * (1 + len(steps))
    near = (guess + timedelta(days=n) for n in range(-reach, reach + 1))
    return next(day for day in near if shifted(day, steps) >= due)


def shifted(day: date, steps: tuple[Duration, ...]) -> date:
    """`day` moved by each of `steps` in turn."""
    for step in steps:
        day = shift(day, step)
    return day


def birthday_in(birthday: Birthday, year: int, feb_29: Feb29) -> date | None:
    """The date of this birthday in `year`.

    February 29 in a common year follows `feb_29`; None if skipped.
    """
    # Laws differ: in England one comes of age on March 1, in New Zealand on February
    # 28.
    if (birthday.month, birthday.day) != (2, 29) or isleap(year):
        return date(year, birthday.month, birthday.day)
    return {"Feb 28": date(year, 2, 28), "Mar 1": date(year, 3, 1), "skip": None}[
        feb_29
    ]


def birthdays_on(day: date, feb_29: Feb29) -> list[tuple[int, int]]:
    """The (month, day) pairs whose birthday falls on `day`."""
    pairs = [(day.month, day.day)]
    if not isleap(day.year) and (day.month, day.day) == {
        "Feb 28": (2, 28),
        "Mar 1": (3, 1),
    }.get(feb_29):
        pairs.append((2, 29))
    return pairs


def age_on(birthday: Birthday, day: date) -> int | None:
    """Completed years on `day`; None if the year is unknown."""
    if birthday.year is None:
        return None
    return (
        day.year
        - birthday.year
        - ((day.month, day.day) < (birthday.month, birthday.day))
    )


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The tz database's zone.

    Raises `zoneinfo.ZoneInfoNotFoundError` or ValueError for a name it lacks.
    """
    return ZoneInfo(name)


def local(instant: datetime, where: ZoneInfo) -> datetime:
    """The wall clock at `instant`, as a naive datetime."""
    return instant.astimezone(where).replace(tzinfo=None)


def instant(wall: datetime, where: ZoneInfo) -> datetime:
    """The instant of a wall-clock time.

    A time that occurs twice means the first one; one that does not exist means the
    first instant after the gap.
    """
    early = wall.replace(tzinfo=where, fold=0).astimezone(UTC)
    if local(early, where) == wall:
        return early
    # In a gap: fold 1 (the offset after it) lies before the transition, fold 0 after
    # it.
    low, high = wall.replace(tzinfo=where, fold=1).astimezone(UTC), early
    before = low.astimezone(where).utcoffset()
    # zoneinfo does not say when a transition is, so it is looked for; some 22 steps.
    while high - low > timedelta(milliseconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(where).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


# Many rows have the same few instants, so they are remembered.
@lru_cache(maxsize=4096)
def millis(at: datetime) -> int:
    """An instant in whole milliseconds since 1970."""
    return (at - EPOCH) // MILLISECOND


@lru_cache(maxsize=4096)
def from_millis(milliseconds: int) -> datetime:
    """The instant so many milliseconds after the beginning of 1970."""
    return EPOCH + milliseconds * MILLISECOND


@lru_cache(maxsize=50_000)
def at_minute(day: date, minute: int, where: ZoneInfo) -> datetime:
    """The instant of `minute` (0 to 1440, counted on the wall clock) of a local day."""
    return instant(datetime.combine(day, time()) + timedelta(minutes=minute), where)


def later(
    start: datetime, by: Duration, where: ZoneInfo, holidays: Collection[date] = ()
) -> datetime:
    """`start` plus a duration.

    Days, weeks and months on the wall clock of `where`, hours elapsed.
    """
    if by.months or by.days or by.business:
        wall = local(start, where)
        day = business_shift(shift(wall.date(), by), by.business, holidays)
        # Seven days after 9:00 it is 9:00, whether the clock was changed meanwhile or
        # not.
        start = instant(datetime.combine(day, wall.time()), where)
    return start + timedelta(seconds=by.seconds)


def is_business_day(day: date, holidays: Collection[date]) -> bool:
    """Whether people work on it: Monday to Friday, no holiday."""
    return day.weekday() < 5 and day not in holidays


def business_shift(day: date, count: int, holidays: Collection[date]) -> date:
    """`day` moved by so many business days, back if negative; itself for none."""
    step = timedelta(days=1 if count > 0 else -1)
    for _ in range(abs(count)):
        day += step
        # Bounded: weekends end, and holidays are days of a list.
        while not is_business_day(day, holidays):
            day += step
    return day


@dataclass(frozen=True, slots=True)
class ClockRange:
    """From `opens` up to, not including, `closes`, in minutes of the local day.

    May cross midnight.
    """

    opens: int
    closes: int

    def holds(self, wall: datetime) -> bool:
        minute = wall.hour * 60 + wall.minute
        if self.opens < self.closes:
            return self.opens <= minute < self.closes
        return minute >= self.opens or minute < self.closes

    def __str__(self) -> str:
        return f"{clock(self.opens)}-{clock(self.closes)}"


def clock(minute: int) -> str:
    """9:00 for 540."""
    return f"{minute // 60}:{minute % 60:02d}"


@dataclass(frozen=True, slots=True)
class SendWindow:
    """The hours in which messages go out, on every day or on business days only.

    Hours that cross midnight belong to the day on which they opened.
    """

    hours: ClockRange
    business_days: bool = False

    def day(self, wall: datetime) -> date:
        """The day that a wall-clock time belongs to."""
        crosses = self.hours.opens >= self.hours.closes
        after_midnight = crosses and wall.hour * 60 + wall.minute < self.hours.closes
        return wall.date() - timedelta(days=1) if after_midnight else wall.date()

    def opens_on(self, day: date, holidays: Collection[date]) -> bool:
        return not self.business_days or is_business_day(day, holidays)

    def holds(self, wall: datetime, holidays: Collection[date]) -> bool:
        return self.hours.holds(wall) and self.opens_on(self.day(wall), holidays)

    def __str__(self) -> str:
        return (
            f"{self.hours} on business days" if self.business_days else str(self.hours)
        )


def next_open(
    window: SendWindow,
    start: datetime,
    where: ZoneInfo,
    holidays: Collection[date] = (),
) -> datetime | None:
    """The first instant from `start` on at which the window is open.

    None if it stays shut for two years.
    """
    if window.holds(local(start, where), holidays):
        return start
    return next_opening(window, start, where, holidays)


def next_opening(
    window: SendWindow,
    start: datetime,
    where: ZoneInfo,
    holidays: Collection[date] = (),
) -> datetime | None:
    """The first instant after `start` at which the window opens.

    None if it does not within two years.
    """
    for day in days_from(local(start, where).date()):
        if window.opens_on(day, holidays):
            for opening in _openings(day, window.hours.opens, where):
                if opening > start and window.hours.holds(local(opening, where)):
                    return opening
    return None


def _openings(day: date, minute: int, where: ZoneInfo) -> list[datetime]:
    """The instant of a minute of a day.

    Both of them where the clock is set back over it.
    """
    wall = datetime.combine(day, time()) + timedelta(minutes=minute)
    # In autumn a window from 1:00 opens twice in one night.
    again = wall.replace(tzinfo=where, fold=1).astimezone(UTC)
    first = instant(wall, where)
    return [first, again] if again > first and local(again, where) == wall else [first]


def next_outside(span: ClockRange, start: datetime, where: ZoneInfo) -> datetime:
    """The first instant from `start` on at which the wall clock is outside `span`."""
    rest = SendWindow(
        ClockRange(span.closes % MINUTES_A_DAY, span.opens or MINUTES_A_DAY)
    )
    found = next_open(rest, start, where)
    assert found is not None, "a clock range opens on every ordinary day"
    return found


def days_from(first: date) -> Iterator[date]:
    """`first`, the day after, and so on for two years."""
    # Two years of 366 days, so that whatever opens once a year is found.
    return (first + timedelta(days=n) for n in range(732))
