"""Who enters by a date: the exact dates that lead to an instant, and who will enter in the coming hours."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from drip.core.calendar import (
    Birthday,
    at_minute,
    birthday_in,
    birthdays_on,
    shift,
    shifted,
    sources,
    zone,
)
from drip.core.campaign import Campaign, DateTrigger
from drip.core.fields import Value
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import date_value
from drip.storage.campaigns import audience
from drip.storage.campaigns.audience import Dated
from drip.storage.campaigns.cursors import Cursor

# Zones reach from UTC-12 to UTC+14.
WEST, EAST = timedelta(hours=-12), timedelta(hours=14)
FORESEEN = timedelta(hours=12)
# If something is new about more dates than this, looking at all of the coming hours is no more work.
MOST_ONE_BY_ONE = 5_000


@dataclass(frozen=True, slots=True)
class Start:
    """A run that could begin: whose, for which occurrence, and from when its first step counts."""

    contact_id: int
    record_id: int
    occurrence: str
    since: datetime
    anchor: str | None = None
    event_id: int | None = None


class EntryCalendar:
    """Who enters a campaign by a date, remembered for some hours ahead and kept up to date with what changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], UpcomingEntries] = {}

    def starts(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        campaign: Campaign,
        trigger: DateTrigger,
        before: Cursor | None,
        newest: Cursor,
    ) -> list[Start]:
        """Whose time has come since the look `before`, and who joins late because something about them is new."""
        horizon = newest.at - campaign.lookback()
        # Under other rules other dates were due: the past is looked at again, and who is in already stays.
        same = before is not None and before.rules == newest.rules
        since = max(before.at, horizon) if before and same else horizon
        known = self._brought_up(
            connection, campaign_set, campaign, trigger, since, newest
        )
        due = known.between(since, newest.at)
        if before and before.change < newest.change:
            changed = audience.dated_and_changed(
                connection, trigger.date.field, before.change
            )
            years = range(horizon.year - 1, newest.at.year + 2)
            late = possible(campaign_set, campaign, trigger, changed, years)
            due += [start for start in late if horizon < start.since <= newest.at]
        return due

    def _brought_up(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        campaign: Campaign,
        trigger: DateTrigger,
        since: datetime,
        newest: Cursor,
    ) -> UpcomingEntries:
        key = (campaign.key, newest.rules)
        known = self._known.get(key)
        if known and known.covers(since, newest):
            if known.change == newest.change:
                return known
            contact_ids, record_ids = audience.changed(connection, known.change)
            if len(contact_ids) + len(record_ids) <= MOST_ONE_BY_ONE:
                changed = audience.dated_and_changed(
                    connection, trigger.date.field, known.change
                )
                years = range(known.start.year - 1, known.end.year + 2)
                starts = possible(campaign_set, campaign, trigger, changed, years)
                known.renew(newest.change, contact_ids, record_ids, starts)
                return known
        end = newest.at + FORESEEN
        starts = due_dates(connection, campaign_set, campaign, trigger, since, end)
        known = self._known[key] = UpcomingEntries(since, end, newest.change, starts)
        return known


class UpcomingEntries:
    """Who will enter in (`start`, `end`], by instant, as of a change of people."""

    def __init__(
        self, start: datetime, end: datetime, change: int, starts: Iterable[Start]
    ) -> None:
        self.start, self.end, self.change = start, end, change
        self._starts = sorted(starts, key=_instant)

    def covers(self, since: datetime, newest: Cursor) -> bool:
        return (
            self.start <= since
            and newest.at <= self.end
            and self.change <= newest.change
        )

    def between(self, since: datetime, until: datetime) -> list[Start]:
        first = bisect_right(self._starts, since, key=_instant)
        last = bisect_right(self._starts, until, key=_instant)
        return self._starts[first:last]

    def renew(
        self,
        change: int,
        contact_ids: set[int],
        record_ids: set[int],
        starts: Iterable[Start],
    ) -> None:
        """These changed up to change number `change`: what was foreseen of them becomes these `starts`."""
        self.change = change
        kept = [
            each
            for each in self._starts
            if each.contact_id not in contact_ids and each.record_id not in record_ids
        ]
        new = [each for each in starts if self.start < each.since <= self.end]
        if new or len(kept) < len(self._starts):
            self._starts = sorted([*kept, *new], key=_instant)


