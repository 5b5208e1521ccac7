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
        tasks.c.id.label("number"),
        tasks.c.title,
        tasks.c.assign_to,
        tasks.c.priority,
        tasks.c.due,
        tasks.c.state,
        contacts.c.key.label("contact"),
        contacts.c.phone,
        contacts.c.email,
        records.c.key.label("record"),
        runs.c.campaign,
        tasks.c.created_at,
        tasks.c.done_at,
        tasks.c.outcome,
        tasks.c.notes,
        tasks.c.contact_id,
        runs.c.record_id,
    )
    .join(runs, runs.c.id == tasks.c.run_id)
    .join(contacts, contacts.c.id == tasks.c.contact_id)
    .outerjoin(records, records.c.id == runs.c.record_id)
)
# The most urgent first, then those due first.
_URGENT_FIRST = (
    tasks.c.priority.desc(),
    tasks.c.due.is_(None),
    tasks.c.due,
    tasks.c.id,
)


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Gives tasks; the one of a run's step is given once."""
    if rows:
        # By the unique key of run and step: a step that is walked again gives no second.
        once = insert_or(tasks).on_conflict_do_nothing(
            index_elements=["run_id", "step"]
        )
        connection.execute(once, list(rows))


def listed(
    connection: Connection, states: Collection[str], assign_to: str | None = None
) -> list[Work]:
    """Tasks in these states: the most urgent first, then those due first."""
    asked = _WORK.where(tasks.c.state.in_(states))
    if assign_to is not None:
        asked = asked.where(tasks.c.assign_to == assign_to)
    return typed_rows(connection, asked.order_by(*_URGENT_FIRST), into=Work)


def of_contact(connection: Connection, contact_id: int) -> list[Work]:
    """A contact's tasks, the newest first."""
    own = _WORK.where(tasks.c.contact_id == contact_id)
    return typed_rows(connection, own.order_by(tasks.c.id.desc()), into=Work)


def count_open(connection: Connection) -> int:
    """How many are open."""
    count = select(func.count()).where(tasks.c.state == "open")
    return one_row(connection, count, into=int)


def get(connection: Connection, number: int) -> Work | None:
    """One task."""
    return first_row(connection, _WORK.where(tasks.c.id == number), into=Work)


def settle(
    connection: Connection, number: int, state: str, outcome: str | None, now: datetime
) -> bool:
    """Whether the task was open; it is `done` or `dropped` now."""
    still_open = (
        tasks.c.id == number,
        tasks.c.state == "open",
    )
    settled = update(tasks).where(*still_open)
    settled = settled.values(state=state, outcome=outcome, done_at=now)
    return count_changed(connection, settled) == 1
