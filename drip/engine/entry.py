"""Who starts a run: each trigger's look-up, the audience, and the occurrence that makes it happen once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from drip.core.asks import entry_asks
from drip.core.calendar import (
    Duration,
    instant,
    later,
    zone,
)
from drip.core.campaign import (
    Campaign,
    CounterTrigger,
    DateTrigger,
    EventTrigger,
    ScheduleTrigger,
    SegmentTrigger,
)
from drip.core.conditions import Condition, why_not
from drip.core.lifecycle import Wake
from drip.core.schedule import Schedule
from drip.core.steps import chance_of
from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.dates import EntryCalendar, Start, due_dates, possible
from drip.engine.facts import ContactFacts
from drip.engine.fetching import facts_of
from drip.storage.campaigns import audience
from drip.storage.campaigns.audience import Cursor
from drip.storage.operating import control
from drip.storage.people import audience_sql, loyalty, people, segments

log = logging.getLogger("drip.entry")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Enroller:
    """Lets people into campaigns. Remembers what dates bring in the coming hours while nobody's data changes."""

    def __init__(self) -> None:
        self._foresight = EntryCalendar()
        self._zones: tuple[int, list[str | None]] = (-1, [])
        self._upcoming: dict[
            tuple[Schedule, str], tuple[datetime, datetime | None]
        ] = {}

    def enter(
        self, connection: Connection, campaign_set: CampaignSet, now: datetime
    ) -> None:
        """Starts every run whose time has come since the last look."""
        cursors = audience.cursors_of(connection)
        newest = audience.newest(connection, now)
        seen: dict[str, Cursor] = {}
        for campaign in campaign_set.entering():
            rules = (
                f"{_kind(campaign)}/{campaign.version}/{campaign_set.settings.version}"
            )
            looked = replace(
                newest, rules=rules, event_id=_newest_of(connection, campaign, newest)
            )
            before = cursors.get(campaign.key)
            if before and not before.rules.startswith(f"{_kind(campaign)}/"):
                # Its trigger was another one, which counted in other numbers: this is the first look.
                before = None
            if self._enter(connection, campaign_set, campaign, before, looked):
                seen[campaign.key] = looked
        audience.move_cursors(connection, seen)

    def _enter(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        campaign: Campaign,
        before: Cursor | None,
        looked: Cursor,
    ) -> bool:
        """Starts a campaign's runs; False if its brake was pulled, so that those who are left are looked at again."""
        for starts in self._starts(connection, campaign_set, campaign, before, looked):
            for n in range(0, len(starts), audience.BATCH):
                rows = _rows(
                    connection,
                    campaign_set,
                    campaign,
                    starts[n : n + audience.BATCH],
                    looked.at,
                )
                if (
                    campaign.max_audience is not None
                    and rows
                    and _brake(connection, campaign_set, campaign, rows, looked.at)
                ):
                    return False
                audience.start_runs(connection, rows)
        return True

    def _starts(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        campaign: Campaign,
        before: Cursor | None,
        newest: Cursor,
    ) -> Iterable[list[Start]]:
        match campaign.trigger:
            case DateTrigger() as trigger:
                return [
                    self._foresight.starts(
                        connection, campaign_set, campaign, trigger, before, newest
                    )
                ]
            case ScheduleTrigger(schedule):
                return self._scheduled(
                    connection, campaign_set, campaign, schedule, before, newest
                )
            case EventTrigger() as trigger:
                if before and before.event_id == newest.event_id:
                    return []
                return [_happened(connection, campaign, trigger, before, newest.at)]
            case SegmentTrigger(segment):
                return [_came_in(connection, campaign, segment, before)]
            case CounterTrigger() as counted:
                return [_counted(connection, campaign, counted, before, newest.at)]

    def _scheduled(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        campaign: Campaign,
        schedule: Schedule,
        before: Cursor | None,
        newest: Cursor,
    ) -> Iterable[list[Start]]:
        """The newest occurrence since the last look, zone by zone; older ones that were missed are dropped."""
        if before is None:
            return
        names: list[str | None] = (
            [campaign.timezone]
            if campaign.timezone
            else self._zones_now(connection, newest)
        )
        groups: dict[tuple[str, datetime], list[str | None]] = {}
        for name in names:
            where = zone(name or campaign_set.settings.timezone)
            if not self._may_have_come(schedule, before.at, newest.at, where):
                continue
            wall = schedule.latest(before.at, newest.at, where)
            if wall is not None:
                occurrence = (
                    wall.strftime("%Y-%m-%dT%H:%M")
                    if schedule.several_a_day()
                    else wall.date().isoformat()
                )
                groups.setdefault((occurrence, instant(wall, where)), []).append(name)
        narrow = audience_sql.where(
            campaign_set.settings, _narrowed(campaign), newest.at
        )
        for (occurrence, since), members in sorted(
            groups.items(), key=lambda group: group[0]
        ):
            if _all_alike(campaign):
                start = Start(0, 0, occurrence, since)
                row = _row(campaign, start, max(since, newest.at))
                audience.start_everybody(
                    connection, row, None if campaign.timezone else members, narrow
                )
                continue
            for ids in audience.contacts_in(
                connection, None if campaign.timezone else members, narrow
            ):
                yield [
                    Start(id_, record, occurrence, since)
                    for id_, record in _each(connection, campaign, ids)
                ]

    def _may_have_come(
        self, schedule: Schedule, after: datetime, until: datetime, where: ZoneInfo
    ) -> bool:
        """Whether an occurrence can lie in (after, until]: most often no, and known from the look before."""
        start, upcoming = self._upcoming.get((schedule, where.key), (None, None))
        if (
            start is None
            or not start <= after
            or (upcoming is not None and upcoming <= after)
        ):
            start, upcoming = after, schedule.upcoming(after, where)
            self._upcoming[schedule, where.key] = (start, upcoming)
        return upcoming is not None and upcoming <= until

    def _zones_now(self, connection: Connection, newest: Cursor) -> list[str | None]:
        if self._zones[0] != newest.change:
            self._zones = (newest.change, audience.zones(connection))
        return self._zones[1]


