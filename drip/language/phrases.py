"""The plain phrases of values: lengths, hours, caps, schedules, moments, senders.

Each function takes what was written and returns what it means, or raises ValueError
with a sentence that says how it should look. A new way to write a value is a row of a
table (`UNITS`, `CRON_PHRASES`, `DAY_WORDS`) or a line in the function of its kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from email.utils import parseaddr
from typing import NamedTuple

from cronsim import CronSim, CronSimError
from email_validator import EmailNotValidError, validate_email

from drip.core.calendar import MINUTES_A_DAY, ClockRange, Duration, SendWindow
from drip.core.campaign import PRIORITIES
from drip.core.fields import parse_date
from drip.core.message import Mailbox
from drip.core.schedule import WEEKS_FROM, Cron, Once, Schedule, Weeks
from drip.core.steps import DayWord, FixedTime, NextClock, Until


def misread(text: str, why: str) -> ValueError:
    """What to raise for a text that is not what it should be."""
    return ValueError(f"`{text}` {why}")


# --- lengths of time


class Unit(NamedTuple):
    """What one of a unit is, and how many of it anybody can mean."""

    months: int
    days: int
    seconds: int
    most: int


UNITS = {
    "minute": Unit(0, 0, 60, 99_999),
    "hour": Unit(0, 0, 3600, 99_999),
    "day": Unit(0, 1, 0, 36_500),
    "week": Unit(0, 7, 0, 5_200),
    "month": Unit(1, 0, 0, 1_200),
    "year": Unit(12, 0, 0, 100),
}
# Each of them is stepped over one by one, past weekends and holidays.
MOST_BUSINESS_DAYS = 1_000
LENGTH = re.compile(rf"(\d{{1,5}})\s+(business\s+)?({'|'.join(UNITS)})s?")
HOW_LONG = "a length of time looks like `2 hours`, `3 days`, `6 months` or `1 year`"


def duration(text: str) -> Duration:
    """`2 hours`, `3 days`, `2 weeks`, `6 months`, `1 year`, `2 business days`."""
    found = LENGTH.fullmatch(text.strip())
    if not found:
        raise misread(text, f"is not a length of time: {HOW_LONG}")
    number, name = int(found[1]), found[3]
    if found[2]:
        return _business_days(text, number, name)
    if not number:
        raise misread(text, f"is no time at all: {HOW_LONG}")
    unit = UNITS[name]
    # Dates end with the year 9999: what is added to one must not lead past it.
    if number > unit.most:
        raise misread(text, "is longer than 100 years")
    return Duration(
        months=number * unit.months,
        days=number * unit.days,
        seconds=number * unit.seconds,
    )


def _business_days(text: str, number: int, unit: str) -> Duration:
    """`2 business days`; there are no business hours or weeks."""
    if unit != "day" or number > MOST_BUSINESS_DAYS:
        limit = f"at most {MOST_BUSINESS_DAYS}"
        raise ValueError(f"`{text}` is not a number of business days, {limit}")
    return Duration(business=number)


def span(text: str) -> timedelta:
    """A duration where only its length matters, as for grace.

    Months are 30 days then, years 365.
    """
    length = duration(text)
    if length.business:
        sentence = f"`{text}`: here days are counted as they come"
        raise ValueError(f"{sentence}; write `{length.business} days`")
    years, months = divmod(length.months, 12)
    days = years * 365 + months * 30 + length.days
    return timedelta(days=days, seconds=length.seconds)


# --- hours of the day

NO_TIME_OF_DAY = "is not a time of day like 9:00 or 21:30"


def minute(text: str) -> int:
    """`9:00` or `21:30`, as a minute of the day; `24:00` is the end of it."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", text.strip())
    if not found:
        raise misread(text, NO_TIME_OF_DAY)
    minutes = int(found[2])
    whole = int(found[1]) * 60 + minutes
    if minutes > 59 or whole > MINUTES_A_DAY:
        raise misread(text, NO_TIME_OF_DAY)
    return whole


def _clock_time(text: str) -> int:
    """A minute at which something can happen.

    The end of a day is the next one's 0:00.
    """
    return minute(text) % MINUTES_A_DAY


def clock_range(text: str) -> ClockRange:
    """`9:00-19:00`; may cross midnight."""
    opens, dash, closes = text.partition("-")
    if not dash:
        raise misread(text, "is not a range of hours like 9:00-19:00")
    first, last = minute(opens), minute(closes)
    # `22:00-0:00` ends with the day.
    hours = ClockRange(
        opens=first % MINUTES_A_DAY,
        closes=last or MINUTES_A_DAY,
    )
    if hours.opens == hours.closes or first == MINUTES_A_DAY:
        raise misread(text, "begins and ends at the same time")
    return hours


