"""What is new about people, and how the planner learns of it.

Each change of contacts or records has a number, which they carry: whoever knows up
to which one it has looked finds what came since, without asking a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    bindparam,
    false,
    func,
    insert,
    null,
    select,
    update,
)

from drip.core.lifecycle import Wake
from drip.storage.base.schema import contacts, records, runs
from drip.storage.base.sql import Prepared, listed_in, numbers, one_row

# A statement has as many values: SQLite takes up to 32,766 of them.
CHUNK = 5_000


class _NewestChanges(NamedTuple):
    contact: int | None
    record: int | None


class _NewestId(NamedTuple):
    id: int | None


_LAST_CHANGE = Prepared(
    select(
        select(func.max(contacts.c.change)).scalar_subquery().label("contact"),
        select(func.max(records.c.change)).scalar_subquery().label("record"),
    ),
    into=_NewestChanges,
)
_TOUCH = Prepared(
    update(contacts)
    .where(contacts.c.id.in_(listed_in("ids")))
    .values(change=bindparam("number", type_=BigInteger))
)
# Behind `coalesce` SQLite does not go through all active runs to find those of a few
# contacts.
_WAKE = Prepared(
    update(runs)
    .where(
        runs.c.contact_id.in_(listed_in("ids")),
        func.coalesce(runs.c.active, false()),
        runs.c.wake != Wake.LOOKS_AGAIN.value,
    )
    .values(wake=Wake.LOOKS_AGAIN.value, due_at=null())
)


class Numbered(Protocol):
    """A contact or a record. `id` is 0 until it is stored."""

    id: int
    __dataclass_fields__: ClassVar[dict[str, Any]]


def save_changed(
    connection: Connection,
    table: Table,
    rows: Sequence[Numbered],
) -> None:
    """Stores new rows, which get their ids, and changed ones, under one new number.

    Needs the write lock, for the ids.
    """
    change = last_change(connection) + 1
    fresh = [row for row in rows if not row.id]
    known = [row for row in rows if row.id]
    if fresh:
        _number(connection, table, fresh)
        values = [_values(row) | {"id": row.id, "change": change} for row in fresh]
        connection.execute(insert(table), values)
    if known:
        _change(connection, table, known, change)


def _change(
    connection: Connection,
    table: Table,
    known: Iterable[Numbered],
    change: int,
) -> None:
    values = [_values(row) | {"number": row.id, "change": change} for row in known]
    same = table.c.id == bindparam("number")
    connection.execute(update(table).where(same), values)


def _number(connection: Connection, table: Table, fresh: Sequence[Numbered]) -> None:
    newest = select(func.max(table.c.id).label("id"))
    last = one_row(connection, newest, into=_NewestId).id or 0
    for number, row in enumerate(fresh, last + 1):
        row.id = number


def _values(row: Numbered) -> dict[str, Any]:
    return {
        name: getattr(row, name) for name in row.__dataclass_fields__ if name != "id"
    }


def last_change(connection: Connection) -> int:
    """The number of the newest change of people."""
    newest = _LAST_CHANGE.one(connection)
    return max(newest.contact or 0, newest.record or 0)


def touch(connection: Connection, contact_ids: Collection[int]) -> None:
    """Marks contacts as changed, so that those who look for what is new find them."""
    if contact_ids:
        number = last_change(connection) + 1
        _TOUCH.count(connection, ids=numbers(sorted(contact_ids)), number=number)


def touch_records(connection: Connection, record_ids: Collection[int]) -> None:
    """As `touch`, for records: whoever looks for late joiners looks at these."""
    change = last_change(connection) + 1 if record_ids else 0
    for chunk in chunks(sorted(record_ids)):
        of_chunk = update(records).where(records.c.id.in_(chunk))
        connection.execute(of_chunk.values(change=change))


def wake_runs(connection: Connection, contact_ids: Collection[int]) -> None:
    """Has the planner look again at every active run of these contacts."""
    if contact_ids:
        _WAKE.count(connection, ids=numbers(sorted(set(contact_ids))))


def chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    """So many at a time as one statement takes."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
