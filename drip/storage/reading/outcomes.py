"""What became of the runs that a campaign began in a time: for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from drip.storage.base.schema import deliveries, judgements, messages, reasons, runs


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A run. `held_out` is one that gets nothing, for comparison; `arms` are those of its splits, by step."""

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


def begun(connection: Connection, period: Period) -> list[RunOutcome]:
    """Its runs, oldest first."""
    columns = (
        runs.c.contact_id,
        runs.c.record_id,
        runs.c.started_at,
        runs.c.code,
        runs.c.arms,
    )
    statement = (
        select(*columns).where(*period.holds()).order_by(runs.c.started_at, runs.c.id)
    )
    return [
        RunOutcome(
            contact,
            record,
            at,
            code == "holdout",
            {step: int(arm["arm"]) for step, arm in (arms or {}).items()},
        )
        for contact, record, at, code, arms in connection.execute(statement)
    ]


def ends(connection: Connection, period: Period) -> Sequence[tuple[str, str, str, int]]:
    """How many of its messages are in which state, by step and channel."""
    columns = (messages.c.step, messages.c.channel, messages.c.state)
    joined = select(*columns, func.count()).join(runs, runs.c.id == messages.c.run_id)
    return _rows(
        connection, joined.where(*period.holds()).group_by(*columns).order_by(*columns)
    )


def came_back(
    connection: Connection, period: Period
) -> Sequence[tuple[str, str, str, int]]:
    """How many of its messages something came back of, by step, channel and kind; what machines opened does not count."""
    columns = (messages.c.step, messages.c.channel, deliveries.c.kind)
    number = func.count(func.distinct(deliveries.c.message_id))
    joined = select(*columns, number).join(
        messages, messages.c.id == deliveries.c.message_id
    )
    joined = joined.join(runs, runs.c.id == messages.c.run_id).where(
        *period.holds(), deliveries.c.meaning != "machine"
    )
    return _rows(connection, joined.group_by(*columns).order_by(*columns))


def not_sent(connection: Connection, period: Period) -> Sequence[tuple[str, int]]:
    """Why its messages did not go: how many for each code, the most frequent first."""
    number = func.count(func.distinct(judgements.c.message_id))
    joined = (
        select(reasons.c.code, number)
        .select_from(judgements)
        .join(reasons, reasons.c.id == judgements.c.reason_id)
        .join(messages, messages.c.id == judgements.c.message_id)
        .join(runs, runs.c.id == messages.c.run_id)
    )
    skipped = joined.where(
        *period.holds(), judgements.c.until.is_(None), messages.c.state == "skipped"
    )
    return _rows(
        connection,
        skipped.group_by(reasons.c.code).order_by(number.desc(), reasons.c.code),
    )


def _rows(connection: Connection, statement: Any) -> list[Any]:
    return [tuple(row) for row in connection.execute(statement)]
