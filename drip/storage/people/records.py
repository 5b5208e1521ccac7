"""Records: the things that contacts own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, update

from drip.core.fields import Stored
from drip.core.lifecycle import Wake
from drip.storage.base.schema import records, runs
from drip.storage.base.sql import select_as, typed_rows
from drip.storage.people.change_marks import save_changed, wake_runs
from drip.storage.people.date_index import Owned, save_dates

_record = records.c


@dataclass(slots=True)
class Record:
    """A thing that a contact owns."""

    kind: str
    key: str
    contact_id: int
    attributes: dict[str, Stored] = field(default_factory=dict)
    id: int = 0


class _Owner(NamedTuple):
    id: int
    contact_id: int


_EVERY_RECORD = select_as(records, Record)


def save_records(
    connection: Connection,
    things: Sequence[Record],
    date_fields: Collection[str],
) -> None:
    """As `save_contacts`, for records of one kind."""
    # Only those that were stored can have had dates: of the others nothing is deleted.
    before = {record.contact_id for record in things if record.id}
    save_changed(connection, records, things)
    if things:
        owned = [
            Owned(thing.contact_id, thing.id, thing.attributes) for thing in things
        ]
        save_dates(connection, things[0].kind, owned, date_fields, before)
    wake_runs(connection, [record.contact_id for record in things])
    _wake_about(connection, [record.id for record in things])


def _wake_about(connection: Connection, record_ids: Collection[int]) -> None:
    """Wakes the runs that are about these records."""
    # A record can have changed hands: the run of its owner before is woken too.
    about = update(runs).where(
        runs.c.record_id.in_(record_ids),
        runs.c.active,
    )
    woken = about.values(wake=Wake.LOOKS_AGAIN.value, due_at=None)
    connection.execute(woken)


def record_ids(
    connection: Connection,
    kind: str,
    keys: Collection[str],
) -> dict[str, Record]:
    """The records of a kind among `keys`."""
    named = _EVERY_RECORD.where(
        _record.kind == kind,
        _record.key.in_(keys),
    )
    return {record.key: record for record in typed_rows(connection, named, into=Record)}


def records_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Record]:
    """The records with these ids."""
    known = _EVERY_RECORD.where(_record.id.in_(ids))
    return {record.id: record for record in typed_rows(connection, known, into=Record)}


def owners_of(connection: Connection, record_ids: Collection[int]) -> dict[int, int]:
    """Whose each of these records is."""
    owned = select_as(records, _Owner).where(_record.id.in_(record_ids))
    return dict(typed_rows(connection, owned, into=_Owner))


def records_of(
    connection: Connection,
    contact_ids: Collection[int],
    kind: str,
) -> list[Record]:
    """The records of a kind that these contacts own."""
    whose = _record.contact_id.in_(contact_ids)
    own = _EVERY_RECORD.where(whose, _record.kind == kind)
    return typed_rows(connection, own.order_by(_record.id), into=Record)
