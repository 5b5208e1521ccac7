"""Events: what happened to contacts and their records, and what is counted of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.derived import Total
from drip.storage.base.schema import events
from drip.storage.base.sql import (
    Prepared,
    exact_sum,
    first_row,
    json_text,
    listed_in,
    numbers,
    texts_in,
    typed_rows,
)
from drip.storage.people.change_marks import wake_runs

_event = events.c


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `record_id` is 0 where it names no record."""

    id: int
    contact_id: int
    record_id: int
    name: str
    key: str
    at: datetime
    fields: dict[str, str]


class _LastEvent(NamedTuple):
    contact_id: int
    at: datetime


class _OwnersTotal(NamedTuple):
    owner: int
    amount: float


class _SeenDays(NamedTuple):
    owner: int
    name: str
    first: datetime
    latest: datetime


# Asked at every tick, and built once: building such a statement costs as much as
# running it.
_BY_ID = Prepared(select(events).where(_event.id.in_(listed_in("ids"))), into=Event)
_OF_CONTACTS = Prepared(
    select(events)
    .where(_event.contact_id.in_(listed_in("ids")), _event.name.in_(texts_in("names")))
    .order_by(_event.at, _event.id),
    into=Event,
)


def add_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores events that are not known yet (by name and key); how many were new.

    Wakes their contacts' runs.
    """
    if not rows:
        return 0
    # Which of them were new is what has a higher number afterwards: a server says of a
    # conflict that is left alone only that nothing was returned.
    last = _newest(connection)
    unknown = insert_or(events).on_conflict_do_nothing(index_elements=["name", "key"])
    connection.execute(unknown, list(rows))
    added = select(_event.contact_id).where(_event.id > last)
    whose = typed_rows(connection, added, into=int)
    wake_runs(connection, whose)
    return len(whose)


def _newest(connection: Connection) -> int:
    newest = select(_event.id).order_by(_event.id.desc()).limit(1)
    return first_row(connection, newest, into=int) or 0


def fields_of(connection: Connection, name: str, key: str) -> dict[str, str]:
    """What a known event says; nothing for one that is not known."""
    same = (
        _event.name == name,
        _event.key == key,
    )
    found = first_row(connection, select(events).where(*same), into=Event)
    return dict(found.fields) if found else {}


def say_anew(
    connection: Connection,
    name: str,
    key: str,
    fields: Mapping[str, str],
) -> None:
    """A known event says this now; wakes its contact's runs."""
    same = (
        _event.name == name,
        _event.key == key,
    )
    connection.execute(update(events).where(*same).values(fields=dict(fields)))
    whose = select(_event.contact_id).where(*same)
    wake_runs(connection, typed_rows(connection, whose, into=int))


def has_event(connection: Connection, name: str, key: str) -> bool:
    """Whether an event is known, by name and key."""
    same = select(_event.id).where(
        _event.name == name,
        _event.key == key,
    )
    return first_row(connection, same, into=int) is not None


def events_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Event]:
    """The events with these ids."""
    return {event.id: event for event in _BY_ID.rows(connection, ids=numbers(ids))}


def events_of(
    connection: Connection,
    contact_ids: Collection[int],
    names: Collection[str],
) -> dict[int, list[Event]]:
    """The events of these names, by contact, oldest first."""
    by_contact: dict[int, list[Event]] = defaultdict(list)
    if not names:
        return by_contact
    found = _OF_CONTACTS.rows(
        connection, ids=numbers(contact_ids), names=json.dumps(sorted(names))
    )
    for event in found:
        by_contact[event.contact_id].append(event)
    return by_contact


def last_event(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, datetime]:
    """When anything last happened to these contacts."""
    # The index ends with the instant, but of all names it is not in order: each event
    # of these contacts is looked at.
    last = (
        select(
            _event.contact_id,
            func.max(_event.at).label("at"),
        )
        .where(_event.contact_id.in_(contact_ids))
        .group_by(_event.contact_id)
    )
    return dict(typed_rows(connection, last, into=_LastEvent))


def totals(
    connection: Connection,
    total: Total,
    owners: Collection[int],
    of_records: bool,
    since: datetime | None,
    now: datetime,
) -> dict[int, float]:
    """A count or sum for each of these contacts, or records, that has such events."""
    owner = _owner(of_records)
    counted = [
        owner.in_(owners),
        _event.name == total.event,
        _event.at <= now,
    ]
    if since is not None:
        counted.append(_event.at >= since)
    columns = (owner.label("owner"), amount(total).label("amount"))
    by_owner = select(*columns).where(*counted).group_by(owner)
    return dict(typed_rows(connection, by_owner, into=_OwnersTotal))


def _owner(of_records: bool) -> Column[int]:
    return _event.record_id if of_records else _event.contact_id


def amount(total: Total) -> Any:
    """The count or sum of a group of events. Sums are exact, in whatever order."""
    if total.summed is None:
        return func.count()
    return exact_sum(json_text(_event.fields, total.summed))


def seen_days(
    connection: Connection,
    names: Collection[str],
    owners: Collection[int],
    of_records: bool,
) -> dict[int, dict[tuple[str, str], datetime]]:
    """When the first and the latest event of each name was, by contact or record."""
    owner = _owner(of_records)
    by_name = _first_and_latest(owner).where(
        owner.in_(owners),
        _event.name.in_(names),
    )
    found: dict[int, dict[tuple[str, str], datetime]] = defaultdict(dict)
    for seen in typed_rows(connection, by_name, into=_SeenDays):
        found[seen.owner][seen.name, "first"] = seen.first
        found[seen.owner][seen.name, "latest"] = seen.latest
    return found


def _first_and_latest(owner: Column[int]) -> Select[Any]:
    columns = (
        owner.label("owner"),
        _event.name,
        func.min(_event.at).label("first"),
        func.max(_event.at).label("latest"),
    )
    return select(*columns).group_by(owner, _event.name)
