"""Runs: a contact's (and record's) passage through a campaign."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    Update,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)

from drip.core.calendar import from_millis
from drip.core.lifecycle import AT_ONCE, Wake
from drip.storage.base.columns import Instant, from_ms, to_ms
from drip.storage.base.schema import in_state, messages, runs, waking
from drip.storage.base.sql import Prepared, listed_in, numbers, off_indexes, parsed


@dataclass(slots=True)
class Run:
    """A run as stored; the planner changes it and gives it back."""

    id: int
    campaign: str
    version: str
    contact_id: int
    record_id: int
    occurrence: str
    event_id: int | None
    anchor: str | None
    position: int
    since: datetime
    wake: Wake | None
    due_at: datetime | None
    active: bool
    started_at: datetime
    ended_at: datetime | None
    code: str | None
    sentence: str | None
    place: str | None
    heard: dict[str, int] | None = None
    arms: dict[str, dict[str, float]] | None = None

    def copy(self) -> Run:
        """Another one with the same values. `dataclasses.replace` takes ten times as long, and this is done at every step."""
        return Run(
            self.id,
            self.campaign,
            self.version,
            self.contact_id,
            self.record_id,
            self.occurrence,
            self.event_id,
            self.anchor,
            self.position,
            self.since,
            self.wake,
            self.due_at,
            self.active,
            self.started_at,
            self.ended_at,
            self.code,
            self.sentence,
            self.place,
            self.heard,
            self.arms,
        )


def _at_once(why: Wake) -> Prepared[Any]:
    """Whose runs are looked at for a reason that no clock knows."""
    found = select(runs.c.contact_id).where(waking(why)).order_by(runs.c.id)
    return Prepared(found.limit(bindparam("most")))


def _by_clock() -> tuple[Prepared[Any], Prepared[Any]]:
    """Whose runs, and whose messages, are due; what has waited longest comes first, by the indexes on what is due."""
    now: BindParameter[int] = bindparam("now")
    of_runs = (
        select(runs.c.contact_id)
        .where(runs.c.due_at <= now)
        .order_by(runs.c.due_at, runs.c.id)
    )
    of_messages = (
        select(messages.c.contact_id)
        .where(in_state("deferred"), messages.c.due_at <= now)
        .order_by(messages.c.due_at)
    )
    most: BindParameter[int] = bindparam("most")
    return Prepared(of_runs.limit(most)), Prepared(of_messages.limit(most))


def _next_due() -> Select[Any]:
    after = bindparam("after", type_=Instant)
    of_run = select(func.min(runs.c.due_at)).where(runs.c.due_at > after)
    of_message = (
        select(func.min(messages.c.due_at)).where(
            in_state(state), messages.c.due_at > after
        )
        for state in ("deferred", "pending")
    )
    return select(*(each.scalar_subquery() for each in (of_run, *of_message)))


def _due_runs() -> Select[Any]:
    # Written so that no index on what is due can serve: that one would find everybody's, and these are few people's.
    at_once = case((or_(*(waking(why) for why in AT_ONCE)), literal_column("0")))
    due = off_indexes(runs.c.active) & (
        func.coalesce(runs.c.due_at, at_once) <= bindparam("now")
    )
    return (
        select(runs)
        .where(runs.c.contact_id.in_(listed_in("ids")), due)
        .order_by(runs.c.id)
    )


# What every beat asks, built once: building a statement costs as much as running it.
_AT_ONCE = [_at_once(why) for why in AT_ONCE]
_BY_CLOCK = _by_clock()
_NEXT_DUE = _next_due()
_DUE_RUNS = Prepared(_due_runs())
_BY_ID = Prepared(select(runs).where(runs.c.id.in_(listed_in("ids"))))
# One about whose contact something is new keeps that mark.
_GO_ON = Prepared(
    update(runs)
    .values(wake=Wake.GOES_ON.value, due_at=None)
    .where(
        runs.c.id.in_(listed_in("ids")),
        runs.c.active,
        runs.c.wake != Wake.LOOKS_AGAIN.value,
    )
)
_VERSIONS = select(runs.c.campaign, runs.c.version).where(runs.c.active).distinct()
_TO_RECOMPUTE = Prepared(
    select(runs)
    .where(
        waking(Wake.LOOKS_AGAIN),
        runs.c.anchor.is_not(None),
        runs.c.id > bindparam("after"),
    )
    .order_by(runs.c.id)
    .limit(bindparam("most"))
)
_ANY_NEWS = Prepared(
    select(runs.c.id).where(waking(Wake.LOOKS_AGAIN)).order_by(runs.c.id).limit(1)
)
_DATED = Prepared(
    select(runs)
    .where(
        runs.c.contact_id.in_(listed_in("ids")),
        off_indexes(runs.c.active),
        func.coalesce(runs.c.wake, "") == Wake.LOOKS_AGAIN.value,
        runs.c.anchor.is_not(None),
    )
    .order_by(runs.c.id)
)


def contacts_with_something_due(
    connection: Connection,
    now: datetime,
    limit: int,
) -> list[int]:
    """Some contacts with a run or a deferred message to look at; none if nobody has any."""
    found: set[int] = set()
    for statement in (*_AT_ONCE, *_BY_CLOCK):
        timed = {"now": to_ms(now)} if statement in _BY_CLOCK else {}
        left = limit - len(found)
        if left > 0:
            rows = statement.rows(connection, most=left, **timed)
            found.update(row[0] for row in rows)
    return sorted(found)


def next_due(connection: Connection, after: datetime) -> datetime | None:
    """The first instant after `after` at which a stored run or message has something to do."""
    return min(
        (
            at
            for at in connection.execute(_NEXT_DUE, {"after": after}).one()
            if at is not None
        ),
        default=None,
    )


def due_runs(
    connection: Connection,
    contact_ids: Collection[int],
    now: datetime,
    others: Collection[int],
) -> list[Run]:
    """The active runs of these contacts that are due, and the `others` by number, in order of their numbers."""
    found = {
        row[0]: _run(row)
        for row in _DUE_RUNS.rows(connection, ids=numbers(contact_ids), now=to_ms(now))
    }
    missing = set(others) - set(found)
    if not missing:
        return list(found.values())
    return sorted(
        [*found.values(), *runs_by_id(connection, missing).values()],
        key=lambda run: run.id,
    )


def runs_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Run]:
    """The runs with these ids."""
    return {row[0]: _run(row) for row in _BY_ID.rows(connection, ids=numbers(ids))}


# Looked up rather than made: `Wake(word)` takes as long as reading the rest of the row.
_WAKES: dict[str | None, Wake | None] = {None: None, **{why.value: why for why in Wake}}


def _run(row: Sequence[Any]) -> Run:
    (
        id_,
        campaign,
        version,
        contact,
        record,
        occurrence,
        event,
        anchor,
        position,
        since,
        wake,
        due,
        active,
        started,
        ended,
        code,
        sentence,
        place,
        heard,
        arms,
    ) = row
    return Run(
        id_,
        campaign,
        version,
        contact,
        record,
        occurrence,
        event,
        anchor,
        position,
        from_millis(since),
        _WAKES[wake],
        from_ms(due),
        bool(active),
        from_millis(started),
        from_ms(ended),
        code,
        sentence,
        place,
        parsed(heard),
        parsed(arms),
    )


# What changes as a run goes on, in the order of the columns, and what only a moved date or another version changes: that
# is in an index, which would be written anew each time.
GOING_ON = (
    "position",
    "since",
    "wake",
    "due_at",
    "active",
    "ended_at",
    "code",
    "sentence",
    "place",
    "heard",
    "arms",
)
MOVED = ("version", "occurrence", "anchor")
# So many that go on alike are stored by one statement.
MANY = 10


def _set(names: Collection[str]) -> Update:
    return update(runs).values({name: bindparam(f"new_{name}") for name in names})


_SAVE = Prepared(_set(GOING_ON).where(runs.c.id == bindparam("number")))
_SAVE_ALIKE = Prepared(_set(GOING_ON).where(runs.c.id.in_(listed_in("ids"))))
_MOVE = Prepared(_set(MOVED).where(runs.c.id == bindparam("number")))
_REST = Prepared(
    update(runs)
    .values(wake=Wake.WAITS_FOR_MESSAGE.value, due_at=None)
    .where(runs.c.id.in_(listed_in("ids")))
)


def save_runs(connection: Connection, changed: Sequence[Run]) -> None:
    """Stores how far the planner has brought these runs; `move_runs` what else can change of one."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for run in changed:
        groups[_going_on(run)].append(run.id)
    few: list[tuple[Any, ...]] = []
    for values, ids in groups.items():
        if len(ids) < MANY:
            few += [(*values, number) for number in ids]
        else:
            _save_alike(connection, values, ids)
    _SAVE.many(connection, few)


