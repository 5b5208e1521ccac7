"""What conditions ask about contacts beyond their fields: tags, pauses, totals of events, first and newest days, readings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.calendar import from_millis
from drip.core.derived import Reading, Total
from drip.storage.base.schema import (
    contacts,
    dates,
    events,
    meta,
    pauses,
    readings,
    records,
    tags,
)
from drip.storage.base.sql import Prepared, exact_sum, json_text, listed_in, numbers
from drip.storage.people.people import touch, touch_records, wake_runs

# Under which definitions the derived dates were kept, and under which version of the tz database the zones.
KEPT_DATES, KEPT_ZONES = "kept-dates", "kept-zones"


def tags_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, set[str]]:
    """The tags of these contacts."""
    found: dict[int, set[str]] = defaultdict(set)
    for contact, tag in connection.execute(
        select(tags).where(tags.c.contact_id.in_(contact_ids))
    ):
        found[contact].add(tag)
    return found


def add_tags(connection: Connection, rows: Collection[tuple[int, str]]) -> None:
    """Puts tags on contacts; those that are there stay."""
    values = [{"contact_id": contact, "tag": tag} for contact, tag in rows]
    if values:
        connection.execute(insert_or(tags).on_conflict_do_nothing(), values)


def remove_tags(connection: Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Takes tags off contacts."""
    for contact, tag in rows:
        connection.execute(
            delete(tags).where(tags.c.contact_id == contact, tags.c.tag == tag)
        )


_PAUSES = Prepared(
    select(pauses.c.contact_id, pauses.c.topic, pauses.c.until, pauses.c.place).where(
        pauses.c.contact_id.in_(listed_in("ids"))
    )
)


def pauses_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[tuple[int, str], tuple[datetime, str]]:
    """Until when topics are held back, and the place that says so, by contact and topic."""
    rows = sorted(_PAUSES.rows(connection, ids=numbers(contact_ids)), key=itemgetter(2))
    return {
        (contact, topic): (from_millis(until), place)
        for contact, topic, until, place in rows
    }


def pause(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Holds topics back; of two pauses from one place the longer counts."""
    if rows:
        statement = insert_or(pauses)
        longer = statement.excluded.until > pauses.c.until
        key = ["contact_id", "topic", "place"]
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={"until": statement.excluded.until}, where=longer
        )
        connection.execute(statement, list(rows))


def paused_from(connection: Connection, contact_id: int, place: str) -> datetime | None:
    """Until when a contact is held back from this place, if it ever was."""
    where = (pauses.c.contact_id == contact_id, pauses.c.place == place)
    found: datetime | None = connection.execute(
        select(func.max(pauses.c.until)).where(*where)
    ).scalar()
    return found


def end_pauses(connection: Connection, contact_id: int, place: str) -> None:
    """What was held back for a contact from this place is so no more."""
    connection.execute(
        delete(pauses).where(pauses.c.contact_id == contact_id, pauses.c.place == place)
    )


_DATES_OF = Prepared(
    select(dates.c.contact_id, dates.c.record_id, dates.c.field, dates.c.day).where(
        dates.c.contact_id.in_(listed_in("ids"))
    )
)


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


def save_readings(
    connection: Connection, rows: Iterable[tuple[int, str, date, float]]
) -> None:
    """What meters of records showed; the last word of a day counts."""
    values = [
        {"record_id": record, "meter": meter, "day": day.isoformat(), "value": value}
        for record, meter, day, value in rows
    ]
    if values:
        statement = insert_or(readings)
        key = ["record_id", "meter", "day"]
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={"value": statement.excluded.value}
        )
        connection.execute(statement, values)


def readings_of(
    connection: Connection, record_ids: Collection[int]
) -> dict[int, dict[str, list[Reading]]]:
    """The readings of these records by meter, in order of their days."""
    found: dict[int, dict[str, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    statement = (
        select(readings)
        .where(readings.c.record_id.in_(record_ids))
        .order_by(readings.c.day)
    )
    for record, meter, day, value in connection.execute(statement):
        found[record][meter].append(Reading(date.fromisoformat(day), value))
    return found


def kept_dates(
    connection: Connection, fields: Collection[str], contact_ids: Collection[int]
) -> dict[tuple[int, int], dict[str, date]]:
    """Derived dates as they are kept, by contact and record (0 for the contact's own)."""
    found: dict[tuple[int, int], dict[str, date]] = defaultdict(dict)
    for contact, record, field, day in _DATES_OF.rows(
        connection, ids=numbers(contact_ids)
    ):
        if field in fields:
            found[contact, record][field] = date.fromisoformat(day)
    return found


def keep_dates(
    connection: Connection,
    fields: Collection[str],
    owner_ids: Collection[tuple[int, int]],
    found: Mapping[tuple[int, int], Mapping[str, date]],
) -> None:
    """Keeps the derived dates of these owners anew; wakes the runs of contacts for whom one is another now."""
    contact_ids = {contact for contact, _ in owner_ids}
    before = kept_dates(connection, fields, contact_ids)
    changed = [
        owner
        for owner in owner_ids
        if dict(before.get(owner, {})) != dict(found.get(owner, {}))
    ]
    for contact, record in changed:
        where = (
            dates.c.contact_id == contact,
            dates.c.record_id == record,
            dates.c.field.in_(fields),
        )
        connection.execute(delete(dates).where(*where))
    rows = [
        {
            "contact_id": owner[0],
            "record_id": owner[1],
            "field": field,
            "day": str(day),
            "month_day": str(day)[5:],
        }
        for owner in changed
        for field, day in found.get(owner, {}).items()
    ]
    if rows:
        connection.execute(insert_or(dates), rows)
    touch(connection, {contact for contact, _ in changed})
    touch_records(connection, {record for _, record in changed if record})
    wake_runs(connection, [contact for contact, _ in changed])


def everyone(connection: Connection, kind: str) -> list[tuple[int, int]]:
    """Every contact (with record 0), or every record of a kind with its contact."""
    if kind == "contact":
        return [
            (row[0], 0)
            for row in connection.execute(select(contacts.c.id).order_by(contacts.c.id))
        ]
    statement = (
        select(records.c.contact_id, records.c.id)
        .where(records.c.kind == kind)
        .order_by(records.c.id)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


def kept_rules(connection: Connection, what: str) -> str:
    """Under which rules something was kept; empty if never."""
    found = connection.execute(select(meta.c.value).where(meta.c.name == what)).scalar()
    return bytes(found).decode() if found else ""


def set_kept_rules(connection: Connection, what: str, rules: str) -> None:
    """Remembers it."""
    statement = insert_or(meta).values(name=what, value=rules.encode())
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"value": rules.encode()}
        )
    )
