"""Runs: a contact's (and record's) passage through a campaign."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    bindparam,
    func,
    select,
    update,
)

from drip.storage.schema import Instant, messages, runs

# A run that waits for its message to be decided has nothing to do of its own.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


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
    next_due_at: datetime | None
    active: bool
    started_at: datetime
    ended_at: datetime | None
    code: str | None
    sentence: str | None
    place: str | None
    heard: dict[str, int] | None = None
    arms: dict[str, dict[str, float]] | None = None


def _something_due() -> Select[int]:
    now = bindparam("now", type_=Instant)
    to_recompute = select(runs.c.contact_id).where(runs.c.active, runs.c.next_due_at.is_(None))
    due = select(runs.c.contact_id).where(runs.c.active, runs.c.next_due_at <= now)
    again = select(messages.c.contact_id).where(messages.c.state == "deferred", messages.c.due_at <= now)
    union = to_recompute.union(due, again).subquery()
    return select(union.c.contact_id).order_by(union.c.contact_id).limit(bindparam("most"))


def _next_due() -> Select[Any]:
    after = bindparam("after", type_=Instant)
    of_run = select(func.min(runs.c.next_due_at)).where(runs.c.active, runs.c.next_due_at > after)
    of_message = (
        select(func.min(messages.c.due_at)).where(messages.c.state == state, messages.c.due_at > after)
        for state in ("deferred", "pending")
    )
    return select(*(each.scalar_subquery() for each in (of_run, *of_message)))


def _due_runs() -> Select[Any]:
    ids: BindParameter[int] = bindparam("ids", expanding=True)
    now = bindparam("now", type_=Instant)
    waiting = select(messages.c.run_id).where(
        messages.c.contact_id.in_(ids), messages.c.state == "deferred", messages.c.due_at <= now
    )
    due = runs.c.active & (runs.c.next_due_at.is_(None) | (runs.c.next_due_at <= now))
    return select(runs).where(runs.c.contact_id.in_(ids) & (due | runs.c.id.in_(waiting))).order_by(runs.c.id)


# What every beat asks, built once: building a statement costs as much as running it.
_SOMETHING_DUE = _something_due()
_NEXT_DUE = _next_due()
_DUE_RUNS = _due_runs()
_BY_ID = select(runs).where(runs.c.id.in_(bindparam("ids", expanding=True)))
_WAKE = update(runs).where(runs.c.id.in_(bindparam("ids", expanding=True)), runs.c.active).values(next_due_at=None)
_VERSIONS = select(runs.c.campaign, runs.c.version).where(runs.c.active).distinct()
_TO_RECOMPUTE = select(runs).where(runs.c.active, runs.c.next_due_at.is_(None)).order_by(runs.c.id)


def contacts_with_something_due(connection: Connection, now: datetime, limit: int) -> list[int]:
    """Contacts with a run or a deferred message to look at, in order of their ids."""
    return list(connection.scalars(_SOMETHING_DUE, {"now": now, "most": limit}))


def next_due(connection: Connection, after: datetime) -> datetime | None:
    """The first instant after `after` at which a stored run or message has something to do."""
    return min((at for at in connection.execute(_NEXT_DUE, {"after": after}).one() if at is not None), default=None)


def load_runs(connection: Connection, contact_ids: Collection[int], now: datetime) -> list[Run]:
    """The active runs of these contacts that are due, or that a deferred message belongs to."""
    return [Run(*row) for row in connection.execute(_DUE_RUNS, {"ids": list(contact_ids), "now": now})]


def runs_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Run]:
    """The runs with these ids."""
    return {row.id: Run(*row) for row in connection.execute(_BY_ID, {"ids": list(ids)})}


CHANGING = (
    "occurrence", "anchor", "position", "since", "next_due_at", "active", "ended_at", "code", "sentence", "place",
    "version", "heard", "arms",
)  # fmt: skip
_SAVE = update(runs).where(runs.c.id == bindparam("number")).values({name: bindparam(name) for name in CHANGING})


def save_runs(connection: Connection, changed: Sequence[Run]) -> None:
    """Stores what the planner changed."""
    if changed:
        connection.execute(_SAVE, [_changing(run) for run in changed])


def _changing(run: Run) -> dict[str, Any]:
    return {"number": run.id, **{name: getattr(run, name) for name in CHANGING}}


def runs_per_campaign(connection: Connection) -> dict[str, int]:
    """How many people are in each campaign."""
    statement = select(runs.c.campaign, func.count()).where(runs.c.active).group_by(runs.c.campaign)
    return {row[0]: row[1] for row in connection.execute(statement.order_by(runs.c.campaign))}


def to_recompute(connection: Connection) -> list[Run]:
    """The active runs about whose contact something is new."""
    return [Run(*row) for row in connection.execute(_TO_RECOMPUTE)]


def active_in(connection: Connection, campaign: str) -> list[Run]:
    """The active runs of a campaign."""
    statement = select(runs).where(runs.c.campaign == campaign, runs.c.active).order_by(runs.c.id)
    return [Run(*row) for row in connection.execute(statement)]


def occurrence_taken(connection: Connection, run: Run) -> bool:
    """Whether another run has this run's occurrence."""
    where = (
        runs.c.campaign == run.campaign,
        runs.c.contact_id == run.contact_id,
        runs.c.record_id == run.record_id,
        runs.c.occurrence == run.occurrence,
        runs.c.id != run.id,
    )
    return connection.execute(select(runs.c.id).where(*where)).first() is not None


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
    arm, came = runs.c.arms[(step, "arm")].as_integer(), runs.c.arms[(step, "at")].as_float()
    columns = (arm, came, runs.c.contact_id, runs.c.record_id, runs.c.started_at)
    statement = select(*columns).where(runs.c.campaign == campaign, arm.is_not(None)).order_by(came, runs.c.id)
    rows = connection.execute(statement)
    return [Armed(row[0], datetime.fromtimestamp(row[1], UTC), row[2], row[3], row[4]) for row in rows]


def active_versions(connection: Connection) -> list[tuple[str, str]]:
    """The campaigns and versions that somebody is in."""
    return [(row[0], row[1]) for row in connection.execute(_VERSIONS)]


def wake(connection: Connection, ids: Collection[int]) -> None:
    """Has the planner look again at these runs."""
    if ids:
        connection.execute(_WAKE, {"ids": list(ids)})