def send_window(text: str) -> SendWindow:
    """`9:00-19:00`, or `9:00-17:00 on business days`."""
    hours, on, days = " ".join(text.split()).partition(" on ")
    if on and days != "business days":
        example = "a send window looks like `9:00-17:00 on business days`"
        raise ValueError(f"`{days}` is not `business days`; {example}")
    return SendWindow(clock_range(hours), business_days=bool(on))


def quiet_hours(text: str) -> ClockRange:
    """A clock range that leaves some of the day."""
    hours = clock_range(text)
    if hours == ClockRange(0, MINUTES_A_DAY):
        sentence = "quiet hours of the whole day would let no message go"
        raise ValueError(f"{sentence}; use `status: paused` instead")
    return hours


# --- caps


@dataclass(frozen=True, slots=True)
class CapPhrase:
    """`3 per week` before it is known what it applies to."""

    limit: int
    days: int
    seconds: int
    text: str


HOW_CAPPED = (
    "a cap looks like `1 per day, 3 per week`, `1 per 36 hours` or "
    "`at least 4 hours apart`"
)
WINDOWS = {"day": 1, "week": 7, "month": 30}
APART = re.compile(r"at least (\d+ (?:hour|minute)s?) apart")
PER_WINDOW = re.compile(rf"(\d{{1,6}}) per ({'|'.join(WINDOWS)})")
PER_LENGTH = re.compile(r"(\d{1,6}) per (\d+ \w+)")


def caps(text: str) -> tuple[CapPhrase, ...]:
    """`1 per day, 3 per week`."""
    return tuple(_cap(part.strip()) for part in text.split(","))


def _cap(text: str) -> CapPhrase:
    """A distance, or a number for a day, a week, a month or a length of time."""
    if found := APART.fullmatch(text):
        length = duration(found[1])
        return CapPhrase(1, 0, length.seconds, text)
    if found := PER_WINDOW.fullmatch(text):
        days = WINDOWS[found[2]]
        return CapPhrase(int(found[1]), days, 0, text)
    if found := PER_LENGTH.fullmatch(text):
        length = duration(found[2])
        return _cap_of_length(text, int(found[1]), length)
    raise misread(text, f"is not a cap: {HOW_CAPPED}")


def _cap_of_length(text: str, limit: int, length: Duration) -> CapPhrase:
    """`1 per 36 hours`, `3 per 10 days`."""
    if length.business:
        sentence = f"`{text}`: caps count days as they come"
        raise ValueError(f"{sentence}; write `per {length.business} days`")
    if length == Duration():
        raise misread(text, "has an empty window")
    # A window is counted in elapsed seconds or in local days, never in both.
    if length.seconds:
        return CapPhrase(limit, 0, length.seconds, text)
    days = length.days or length.months * 30
    return CapPhrase(limit, days, 0, text)


def when_capped(text: str) -> timedelta | None:
    """`wait up to 2 days`, or `skip` (None)."""
    if text == "skip":
        return None
    if found := re.fullmatch(r"wait up to (.+)", text):
        return span(found[1])
    raise misread(text, "is neither `skip` nor like `wait up to 2 days`")


# --- schedules and moments

# In cron's order: its Sunday is 0.
DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
DAY = "|".join(DAYS)
CLOCK = r"\d{1,2}:\d\d"
HOW_SCHEDULED = (
    "a schedule is a cron line (`0 10 * * THU`), a phrase (`every Thursday at 10:00`, "
    "`every day at 9:00`, `every 2 weeks on Monday at 9:00`, "
    "`the 1st of every month at 8:00`, "
    "`the last Friday of every month at 9:00`) or one date and time "
    "(`2026-12-01 9:00`)"
)
# What stands before `at 9:00`, and the last three fields of its cron line.
CRON_PHRASES = (
    (r"every day", "* * *"),
    (r"every weekday", "* * 1-5"),
    (rf"every (?P<weekday>{DAY})", "* * {weekday}"),
    (r"the (?P<date>\d{1,2})(?:st|nd|rd|th) of every month", "{date} * *"),
    (r"the last day of every month", "L * *"),
    (rf"the last (?P<weekday>{DAY}) of every month", "* * {weekday}L"),
)
# Cron has no weeks, so these are counted from a Monday.
WEEKS = re.compile(
    rf"every (\d{{1,2}}) weeks on (\w+) at ({CLOCK})(?: from (\d{{4}}-\d\d-\d\d))?",
    re.I,
)
DATE_TIME = re.compile(rf"(\d{{4}}-\d\d-\d\d)[ T]({CLOCK})")


