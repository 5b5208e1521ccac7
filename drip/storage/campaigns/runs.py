"""Runs: a contact's (and record's) passage through a campaign."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
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

from drip.core.lifecycle import AT_ONCE, Wake
from drip.storage.base.columns import Instant, to_ms
from drip.storage.base.schema import in_state, messages, runs, waking
from drip.storage.base.sql import (
    Prepared,
    first_row,
    listed_in,
    numbers,
    off_indexes,
    typed_rows,
)

_run = runs.c
_message = messages.c


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
        """Another one with the same values."""
        # `dataclasses.replace` takes ten times as long, and this is done at every step.
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


def _at_once(why: Wake) -> Prepared[int]:
    """Whose runs are looked at for a reason that no clock knows."""
    found = select(_run.contact_id).where(waking(why)).order_by(_run.id)
    return Prepared(found.limit(bindparam("most")), into=int)


# What has waited longest comes first, by the indexes on what is due.
def _of_runs_due() -> Prepared[int]:
    due = _run.due_at <= bindparam("now")
    found = select(_run.contact_id).where(due).order_by(_run.due_at, _run.id)
    return Prepared(found.limit(bindparam("most")), into=int)


def _of_messages_due() -> Prepared[int]:
    due = _message.due_at <= bindparam("now")
    found = select(_message.contact_id).where(in_state("deferred"), due)
    in_order = found.order_by(_message.due_at)
    return Prepared(in_order.limit(bindparam("most")), into=int)


def _next_due() -> Select[Any]:
    of_run = select(func.min(_run.due_at)).where(_run.due_at > _AFTER)
    asked = (of_run, _next_message("deferred"), _next_message("pending"))
    return select(*(first.scalar_subquery() for first in asked))


def _next_message(state: str) -> Select[Any]:
    due = _message.due_at
    return select(func.min(due)).where(
        in_state(state),
        due > _AFTER,
    )


def _due_runs() -> Select[Any]:
    # Written so that no index on what is due can serve: that one would find
    # everybody's, and these are few people's.
    at_once = case((or_(*map(waking, AT_ONCE)), literal_column("0")))
    due = func.coalesce(_run.due_at, at_once) <= bindparam("now")
    return _OF_CONTACTS.where(off_indexes(_run.active) & due).order_by(_run.id)


_AFTER = bindparam("after", type_=Instant)
_OF_CONTACTS = select(runs).where(_run.contact_id.in_(listed_in("ids")))
# What every tick asks, built once: building a statement costs as much as running it.
_AT_ONCE = [_at_once(why) for why in AT_ONCE]
_BY_CLOCK = [_of_runs_due(), _of_messages_due()]
_NEXT_DUE = _next_due()
_DUE_RUNS = Prepared(_due_runs(), into=Run)
_BY_ID = Prepared(select(runs).where(_run.id.in_(listed_in("ids"))), into=Run)
# One about whose contact something is new keeps that mark.
_GO_ON = Prepared(
    update(runs)
    .values(wake=Wake.GOES_ON.value, due_at=None)
    .where(
        _run.id.in_(listed_in("ids")),
        _run.active,
        _run.wake != Wake.LOOKS_AGAIN.value,
    )
)
_VERSIONS = select(_run.campaign, _run.version).where(_run.active).distinct()
_TO_RECOMPUTE = Prepared(
    select(runs)
    .where(
        waking(Wake.LOOKS_AGAIN),
        _run.anchor.is_not(None),
        _run.id > bindparam("after"),
    )
    .order_by(_run.id)
    .limit(bindparam("most")),
    into=Run,
)
_ANY_NEWS = Prepared(
    select(_run.id).where(waking(Wake.LOOKS_AGAIN)).order_by(_run.id).limit(1),
    into=int,
)
_DATED = Prepared(
    _OF_CONTACTS.where(
        off_indexes(_run.active),
        func.coalesce(_run.wake, "") == Wake.LOOKS_AGAIN.value,
        _run.anchor.is_not(None),
    ).order_by(_run.id),
    into=Run,
)


def contacts_with_something_due(
    connection: Connection,
    now: datetime,
    limit: int,
) -> list[int]:
    """Some contacts with a run or a deferred message to look at.

    None if nobody has any.
    """
    at_once: list[tuple[Prepared[int], dict[str, int | None]]]
    at_once = [(statement, {}) for statement in _AT_ONCE]
    by_clock = [(statement, {"now": to_ms(now)}) for statement in _BY_CLOCK]
    found: set[int] = set()
    for statement, values in (*at_once, *by_clock):
        left = limit - len(found)
        if left > 0:
            found.update(statement.rows(connection, most=left, **values))
    return sorted(found)


def next_due(connection: Connection, after: datetime) -> datetime | None:
    """The first instant after `after` at which a stored run or message is due."""
    found = connection.execute(_NEXT_DUE, {"after": after}).one()
    return min((at for at in found if at is not None), default=None)


def due_runs(
    connection: Connection,
    contact_ids: Collection[int],
    now: datetime,
    others: Collection[int],
) -> list[Run]:
    """The active runs of these contacts that are due, and the `others` by number.

    They are in order of their numbers.
    """
    ids = numbers(contact_ids)
    due = _DUE_RUNS.rows(connection, ids=ids, now=to_ms(now))
    missing = set(others) - {run.id for run in due}
    if not missing:
        return due
    also = runs_by_id(connection, missing).values()
    return sorted([*due, *also], key=lambda run: run.id)


def runs_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Run]:
    """The runs with these ids."""
    return {run.id: run for run in _BY_ID.rows(connection, ids=numbers(ids))}


# What changes as a run goes on, in the order of the columns, and what only a moved date
# or another version changes: that is in an index, which would be written anew each
# time.
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


_SAVE = Prepared(_set(GOING_ON).where(_run.id == bindparam("number")))
_SAVE_ALIKE = Prepared(_set(GOING_ON).where(_run.id.in_(listed_in("ids"))))
_MOVE = Prepared(_set(MOVED).where(_run.id == bindparam("number")))
_REST = Prepared(
    update(runs)
    .values(wake=Wake.WAITS_FOR_MESSAGE.value, due_at=None)
    .where(_run.id.in_(listed_in("ids")))
)


def save_runs(connection: Connection, changed: Sequence[Run]) -> None:
    """Stores how far the planner has brought these runs.

    `move_runs` stores what else can change of one.
    """
    few: list[tuple[Any, ...]] = []
    for values, ids in _alike(changed).items():
        if len(ids) < MANY:
            few += [(*values, number) for number in ids]
        else:
            _save_alike(connection, values, ids)
    _SAVE.many(connection, few)


def _alike(changed: Iterable[Run]) -> dict[tuple[Any, ...], list[int]]:
    """The ids of those that go on in the same way, by what that is."""
    ids: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for run in changed:
        ids[_going_on(run)].append(run.id)
    return ids


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
    return (
        run.position,
        to_ms(run.since),
        run.wake.value if run.wake else None,
        to_ms(run.due_at),
        run.active,
        to_ms(run.ended_at),
        run.code,
        run.sentence,
        run.place,
        json.dumps(run.heard) if run.heard else None,
        json.dumps(run.arms) if run.arms else None,
    )


def move_runs(connection: Connection, moved: Sequence[Run]) -> None:
    """Stores the version of these runs, and the date that they hang on."""
    rows = [(run.version, run.occurrence, run.anchor, run.id) for run in moved]
    _MOVE.many(connection, rows)


def rest(connection: Connection, ids: Collection[int]) -> None:
    """These runs have nothing to do until their message has its end."""
    if ids:
        _REST.count(connection, ids=numbers(ids))


def runs_per_campaign(connection: Connection) -> dict[str, int]:
    """How many people are in each campaign."""
    counted = select(_run.campaign, func.count()).where(_run.active)
    by_campaign = counted.group_by(_run.campaign).order_by(_run.campaign)
    return {row[0]: row[1] for row in connection.execute(by_campaign)}


def positions(connection: Connection, campaign: str) -> list[tuple[str, int, int]]:
    """How many people are at which position of which version of a campaign."""
    at = (_run.version, _run.position)
    own = select(*at, func.count()).where(
        _run.active,
        _run.campaign == campaign,
    )
    return [tuple(row) for row in connection.execute(own.group_by(*at))]


def dated_to_recompute(connection: Connection, after: int, most: int) -> list[Run]:
    """Some of the active runs that hang on a date, from a number on.

    They are those about whose contact something is new.
    """
    return _TO_RECOMPUTE.rows(connection, after=after, most=most)


def dated_of(connection: Connection, contact_ids: Collection[int]) -> list[Run]:
    """As `dated_to_recompute`, all of those of these contacts."""
    if not _ANY_NEWS.rows(connection):
        # As nearly always: a blast is spared a look at each of its runs.
        return []
    return _DATED.rows(connection, ids=numbers(contact_ids))


def active_in(connection: Connection, campaign: str) -> list[Run]:
    """The active runs of a campaign."""
    own = select(_run.id).where(
        _run.campaign == campaign,
        _run.active,
    )
    ids = typed_rows(connection, own.order_by(_run.id), into=int)
    return list(runs_by_id(connection, ids).values())


def occurrence_taken(connection: Connection, run: Run) -> bool:
    """Whether another run has this run's occurrence."""
    same = (
        _run.campaign == run.campaign,
        _run.contact_id == run.contact_id,
        _run.record_id == run.record_id,
        _run.occurrence == run.occurrence,
    )
    other = select(_run.id).where(*same, _run.id != run.id)
    return first_row(connection, other, into=int) is not None


