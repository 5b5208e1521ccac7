"""Records: the things that contacts own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Connection,
    select,
    update,
)

from drip.core.fields import Stored
from drip.storage.base.schema import (
    records,
    runs,
)
from drip.storage.people.change_marks import save_changed, wake_runs
from drip.storage.people.date_index import save_dates


@dataclass(slots=True)
class Record:
    """A thing that a contact owns."""

    kind: str
    key: str
    contact_id: int
    attributes: dict[str, Stored] = field(default_factory=dict)
    id: int = 0


def save_records(
    connection: Connection, things: Sequence[Record], date_fields: Collection[str]
) -> None:
    """As `save_contacts`, for records of one kind."""
    before = {each.contact_id for each in things if each.id}
    save_changed(connection, records, things)
    if things:
        owned = [(each.contact_id, each.id, each.attributes) for each in things]
        save_dates(connection, things[0].kind, owned, date_fields, before)
    wake_runs(connection, [each.contact_id for each in things])
    about = [each.id for each in things]
    # A run of the owner before is woken too.
    connection.execute(
        update(runs)
        .where(runs.c.record_id.in_(about), runs.c.active)
        .values(next_due_at=None)
    )


def record_ids(
    connection: Connection, kind: str, keys: Collection[str]
) -> dict[str, Record]:
    """The records of a kind among `keys`."""
    rows = connection.execute(
        select(records).where(records.c.kind == kind, records.c.key.in_(keys))
    )
    return {row.key: _record(row) for row in rows}


def records_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Record]:
    """The records with these ids."""
    rows = connection.execute(select(records).where(records.c.id.in_(ids)))
    return {row.id: _record(row) for row in rows}


def owners_of(connection: Connection, record_ids: Collection[int]) -> dict[int, int]:
    """Whose each of these records is."""
    rows = connection.execute(
        select(records.c.id, records.c.contact_id).where(records.c.id.in_(record_ids))
    )
    return {row[0]: row[1] for row in rows}


def records_of(
    connection: Connection, contact_ids: Collection[int], kind: str
) -> list[Record]:
    """The records of a kind that these contacts own."""
    where = (records.c.contact_id.in_(contact_ids), records.c.kind == kind)
    return [
        _record(row)
        for row in connection.execute(
            select(records).where(*where).order_by(records.c.id)
        )
    ]


def _record(row: Any) -> Record:
    return Record(row.kind, row.key, row.contact_id, dict(row.attributes), row.id)
