"""What came in since the last look, followed up before anybody enters: moved dates, counters, segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from drip.core.calendar import at_minute, local, zone
from drip.core.campaign import Campaign, DateTrigger
from drip.core.conditions import Condition, Rank
from drip.core.decide import Reason
from drip.core.fields import parse_number
from drip.core.settings import Counter, Settings
from drip.engine.campaign_set import CampaignSet
from drip.engine.dates import anchor_date, entry_instant
from drip.engine.facts import date_value
from drip.engine.storing import UnitOfWork
from drip.storage.campaigns import audience, runs
from drip.storage.campaigns.audience import Cursor
from drip.storage.campaigns.runs import Run
from drip.storage.operating import api_keys
from drip.storage.people import audience_sql, loyalty, people, segments
from drip.storage.people.loyalty import Movement
from drip.storage.sending import outbox
from drip.storage.sending.outbox import OutboxMessage

BATCH = 500
# What is beyond this is a mistake, not a number of points.
MOST_AT_ONCE = 1_000_000_000_000
# If something is new about more contacts than this, asking about everybody is no more work.
MOST_ONE_BY_ONE = 5_000
COUNTERS, SEGMENTS, RANKS, PRUNED = "*counters", "*segments", "*ranks", "*pruned"


def follow(connection: Connection, campaign_set: CampaignSet, now: datetime) -> None:
    """Brings everything up to date that entering and judging rely on."""
    cursors = audience.cursors_of(connection)
    newest = audience.newest(connection, now)
    follow_moved_dates(connection, campaign_set, now)
    moved: dict[str, Cursor] = {}
    if campaign_set.settings.counters:
        moved[COUNTERS] = count(
            connection, campaign_set.settings, cursors.get(COUNTERS), newest
        )
    campaign_set.read_versions(connection)
    if wanted := campaign_set.sets():
        moved |= regroup(connection, campaign_set, wanted, cursors, newest)
    if prune(connection, campaign_set, cursors.get(PRUNED), now):
        moved[PRUNED] = newest
    audience.move_cursors(connection, moved)


def prune(
    connection: Connection,
    campaign_set: CampaignSet,
    before: Cursor | None,
    now: datetime,
) -> bool:
    """Forgets, once on each day of the workspace, the reasons that are older than the settings keep them, and answers to requests
    that are not repeated any more."""
    home = zone(campaign_set.settings.timezone)
    if before and local(before.at, home).date() == local(now, home).date():
        return False
    outbox.prune(connection, now - campaign_set.settings.keep_reasons)
    api_keys.forget_answers(connection, now - api_keys.REMEMBERED)
    return True


# --- dates


def follow_moved_dates(
    connection: Connection, campaign_set: CampaignSet, now: datetime
) -> None:
    """Runs that hang on a date which is another one now.

    Where the new date's first step is still to come, the run ends and the new date starts one of its own;
    otherwise the run goes on from the new date, and what it has sent stays sent.
    """
    after = 0
    while found := runs.dated_to_recompute(connection, after, BATCH):
        follow_runs(connection, campaign_set, found, now)
        after = found[-1].id


def follow_dates_of(
    connection: Connection,
    campaign_set: CampaignSet,
    contact_ids: Collection[int],
    now: datetime,
) -> None:
    """As `follow_moved_dates`, for the runs of these contacts."""
    found = runs.dated_of(connection, contact_ids)
    if found:
        follow_runs(connection, campaign_set, found, now)


def follow_runs(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Sequence[Run],
    now: datetime,
) -> None:
    """As `follow_moved_dates`, for these active runs, which are changed in place."""
    hung: list[tuple[Run, Campaign, DateTrigger]] = []
    for run in found:
        campaign = campaign_set.version(connection, run.campaign, run.version)
        if campaign and isinstance(campaign.trigger, DateTrigger):
            hung.append((run, campaign, campaign.trigger))
    ids = {run.contact_id for run, _, _ in hung}
    stored: dict[str, dict[tuple[int, int], str]] = {}
    for _, _, trigger in hung:
        if trigger.date.field not in stored:
            stored[trigger.date.field] = audience.dates_of(
                connection, trigger.date.field, ids
            )
    owners = people.owners_of(
        connection, {run.record_id for run, _, _ in hung if run.record_id}
    )
    zones = audience.zones_of(connection, ids)
    moved: list[tuple[Run, Campaign, DateTrigger, date | None]] = []
    for run, campaign, trigger in hung:
        if run.record_id and owners.get(run.record_id) != run.contact_id:
            continue  # It is not this contact's any more, which is for judging to say.
        before = date.fromisoformat(run.anchor or "")
        kept = stored[trigger.date.field].get((run.contact_id, run.record_id))
        value = (
            date_value(campaign_set.settings, trigger.date.field, kept)
            if kept
            else None
        )
        # A yearly day that is moved over the turn of the year belongs to the year beside.
        years = (
            (before.year, before.year + 1, before.year - 1)
            if trigger.date.steps
            else (before.year,)
        )
        anchors = [
            anchor_date(trigger, value, year) if value is not None else None
            for year in years
        ]
        if before not in anchors:
            near = min(
                (each for each in anchors if each),
                key=lambda each: abs(each - before),
                default=None,
            )
            moved.append((run, campaign, trigger, near))
    unit = UnitOfWork(campaign_set.settings, now)
    told: dict[int, list[OutboxMessage]] = defaultdict(list)
    for message in outbox.of_runs(connection, [run.id for run, *_ in moved]):
        told[message.run_id].append(message)
    for run, campaign, trigger, anchor in moved:
        zone_name = zones.get(run.contact_id) or campaign_set.settings.timezone
        _follow(
            connection,
            campaign_set,
            campaign,
            trigger,
            run,
            anchor,
            zone_name,
            told[run.id],
            unit,
        )
    unit.store(connection)
    runs.move_runs(connection, [run for run, *_ in moved])


def _follow(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    trigger: DateTrigger,
    run: Run,
    anchor: date | None,
    zone_name: str,
    told: list[OutboxMessage],
    unit: UnitOfWork,
) -> None:
    if anchor is None or entry_instant(campaign, anchor, zone_name) > unit.now:
        sentence = f"{trigger.name or trigger.date.field} is now {anchor or 'unknown'}"
        unit.end(run, Reason("date-moved", sentence, campaign.place), told)
        return
    moved = replace(run, anchor=anchor.isoformat(), occurrence=anchor.isoformat())
    if runs.occurrence_taken(connection, moved):
        sentence = "the new date has a run of its own"
        unit.end(run, Reason("date-moved", sentence, campaign.place), told)
        return
    run.anchor, run.occurrence = moved.anchor, moved.occurrence


# --- counters


def count(
    connection: Connection, settings: Settings, before: Cursor | None, newest: Cursor
) -> Cursor:
    """Counts the events that came in since the last look; a counter that is new counts from the beginning."""
    looked = replace(newest, rules=",".join(sorted(settings.counters)))
    if before and before.event_id == newest.event_id and before.rules == looked.rules:
        return looked
    known = set(before.rules.split(",")) if before else set()
    touched: set[int] = set()
    for counter in settings.counters.values():
        after = before.event_id if before and counter.key in known else 0
        touched |= _count(connection, counter, after)
    people.touch(connection, touched)
    people.wake_runs(connection, touched)
    return looked


def _count(connection: Connection, counter: Counter, after: int) -> set[int]:
    names = {*counter.add, *counter.subtract, *counter.reset}
    movements = [
        Movement(
            event.contact_id,
            _change(counter, event.name, event.fields),
            event.at,
            event_id=event.id,
        )
        for event in loyalty.events_to_count(connection, names, after)
    ]
    return {
        entry.contact_id for entry in loyalty.move(connection, counter.key, movements)
    }


def _change(counter: Counter, name: str, fields: dict[str, str]) -> int | None:
    """What an event does to a counter; None sets it to zero."""
    if name in counter.reset:
        return None
    amount = _amount(counter, fields)
    return amount if name in counter.add else -amount


def _amount(counter: Counter, fields: dict[str, str]) -> int:
    """One, or what the event's field says; a field that is missing or no number adds nothing."""
    if counter.field is None:
        return 1
    try:
        number = parse_number(fields.get(counter.field, ""))
    except ValueError:
        return 0
    return round(number) if abs(number) <= MOST_AT_ONCE else 0


