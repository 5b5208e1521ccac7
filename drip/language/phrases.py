"""The plain phrases of values: durations, clock ranges, caps, schedules, points in time, senders.

Each takes what was written and gives what it means, or raises ValueError with a sentence that says how
it should look.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from email.utils import parseaddr

from cronsim import CronSim, CronSimError
from email_validator import EmailNotValidError, validate_email

from drip.core.calendar import MINUTES_A_DAY, ClockRange, Duration, SendWindow
from drip.core.campaign import PRIORITIES
from drip.core.fields import parse_date
from drip.core.message import Mailbox
from drip.core.schedule import WEEKS_FROM, Cron, Once, Schedule, Weeks
from drip.core.steps import DayWord, FixedTime, NextClock, Until

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MOST = {
    "minute": 99_999,
    "hour": 99_999,
    "day": 36_500,
    "week": 5_200,
    "month": 1_200,
    "year": 100,
}
MOST_BUSINESS_DAYS = 1_000
HOW_LONG = "a length of time looks like `2 hours`, `3 days`, `6 months` or `1 year`"


def duration(text: str) -> Duration:
    """`2 hours`, `3 days`, `2 weeks`, `6 months`, `1 year`."""
    found = re.fullmatch(
        r"(\d{1,5})\s+(business\s+)?(minute|hour|day|week|month|year)s?", text.strip()
    )
    if not found:
        raise ValueError(f"`{text}` is not a length of time: {HOW_LONG}")
    number = int(found[1])
    if found[2]:
        if found[3] != "day" or number > MOST_BUSINESS_DAYS:
            raise ValueError(
                f"`{text}` is not a number of business days, at most {MOST_BUSINESS_DAYS}"
            )
        return Duration(business=number)
    if not number:
        raise ValueError(f"`{text}` is no time at all: {HOW_LONG}")
    if number > MOST[found[3]]:
        raise ValueError(f"`{text}` is longer than 100 years")
    match found[3]:
        case "minute":
            return Duration(seconds=number * 60)
        case "hour":
            return Duration(seconds=number * 3600)
        case "day":
            return Duration(days=number)
        case "week":
            return Duration(days=number * 7)
        case "month":
            return Duration(months=number)
        case _:
            return Duration(months=number * 12)


def span(text: str) -> timedelta:
    """A duration where only its length matters, as for grace: months of 30 days, years of 365."""
    long = duration(text)
    if long.business:
        raise ValueError(
            f"`{text}`: here days are counted as they come; write `{long.business} days`"
        )
    years, months = divmod(long.months, 12)
    return timedelta(days=years * 365 + months * 30 + long.days, seconds=long.seconds)


def minute(text: str) -> int:
    """`9:00` or `21:30`, as a minute of the day; `24:00` is the end of it."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", text.strip())
    value = int(found[1]) * 60 + int(found[2]) if found else MINUTES_A_DAY + 1
    if not found or int(found[2]) > 59 or value > MINUTES_A_DAY:
        raise ValueError(f"`{text}` is not a time of day like 9:00 or 21:30")
    return value


def clock_range(text: str) -> ClockRange:
    """`9:00-19:00`; may cross midnight."""
    opens, dash, closes = text.partition("-")
    if not dash:
        raise ValueError(f"`{text}` is not a range of hours like 9:00-19:00")
    range_ = ClockRange(minute(opens) % MINUTES_A_DAY, minute(closes) or MINUTES_A_DAY)
    if range_.opens == range_.closes or minute(opens) == MINUTES_A_DAY:
        raise ValueError(f"`{text}` begins and ends at the same time")
    return range_


ON_BUSINESS_DAYS = " on business days"


def send_window(text: str) -> SendWindow:
    """`9:00-19:00`, or `9:00-17:00 on business days`."""
    hours, on, days = " ".join(text.split()).partition(" on ")
    if on and on + days != ON_BUSINESS_DAYS:
        raise ValueError(
            f"`{days}` is not `business days`; a send window looks like `9:00-17:00 on business days`"
        )
    return SendWindow(clock_range(hours), business_days=bool(on))


def quiet_hours(text: str) -> ClockRange:
    """A clock range that leaves some of the day."""
    range_ = clock_range(text)
    if (range_.opens, range_.closes) == (0, MINUTES_A_DAY):
        raise ValueError(
            "quiet hours of the whole day would let no message go; use `status: paused` instead"
        )
    return range_


@dataclass(frozen=True, slots=True)
class CapPhrase:
    """`3 per week` before it is known what it applies to."""

    limit: int
    days: int
    seconds: int
    text: str


HOW_CAPPED = "a cap looks like `1 per day, 3 per week`, `1 per 36 hours` or `at least 4 hours apart`"
WINDOWS = {"day": 1, "week": 7, "month": 30}


