"""Runs that start as a date comes near, by asking for the exact dates that lead to an
instant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter

from sqlalchemy import Connection

from drip.core.calendar import birthdays_on, sources
from drip.core.campaign import Campaign, DateTrigger
from drip.core.decide import Reason
from drip.engine.campaign_set import CampaignSet
from drip.engine.dates import anchor_date, entry_instant
from drip.engine.facts import date_value
from drip.engine.triggers.kind import Absentee, Ahead, Look, Start
from drip.storage.campaigns import audience
from drip.storage.campaigns.audience import Dated
from drip.storage.campaigns.cursors import Cursor

# Zones reach from UTC-12 to UTC+14.
WEST, EAST = timedelta(hours=-12), timedelta(hours=14)
FORESEEN = timedelta(hours=12)
# If something is new about more dates than this, looking at all of the coming hours is
# no more work.
MOST_ONE_BY_ONE = 5_000


class StartByDate:
    """Its cursor counts nothing: the clock says what has come.

    Who enters in the coming hours is remembered, and kept up to date with what changes.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], UpcomingEntries] = {}

    def counts(self, campaign: Campaign) -> str:
        return f"date {_trigger(campaign).date.field}"

    def stands_at(self, connection: Connection, newest: Cursor) -> int:
        return newest.event_id

    def starts(self, look: Look) -> Iterable[list[Start]]:
        """Whose time has come since the look before, and who joins late.

        Those join late about whom something is new.
        """
        before, now = look.before, look.now
        horizon = now.at - look.campaign.lookback()
        since = horizon
        # Under other rules other dates were due: the past is looked at again, and who
        # is in already stays.
        if before and before.rules == now.rules:
            since = max(before.at, horizon)
        due = self._brought_up(look, since).between(since, now.at)
        if before and before.change < now.change:
            entries = DateEntries(look.campaign_set, look.campaign)
            late = entries.of_changed(
                look.connection,
                before.change,
                horizon,
                now.at,
            )
            due += [start for start in late if horizon < start.since <= now.at]
        yield due

    def _brought_up(self, look: Look, since: datetime) -> UpcomingEntries:
        """Who will enter, as of the newest change of people."""
        newest = look.now
        key = (look.campaign.key, newest.rules)
        known = self._known.get(key)
        if known and known.covers(since, newest) and known.follow(look):
            return known
        end = newest.at + FORESEEN
        entries = DateEntries(look.campaign_set, look.campaign)
        starts = entries.due(
            look.connection,
            since,
            end,
        )
        self._known[key] = UpcomingEntries(
            since,
            end,
            newest.change,
            starts,
        )
        return self._known[key]

    def coming(self, ahead: Ahead) -> Iterable[datetime]:
        start, end = ahead.start, ahead.end
        entries = DateEntries(ahead.campaign_set, ahead.campaign)
        if ahead.after is None:
            starts = entries.due(
                ahead.connection,
                start,
                end,
            )
        else:
            starts = entries.of_changed(
                ahead.connection,
                ahead.after,
                start,
                end,
            )
        return (entry.since for entry in starts if start < entry.since <= end)

    def why_nobody(self, absentee: Absentee) -> Reason:
        field = _trigger(absentee.campaign).date.field
        known = audience.dates_of(
            absentee.connection,
            field,
            [absentee.contact.id],
        )
        return absentee.because(
            "the date is not near" if known else f"{field} is unknown"
        )


class UpcomingEntries:
    """Who will enter in (`start`, `end`], by instant, as of a change of people."""

    def __init__(
        self,
        start: datetime,
        end: datetime,
        change: int,
        starts: Iterable[Start],
    ) -> None:
        self.start, self.end, self.change = start, end, change
        self._starts = sorted(starts, key=_SINCE)

    def covers(self, since: datetime, newest: Cursor) -> bool:
        """Whether a look at the time from `since` on finds here all that it needs."""
        known = self.start <= since and newest.at <= self.end
        return known and self.change <= newest.change

    def between(self, since: datetime, until: datetime) -> list[Start]:
        first = bisect_right(
            self._starts,
            since,
            key=_SINCE,
        )
        last = bisect_right(
            self._starts,
            until,
            key=_SINCE,
        )
        return self._starts[first:last]

    def follow(self, look: Look) -> bool:
        """Takes in what has changed since. False if that is too much, one by one."""
        if self.change == look.now.change:
            return True
        contact_ids, record_ids = audience.changed(look.connection, self.change)
        # A large import between two ticks.
        if len(contact_ids) + len(record_ids) > MOST_ONE_BY_ONE:
            return False
        entries = DateEntries(look.campaign_set, look.campaign)
        starts = entries.of_changed(
            look.connection,
            self.change,
            self.start,
            self.end,
        )
        self.change = look.now.change
        kept = [
            start
            for start in self._starts
            if start.contact_id not in contact_ids and start.record_id not in record_ids
        ]
        fresh = [start for start in starts if self.start < start.since <= self.end]
        if fresh or len(kept) < len(self._starts):
            self._starts = sorted([*kept, *fresh], key=_SINCE)
        return True