def _save_alike(
    connection: Connection,
    values: tuple[Any, ...],
    ids: Collection[int],
) -> None:
    named = zip(GOING_ON, values, strict=True)
    new = {f"new_{name}": value for name, value in named}
    _SAVE_ALIKE.count(connection, ids=numbers(ids), **new)


def _going_on(run: Run) -> tuple[Any, ...]:
    """In the order of the table's columns, as an update names them."""
    r = run
    return (
        r.position,
        to_ms(r.since),
        r.wake.value if r.wake else None,
        to_ms(r.due_at),
        r.active,
        to_ms(r.ended_at),
        r.code,
        r.sentence,
        r.place,
        json.dumps(r.heard) if r.heard else None,
        json.dumps(r.arms) if r.arms else None,
    )


def move_runs(connection: Connection, moved: Sequence[Run]) -> None:
    """Stores the version of these runs, and the date that they hang on."""
    _MOVE.many(
        connection, [(run.version, run.occurrence, run.anchor, run.id) for run in moved]
    )


def rest(connection: Connection, ids: Collection[int]) -> None:
    """These runs have nothing to do until their message has its end."""
    if ids:
        _REST.count(connection, ids=numbers(ids))


def runs_per_campaign(connection: Connection) -> dict[str, int]:
    """How many people are in each campaign."""
    statement = (
        select(runs.c.campaign, func.count())
        .where(runs.c.active)
        .group_by(runs.c.campaign)
    )
    return {
        row[0]: row[1]
        for row in connection.execute(statement.order_by(runs.c.campaign))
    }