def _instant(start: Start) -> datetime:
    return start.since


def anchor_date(trigger: DateTrigger, value: Value, year: int) -> date | None:
    """The date a run hangs on: that of a yearly trigger's day in `year`, else the one there is."""
    if isinstance(value, Birthday):
        day = birthday_in(value, year, trigger.feb_29)
        return shifted(day, trigger.date.steps) if day else None
    if not isinstance(value, date):
        return None
    if trigger.yearly:
        day = (
            birthday_in(Birthday(value.month, value.day), year, trigger.feb_29)
            if year >= value.year
            else None
        )
        return shifted(day, trigger.date.steps) if day else None
    return shifted(value, trigger.date.steps)


def entry_instant(campaign: Campaign, anchor: date, zone_name: str) -> datetime:
    """When a run for a date begins: as its earliest step is due, in the zone that counts."""
    day = shift(anchor, campaign.entry_offset())
    return at_minute(day, campaign.entry_opens(), zone(campaign.timezone or zone_name))


def due_dates(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    trigger: DateTrigger,
    since: datetime,
    until: datetime,
) -> list[Start]:
    """Whose entry falls between two instants, by asking for the exact dates that lead there."""
    first, last = (since + WEST).date(), (until + EAST).date()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    anchors = sorted(
        {anchor for day in days for anchor in sources(day, (campaign.entry_offset(),))}
    )
    if trigger.yearly:
        days_of_year = sorted(
            {
                source
                for anchor in anchors
                for source in sources(anchor, trigger.date.steps)
            }
        )
        pairs = {
            pair for day in days_of_year for pair in birthdays_on(day, trigger.feb_29)
        }
        found = audience.dated_in_year(
            connection,
            trigger.date.field,
            [f"{m:02d}-{d:02d}" for m, d in sorted(pairs)],
        )
        years: Iterable[int] = sorted({day.year for day in days_of_year})
    else:
        dates = {
            source.isoformat()
            for anchor in anchors
            for source in sources(anchor, trigger.date.steps)
        }
        found = audience.dated_on(connection, trigger.date.field, sorted(dates))
        years = (0,)
    return [
        start
        for start in possible(campaign_set, campaign, trigger, found, years)
        if since < start.since
    ]


def possible(
    campaign_set: CampaignSet,
    campaign: Campaign,
    trigger: DateTrigger,
    found: Sequence[Dated],
    years: Iterable[int],
) -> list[Start]:
    """The starts to which these dates lead, in each of these years if the trigger is yearly."""
    # Many have their day together.
    known: dict[tuple[str, str | None], list[tuple[str, datetime]]] = {}
    starts = []
    for each in found:
        key = (each.day, each.zone)
        if key not in known:
            known[key] = list(_entries(campaign_set, campaign, trigger, *key, years))
        for anchor, at in known[key]:
            starts.append(Start(each.contact_id, each.record_id, anchor, at, anchor))
    return starts


def _entries(
    campaign_set: CampaignSet,
    campaign: Campaign,
    trigger: DateTrigger,
    day: str,
    where: str | None,
    years: Iterable[int],
) -> Iterator[tuple[str, datetime]]:
    value = date_value(campaign_set.settings, trigger.date.field, day)
    if value is None:
        return
    for year in years if trigger.yearly else (0,):
        anchor = anchor_date(trigger, value, year)
        if anchor is not None:
            yield (
                anchor.isoformat(),
                entry_instant(
                    campaign, anchor, where or campaign_set.settings.timezone
                ),
            )
