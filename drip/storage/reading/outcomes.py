"""What became of the runs that a campaign began in a time: for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from drip.storage.base.schema import deliveries, judgements, messages, reasons, runs
from drip.storage.base.sql import columns_of, typed_rows


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A run.

    `held_out` is one that gets nothing, for comparison; `arms` are those of its
    splits, by step.
    """

    contact_id: int
    record_id: int
    started_at: datetime
    held_out: bool
    arms: dict[str, int]


@dataclass(frozen=True, slots=True)
class Period:
    """Runs of one campaign that began from `since` on and before `until`."""

    campaign: str
    since: datetime
    until: datetime

    def holds(self) -> tuple[ColumnElement[bool], ...]:
        return (
            runs.c.campaign == self.campaign,
            runs.c.started_at >= self.since,
            runs.c.started_at < self.until,
        )


class _BegunRun(NamedTuple):
    contact_id: int
    record_id: int
    started_at: datetime
    code: str | None
    arms: dict[str, Any] | None


class StepCount(NamedTuple):
    """So many messages of a step and channel, of a kind (or in a state)."""

    step: str
    channel: str
    kind: str
    messages: int


class CodeCount(NamedTuple):
    """So many messages did not go for a reason."""

    code: str
    messages: int


def begun(connection: Connection, period: Period) -> list[RunOutcome]:
    """Its runs, oldest first."""
    its_runs = select(*columns_of(runs, _BegunRun)).where(*period.holds())
    oldest_first = its_runs.order_by(runs.c.started_at, runs.c.id)
    return [_outcome(run) for run in typed_rows(connection, oldest_first, _BegunRun)]


def _outcome(run: _BegunRun) -> RunOutcome:
    return RunOutcome(
        run.contact_id,
        run.record_id,
        run.started_at,
        held_out=run.code == "holdout",
        arms={step: int(came["arm"]) for step, came in (run.arms or {}).items()},
    )


def ends(connection: Connection, period: Period) -> Sequence[StepCount]:
    """How many of its messages are in which state, by step and channel."""
    key = (
        messages.c.step,
        messages.c.channel,
        messages.c.state.label("kind"),
    )
    counted = (
        select(*key, func.count().label("messages"))
        .join(runs, runs.c.id == messages.c.run_id)
        .where(*period.holds())
        .group_by(*key)
        .order_by(*key)
    )
    return typed_rows(connection, counted, into=StepCount)


def came_back(connection: Connection, period: Period) -> Sequence[StepCount]:
    """How many of its messages something came back of, by step, channel and kind.

    What machines opened does not count.
    """
    key = (
        messages.c.step,
        messages.c.channel,
        deliveries.c.kind,
    )
    counted = (
        select(
            *key,
            func.count(deliveries.c.message_id.distinct()).label("messages"),
        )
        .join(messages, messages.c.id == deliveries.c.message_id)
        .join(runs, runs.c.id == messages.c.run_id)
        .where(*period.holds(), deliveries.c.meaning != "machine")
        .group_by(*key)
        .order_by(*key)
    )
    return typed_rows(connection, counted, into=StepCount)


# What a message waited for before is not in it, only what ended it.
def not_sent(connection: Connection, period: Period) -> Sequence[CodeCount]:
    """Why its messages did not go, and how many: the most frequent reason first."""
    count = func.count(judgements.c.message_id.distinct())
    joined = (
        judgements.join(reasons, reasons.c.id == judgements.c.reason_id)
        .join(messages, messages.c.id == judgements.c.message_id)
        .join(runs, runs.c.id == messages.c.run_id)
    )
    skipped = (
        judgements.c.until.is_(None),
        messages.c.state == "skipped",
    )
    by_code = (
        select(reasons.c.code, count.label("messages"))
        .select_from(joined)
        .where(*period.holds(), *skipped)
        .group_by(reasons.c.code)
        .order_by(count.desc(), reasons.c.code)
    )
    return typed_rows(connection, by_code, into=CodeCount)
