"""What came in since the last look, followed up before anybody enters: moved dates,
counters, segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
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
from drip.storage.campaigns import cursors as cursor_store
from drip.storage.campaigns.cursors import Cursor
from drip.storage.campaigns.runs import Run
from drip.storage.operating import api_keys
from drip.storage.people import audience_sql, change_marks, counters, ranks, segments
from drip.storage.people import records as record_store
from drip.storage.people.counters import Movement
from drip.storage.sending import decisions, outbox
from drip.storage.sending.outbox import OutboxMessage

BATCH = 500
# What is beyond this is a mistake, not a number of points.
MOST_AT_ONCE = 1_000_000_000_000
# If something is new about more contacts than this, asking about everybody is no more
# work.
MOST_ONE_BY_ONE = 5_000
COUNTERS, SEGMENTS, RANKS, PRUNED = "*counters", "*segments", "*ranks", "*pruned"
# Every segment and rank that something asks for, each after those that it is made of.
Sets = Mapping[str, Condition | Rank]


def follow(connection: Connection, campaign_set: CampaignSet, now: datetime) -> None:
    """Brings everything up to date that entering and judging rely on."""
    cursors = cursor_store.cursors_of(connection)
    newest = cursor_store.newest(connection, now)
    follow_moved_dates(connection, campaign_set, now)
    moved: dict[str, Cursor] = {}
    settings = campaign_set.settings
    if settings.counters:
        moved[COUNTERS] = count(
            connection,
            settings,
            cursors.get(COUNTERS),
            newest,
        )
    campaign_set.read_versions(connection)
    if wanted := campaign_set.sets():
        moved |= regroup(
            connection,
            settings,
            wanted,
            cursors,
            newest,
        )
    if prune(
        connection,
        settings,
        cursors.get(PRUNED),
        now,
    ):
        # Not looked for again before midnight.
        moved[PRUNED] = newest
    cursor_store.move_cursors(connection, moved)


def prune(
    connection: Connection,
    settings: Settings,
    before: Cursor | None,
    now: datetime,
) -> bool:
    """Forgets what is kept for a time only, once on each day of the workspace.

    That is reasons that are older than the settings keep them, and answers to requests
    that are not repeated any more.
    """
    if before and _same_day(settings, before.at, now):
        return False
    # Reasons are about people, and kept no longer than needed (GDPR, Art. 5(1)(e)).
    decisions.prune(connection, now - settings.keep_reasons)
    api_keys.forget_answers(connection, now - api_keys.REMEMBERED)
    return True


def _same_day(settings: Settings, one: datetime, other: datetime) -> bool:
    """Whether two instants are on one day of the workspace."""
    home = zone(settings.timezone)
    return local(one, home).date() == local(other, home).date()


# --- dates


@dataclass(frozen=True, slots=True)
class DatedRun:
    """An active run that hangs on a date."""

    run: Run
    campaign: Campaign
    trigger: DateTrigger

    @property
    def field(self) -> str:
        return self.trigger.date.field

    @property
    def whose(self) -> tuple[int, int]:
        return self.run.contact_id, self.run.record_id

    @property
    def anchor(self) -> date:
        return date.fromisoformat(self.run.anchor or "")


def follow_moved_dates(
    connection: Connection,
    campaign_set: CampaignSet,
    now: datetime,
) -> None:
    """Runs that hang on a date which is another one now.

    Where the new date's first step is still to come, the run ends and the new date
    starts one of its own; otherwise the run goes on from the new date, and what it has
    sent stays sent.
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
    moved = _moved(
        connection,
        campaign_set,
        _dated(connection, campaign_set, found),
    )
    messages = _messages(connection, [dated.run.id for dated, _ in moved])
    zones = audience.zones_of(
        connection,
        {dated.run.contact_id for dated, _ in moved},
    )
    unit = UnitOfWork(campaign_set.settings, now)
    for dated, anchor in moved:
        run = dated.run
        where = zones.get(run.contact_id) or campaign_set.settings.timezone
        ended = _ends(connection, dated, anchor, where, now)
        if ended:
            unit.end(
                run,
                ended,
                messages[run.id],
            )
        elif anchor:
            run.anchor = run.occurrence = anchor.isoformat()
    unit.store(connection)
    runs.move_runs(connection, [dated.run for dated, _ in moved])


def _messages(
    connection: Connection, run_ids: Sequence[int]
) -> Mapping[int, list[OutboxMessage]]:
    """The messages of these runs, by run."""
    messages: dict[int, list[OutboxMessage]] = defaultdict(list)
    for message in outbox.of_runs(connection, run_ids):
        messages[message.run_id].append(message)
    return messages


