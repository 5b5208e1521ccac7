"""The beginning of runs: who has entered a campaign, and who does now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.lifecycle import Wake
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import contacts, runs
from drip.storage.base.sql import Prepared, one_row, select_as, typed_rows
from drip.storage.people import zones

_run = runs.c


class _Start(NamedTuple):
    contact_id: int
    record_id: int
    started_at: datetime


class _Occurrence(NamedTuple):
    contact_id: int
    record_id: int
    occurrence: str


# A run whose date moved away left its place to the new date's.
_STAYED = or_(
    _run.code.is_(None),
    _run.code != "date-moved",
)


def last_starts(
    connection: Connection,
    campaign: str,
    contact_ids: Collection[int],
) -> dict[tuple[int, int], datetime]:
    """When each contact (and record) last entered a campaign."""
    own = (
        _run.campaign == campaign,
        _run.contact_id.in_(contact_ids),
        _STAYED,
    )
    # The oldest first, so that of several the last one is what remains.
    began = select_as(runs, _Start).where(*own).order_by(_run.started_at)
    found = typed_rows(connection, began, into=_Start)
    return {(start.contact_id, start.record_id): start.started_at for start in found}


def occurrences(
    connection: Connection,
    campaign: str,
    contact_ids: Collection[int],
) -> set[tuple[int, int, str]]:
    """What these contacts have been in a campaign for: contact, record, occurrence."""
    own = (
        _run.campaign == campaign,
        _run.contact_id.in_(contact_ids),
    )
    asked = select_as(runs, _Occurrence).where(*own)
    return set(typed_rows(connection, asked, into=_Occurrence))


def count_starts(connection: Connection, campaign: str, since: datetime) -> int:
    """How many have entered a campaign since an instant."""
    entered = (
        _run.campaign == campaign,
        _run.started_at > since,
    )
    count = select(func.count()).select_from(runs).where(*entered)
    return one_row(connection, count, into=int)


# What a run begins with, in the order of the columns.
STARTING = (
    "campaign",
    "version",
    "contact_id",
    "record_id",
    "occurrence",
    "event_id",
    "anchor",
    "position",
    "since",
    "wake",
    "due_at",
    "active",
    "started_at",
    "ended_at",
    "code",
    "sentence",
    "place",
)
INSTANTS = ("since", "due_at", "started_at", "ended_at")
_REOPENED = ("due_at", "ended_at", "code", "sentence", "place")


def _start() -> ClauseElement:
    statement = insert_or(runs).values({name: bindparam(name) for name in STARTING})
    date_moved = _run.code == literal_column("'date-moved'")
    return statement.on_conflict_do_update(
        index_elements=["campaign", "contact_id", "record_id", "occurrence"],
        set_={
            "active": true(),
            "wake": literal_column(f"'{Wake.LOOKS_AGAIN}'"),
            **dict.fromkeys(_REOPENED, null()),
        },
        where=and_(_run.active.is_(False), date_moved),
    )


_START = Prepared(_start())
_in_order = itemgetter(*STARTING)


def start_runs(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Stores runs; those whose occurrence has one already are left as they are.

    But a run that ended because its date moved away goes on where it was when the date
    comes back.
    """
    values = []
    for row in rows:
        instants = {name: to_ms(row[name]) for name in INSTANTS}
        values.append(_in_order({**row, **instants}))
    _START.many(connection, values)


def start_everybody(
    connection: Connection,
    row: Mapping[str, Any],
    names: Collection[str | None] | None,
    where: ColumnElement[bool],
) -> None:
    """As `start_runs`, for every contact in these zones of whom `where` holds.

    It is one statement; without `names` they are in any zone. `row` is what their runs
    have in common.
    """
    if names is not None:
        where = and_(where, zones.in_zones(names))
    columns = _columns_of(row)
    values = [_starting(column, row) for column in columns]
    found = select(*values).where(where).order_by(contacts.c.id)
    # No row goes over the wire: the database makes them of the contacts it has.
    statement = insert_or(runs).from_select(columns, found, include_defaults=False)
    connection.execute(statement.on_conflict_do_nothing())


def _columns_of(row: Mapping[str, Any]) -> list[Column[Any]]:
    own = _run.contact_id
    return [column for column in runs.c if column.name in row or column is own]


def _starting(column: Column[Any], row: Mapping[str, Any]) -> ColumnElement[Any]:
    if column is _run.contact_id:
        return contacts.c.id
    return literal(row[column.name], column.type).label(column.name)