def coming_entries(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    start: datetime,
    end: datetime,
    after: int | None = None,
) -> set[datetime]:
    """Every instant in (start, end] at which someone could enter, as things are. Events cannot be foreseen.

    With `after`, of those alone about whom something is new since that change number.
    """
    match campaign.trigger:
        case DateTrigger() as trigger:
            if after is None:
                starts = due_dates(
                    connection, campaign_set, campaign, trigger, start, end
                )
            else:
                changed = audience.dated_and_changed(
                    connection, trigger.date.field, after
                )
                starts = possible(
                    campaign_set,
                    campaign,
                    trigger,
                    changed,
                    range(start.year - 1, end.year + 2),
                )
            return {each.since for each in starts if start < each.since <= end}
        case ScheduleTrigger(schedule):
            names = (
                [campaign.timezone]
                if campaign.timezone
                else audience.zones(connection, after)
            )
            return {
                at
                for name in names
                for at in _occasions(
                    schedule, start, end, zone(name or campaign_set.settings.timezone)
                )
            }
        case _:
            return set()


def _occasions(
    schedule: Schedule, start: datetime, end: datetime, where: ZoneInfo
) -> Iterator[datetime]:
    at = schedule.upcoming(start, where)
    while at is not None and at <= end:
        yield at
        at = schedule.upcoming(at, where)


def _each(
    connection: Connection, campaign: Campaign, contact_ids: list[int]
) -> list[tuple[int, int]]:
    if campaign.for_each is None:
        return [(contact_id, 0) for contact_id in contact_ids]
    owned = people.records_of(connection, contact_ids, campaign.for_each)
    return [(record.contact_id, record.id) for record in owned]