def positions(connection: Connection, campaign: str) -> list[tuple[str, int, int]]:
    """How many people are at which position of which version of a campaign."""
    columns = (runs.c.version, runs.c.position)
    statement = (
        select(*columns, func.count())
        .where(runs.c.active, runs.c.campaign == campaign)
        .group_by(*columns)
    )
    return [tuple(row) for row in connection.execute(statement)]


def dated_to_recompute(
    connection: Connection,
    after: int,
    most: int,
) -> list[Run]:
    """Some of the active runs that hang on a date and about whose contact something is new, from a number on."""
    return [_run(row) for row in _TO_RECOMPUTE.rows(connection, after=after, most=most)]


def dated_of(connection: Connection, contact_ids: Collection[int]) -> list[Run]:
    """As `dated_to_recompute`, all of those of these contacts."""
    if not _ANY_NEWS.rows(connection):
        # As nearly always: a blast is spared a look at each of its runs.
        return []
    return [_run(row) for row in _DATED.rows(connection, ids=numbers(contact_ids))]


def active_in(connection: Connection, campaign: str) -> list[Run]:
    """The active runs of a campaign."""
    statement = (
        select(runs.c.id)
        .where(runs.c.campaign == campaign, runs.c.active)
        .order_by(runs.c.id)
    )
    return list(runs_by_id(connection, list(connection.scalars(statement))).values())


def occurrence_taken(connection: Connection, run: Run) -> bool:
    """Whether another run has this run's occurrence."""
    r = runs.c
    statement = select(r.id).where(
        r.campaign == run.campaign,
        r.contact_id == run.contact_id,
        r.record_id == run.record_id,
        r.occurrence == run.occurrence,
        r.id != run.id,
    )
    return connection.execute(statement).first() is not None


@dataclass(frozen=True, slots=True)
class Armed:
    """A run that came to a split: its arm, and when."""

    arm: int
    came_at: datetime
    contact_id: int
    record_id: int
    started_at: datetime


def in_split(
    connection: Connection,
    campaign: str,
    step: str,
) -> list[Armed]:
    """Every run of a campaign that came to a split, the first to come first."""
    r = runs.c
    arm = r.arms[(step, "arm")].as_integer()
    came = r.arms[(step, "at")].as_float()
    statement = (
        select(
            arm,
            came,
            r.contact_id,
            r.record_id,
            r.started_at,
        )
        .where(r.campaign == campaign, arm.is_not(None))
        .order_by(came, r.id)
    )
    return [
        Armed(
            arm,
            datetime.fromtimestamp(at, UTC),
            contact,
            record,
            started,
        )
        for arm, at, contact, record, started in connection.execute(statement)
    ]


# What became of a step's message, as far as slots are kept for it: it is still to come, or it is not.
WAITS, ENDED = "waits", "ended"


def messages_by_occurrence(
    connection: Connection,
    campaign: str,
    contact_ids: Collection[int],
    occurrences: Collection[str],
) -> dict[tuple[int, int, str], dict[str | None, str | None]]:
    """By contact, record and occurrence of a campaign: each step that has a message, and whether that `WAITS`.

    A run that is over has the step None, which has `ENDED`.
    """
    r, m = runs.c, messages.c
    columns = (r.contact_id, r.record_id, r.occurrence, r.active, m.step, m.state)
    joined = runs.outerjoin(messages, m.run_id == r.id)
    statement = (
        select(*columns)
        .select_from(joined)
        .where(
            r.campaign == campaign,
            r.contact_id.in_(contact_ids),
            r.occurrence.in_(occurrences),
        )
    )
    found: dict[tuple[int, int, str], dict[str | None, str | None]] = defaultdict(dict)
    for contact, record, occurrence, active, step, state in connection.execute(
        statement
    ):
        own = found[contact, record, occurrence]
        if not active:
            own[None] = ENDED
        if step is not None:
            own[step] = WAITS if state == "deferred" else state
    return found


def active_versions(connection: Connection) -> list[tuple[str, str]]:
    """The campaigns and versions that somebody is in."""
    return [(row[0], row[1]) for row in connection.execute(_VERSIONS)]


def wake(connection: Connection, ids: Collection[int]) -> None:
    """Has the planner look again at these runs."""
    if ids:
        _GO_ON.count(connection, ids=numbers(ids))