# --- segments


def regroup(
    connection: Connection,
    campaign_set: CampaignSet,
    wanted: dict[str, Condition | Rank],
    cursors: Mapping[str, Cursor],
    newest: Cursor,
) -> dict[str, Cursor]:
    """Looks anew who is in each set: all of them once a day, and in between those about whom something is new.

    Ranks change once a day only: what makes someone one of the best is how all the others stand. Returns how far sets and
    ranks have looked.
    """
    settings, before = campaign_set.settings, cursors.get(SEGMENTS)
    rules = f"{settings.version}/{','.join(wanted)}"
    looked = replace(newest, rules=rules)
    home = zone(settings.timezone)
    same_day = (
        before is not None
        and local(before.at, home).date() == local(newest.at, home).date()
    )
    among: set[int] | None = None
    same_rules = before is not None and before.rules == rules
    if before and same_day and same_rules:
        if before.change == newest.change and before.event_id == newest.event_id:
            return {SEGMENTS: looked}
        fresh = segments.changed(connection, before.change, before.event_id)
        among = fresh
    if not same_rules:
        segments.forget_others(connection, {*wanted, *settings.segments})
    moved = {}
    if among is None and not (same_day and same_rules):
        _rank(connection, settings, wanted, cursors.get(RANKS), looked)
        moved[RANKS] = looked
    _regroup(connection, settings, wanted, among, newest.at)
    # Waking the runs of those who moved does not make them new once more.
    return moved | {SEGMENTS: replace(looked, change=people.last_change(connection))}


