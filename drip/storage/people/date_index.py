"""Dates of contacts and records, so that who is due on a day is one look-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.fields import Stored
from drip.storage.base.schema import (
    contacts,
    dates,
    records,
)
from drip.storage.base.sql import Prepared, listed_in, numbers
from drip.storage.people.change_marks import touch, touch_records, wake_runs


def save_dates(
    connection: Connection,
    owner: str,
    owned: Sequence[tuple[int, int, Mapping[str, Stored]]],
    date_fields: Collection[str],
    known: Collection[int],
) -> None:
    """Stores the dates of contacts, or of their records; only the contacts in `known` can have had any before."""
    # A record's dates go whoever owned it before.
    of_record = dates.c.record_id == bindparam("record")
    stale = (
        of_record
        if owner != "contact"
        else and_(of_record, dates.c.contact_id == bindparam("contact"))
    )
    gone = [
        {"contact": who, "record": record} for who, record, _ in owned if who in known
    ]
    if gone:
        connection.execute(delete(dates).where(stale), gone)
    rows = [
        {
            "contact_id": contact,
            "record_id": record,
            "field": f"{owner}.{name}",
            "day": str(attributes[name]),
            "month_day": str(attributes[name])[-5:],
        }
        for contact, record, attributes in owned
        for name in date_fields
        if attributes.get(name) is not None
    ]
    if rows:
        connection.execute(insert(dates), rows)


_DATES_OF = Prepared(
    select(dates.c.contact_id, dates.c.record_id, dates.c.field, dates.c.day).where(
        dates.c.contact_id.in_(listed_in("ids"))
    )
)


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