def caps(text: str) -> tuple[CapPhrase, ...]:
    """`1 per day, 3 per week`."""
    return tuple(_cap(part.strip()) for part in text.split(","))


def _cap(text: str) -> CapPhrase:
    if found := re.fullmatch(r"at least (\d+ (?:hour|minute)s?) apart", text):
        return CapPhrase(1, 0, duration(found[1]).seconds, text)
    if found := re.fullmatch(r"(\d{1,6}) per (day|week|month)", text):
        return CapPhrase(int(found[1]), WINDOWS[found[2]], 0, text)
    if found := re.fullmatch(r"(\d{1,6}) per (\d+ \w+)", text):
        long = duration(found[2])
        if long.business:
            raise ValueError(
                f"`{text}`: caps count days as they come; write `per {long.business} days`"
            )
        if long == Duration():
            raise ValueError(f"`{text}` has an empty window")
        if long.seconds:
            return CapPhrase(int(found[1]), 0, long.seconds, text)
        return CapPhrase(int(found[1]), long.days or long.months * 30, 0, text)
    raise ValueError(f"`{text}` is not a cap: {HOW_CAPPED}")


def when_capped(text: str) -> timedelta | None:
    """`wait up to 2 days`, or `skip` (None)."""
    if text == "skip":
        return None
    if found := re.fullmatch(r"wait up to (.+)", text):
        return span(found[1])
    raise ValueError(f"`{text}` is neither `skip` nor like `wait up to 2 days`")


HOW_SCHEDULED = (
    "a schedule is a cron line (`0 10 * * THU`), a phrase (`every Thursday at 10:00`, `every day at 9:00`, "
    "`every 2 weeks on Monday at 9:00`, `the 1st of every month at 8:00`, "
    "`the last Friday of every month at 9:00`) or one date and time "
    "(`2026-12-01 9:00`)"
)


def schedule(text: str) -> Schedule:
    """A cron line, a phrase or one date-time."""
    text = text.strip()
    if DATE_TIME.fullmatch(text):
        return Once(date_time(text), text)
    if found := re.fullmatch(WEEKS, text, re.I):
        return _weeks(found, text)
    line = _phrase_to_cron(text) or text
    if len(line.split()) != 5:
        raise ValueError(f"`{text}` is not a schedule: {HOW_SCHEDULED}")
    try:
        CronSim(line, datetime.combine(WEEKS_FROM, time()))
        return Cron(line, text)
    except CronSimError as error:
        raise ValueError(
            f"`{text}` is not a cron line ({error}): {HOW_SCHEDULED}"
        ) from None


WEEKS = r"every (\d{1,2}) weeks on (\w+) at (\d{1,2}:\d\d)(?: from (\d{4}-\d\d-\d\d))?"


def _weeks(found: re.Match[str], text: str) -> Weeks:
    number, day = int(found[1]), found[2].casefold()
    if day not in DAYS or not 1 <= number <= 52:
        raise ValueError(
            f"`{text}` is not a schedule like `every 2 weeks on Monday at 9:00`"
        )
    weekday = (DAYS.index(day) - 1) % 7
    start = parse_date(found[4]) if found[4] else WEEKS_FROM
    return Weeks(number, weekday, minute(found[3]) % MINUTES_A_DAY, start, text)


DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d{1,2}:\d\d)")


def date_time(text: str) -> datetime:
    """`2026-12-01 9:00`, on the wall clock."""
    found = DATE_TIME.fullmatch(text.strip())
    try:
        if not found:
            raise ValueError
        return datetime.combine(parse_date(found[1]), time()) + timedelta(
            minutes=minute(found[2])
        )
    except (ValueError, OverflowError):
        raise ValueError(
            f"`{text[:60]}` is not a date and time like 2026-12-01 9:00"
        ) from None


def _phrase_to_cron(text: str) -> str | None:
    found = re.fullmatch(r"(.+) at (\d{1,2}:\d\d)", text, re.I)
    if not found:
        return None
    when, at = found[1].casefold(), minute(found[2]) % MINUTES_A_DAY
    clock = f"{at % 60} {at // 60}"
    if when == "every day":
        return f"{clock} * * *"
    if when == "every weekday":
        return f"{clock} * * 1-5"
    if (day := re.fullmatch(r"every (\w+)", when)) and day[1] in DAYS:
        return f"{clock} * * {DAYS.index(day[1])}"
    if day := re.fullmatch(r"the (\d{1,2})(?:st|nd|rd|th) of every month", when):
        return f"{clock} {day[1]} * *"
    if when == "the last day of every month":
        return f"{clock} L * *"
    if (day := re.fullmatch(r"the last (\w+) of every month", when)) and day[1] in DAYS:
        return f"{clock} * * {DAYS.index(day[1])}L"
    return None