_SINCE = attrgetter("since")


@dataclass(frozen=True, slots=True)
class DateEntries:
    """The starts to which dates lead in a campaign."""

    campaign_set: CampaignSet
    campaign: Campaign

    @property
    def trigger(self) -> DateTrigger:
        return _trigger(self.campaign)

    def due(
        self,
        connection: Connection,
        since: datetime,
        until: datetime,
    ) -> list[Start]:
        """Whose entry falls between two instants."""
        # Every day on which it can be that time somewhere: the zones are those of
        # contacts, which are looked at afterwards.
        first, last = (since + WEST).date(), (until + EAST).date()
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        offset = (self.campaign.entry_offset(),)
        anchors = {anchor for day in days for anchor in sources(day, offset)}
        steps = self.trigger.date.steps
        dates = {day for anchor in anchors for day in sources(anchor, steps)}
        starts = self.possible(
            self._dated(connection, dates),
            _years(dates),
        )
        return [start for start in starts if since < start.since]

    def of_changed(
        self,
        connection: Connection,
        after: int,
        start: datetime,
        end: datetime,
    ) -> list[Start]:
        """Those of whom something is new since a change number, about this time."""
        field = self.trigger.date.field
        # A date that was entered late still counts, as far as the campaign looks back.
        changed = audience.dated_and_changed(
            connection,
            field,
            after,
        )
        return self.possible(
            changed,
            range(start.year - 1, end.year + 2),
        )

    def possible(self, found: Sequence[Dated], years: Iterable[int]) -> list[Start]:
        """The starts to which these dates lead.

        If the trigger is yearly, in each of these years.
        """
        # Many have their day together.
        known: dict[tuple[str, str | None], list[tuple[str, datetime]]] = {}
        starts = []
        for dated in found:
            key = (dated.day, dated.zone)
            if key not in known:
                known[key] = list(self._entries(*key, years))
            starts += [
                Start(
                    dated.contact_id,
                    dated.record_id,
                    anchor,
                    at,
                    anchor,
                )
                for anchor, at in known[key]
            ]
        return starts

    def _dated(self, connection: Connection, dates: set[date]) -> list[Dated]:
        """Whose date is one of these; of a yearly trigger, the same day of any year."""
        trigger = self.trigger
        if not trigger.yearly:
            days = sorted(day.isoformat() for day in dates)
            return audience.dated_on(
                connection,
                trigger.date.field,
                days,
            )
        pairs = {pair for day in dates for pair in birthdays_on(day, trigger.feb_29)}
        # By an index on the day of the year: a birthday's year is of no use.
        month_days = [f"{month:02d}-{day:02d}" for month, day in sorted(pairs)]
        return audience.dated_in_year(
            connection,
            trigger.date.field,
            month_days,
        )

    def _entries(
        self,
        day: str,
        zone_name: str | None,
        years: Iterable[int],
    ) -> Iterator[tuple[str, datetime]]:
        settings = self.campaign_set.settings
        value = date_value(
            settings,
            self.trigger.date.field,
            day,
        )
        if value is None:
            return
        where = zone_name or settings.timezone
        # What is not yearly has its own year.
        for year in years if self.trigger.yearly else (0,):
            anchor = anchor_date(
                self.trigger,
                value,
                year,
            )
            if anchor is not None:
                yield (
                    anchor.isoformat(),
                    entry_instant(
                        self.campaign,
                        anchor,
                        where,
                    ),
                )


def _trigger(campaign: Campaign) -> DateTrigger:
    assert isinstance(campaign.trigger, DateTrigger)
    return campaign.trigger


def _years(dates: Iterable[date]) -> list[int]:
    return sorted({day.year for day in dates})