def _dated(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Sequence[Run],
) -> list[DatedRun]:
    dated = (_dated_run(connection, campaign_set, run) for run in found)
    return [run for run in dated if run]


def _dated_run(
    connection: Connection,
    campaign_set: CampaignSet,
    run: Run,
) -> DatedRun | None:
    """None if its version hangs on no date, or cannot be read any more."""
    campaign = campaign_set.version(
        connection,
        run.campaign,
        run.version,
    )
    if campaign is None or not isinstance(campaign.trigger, DateTrigger):
        return None
    return DatedRun(run, campaign, campaign.trigger)


def _moved(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Sequence[DatedRun],
) -> list[tuple[DatedRun, date | None]]:
    """Those whose date is another one now, and which; None if it is not known."""
    contact_ids = {dated.run.contact_id for dated in found}
    record_ids = {dated.run.record_id for dated in found if dated.run.record_id}
    owners = record_store.owners_of(connection, record_ids)
    stored = {
        field: audience.dates_of(connection, field, contact_ids)
        for field in {dated.field for dated in found}
    }
    moved = []
    for dated in found:
        contact_id, record_id = dated.whose
        # A car that was sold: its dates are somebody else's now.
        if record_id and owners.get(record_id) != contact_id:
            # It is not this contact's any more, which is for judging to say.
            continue
        day = stored[dated.field].get(dated.whose)
        anchors = _anchors(campaign_set.settings, dated, day)
        if dated.anchor not in anchors:
            moved.append((dated, _nearest(dated.anchor, anchors)))
    return moved


def _anchors(settings: Settings, dated: DatedRun, day: str | None) -> list[date | None]:
    """The dates that the run could hang on, by the day that is stored now."""
    value = (
        date_value(
            settings,
            dated.field,
            day,
        )
        if day
        else None
    )
    if value is None:
        return []
    return [
        anchor_date(
            dated.trigger,
            value,
            year,
        )
        for year in _years(dated)
    ]


def _years(dated: DatedRun) -> Sequence[int]:
    year = dated.anchor.year
    # A yearly day that is moved over the turn of the year belongs to the year beside.
    return (year, year + 1, year - 1) if dated.trigger.date.steps else (year,)


def _nearest(before: date, anchors: Sequence[date | None]) -> date | None:
    known = [anchor for anchor in anchors if anchor]
    return min(
        known,
        key=lambda anchor: abs(anchor - before),
        default=None,
    )


def _ends(
    connection: Connection,
    dated: DatedRun,
    anchor: date | None,
    zone_name: str,
    now: datetime,
) -> Reason | None:
    """Why a run does not go on from its new date, if so."""
    campaign, trigger = dated.campaign, dated.trigger
    if anchor is None or entry_instant(campaign, anchor, zone_name) > now:
        name = trigger.name or dated.field
        sentence = f"{name} is now {anchor or 'unknown'}"
        return Reason("date-moved", sentence, campaign.place)
    if _has_own_run(connection, dated.run, anchor):
        sentence = "the new date has a run of its own"
        return Reason("date-moved", sentence, campaign.place)
    return None


def _has_own_run(connection: Connection, run: Run, anchor: date) -> bool:
    # Two runs of one occurrence would write everything twice, and the key forbids it.
    day = anchor.isoformat()
    moved = replace(run, anchor=day, occurrence=day)
    return runs.occurrence_taken(connection, moved)


# --- counters


def count(
    connection: Connection,
    settings: Settings,
    before: Cursor | None,
    newest: Cursor,
) -> Cursor:
    """Counts the events that came in since the last look.

    A counter that is new counts from the beginning.
    """
    looked = replace(newest, rules=",".join(sorted(settings.counters)))
    if before and before.event_id == newest.event_id and before.rules == looked.rules:
        return looked
    known = set(before.rules.split(",")) if before else set()
    touched: set[int] = set()
    for counter in settings.counters.values():
        # One event moves a counter once, however often it is read.
        after = before.event_id if before and counter.key in known else 0
        touched |= _count(connection, counter, after)
    # Conditions ask about counters, so whoever's moved may join late.
    change_marks.touch(connection, touched)
    change_marks.wake_runs(connection, touched)
    return looked


def _count(connection: Connection, counter: Counter, after: int) -> set[int]:
    """Moves a counter by the events after a number; the contacts whose it is."""
    names = {*counter.add, *counter.subtract, *counter.reset}
    movements = [
        Movement(
            event.contact_id,
            _change(counter, event.name, event.fields),
            event.at,
            event_id=event.id,
        )
        for event in counters.events_to_count(connection, names, after)
    ]
    entries = counters.move(connection, counter.key, movements)
    return {entry.contact_id for entry in entries}


