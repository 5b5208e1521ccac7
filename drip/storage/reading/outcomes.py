"""What became of the runs that a campaign began in a time: for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from drip.storage.base.schema import deliveries, judgements, messages, reasons, runs
from drip.storage.base.sql import select_as, typed_rows

_delivery = deliveries.c
_judgement = judgements.c
_message = messages.c
_reason = reasons.c
_run = runs.c


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
            _run.campaign == self.campaign,
            _run.started_at >= self.since,
            _run.started_at < self.until,
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
    its_runs = select_as(runs, _BegunRun).where(*period.holds())
    oldest_first = its_runs.order_by(_run.started_at, _run.id)
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
        _message.step,
        _message.channel,
        _message.state.label("kind"),
    )
    counted = (
        select(*key, func.count().label("messages"))
        .join(runs, _run.id == _message.run_id)
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
        _message.step,
        _message.channel,
        _delivery.kind,
    )
    counted = (
        select(
            *key,
            func.count(_delivery.message_id.distinct()).label("messages"),
        )
        .join(messages, _message.id == _delivery.message_id)
        .join(runs, _run.id == _message.run_id)
        .where(*period.holds(), _delivery.meaning != "machine")
        .group_by(*key)
        .order_by(*key)
    )
    return typed_rows(connection, counted, into=StepCount)


_JUDGED = (
    judgements.join(reasons, _reason.id == _judgement.reason_id)
    .join(messages, _message.id == _judgement.message_id)
    .join(runs, _run.id == _message.run_id)
)


# What a message waited for before is not in it, only what ended it.
def not_sent(connection: Connection, period: Period) -> Sequence[CodeCount]:
    """Why its messages did not go, and how many: the most frequent reason first."""
    count = func.count(_judgement.message_id.distinct())
    skipped = (
        _judgement.until.is_(None),
        _message.state == "skipped",
    )
    by_code = (
        select(_reason.code, count.label("messages"))
        .select_from(_JUDGED)
        .where(*period.holds(), *skipped)
        .group_by(_reason.code)
        .order_by(count.desc(), _reason.code)
    )
    return typed_rows(connection, by_code, into=CodeCount)