@dataclass(frozen=True, slots=True)
class DatePhrase:
    """`14 days before vehicle.oil_change_due`; a field alone has no offset."""

    offset: Duration
    field: str


def date_phrase(text: str) -> DatePhrase:
    """`vehicle.oil_change_due`, `14 days before …`, `6 months after …`."""
    if found := re.fullmatch(r"(.+) (before|after) ([\w.]+)", text.strip()):
        long = duration(found[1])
        if long.business:
            raise ValueError(
                f"`{found[1]}`: a date moves by days, weeks, months or years"
            )
        if long.seconds:
            raise ValueError(
                f"`{found[1]}` is shorter than a day; a date moves by days, weeks, months or years"
            )
        return DatePhrase(-long if found[2] == "before" else long, found[3])
    if re.fullmatch(r"[\w.]+", text.strip()):
        return DatePhrase(Duration(), text.strip())
    raise ValueError(
        f"`{text}` is not a date field, nor like `14 days before lease.lease_end`"
    )


DAY_WORDS: dict[str, DayWord] = {
    "business day": "business day",
    "weekday": "business day",
    "tomorrow": "tomorrow",
    "day": "day",
}
HOW_UNTIL = (
    "`wait: until` takes a moment like `until Friday at 9:00`, `until next business day at 10:00`, "
    "`until 18:00`, `until 2026-12-01 9:00` or `until 5 days before coupon.expires`"
)


def until(text: str) -> Until | DatePhrase:
    """What stands after `until`. A date that is not known yet comes back as its phrase."""
    text = text.strip()
    if DATE_TIME.fullmatch(text):
        return FixedTime(date_time(text))
    if found := re.fullmatch(
        r"(?:(?:next )?(business day|weekday|day|\w+day|tomorrow) at )?(\d{1,2}:\d\d)",
        text,
        re.I,
    ):
        at, day = minute(found[2]) % MINUTES_A_DAY, (found[1] or "day").casefold()
        if day in DAYS:
            return NextClock(at, "day", (DAYS.index(day) - 1) % 7)
        if day in DAY_WORDS and (day != "day" or found[1] is None):
            return NextClock(at, DAY_WORDS[day])
    try:
        phrase = date_phrase(text)
    except ValueError:
        raise ValueError(f"`until {text}` is no moment: {HOW_UNTIL}") from None
    if "." not in phrase.field:
        raise ValueError(f"`until {text}` is no moment: {HOW_UNTIL}")
    return phrase


def expires(text: str) -> Duration | None:
    """`in 30 days`, or `never`."""
    if text == "never":
        return None
    long = duration(text.removeprefix("in "))
    if long.seconds:
        raise ValueError(
            f"`{text}`: a coupon is good until the end of a day; write `in 1 day` or more"
        )
    return long


def points(text: str) -> int:
    """`50`, `add 50`, `redeem 100` (negative)."""
    found = re.fullmatch(r"(?:(add|redeem) )?(-?\d{1,9})", text.strip())
    if not found or int(found[2]) == 0 or (found[1] and found[2].startswith("-")):
        raise ValueError(f"`{text}` is no number of points like `50` or `redeem 100`")
    return -int(found[2]) if found[1] == "redeem" else int(found[2])


def winner(text: str) -> Duration:
    """`goal after 14 days`."""
    found = re.fullmatch(r"goal after (.+)", text.strip())
    if not found:
        raise ValueError(f"`{text}` is not like `goal after 14 days`")
    return duration(found[1])


def percent(text: str) -> float:
    """`10%` as 0.1."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*%", text.strip())
    if not found or float(found[1]) > 100:
        raise ValueError(f"`{text}` is not a share like `10%`")
    return float(found[1]) / 100


def count(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise ValueError(f"`{text}` is not a whole number")
    return int(text)


EVENT_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


def event_name(text: str) -> str:
    """`order.placed`."""
    if not EVENT_NAME.fullmatch(text):
        raise ValueError(f"`{text}` is not an event's name like `order.placed`")
    return text


def mailbox(text: str) -> Mailbox:
    """`Maple Street <hello@maplestreet.example>` or an address alone."""
    if any(char < " " for char in text):
        raise ValueError(
            "a sender stands in one line, like `Maple Street <hello@maplestreet.example>`"
        )
    name, address = parseaddr(text)
    try:
        validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise ValueError(
            f"`{text}` is not a sender like `Maple Street <hello@maplestreet.example>`"
        ) from None
    return Mailbox(name, address)


def priority(text: str) -> int:
    """`low`, `normal`, `high`, or 0 to 100."""
    if text in PRIORITIES:
        return PRIORITIES[text]
    if re.fullmatch(r"\d{1,3}", text) and int(text) <= 100:
        return int(text)
    raise ValueError(
        f"`{text}` is not a priority: low, normal, high, or a number from 0 to 100"
    )