def _happened(
    connection: Connection,
    campaign: Campaign,
    trigger: EventTrigger,
    before: Cursor | None,
    now: datetime,
) -> list[Start]:
    """Events that came in since the last look; at the first look, those that are not too old to matter."""
    since = EPOCH if before else now - campaign.lookback()
    found = audience.events_after(
        connection, trigger.event, before.event_id if before else 0, since
    )
    starts = []
    for event in found:
        if campaign.for_each and not event.record_id:
            continue
        record_id = event.record_id if campaign.for_each else 0
        occurrence = "once" if campaign.re_entry == "never" else event.key
        starts.append(
            Start(event.contact_id, record_id, occurrence, event.at, event_id=event.id)
        )
    return starts


def _came_in(
    connection: Connection, campaign: Campaign, segment: str, before: Cursor | None
) -> list[Start]:
    """Who came into the segment since the last look; at the first look everybody who is in it."""
    starts = []
    for each in segments.entrants(
        connection, segment, before.event_id if before else 0
    ):
        occurrence = (
            "once" if campaign.re_entry == "never" else f"{each.since:%Y-%m-%dT%H:%M}"
        )
        starts.append(Start(each.contact_id, 0, occurrence, each.since))
    return starts


def _counted(
    connection: Connection,
    campaign: Campaign,
    trigger: CounterTrigger,
    before: Cursor | None,
    now: datetime,
) -> list[Start]:
    """Whose counter came up to one of the numbers since the last look; to several: the newest one counts."""
    since = EPOCH if before else now - campaign.lookback()
    starts: dict[int, Start] = {}
    for entry in loyalty.entries_after(
        connection, trigger.counter, before.event_id if before else 0, since
    ):
        for number in trigger.reaches:
            if entry.before < number <= entry.after:
                occurrence = (
                    "once" if campaign.re_entry == "never" else f"{number}/{entry.id}"
                )
                starts[entry.contact_id] = Start(
                    entry.contact_id, 0, occurrence, entry.at, event_id=entry.event_id
                )
    return list(starts.values())


def _kind(campaign: Campaign) -> str:
    """What a campaign's cursor counts."""
    match campaign.trigger:
        case EventTrigger(event=name):
            return f"event {name}"
        case SegmentTrigger(segment=name):
            return f"segment {name}"
        case CounterTrigger(counter=name):
            return f"counter {name}"
        case DateTrigger(date=field):
            return f"date {field.field}"
        case _:
            return "schedule"


def _newest_of(connection: Connection, campaign: Campaign, newest: Cursor) -> int:
    """How far a campaign has looked: at events, or at what else starts it."""
    match campaign.trigger:
        case SegmentTrigger():
            return segments.newest_number(connection)
        case CounterTrigger():
            return loyalty.newest_entry(connection)
        case _:
            return newest.event_id


def _narrowed(campaign: Campaign) -> Condition | None:
    """The part of the audience that the database can look at first: what does not hang on whose day it is."""
    if (
        campaign.for_each
        or campaign.audience is None
        or audience_sql.hangs_on_today(campaign.audience)
    ):
        return None
    return campaign.audience


def _all_alike(campaign: Campaign) -> bool:
    """Whether the database can say by itself who enters on a schedule, since nothing about anybody has to be worked out.

    Both readers of conditions agree, so what the database finds needs no second look.
    """
    free = (
        campaign.re_entry == "always"
        and not campaign.holdout
        and campaign.max_audience is None
    )
    return (
        free and campaign.for_each is None and _narrowed(campaign) is campaign.audience
    )


def _rows(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    starts: list[Start],
    now: datetime,
) -> list[dict[str, Any]]:
    """The runs of those who are in the audience and may enter (again)."""
    ids = {start.contact_id for start in starts}
    batch = facts_of(
        connection,
        campaign_set.settings,
        ids,
        now,
        entry_asks(campaign),
        records={start.record_id for start in starts},
        events={start.event_id for start in starts},
    )
    last: dict[tuple[int, int], datetime] = {}
    if campaign.re_entry != "always":
        last = audience.last_starts(connection, campaign.key, ids)
    rows = []
    for start in starts:
        whose = (start.contact_id, start.record_id)
        enters = max(start.since, now)
        if _may_enter(campaign, batch, start, last.get(whose), enters):
            last[whose] = enters
            rows.append(
                _row(campaign, start, enters)
                | _held_out(campaign, batch.contacts[start.contact_id].key, enters)
            )
    return rows


