"""Work that campaigns give to people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import contacts, records, runs, tasks
from drip.storage.base.sql import count_changed, first_row, one_row, typed_rows

_contact = contacts.c

_run = runs.c
_task = tasks.c


@dataclass(frozen=True, slots=True)
class Work:
    """A task as people see it. `due` is a day, `notes` what is to be said."""

    number: int
    title: str
    assign_to: str
    priority: int
    due: str | None
    state: str
    contact: str
    phone: str | None
    email: str | None
    record: str | None
    campaign: str
    created_at: datetime
    done_at: datetime | None
    outcome: str | None
    notes: str | None
    contact_id: int
    record_id: int


_WORK = (
    select(
        _task.id.label("number"),
        _task.title,
        _task.assign_to,
        _task.priority,
        _task.due,
        _task.state,
        _contact.key.label("contact"),
        _contact.phone,
        _contact.email,
        records.c.key.label("record"),
        _run.campaign,
        _task.created_at,
        _task.done_at,
        _task.outcome,
        _task.notes,
        _task.contact_id,
        _run.record_id,
    )
    .join(runs, _run.id == _task.run_id)
    .join(contacts, _contact.id == _task.contact_id)
    .outerjoin(records, records.c.id == _run.record_id)
)
# The most urgent first, then those due first.
_URGENT_FIRST = (
    _task.priority.desc(),
    _task.due.is_(None),
    _task.due,
    _task.id,
)


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Gives tasks; the one of a run's step is given once."""
    if rows:
        # By the unique key of run and step: a step that is walked again gives no
        # second.
        once = insert_or(tasks).on_conflict_do_nothing(
            index_elements=["run_id", "step"]
        )
        connection.execute(once, list(rows))


def listed(
    connection: Connection,
    states: Collection[str],
    assign_to: str | None = None,
) -> list[Work]:
    """Tasks in these states: the most urgent first, then those due first."""
    asked = _WORK.where(_task.state.in_(states))
    if assign_to is not None:
        asked = asked.where(_task.assign_to == assign_to)
    return typed_rows(connection, asked.order_by(*_URGENT_FIRST), into=Work)


def of_contact(connection: Connection, contact_id: int) -> list[Work]:
    """A contact's tasks, the newest first."""
    own = _WORK.where(_task.contact_id == contact_id)
    return typed_rows(connection, own.order_by(_task.id.desc()), into=Work)


def count_open(connection: Connection) -> int:
    """How many are open."""
    count = select(func.count()).where(_task.state == "open")
    return one_row(connection, count, into=int)


def get(connection: Connection, number: int) -> Work | None:
    """One task."""
    return first_row(connection, _WORK.where(_task.id == number), into=Work)


def settle(
    connection: Connection,
    number: int,
    state: str,
    outcome: str | None,
    now: datetime,
) -> bool:
    """Whether the task was open; it is `done` or `dropped` now."""
    still_open = (
        _task.id == number,
        _task.state == "open",
    )
    settled = update(tasks).where(*still_open)
    settled = settled.values(state=state, outcome=outcome, done_at=now)
    return count_changed(connection, settled) == 1
