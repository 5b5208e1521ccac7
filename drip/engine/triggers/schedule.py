"""Runs that start by the clock and the calendar, for everybody in the audience."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from drip.core.calendar import instant, zone
from drip.core.campaign import Campaign, ScheduleTrigger
from drip.core.decide import Reason
from drip.core.schedule import Schedule
from drip.engine.triggers.kind import Absentee, Ahead, Look, StartOfAll
from drip.storage.campaigns import audience
from drip.storage.campaigns.cursors import Cursor

# What an occurrence is called, and its instant: both may be several zones'.
OccurrenceAt = tuple[str, datetime]
# By schedule and zone: from when it was looked for, and what comes next, if anything.
_Upcoming = dict[tuple[Schedule, str], tuple[datetime, datetime | None]]


class StartBySchedule:
    """Its cursor counts nothing: the clock alone says what has come.

    Remembers the zones that people live in while nobody's data changes, and when each
    schedule is next in each of them.
    """

    def __init__(self) -> None:
        self._zones: tuple[int, list[str | None]] = (-1, [])
        self._upcoming: _Upcoming = {}

    def counts(self, campaign: Campaign) -> str:
        return "schedule"

    def stands_at(self, connection: Connection, newest: Cursor) -> int:
        return newest.event_id

    def starts(self, look: Look) -> Iterable[StartOfAll]:
        """The newest occurrence since the look before, zone by zone.

        Older ones that were missed are dropped. At the first look nothing was missed.
        """
        # A campaign that goes live at noon does not send what was due at nine.
        if look.before is None:
            return
        fixed = look.campaign.timezone is not None
        # In order, since the numbers of runs come of it: two databases that saw the
        # same have the same ones.
        for (occurrence, since), zones in sorted(
            self._come(
                look,
                look.before,
            )
        ):
            yield StartOfAll(occurrence, since, None if fixed else zones)

    def _come(
        self,
        look: Look,
        before: Cursor,
    ) -> list[tuple[OccurrenceAt, list[str | None]]]:
        """The occurrences that have come, each with its zones."""
        schedule = _trigger(look.campaign).schedule
        home = look.campaign_set.settings.timezone
        found: dict[OccurrenceAt, list[str | None]] = defaultdict(list)
        for name in self._names(look):
            where = zone(name or home)
            if not self._may_have_come(
                schedule,
                before.at,
                look.now.at,
                where,
            ):
                continue
            wall = schedule.latest(
                before.at,
                look.now.at,
                where,
            )
            if wall is not None:
                found[
                    _occurrence(
                        schedule,
                        wall,
                    ),
                    instant(wall, where),
                ].append(name)
        return list(found.items())

    def _names(self, look: Look) -> list[str | None]:
        """The zones by whose clocks the schedule goes; None is the workspace's."""
        if look.campaign.timezone:
            return [look.campaign.timezone]
        return self._contact_zones(look)

    def _contact_zones(self, look: Look) -> list[str | None]:
        """Those that somebody lives in; asked again only after a change."""
        if self._zones[0] != look.now.change:
            self._zones = (look.now.change, audience.zones(look.connection))
        return self._zones[1]

    def _may_have_come(
        self,
        schedule: Schedule,
        after: datetime,
        until: datetime,
        where: ZoneInfo,
    ) -> bool:
        """Whether an occurrence can lie after `after` and up to `until`.

        Most often none does, which is known from the look before.
        """
        key = (schedule, where.key)
        start, upcoming = self._upcoming.get(key, (None, None))
        known = start is not None and start <= after
        if not known or (upcoming is not None and upcoming <= after):
            upcoming = schedule.upcoming(after, where)
            self._upcoming[key] = (after, upcoming)
        return upcoming is not None and upcoming <= until

    def coming(self, ahead: Ahead) -> Iterable[datetime]:
        campaign, settings = ahead.campaign, ahead.campaign_set.settings
        schedule = _trigger(campaign).schedule
        names: list[str | None] = [campaign.timezone]
        if not campaign.timezone:
            names = audience.zones(ahead.connection, ahead.after)
        for name in names:
            where = zone(name or settings.timezone)
            yield from _occasions(
                schedule,
                ahead.start,
                ahead.end,
                where,
            )

    def why_nobody(self, absentee: Absentee) -> Reason:
        return absentee.because("no occurrence of its schedule is near")


def _trigger(campaign: Campaign) -> ScheduleTrigger:
    assert isinstance(campaign.trigger, ScheduleTrigger)
    return campaign.trigger


def _occurrence(schedule: Schedule, wall: datetime) -> str:
    """What an occurrence is called: its day, with the time where a day has several."""
    # The day alone would make the second one of a day the first one again.
    if schedule.several_a_day():
        return wall.strftime("%Y-%m-%dT%H:%M")
    return wall.date().isoformat()


def _occasions(
    schedule: Schedule,
    start: datetime,
    end: datetime,
    where: ZoneInfo,
) -> Iterator[datetime]:
    at = schedule.upcoming(start, where)
    while at is not None and at <= end:
        yield at
        at = schedule.upcoming(at, where)