def schedule(text: str) -> Schedule:
    """A cron line, a phrase or one date-time."""
    text = text.strip()
    if DATE_TIME.fullmatch(text):
        return Once(date_time(text), text)
    if found := WEEKS.fullmatch(text):
        return _weeks(found, text)
    line = _cron_line(text) or text
    # CronSim takes a sixth field for seconds; nothing is sent by the second.
    if len(line.split()) != 5:
        raise misread(text, f"is not a schedule: {HOW_SCHEDULED}")
    try:
        CronSim(line, datetime.combine(WEEKS_FROM, time()))
    except CronSimError as error:
        sentence = f"`{text}` is not a cron line ({error})"
        raise ValueError(f"{sentence}: {HOW_SCHEDULED}") from None
    return Cron(line, text)


def _weeks(found: re.Match[str], text: str) -> Weeks:
    """`every 2 weeks on Monday at 9:00`, counted from a Monday."""
    number, day = int(found[1]), found[2].casefold()
    if day not in DAYS or not 1 <= number <= 52:
        example = "`every 2 weeks on Monday at 9:00`"
        raise ValueError(f"`{text}` is not a schedule like {example}")
    return Weeks(
        number=number,
        weekday=_weekday(day),
        minute=_clock_time(found[3]),
        start=parse_date(found[4]) if found[4] else WEEKS_FROM,
        text=text,
    )


def _weekday(day: str) -> int:
    """The number that Python gives a day: Monday is 0."""
    return (DAYS.index(day) - 1) % 7


def date_time(text: str) -> datetime:
    """`2026-12-01 9:00`, on the wall clock."""
    found = DATE_TIME.fullmatch(text.strip())
    try:
        if not found:
            raise ValueError
        midnight = datetime.combine(parse_date(found[1]), time())
        # 24:00 of the last day there is lies past what a datetime holds.
        return midnight + timedelta(minutes=minute(found[2]))
    except (ValueError, OverflowError):
        raise ValueError(
            f"`{text[:60]}` is not a date and time like 2026-12-01 9:00"
        ) from None


def _cron_line(text: str) -> str | None:
    """The cron line of a phrase like `every Thursday at 10:00`; None if it is none."""
    found = re.fullmatch(rf"(.+) at ({CLOCK})", text, re.I)
    if not found:
        return None
    hour, minutes = divmod(_clock_time(found[2]), 60)
    days = _cron_days(found[1].casefold())
    return f"{minutes} {hour} {days}" if days else None


def _cron_days(when: str) -> str | None:
    """The last three fields of a cron line: days of the month, months, weekdays."""
    for pattern, fields in CRON_PHRASES:
        found = re.fullmatch(pattern, when)
        if found is None:
            continue
        parts = found.groupdict()
        if "weekday" in parts:
            parts["weekday"] = DAYS.index(parts["weekday"])
        return fields.format(**parts)
    return None


@dataclass(frozen=True, slots=True)
class DatePhrase:
    """`14 days before vehicle.oil_change_due`; a field alone has no offset."""

    offset: Duration
    field: str


def date_phrase(text: str) -> DatePhrase:
    """`vehicle.oil_change_due`, `14 days before …`, `6 months after …`."""
    if found := re.fullmatch(r"(.+) (before|after) ([\w.]+)", text.strip()):
        offset = _whole_days(found[1])
        return DatePhrase(-offset if found[2] == "before" else offset, found[3])
    if re.fullmatch(r"[\w.]+", text.strip()):
        return DatePhrase(Duration(), text.strip())
    example = "`14 days before lease.lease_end`"
    raise ValueError(f"`{text}` is not a date field, nor like {example}")


MOVED_BY = "a date moves by days, weeks, months or years"


def _whole_days(text: str) -> Duration:
    """A length by which a date can be moved: a date has no hours."""
    length = duration(text)
    if length.business:
        raise ValueError(f"`{text}`: {MOVED_BY}")
    if length.seconds:
        raise misread(text, f"is shorter than a day; {MOVED_BY}")
    return length


