"""What is new about people, and how the planner learns of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, Protocol

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

from drip.storage.base.schema import (
    contacts,
    records,
    runs,
)
from drip.storage.base.sql import Prepared, listed_in, numbers

CHUNK = 5_000
_LAST_CHANGE = Prepared(
    select(
        select(func.max(contacts.c.change)).scalar_subquery(),
        select(func.max(records.c.change)).scalar_subquery(),
    )
)
_TOUCH = Prepared(
    update(contacts)
    .where(contacts.c.id.in_(listed_in("ids")))
    .values(change=bindparam("number", type_=BigInteger))
)
# Behind `coalesce` SQLite does not go through all active runs to find those of a few contacts.
_WAKE = Prepared(
    update(runs)
    .where(
        runs.c.contact_id.in_(listed_in("ids")),
        func.coalesce(runs.c.active, false()),
        func.coalesce(runs.c.next_due_at, -1) != -1,
    )
    .values(next_due_at=null())
)


class Numbered(Protocol):
    """A contact or a record. `id` is 0 until it is stored."""

    id: int
    __dataclass_fields__: ClassVar[dict[str, Any]]


def save_changed(
    connection: Connection, table: Table, rows: Sequence[Numbered]
) -> None:
    """Stores new rows, which get their ids, and changed ones, under a new change's number.

    Needs the write lock, for the ids.
    """
    change = last_change(connection) + 1
    fresh = [each for each in rows if not each.id]
    known = [each for each in rows if each.id]
    if fresh:
        newest = connection.execute(select(func.max(table.c.id))).scalar() or 0
        for number, each in enumerate(fresh, newest + 1):
            each.id = number
        connection.execute(
            insert(table),
            [{**_without_id(each), "id": each.id, "change": change} for each in fresh],
        )
    if known:
        statement = update(table).where(table.c.id == bindparam("number"))
        connection.execute(
            statement,
            [
                {**_without_id(each), "number": each.id, "change": change}
                for each in known
            ],
        )


def last_change(connection: Connection) -> int:
    """The number of the newest change of people."""
    return max(number or 0 for number in _LAST_CHANGE.rows(connection)[0])


def touch(connection: Connection, contact_ids: Collection[int]) -> None:
    """Marks contacts as changed, so that those who look for what is new find them."""
    if contact_ids:
        _TOUCH.count(
            connection,
            ids=numbers(sorted(contact_ids)),
            number=last_change(connection) + 1,
        )


def touch_records(connection: Connection, record_ids: Collection[int]) -> None:
    """As `touch`, for records: whoever looks for late joiners looks at these."""
    change = last_change(connection) + 1 if record_ids else 0
    for chunk in chunks(sorted(record_ids)):
        connection.execute(
            update(records).where(records.c.id.in_(chunk)).values(change=change)
        )


def _without_id(row: Numbered) -> dict[str, Any]:
    return {
        name: getattr(row, name) for name in row.__dataclass_fields__ if name != "id"
    }


def wake_runs(connection: Connection, contact_ids: Collection[int]) -> None:
    """Has the planner look again at every active run of these contacts: something about them is new."""
    if contact_ids:
        _WAKE.count(connection, ids=numbers(sorted(set(contact_ids))))


def chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[n : n + CHUNK] for n in range(0, len(ids), CHUNK))
