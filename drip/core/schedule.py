"""Schedules.

Cron lines, every so many weeks, and single date-times on the recipient's wall clock.

Parsing and stepping are cronsim's (0 and 7 are Sunday; day-of-month and weekday are
OR-ed as cron does); what daylight saving does to an occurrence is `calendar.instant`'s
rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from drip.core.calendar import instant, local

# A zone's clock is set back or forward by at most a day (Samoa, 2011).
SLACK = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A five-field cron line."""

    line: str
    text: str

    def latest(
        self, after: datetime, until: datetime, where: ZoneInfo
    ) -> datetime | None:
        """The newest local occurrence whose instant lies in (after, until]."""
        for wall in CronSim(self.line, local(until, where) + SLACK, reverse=True):
            at = instant(wall, where)
            if at <= after:
                return None
            if at <= until:
                return wall
        return None

    def upcoming(self, after: datetime, where: ZoneInfo) -> datetime | None:
        """The instant of the first occurrence after `after`.

        None if there is none in sight.
        """
        for wall in CronSim(self.line, local(after, where) - SLACK):
            at = instant(wall, where)
            if at > after:
                return at
        return None

    def several_a_day(self) -> bool:
        """Whether the line can fire more than once on a day.

        A date does not name an occurrence then.
        """
        minute, hour = self.line.split()[:2]
        return not (minute.isdigit() and hour.isdigit())


@dataclass(frozen=True, slots=True)
class Once:
    """A single date-time: one blast."""

    wall: datetime
    text: str

    def latest(
        self, after: datetime, until: datetime, where: ZoneInfo
    ) -> datetime | None:
        """The local date-time, if its instant lies in (after, until]."""
        return self.wall if after < instant(self.wall, where) <= until else None

    def upcoming(self, after: datetime, where: ZoneInfo) -> datetime | None:
        """Its instant, if that is after `after`."""
        at = instant(self.wall, where)
        return at if at > after else None

    def several_a_day(self) -> bool:
        return False


# A Monday, from which `every 2 weeks` counts where no date is given.
WEEKS_FROM = date(2024, 1, 1)


@dataclass(frozen=True, slots=True)
class Weeks:
    """Every so many weeks on a weekday, counted from the week of `start`.

    Monday is 0.
    """

    number: int
    weekday: int
    minute: int
    start: date
    text: str

    def latest(
        self, after: datetime, until: datetime, where: ZoneInfo
    ) -> datetime | None:
        """The newest local occurrence whose instant lies in (after, until]."""
        at = self._nearest((local(until, where) + SLACK).date())
        while at.date() >= self.start:
            found = instant(at, where)
            if found <= after:
                return None
            if found <= until:
                return at
            at -= timedelta(weeks=self.number)
        return None

    def upcoming(self, after: datetime, where: ZoneInfo) -> datetime | None:
        """The instant of the first occurrence after `after`."""
        at = max(
            self._nearest((local(after, where) - SLACK).date()),
            self._nearest(self._first()),
        )
        while instant(at, where) <= after:
            at += timedelta(weeks=self.number)
        return instant(at, where)

    def several_a_day(self) -> bool:
        return False

    def _first(self) -> date:
        first = self._monday() + timedelta(days=self.weekday)
        return first if first >= self.start else first + timedelta(weeks=self.number)

    def _monday(self) -> date:
        return self.start - timedelta(days=self.start.weekday())

    def _nearest(self, day: date) -> datetime:
        """The newest occurrence of the series before `day`, or on it."""
        first = self._monday() + timedelta(days=self.weekday)
        weeks = (day - first).days // (7 * self.number) * self.number
        return datetime.combine(first + timedelta(weeks=weeks), time()) + timedelta(
            minutes=self.minute
        )


Schedule = Cron | Once | Weeks