DAY_WORDS: dict[str, DayWord] = {
    "business day": "business day",
    "weekday": "business day",
    "tomorrow": "tomorrow",
}
HOW_UNTIL = (
    "`wait: until` takes a moment like `until Friday at 9:00`, "
    "`until next business day at 10:00`, `until 18:00`, `until 2026-12-01 9:00` "
    "or `until 5 days before coupon.expires`"
)
NEXT_CLOCK = re.compile(
    rf"(?:(?:next )?(business day|weekday|day|\w+day|tomorrow) at )?({CLOCK})", re.I
)


def until(text: str) -> Until | DatePhrase:
    """What stands after `until`.

    A date that is not known yet comes back as its phrase.
    """
    text = text.strip()
    if DATE_TIME.fullmatch(text):
        return FixedTime(date_time(text))
    if (found := NEXT_CLOCK.fullmatch(text)) and (clock := _next_clock(found)):
        return clock
    try:
        phrase = date_phrase(text)
    except ValueError:
        raise ValueError(f"`until {text}` is no moment: {HOW_UNTIL}") from None
    # A bare word is no date's name: `until Friday` lacks its hour.
    if "." not in phrase.field:
        raise ValueError(f"`until {text}` is no moment: {HOW_UNTIL}")
    return phrase


def _next_clock(found: re.Match[str]) -> NextClock | None:
    """`Friday at 9:00`, `next business day at 10:00`, `18:00`."""
    at = _clock_time(found[2])
    if found[1] is None:
        return NextClock(at, "day")
    day = found[1].casefold()
    if day in DAYS:
        return NextClock(at, "day", _weekday(day))
    # `day at 9:00` is no row there: it could mean today or tomorrow.
    word = DAY_WORDS.get(day)
    return NextClock(at, word) if word else None


# --- what else stands in a file


GOOD_FOR_DAYS = "a coupon is good until the end of a day; write `in 1 day` or more"


def expires(text: str) -> Duration | None:
    """`in 30 days`, or `never` (None)."""
    if text == "never":
        return None
    length = duration(text.removeprefix("in "))
    if length.seconds:
        raise ValueError(f"`{text}`: {GOOD_FOR_DAYS}")
    return length


def points(text: str) -> int:
    """`50`, `add 50`, `redeem 100` (negative)."""
    found = re.fullmatch(r"(?:(add|redeem) )?(-?\d{1,9})", text.strip())
    number = int(found[2]) if found else 0
    # Redeeming a negative number would add.
    if not found or number == 0 or (found[1] and number < 0):
        raise misread(text, "is no number of points like `50` or `redeem 100`")
    return -number if found[1] == "redeem" else number


def winner(text: str) -> Duration:
    """`goal after 14 days`."""
    found = re.fullmatch(r"goal after (.+)", text.strip())
    if not found:
        raise misread(text, "is not like `goal after 14 days`")
    return duration(found[1])


def percent(text: str) -> float:
    """`10%` as 0.1."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*%", text.strip())
    if not found or float(found[1]) > 100:
        raise misread(text, "is not a share like `10%`")
    return float(found[1]) / 100


def count(text: str) -> int:
    """A whole number."""
    # Nine digits fit the database's integers of 32 bits.
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise misread(text, "is not a whole number")
    return int(text)


EVENT_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


def event_name(text: str) -> str:
    """`order.placed`."""
    if not EVENT_NAME.fullmatch(text):
        raise misread(text, "is not an event's name like `order.placed`")
    return text


MAILBOX_EXAMPLE = "`Maple Street <hello@maplestreet.example>`"


def mailbox(text: str) -> Mailbox:
    """`Maple Street <hello@maplestreet.example>` or an address alone.

    As a mailbox of RFC 5322, section 3.4.
    """
    # A line break would begin another header of the mail (RFC 5322, 2.2).
    if any(char < " " for char in text):
        raise ValueError(f"a sender stands in one line, like {MAILBOX_EXAMPLE}")
    name, address = parseaddr(text)
    try:
        # Reserved names (RFC 2606) are what examples and tests are written with.
        validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise ValueError(f"`{text}` is not a sender like {MAILBOX_EXAMPLE}") from None
    return Mailbox(name, address)


def priority(text: str) -> int:
    """`low`, `normal`, `high`, or 0 to 100."""
    if text in PRIORITIES:
        return PRIORITIES[text]
    if re.fullmatch(r"\d{1,3}", text) and int(text) <= 100:
        return int(text)
    raise misread(
        text, "is not a priority: low, normal, high, or a number from 0 to 100"
    )
