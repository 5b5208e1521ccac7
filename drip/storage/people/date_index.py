"""Dates of contacts and records, so that who is due on a day is one look-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, delete, insert, select

from drip.core.fields import Stored
from drip.storage.base.schema import contacts, dates, records
from drip.storage.base.sql import (
    Prepared,
    listed_in,
    numbers,
    select_as,
    typed_rows,
)
from drip.storage.people.change_marks import touch, touch_records, wake_runs

_date = dates.c
_record = records.c


class Owned(NamedTuple):
    """What a contact says of itself (record 0), or of one of its records."""

    contact_id: int
    record_id: int
    attributes: Mapping[str, Stored]


class _KeptDate(NamedTuple):
    contact_id: int
    record_id: int
    field: str
    day: str


class _DateOwner(NamedTuple):
    contact_id: int
    record_id: int


_KEPT = Prepared(
    select_as(dates, _KeptDate).where(_date.contact_id.in_(listed_in("ids"))),
    into=_KeptDate,
)
_OF_RECORD = _date.record_id == bindparam("record")
_OF_CONTACT = _date.contact_id == bindparam("contact")


def save_dates(
    connection: Connection,
    kind: str,
    owned: Sequence[Owned],
    date_fields: Collection[str],
    known: Collection[int],
) -> None:
    """Stores the dates of contacts, or of a `kind` of their records.

    Only the contacts in `known` can have had any before.
    """
    before = [owner for owner in owned if owner.contact_id in known]
    _forget_all(connection, kind, before)
    rows = [row for owner in owned for row in _dates_of(owner, kind, date_fields)]
    if rows:
        connection.execute(insert(dates), rows)


def _forget_all(connection: Connection, kind: str, before: Iterable[Owned]) -> None:
    # A record's dates go whoever owned it before.
    stale = (_OF_RECORD, _OF_CONTACT) if kind == "contact" else (_OF_RECORD,)
    rows = [
        {"contact": owner.contact_id, "record": owner.record_id} for owner in before
    ]
    if rows:
        connection.execute(delete(dates).where(*stale), rows)


def _dates_of(
    owner: Owned,
    kind: str,
    date_fields: Collection[str],
) -> Iterator[dict[str, Any]]:
    for name in date_fields:
        day = owner.attributes.get(name)
        if day is not None:
            yield _row(owner, f"{kind}.{name}", str(day))


def _row(owner: Owned | _DateOwner, field: str, day: str) -> dict[str, Any]:
    return {
        "contact_id": owner.contact_id,
        "record_id": owner.record_id,
        "field": field,
        "day": day,
        # A birthday may be without its year.
        "month_day": day[-5:],
    }


def kept_dates(
    connection: Connection,
    fields: Collection[str],
    contact_ids: Collection[int],
) -> dict[tuple[int, int], dict[str, date]]:
    """Derived dates as they are kept, by contact and record (0: the contact's own)."""
    found: dict[tuple[int, int], dict[str, date]] = defaultdict(dict)
    for kept in _KEPT.rows(connection, ids=numbers(contact_ids)):
        if kept.field in fields:
            own = found[kept.contact_id, kept.record_id]
            own[kept.field] = date.fromisoformat(kept.day)
    return found


def keep_dates(
    connection: Connection,
    fields: Collection[str],
    owner_ids: Collection[tuple[int, int]],
    found: Mapping[tuple[int, int], Mapping[str, date]],
) -> None:
    """Keeps the derived dates of these owners (contact and record) anew.

    Wakes the runs of contacts for whom one is another now.
    """
    contact_ids = {contact for contact, _ in owner_ids}
    before = kept_dates(connection, fields, contact_ids)
    # Those whose dates are the same keep their rows: waking all runs of everybody each
    # night would have the planner look at each of them.
    changed = [
        _DateOwner(*owner)
        for owner in owner_ids
        if dict(before.get(owner, {})) != dict(found.get(owner, {}))
    ]
    for owner in changed:
        _forget(connection, owner, fields)
    _add(connection, changed, found)
    _announce(connection, changed)


def _forget(connection: Connection, owner: _DateOwner, fields: Collection[str]) -> None:
    own = (
        _date.contact_id == owner.contact_id,
        _date.record_id == owner.record_id,
        _date.field.in_(fields),
    )
    connection.execute(delete(dates).where(*own))


def _add(
    connection: Connection,
    owners: Sequence[_DateOwner],
    found: Mapping[tuple[int, int], Mapping[str, date]],
) -> None:
    rows = [
        _row(owner, field, day.isoformat())
        for owner in owners
        for field, day in found.get(owner, {}).items()
    ]
    if rows:
        connection.execute(insert(dates), rows)


def _announce(connection: Connection, changed: Sequence[_DateOwner]) -> None:
    """The planner looks at these contacts and records again."""
    contact_ids = {owner.contact_id for owner in changed}
    touch(connection, contact_ids)
    touch_records(connection, {owner.record_id for owner in changed if owner.record_id})
    wake_runs(connection, contact_ids)


def everyone(connection: Connection, kind: str) -> list[tuple[int, int]]:
    """Every contact (with record 0), or every record of a kind with its contact."""
    if kind == "contact":
        ids = select(contacts.c.id).order_by(contacts.c.id)
        return [(number, 0) for number in typed_rows(connection, ids, into=int)]
    found = typed_rows(connection, _of_kind(kind), into=_DateOwner)
    return [(owner.contact_id, owner.record_id) for owner in found]


def _of_kind(kind: str) -> Select[Any]:
    columns = (_record.contact_id, _record.id.label("record_id"))
    return select(*columns).where(_record.kind == kind).order_by(_record.id)