def _rank(
    connection: Connection,
    settings: Settings,
    wanted: dict[str, Condition | Rank],
    before: Cursor | None,
    looked: Cursor,
) -> None:
    """Looks anew who is in each rank, unless nothing can have changed since the night before."""
    if before and (before.rules != looked.rules or before.event_id != looked.event_id):
        before = None
    standings: dict[str, Sequence[tuple[int, float]]] = {}
    for name, rank in wanted.items():
        if not isinstance(rank, Rank) or (
            before
            and audience_sql.stands_still(
                connection, settings, rank, before.at, looked.at
            )
        ):
            continue
        if rank.field not in standings:
            standings[rank.field] = audience_sql.standings(
                connection, settings, rank.field, looked.at
            )
        came, went = segments.replace(
            connection,
            name,
            audience_sql.ranked(rank, standings[rank.field]),
            looked.at,
        )
        people.wake_runs(connection, came | went)


def _regroup(
    connection: Connection,
    settings: Settings,
    wanted: dict[str, Condition | Rank],
    among: set[int] | None,
    now: datetime,
) -> None:
    asked = among if among is None or len(among) <= MOST_ONE_BY_ONE else None
    for name, what in wanted.items():
        if not isinstance(what, Rank):
            members = audience_sql.matching(connection, settings, what, now, asked)
            if among is not None:
                # The turn of all others comes at midnight, so that nobody's hangs on how many have changed.
                members &= among
            came, went = segments.replace(connection, name, members, now, among)
            people.wake_runs(connection, came | went)


def next_regrouping(
    campaign_set: CampaignSet, start: datetime, end: datetime
) -> list[datetime]:
    """The midnights of the workspace in (start, end], if there are sets to look at anew."""
    if not campaign_set.sets():
        return []
    home = zone(campaign_set.settings.timezone)
    first = local(start, home).date()
    days = (first + timedelta(days=n) for n in range(1, (end - start).days + 3))
    return [at for day in days if start < (at := at_minute(day, 0, home)) <= end]