def _change(counter: Counter, name: str, fields: dict[str, str]) -> int | None:
    """What an event does to a counter; None sets it to zero."""
    if name in counter.reset:
        return None
    amount = _amount(counter, fields)
    return amount if name in counter.add else -amount


def _amount(counter: Counter, fields: dict[str, str]) -> int:
    """One, or what the event's field says; nothing, if that is too much to be meant."""
    if counter.field is None:
        return 1
    number = _number_in(fields, counter.field)
    return round(number) if abs(number) <= MOST_AT_ONCE else 0


def _number_in(fields: dict[str, str], name: str) -> int | float:
    """Zero, if the field is missing or no number."""
    try:
        return parse_number(fields.get(name, ""))
    except ValueError:
        return 0


# --- segments


def regroup(
    connection: Connection,
    settings: Settings,
    wanted: Sets,
    cursors: Mapping[str, Cursor],
    newest: Cursor,
) -> dict[str, Cursor]:
    """Looks anew who is in each set; how far sets and ranks have looked.

    All of them once a day, and in between those about whom something is new. Ranks
    change once a day only: what makes someone one of the best is how all the others
    stand.
    """
    before = cursors.get(SEGMENTS)
    looked = replace(newest, rules=f"{settings.version}/{','.join(wanted)}")
    same_rules = before is not None and before.rules == looked.rules
    same_day = before is not None and _same_day(
        settings,
        before.at,
        newest.at,
    )
    if not same_rules:
        # A set of the same name that comes back later begins anew.
        segments.forget_others(connection, {*wanted, *settings.segments})
    moved = {}
    among: set[int] | None = None
    if before and same_rules and same_day:
        if (before.change, before.event_id) == (newest.change, newest.event_id):
            return {SEGMENTS: looked}
        among = segments.changed(
            connection,
            before.change,
            before.event_id,
        )
    else:
        _rank(
            connection,
            settings,
            wanted,
            cursors.get(RANKS),
            looked,
        )
        moved[RANKS] = looked
    _regroup(connection, settings, wanted, among, newest.at)
    # Waking the runs of those who moved does not make them new once more.
    change = change_marks.last_change(connection)
    return moved | {SEGMENTS: replace(looked, change=change)}


def _rank(
    connection: Connection,
    settings: Settings,
    wanted: Sets,
    before: Cursor | None,
    looked: Cursor,
) -> None:
    """Looks anew who is in each rank, unless nothing can have changed overnight."""
    known = (looked.rules, looked.event_id)
    if before and (before.rules, before.event_id) != known:
        before = None
    now = looked.at
    standings: dict[str, Sequence[tuple[int, float]]] = {}
    for name, rank in wanted.items():
        if not isinstance(rank, Rank):
            continue
        if before and ranks.stands_still(connection, settings, rank, before.at, now):
            continue
        field = rank.field
        if field not in standings:
            standings[field] = ranks.standings(
                connection,
                settings,
                field,
                now,
            )
        members = ranks.ranked(rank, standings[field])
        came, went = segments.replace(
            connection,
            name,
            members,
            now,
        )
        change_marks.wake_runs(connection, came | went)


def _regroup(
    connection: Connection,
    settings: Settings,
    wanted: Sets,
    among: set[int] | None,
    now: datetime,
) -> None:
    """Looks anew who is in each segment, of all or `among` some."""
    asked = among if among is None or len(among) <= MOST_ONE_BY_ONE else None
    for name, condition in wanted.items():
        if isinstance(condition, Rank):
            continue
        members = audience_sql.matching(
            connection,
            settings,
            condition,
            now,
            asked,
        )
        if among is not None:
            # The turn of all others comes at midnight, so that nobody's hangs on how
            # many have changed.
            members &= among
        came, went = segments.replace(
            connection,
            name,
            members,
            now,
            among,
        )
        change_marks.wake_runs(connection, came | went)


def next_regrouping(
    campaign_set: CampaignSet,
    start: datetime,
    end: datetime,
) -> list[datetime]:
    """The midnights of the workspace in (start, end], if there are sets to look at."""
    if not campaign_set.sets():
        return []
    home = zone(campaign_set.settings.timezone)
    first = local(start, home).date()
    days = (
        first + timedelta(days=n)
        for n in range(
            1,
            (end - start).days + 3,
        )
    )
    midnights = [at_minute(day, 0, home) for day in days]
    return [at for at in midnights if start < at <= end]