def _may_enter(
    campaign: Campaign,
    batch: ContactFacts,
    start: Start,
    last: datetime | None,
    now: datetime,
) -> bool:
    contact = batch.contacts[start.contact_id]
    if contact.erased_at is not None:
        return False
    if batch.unconfirmed(contact) and not (
        campaign.asks_back and batch.confirmable(contact)
    ):
        return False
    if last is not None and not _may_again(
        campaign, last, zone(batch.zone_of(contact)), now
    ):
        return False
    where = (
        campaign.trigger.where if isinstance(campaign.trigger, EventTrigger) else None
    )
    if campaign.audience is None and where is None:
        return True
    facts = batch.facts(
        contact,
        batch.records.get(start.record_id),
        batch.heard(start.event_id, None),
    )
    return all(
        why_not(condition, facts) is None
        for condition in (campaign.audience, where)
        if condition
    )


def _may_again(
    campaign: Campaign, last: datetime, where: ZoneInfo, now: datetime
) -> bool:
    if isinstance(campaign.re_entry, Duration):
        return now >= later(last, campaign.re_entry, where)
    return campaign.re_entry == "always"


def _brake(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    rows: list[dict[str, Any]],
    now: datetime,
) -> bool:
    """Holds a campaign into which more people come within a day than it allows."""
    assert campaign.max_audience is not None
    # Whoever was in already does not come in now.
    taken = audience.occurrences(
        connection, campaign.key, {row["contact_id"] for row in rows}
    )
    rows = [
        row
        for row in rows
        if (row["contact_id"], row["record_id"], row["occurrence"]) not in taken
    ]
    today = (
        audience.count_starts(connection, campaign.key, now - timedelta(days=1))
        if rows
        else 0
    )
    if today + len(rows) <= campaign.max_audience:
        return False
    reason = (
        f"more than {campaign.max_audience:,} people would enter in a day (max_audience, {campaign.max_audience_place}); "
        f"{today + len(rows):,} so far. Look at the audience; then raise the number, or let it go on another day"
    )
    control.hold(connection, campaign.key, now, reason)
    campaign_set.refresh(connection)
    alarm(
        connection,
        log,
        "brake",
        campaign.key,
        f"{campaign.key} is held: {reason}.",
        now,
    )
    return True


def _row(campaign: Campaign, start: Start, enters: datetime) -> dict[str, Any]:
    return {
        "campaign": campaign.key,
        "version": campaign.version,
        "contact_id": start.contact_id,
        "record_id": start.record_id,
        "occurrence": start.occurrence,
        "event_id": start.event_id,
        "anchor": start.anchor,
        "position": 0,
        "since": start.since,
        "wake": Wake.NEW.value,
        "due_at": enters,
        "active": True,
        "started_at": enters,
        "ended_at": None,
        "code": None,
        "sentence": None,
        "place": None,
    }


def _held_out(campaign: Campaign, contact: str, enters: datetime) -> dict[str, Any]:
    """How the run of one who gets nothing, for comparison, ends as it begins; nothing for the others."""
    if (
        not campaign.holdout
        or chance_of(contact, campaign.key, "holdout") >= campaign.holdout
    ):
        return {}
    sentence = f"one of the {campaign.holdout * 100:g}% who get nothing, so that the difference can be measured"
    ended = {
        "wake": None,
        "due_at": None,
        "active": False,
        "ended_at": enters,
        "code": "holdout",
        "sentence": sentence,
    }
    return {**ended, "place": str(campaign.place)}
