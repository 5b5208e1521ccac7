"""Events: what happened to contacts and their records, and what is counted of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.calendar import from_millis
from drip.core.derived import Total
from drip.storage.base.schema import (
    events,
)
from drip.storage.base.sql import (
    Prepared,
    exact_sum,
    json_text,
    listed_in,
    numbers,
    parsed,
    texts_in,
)
from drip.storage.people.change_marks import wake_runs

_EVENTS = Prepared(select(events).where(events.c.id.in_(listed_in("ids"))))
_EVENTS_OF = Prepared(
    select(events)
    .where(
        events.c.contact_id.in_(listed_in("ids")), events.c.name.in_(texts_in("names"))
    )
    .order_by(events.c.at, events.c.id)
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `record_id` is 0 where it names no record."""

    id: int
    contact_id: int
    record_id: int
    name: str
    key: str
    at: datetime
    fields: Mapping[str, str]


def add_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores events that are not known yet (by name and key), wakes their contacts' runs; how many were new."""
    if not rows:
        return 0
    last = (
        connection.execute(
            select(events.c.id).order_by(events.c.id.desc()).limit(1)
        ).scalar()
        or 0
    )
    connection.execute(
        insert_or(events).on_conflict_do_nothing(index_elements=["name", "key"]),
        list(rows),
    )
    fresh = (
        connection.execute(select(events.c.contact_id).where(events.c.id > last))
        .scalars()
        .all()
    )
    wake_runs(connection, fresh)
    return len(fresh)


def fields_of(connection: Connection, name: str, key: str) -> dict[str, str]:
    """What a known event says; nothing for one that is not known."""
    where = (events.c.name == name, events.c.key == key)
    return dict(
        connection.execute(select(events.c.fields).where(*where)).scalar() or {}
    )


def say_anew(
    connection: Connection, name: str, key: str, fields: Mapping[str, str]
) -> None:
    """A known event says this now; wakes its contact's runs."""
    where = (events.c.name == name, events.c.key == key)
    connection.execute(update(events).where(*where).values(fields=dict(fields)))
    wake_runs(
        connection, list(connection.scalars(select(events.c.contact_id).where(*where)))
    )


def has_event(connection: Connection, name: str, key: str) -> bool:
    """Whether an event is known, by name and key."""
    return (
        connection.execute(
            select(events.c.id).where(events.c.name == name, events.c.key == key)
        ).first()
        is not None
    )


def events_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Event]:
    """The events with these ids."""
    return {row[0]: _event(row) for row in _EVENTS.rows(connection, ids=numbers(ids))}


def events_of(
    connection: Connection, contact_ids: Collection[int], names: Collection[str]
) -> dict[int, list[Event]]:
    """The events of these names, by contact, oldest first."""
    found: dict[int, list[Event]] = defaultdict(list)
    if names:
        for row in _EVENTS_OF.rows(
            connection, ids=numbers(contact_ids), names=json.dumps(sorted(names))
        ):
            found[row[1]].append(_event(row))
    return found


def _event(row: Sequence[Any]) -> Event:
    id_, contact, record, name, key, at, fields = row
    return Event(id_, contact, record, name, key, from_millis(at), parsed(fields))


def last_event(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, datetime]:
    """When anything last happened to these contacts."""
    statement = select(events.c.contact_id, func.max(events.c.at)).where(
        events.c.contact_id.in_(contact_ids)
    )
    return {
        row[0]: row[1]
        for row in connection.execute(statement.group_by(events.c.contact_id))
    }


def totals(
    connection: Connection,
    total: Total,
    owners: Collection[int],
    of_records: bool,
    since: datetime | None,
    now: datetime,
) -> dict[int, float]:
    """A count or sum for each of these contacts, or records, that has such events."""
    owner = events.c.record_id if of_records else events.c.contact_id
    where = [owner.in_(owners), events.c.name == total.event, events.c.at <= now]
    if since is not None:
        where.append(events.c.at >= since)
    statement = select(owner, amount(total)).where(*where).group_by(owner)
    return {row[0]: row[1] for row in connection.execute(statement).all()}


def amount(total: Total) -> Any:
    """The count or sum of a group of events. Sums are exact, in whatever order."""
    if total.summed is None:
        return func.count()
    return exact_sum(json_text(events.c.fields, total.summed))


def seen_days(
    connection: Connection,
    names: Collection[str],
    owners: Collection[int],
    of_records: bool,
) -> dict[int, dict[tuple[str, str], datetime]]:
    """When the first and the latest event of each name was, by contact or record."""
    found: dict[int, dict[tuple[str, str], datetime]] = defaultdict(dict)
    owner = events.c.record_id if of_records else events.c.contact_id
    statement = select(
        owner, events.c.name, func.min(events.c.at), func.max(events.c.at)
    )
    where = (owner.in_(owners), events.c.name.in_(names))
    for number, name, first, latest in connection.execute(
        statement.where(*where).group_by(owner, events.c.name)
    ):
        found[number] |= {(name, "first"): first, (name, "latest"): latest}
    return found
