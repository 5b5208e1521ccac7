"""Work that campaigns give to people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import contacts, records, runs, tasks


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


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Gives tasks; the one of a run's step is given once."""
    if rows:
        connection.execute(
            insert_or(tasks).on_conflict_do_nothing(index_elements=["run_id", "step"]),
            list(rows),
        )


def _select() -> Select[Any]:
    columns = (
        tasks.c.id,
        tasks.c.title,
        tasks.c.assign_to,
        tasks.c.priority,
        tasks.c.due,
        tasks.c.state,
        contacts.c.key,
        contacts.c.phone,
        contacts.c.email,
        records.c.key,
        runs.c.campaign,
        tasks.c.created_at,
        tasks.c.done_at,
        tasks.c.outcome,
        tasks.c.notes,
        tasks.c.contact_id,
        runs.c.record_id,
    )
    joined = (
        select(*columns)
        .join(runs, runs.c.id == tasks.c.run_id)
        .join(contacts, contacts.c.id == tasks.c.contact_id)
    )
    return joined.outerjoin(records, records.c.id == runs.c.record_id)


def listed(
    connection: Connection, states: Collection[str], assign_to: str | None = None
) -> list[Work]:
    """Tasks in these states: the most urgent first, then those due first."""
    statement = _select().where(tasks.c.state.in_(states))
    if assign_to is not None:
        statement = statement.where(tasks.c.assign_to == assign_to)
    order = (tasks.c.priority.desc(), tasks.c.due.is_(None), tasks.c.due, tasks.c.id)
    return [_work(row) for row in connection.execute(statement.order_by(*order))]


def of_contact(connection: Connection, contact_id: int) -> list[Work]:
    """A contact's tasks, the newest first."""
    statement = (
        _select().where(tasks.c.contact_id == contact_id).order_by(tasks.c.id.desc())
    )
    return [_work(row) for row in connection.execute(statement)]


def count_open(connection: Connection) -> int:
    """How many are open."""
    return int(
        connection.execute(
            select(func.count()).where(tasks.c.state == "open")
        ).scalar_one()
    )


def get(connection: Connection, number: int) -> Work | None:
    """One task."""
    row = connection.execute(_select().where(tasks.c.id == number)).first()
    return _work(row) if row else None


def _work(row: Row[Any]) -> Work:
    return Work(*tuple(row))


def settle(
    connection: Connection, number: int, state: str, outcome: str | None, now: datetime
) -> bool:
    """Whether the task was open; it is `done` or `dropped` now."""
    where = (tasks.c.id == number, tasks.c.state == "open")
    values = {"state": state, "outcome": outcome, "done_at": now}
    return connection.execute(update(tasks).where(*where).values(values)).rowcount == 1
