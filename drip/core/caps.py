"""Frequency caps: does a message at this instant keep every rule, and if not, when would it.

`per day`, `per week` and `per month` count local calendar days: today, any 7 days in a row, any 30.
`per N hours` is an exact rolling window, half open: two messages exactly N hours apart are not in one.
`at least N apart` is the rolling window with one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from drip.core.calendar import instant, local
from drip.errors import Place


@dataclass(frozen=True, slots=True)
class Cap:
    """One rule: at most `limit` counted messages of its scope in `days` local days, or in `seconds`."""

    scope: Literal["all", "channel", "topic", "campaign"]
    name: str
    limit: int
    text: str
    place: Place
    days: int = 0
    seconds: int = 0

    def counts(self, channel: str, topic: str | None, campaign: str) -> bool:
        """Whether a message of this channel, topic and campaign is in the rule's scope."""
        names = {"all": self.name, "channel": channel, "topic": topic, "campaign": campaign}
        return names[self.scope] == self.name


@dataclass(frozen=True, slots=True)
class Use:
    """A counted message. It left, or may have left, at some instant from `first` to `last`."""

    first: datetime
    last: datetime
    channel: str
    topic: str | None
    campaign: str
    label: str


@dataclass(frozen=True, slots=True)
class Full:
    """A cap without a free place, what fills it, and when it frees (None: never)."""

    cap: Cap
    filled_by: tuple[Use, ...]
    frees: datetime | None


def first_full(caps: Sequence[Cap], uses: Sequence[Use], now: datetime, where: ZoneInfo) -> Full | None:
    """The first of `caps` that a message at `now` would break, or None. `caps` are those that apply to it."""
    for cap in caps:
        counted = [use for use in uses if cap.counts(use.channel, use.topic, use.campaign)]
        if len(counted) < cap.limit:
            continue
        filling = _filling(cap, counted, now, where)
        if len(filling) >= cap.limit:
            return Full(cap, tuple(filling), _frees(cap, counted, now, where))
    return None


def longest_memory(caps: Iterable[Cap]) -> timedelta:
    """How far back uses can matter. A local day is up to 25 hours, and a zone may change by a day."""
    return max(
        (timedelta(days=cap.days + 2) if cap.days else timedelta(seconds=cap.seconds) for cap in caps),
        default=timedelta(0),
    )


def _filling(cap: Cap, uses: list[Use], now: datetime, where: ZoneInfo) -> list[Use]:
    """The uses in the fullest window that holds `now`."""
    if cap.days:
        return _in_days(cap, uses, local(now, where).date(), where)
    span = timedelta(seconds=cap.seconds)
    near = [use for use in uses if use.last > now - span and use.first < now + span]
    # A window that holds now starts at now, or at a use in the span before it.
    oldest = now - span + timedelta(milliseconds=1)
    starts = [now] + [max(use.first, oldest) for use in near if use.first < now]
    windows = ([use for use in near if use.last >= start and use.first < start + span] for start in starts)
    ahead = any(use.first > now for use in near)
    return max(windows, key=len) if ahead else near


def _in_days(cap: Cap, uses: list[Use], day: date, where: ZoneInfo) -> list[Use]:
    spans = [(local(use.first, where).date(), local(use.last, where).date(), use) for use in uses]
    length = timedelta(days=cap.days - 1)
    # Without a use after today (a clock set back) the window that ends today is the fullest.
    ahead = any(last > day for _, last, _ in spans)
    starts = [day - timedelta(days=n) for n in range(cap.days)] if ahead else [day - length]
    windows = ([use for first, last, use in spans if last >= s and first <= s + length] for s in starts)
    return max(windows, key=len)


def _frees(cap: Cap, uses: list[Use], now: datetime, where: ZoneInfo) -> datetime | None:
    """The first instant after `now` at which the rule has a place, if nothing else leaves."""
    if cap.limit == 0:
        return None
    if cap.days:
        return _frees_on(cap, uses, local(now, where).date(), where)
    times = sorted(use.last + timedelta(seconds=cap.seconds) for use in uses)
    later = (at for at in times if at > now)
    return next((at for at in later if len(_filling(cap, uses, at, where)) < cap.limit), None)


def _frees_on(cap: Cap, uses: list[Use], today: date, where: ZoneInfo) -> datetime | None:
    days = sorted({local(use.last, where).date() + timedelta(days=cap.days) for use in uses})
    for day in days:
        if day > today and len(_in_days(cap, uses, day, where)) < cap.limit:
            return instant(datetime.combine(day, time()), where)
    return None
