"""Frequency caps.

Does a message at this instant keep every rule, and if not, when would it?
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from drip.core.calendar import from_millis, instant, millis
from drip.errors import Place

# How many days before and after a day are looked up at once: a month's window, and a
# little more.
AROUND = 36
# In milliseconds; and the ordinal of 1970-01-01.
SECOND, DAY = 1_000, 86_400_000
UNIX_DAY = date(1970, 1, 1).toordinal()


Scope = Literal["all", "channel", "topic", "campaign"]


@dataclass(frozen=True, slots=True)
class Cap:
    """One rule.

    At most `limit` counted messages of its scope in `days` local days, or in `seconds`.
    """

    scope: Scope
    name: str
    limit: int
    text: str
    place: Place
    days: int = 0
    seconds: int = 0

    def counts(self, channel: str, topic: str | None, campaign: str) -> bool:
        """Whether the rule counts messages of this channel, topic and campaign."""
        match self.scope:
            case "all":
                return True
            case "channel":
                return channel == self.name
            case "topic":
                return topic == self.name
        return campaign == self.name


class Use(NamedTuple):
    """A counted message.

    It left, or may have left, at some instant from `first` to `last`.

    Both are milliseconds since 1970 in UTC: a judgement compares dozens of them.
    `reserved` is one that has not been granted yet, but has its slot kept.
    """

    first: int
    last: int
    channel: str
    topic: str | None
    campaign: str
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Full:
    """A cap without a free place, what fills it, and when it frees (None: never)."""

    cap: Cap
    filled_by: tuple[Use, ...]
    frees: datetime | None


def first_full(
    caps: Sequence[Cap], uses: Sequence[Use], now: datetime, where: ZoneInfo
) -> Full | None:
    """The first of `caps` that a message at `now` would break, or None.

    `caps` are those that apply to it.
    """
    at = millis(now)
    ahead = False
    # A plain loop: a generator for `any` takes twice as long here.
    for use in uses:
        if use.last > at:
            ahead = True
    for cap in caps:
        if len(uses) < cap.limit:
            continue
        if not ahead:
            # As nearly always: the fullest window is the one that ends now, and it
            # takes one comparison for each use.
            since = _since(cap.days, cap.seconds, at, where)
            if cap.scope == "all":
                number = sum([use.last >= since for use in uses])
            else:
                number = sum(
                    [
                        use.last >= since
                        and cap.counts(use.channel, use.topic, use.campaign)
                        for use in uses
                    ]
                )
            if number < cap.limit:
                continue
        full = _full(cap, uses, at, where)
        if full:
            return full
    return None


@lru_cache(maxsize=10_000)
def _since(days: int, seconds: int, now: int, where: ZoneInfo) -> int:
    """From when on a use is in the window that ends with `now`.

    The window has so many seconds, or local days of which the last one is `now`'s.
    """
    # Of 24 hours from 9:00 to 9:00 one end is inside: what left at 9:00 the day before
    # is over.
    if not days:
        return now - seconds * SECOND + 1
    return _midnight(_day(now, where) - days + 1, where)


def _full(cap: Cap, uses: Sequence[Use], now: int, where: ZoneInfo) -> Full | None:
    """Whether a cap has no place at `now`, looked at thoroughly."""
    counted = [use for use in uses if cap.counts(use.channel, use.topic, use.campaign)]
    if cap.days:
        return _full_by_days(cap, counted, now, where)
    inside = _in_seconds(cap, counted, now)
    if len(inside) < cap.limit:
        return None
    frees = _frees_at(cap, counted, now) if cap.limit else None
    return Full(cap, tuple(inside), frees)


def _full_by_days(
    cap: Cap, counted: list[Use], now: int, where: ZoneInfo
) -> Full | None:
    today = _day(now, where)
    spans = [_span(use, where) for use in counted]
    inside = [counted[number] for number in _in_days(cap, spans, today)]
    if len(inside) < cap.limit:
        return None
    # A cap of none is full for ever, whatever leaves its window.
    frees = _frees_on(cap, spans, today, where) if cap.limit else None
    return Full(cap, tuple(inside), frees)


def longest_memory(caps: Iterable[Cap]) -> timedelta:
    """How far back uses can matter.

    A local day is up to 25 hours, and a zone may change by a day.
    """
    return max(map(_memory, caps), default=timedelta(0))


def _memory(cap: Cap) -> timedelta:
    if cap.days:
        return timedelta(days=cap.days + 2)
    return timedelta(seconds=cap.seconds)


def _in_seconds(cap: Cap, uses: list[Use], now: int) -> list[Use]:
    """The uses in the fullest window that holds `now`."""
    span = cap.seconds * SECOND
    near = [use for use in uses if use.last > now - span and use.first < now + span]
    if not any(use.first > now for use in near):
        return near
    # A window that holds now starts at now, or at a use in the span before it.
    oldest = now - span + 1
    starts = [now] + [max(use.first, oldest) for use in near if use.first < now]
    # What has no clear instant counts in every window that it may lie in.
    windows = (
        [use for use in near if use.last >= start and use.first < start + span]
        for start in starts
    )
    return max(windows, key=len)


def _in_days(cap: Cap, spans: Sequence[tuple[int, int]], day: int) -> list[int]:
    """Which of the uses are in the fullest window that holds `day`.

    They are named by their first and their last day.
    """
    # Without a use after today the window that ends today is the fullest.
    if not any(last > day for _, last in spans):
        start = day - cap.days + 1
        return [n for n, (_, last) in enumerate(spans) if last >= start]
    windows = (
        [
            n
            for n, (first, last) in enumerate(spans)
            if last >= start and first < start + cap.days
        ]
        for start in range(day, day - cap.days, -1)
    )
    return max(windows, key=len)


def _frees_at(cap: Cap, uses: list[Use], now: int) -> datetime | None:
    """When the rule next has a place, if nothing else leaves; after `now`."""
    # A place comes free only when a use leaves the window.
    for at in sorted(use.last + cap.seconds * SECOND for use in uses):
        if at > now and len(_in_seconds(cap, uses, at)) < cap.limit:
            return from_millis(at)
    return None


def _frees_on(
    cap: Cap, spans: Sequence[tuple[int, int]], today: int, where: ZoneInfo
) -> datetime | None:
    for day in sorted({last + cap.days for _, last in spans}):
        if day > today and len(_in_days(cap, spans, day)) < cap.limit:
            return from_millis(_midnight(day, where))
    return None


def _span(use: Use, where: ZoneInfo) -> tuple[int, int]:
    """The first and the last local day of a use, as ordinals."""
    first = _day(use.first, where)
    return first, first if use.first == use.last else _day(use.last, where)


def _midnight(day: int, where: ZoneInfo) -> int:
    """When a local day begins."""
    return millis(instant(datetime.combine(date.fromordinal(day), time()), where))


def _day(at: int, where: ZoneInfo) -> int:
    """The ordinal of the local day, looked up among the midnights around it."""
    first, midnights = _midnights(where, (at // DAY + UNIX_DAY) // AROUND)
    return first + bisect_right(midnights, at) - 1


@lru_cache(maxsize=4096)
def _midnights(where: ZoneInfo, part: int) -> tuple[int, list[int]]:
    """When each local day of a part of the calendar begins.

    With the ordinal of the first one. A day that the zone left out begins with the one
    after it.
    """
    # Two days more on either side: no zone is farther from UTC than a day.
    first = max(part * AROUND - 2, 1)
    end = (part + 1) * AROUND + 3
    return first, [_midnight(day, where) for day in range(first, end)]
