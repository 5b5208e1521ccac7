"""Who could start a run.

Narrow, indexed look-ups whose cost grows with what is due.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    select,
)

from drip.storage.base.schema import contacts, dates, events, records
from drip.storage.base.sql import Prepared, select_as, typed_rows
from drip.storage.people import zones as zone_store
from drip.storage.people.events import Event

_contact = contacts.c

_date = dates.c
_event = events.c

BATCH = 1_000


class Dated(NamedTuple):
    """A contact (and record) with a date.

    `day` is as it is stored, with or without a year; `zone` is the contact's.
    """

    contact_id: int
    record_id: int
    day: str
    zone: str | None


class _ContactZone(NamedTuple):
    id: int
    zone: str | None


class _Zone(NamedTuple):
    zone: str | None


_DATED = select(_date.contact_id, _date.record_id, _date.day, _contact.zone).join(
    contacts, _contact.id == _date.contact_id
)


def _changed(table: Any) -> Select[Any]:
    return select(table.c.id).where(table.c.change > bindparam("after"))


def _dated_and_changed(whose: ColumnElement[bool]) -> Prepared[Dated]:
    # By what changed, of which there is little: behind `coalesce` no index on days
    # serves.
    of_field = func.coalesce(_date.field, "") == bindparam("field")
    return Prepared(_DATED.where(whose, of_field), into=Dated)


# What every tick asks, built once.
_CHANGED_CONTACTS = Prepared(_changed(contacts), into=int)
_CHANGED_RECORDS = Prepared(_changed(records), into=int)
_DATED_OF_CHANGED_CONTACTS = _dated_and_changed(
    _date.contact_id.in_(_changed(contacts))
)
_DATED_OF_CHANGED_RECORDS = _dated_and_changed(_date.record_id.in_(_changed(records)))


def dated_on(connection: Connection, field: str, days: Collection[str]) -> list[Dated]:
    """Whose `field` is one of `days` (ISO dates)."""
    return _dated(
        connection,
        and_(
            _date.field == field,
            _date.day.in_(days),
        ),
    )


def dated_in_year(
    connection: Connection,
    field: str,
    month_days: Collection[str],
) -> list[Dated]:
    """Whose `field` falls on one of `month_days` (as `02-29`) of any year."""
    falls = _date.month_day.in_(month_days)
    return _dated(connection, and_(_date.field == field, falls))


def dated_and_changed(connection: Connection, field: str, after: int) -> list[Dated]:
    """Whose contact or record was changed after that change: they may join late."""
    found: dict[tuple[int, int], Dated] = {}
    for prepared in (_DATED_OF_CHANGED_CONTACTS, _DATED_OF_CHANGED_RECORDS):
        for dated in prepared.rows(connection, field=field, after=after):
            found[dated.contact_id, dated.record_id] = dated
    return list(found.values())


def changed(connection: Connection, after: int) -> tuple[set[int], set[int]]:
    """The contacts, and the records, that were changed after change number `after`."""
    of_contacts = _CHANGED_CONTACTS.rows(connection, after=after)
    of_records = _CHANGED_RECORDS.rows(connection, after=after)
    return set(of_contacts), set(of_records)


def dates_of(
    connection: Connection,
    field: str,
    contact_ids: Collection[int],
) -> dict[tuple[int, int], str]:
    """The dates of these contacts, by contact and record."""
    own = _date.contact_id.in_(contact_ids)
    found = _dated(connection, and_(_date.field == field, own))
    return {(dated.contact_id, dated.record_id): dated.day for dated in found}


def _dated(connection: Connection, where: ColumnElement[bool]) -> list[Dated]:
    return typed_rows(connection, _DATED.where(where), into=Dated)


def zones_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, str | None]:
    """The zone of each of these contacts; None stands for the workspace's."""
    asked = select_as(contacts, _ContactZone).where(_contact.id.in_(contact_ids))
    return dict(typed_rows(connection, asked, into=_ContactZone))


def zones(connection: Connection, after: int | None = None) -> list[str | None]:
    """The zones that contacts live in; None is the workspace's.

    With `after`, those of contacts that were changed after that change number.
    """
    if after is None:
        return zone_store.zones(connection)
    changed_since = _contact.change > after
    asked = select(_contact.zone).where(changed_since).distinct()
    return [row.zone for row in typed_rows(connection, asked, into=_Zone)]


def contacts_in(
    connection: Connection,
    names: Collection[str | None] | None,
    where: ColumnElement[bool],
) -> Iterator[list[int]]:
    """The ids of the contacts in these zones of whom `where` holds, in batches.

    Without `names` they are in any zone.
    """
    if names is not None:
        where = and_(where, zone_store.in_zones(names))
    return _batches(
        connection,
        select(_contact.id).where(where),
        _contact.id,
    )


# From the last id on: an OFFSET would go through all those before, once more each time.
def _batches(
    connection: Connection,
    statement: Select[Any],
    key: ColumnElement[int],
) -> Iterator[list[int]]:
    in_order = statement.order_by(key).limit(BATCH)
    last = 0
    while ids := typed_rows(connection, in_order.where(key > last), into=int):
        yield ids
        last = ids[-1]


def events_after(
    connection: Connection,
    name: str,
    after: int,
    since: datetime,
) -> Sequence[Event]:
    """Events of a name that came in after number `after` and happened after `since`."""
    # A rehearsal can hold events of people who are not in it.
    of_people = select(events).join(contacts, _contact.id == _event.contact_id)
    new = (
        _event.name == name,
        _event.id > after,
        _event.at > since,
    )
    in_order = of_people.where(*new).order_by(_event.id)
    return typed_rows(connection, in_order, into=Event)