@dataclass(frozen=True, slots=True)
class Armed:
    """A run that came to a split: its arm, and when."""

    arm: int
    came_at: datetime
    contact_id: int
    record_id: int
    started_at: datetime


def in_split(connection: Connection, campaign: str, step: str) -> list[Armed]:
    """Every run of a campaign that came to a split, the first to come first."""
    arm = _run.arms[(step, "arm")].as_integer()
    came = _run.arms[(step, "at")].as_float()
    whose = (_run.contact_id, _run.record_id, _run.started_at)
    armed = (_run.campaign == campaign, arm.is_not(None))
    in_order = select(arm, came, *whose).where(*armed).order_by(came, _run.id)
    return [
        Armed(number, datetime.fromtimestamp(seconds, UTC), *rest)
        for number, seconds, *rest in connection.execute(in_order)
    ]


# What became of a step's message, as far as slots are kept for it: it is still to come,
# or it is not.
WAITS, ENDED = "waits", "ended"


class _StepOfOccurrence(NamedTuple):
    """A run, and one of its messages. A run without any has one row, without a step."""

    contact_id: int
    record_id: int
    occurrence: str
    active: bool
    step: str | None
    state: str | None

    @property
    def what_became(self) -> str | None:
        return WAITS if self.state == "deferred" else self.state


_STEPS_OF_OCCURRENCES = select(
    _run.contact_id,
    _run.record_id,
    _run.occurrence,
    _run.active,
    _message.step,
    _message.state,
).select_from(runs.outerjoin(messages, _message.run_id == _run.id))


def messages_by_occurrence(
    connection: Connection,
    campaign: str,
    contact_ids: Collection[int],
    occurrences: Collection[str],
) -> dict[tuple[int, int, str], dict[str | None, str | None]]:
    """By contact, record and occurrence of a campaign: what became of each message.

    Each step that has one, and whether that `WAITS`. A run that is over has the step
    None, which has `ENDED`.
    """
    asked = _STEPS_OF_OCCURRENCES.where(
        _run.campaign == campaign,
        _run.contact_id.in_(contact_ids),
        _run.occurrence.in_(occurrences),
    )
    found: dict[tuple[int, int, str], dict[str | None, str | None]] = defaultdict(dict)
    for row in typed_rows(connection, asked, into=_StepOfOccurrence):
        own = found[row.contact_id, row.record_id, row.occurrence]
        if not row.active:
            own[None] = ENDED
        if row.step is not None:
            own[row.step] = row.what_became
    return found


def active_versions(connection: Connection) -> list[tuple[str, str]]:
    """The campaigns and versions that somebody is in."""
    return [(row[0], row[1]) for row in connection.execute(_VERSIONS)]


def wake(connection: Connection, ids: Collection[int]) -> None:
    """Has the planner look again at these runs."""
    if ids:
        _GO_ON.count(connection, ids=numbers(ids))
