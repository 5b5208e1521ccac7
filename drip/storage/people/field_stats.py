"""What people are like as a whole: for lint, which asks before anything is sent."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Table, func, select

from drip.core.settings import Settings
from drip.storage.base.schema import contacts, events, ordinary, records
from drip.storage.base.sql import json_text
from drip.storage.people.people import COLUMNS


def unknown_shares(connection: Connection, settings: Settings) -> dict[str, float]:
    """For each declared field (by full name) that some lack: the share of contacts, or records of the kind, who do."""
    found: dict[str, float] = {}
    for owner, fields in settings.fields.items():
        table = contacts if owner == "contact" else records
        asked = [name for name in fields if name not in ("key", "timezone")]
        columns = [
            func.count(
                contacts.c[name]
                if owner == "contact" and name in COLUMNS
                else json_text(table.c.attributes, name)
            )
            for name in asked
        ]
        statement = (
            select(func.count(), *columns)
            .select_from(table)
            .where(ordinary(_whose(table)))
        )
        if owner == "contact":
            statement = statement.where(contacts.c.erased_at.is_(None))
        else:
            erased = select(contacts.c.id).where(contacts.c.erased_at.is_not(None))
            statement = statement.where(
                records.c.kind == owner, records.c.contact_id.not_in(erased)
            )
        everybody, *known = connection.execute(statement).one()
        for name, count in zip(asked, known, strict=True):
            if count < everybody:
                found[f"{owner}.{name}"] = (everybody - count) / everybody
    return found


def longest_texts(connection: Connection, settings: Settings) -> dict[str, int]:
    """For each declared field: how many characters its longest value has."""
    found: dict[str, int] = {}
    for owner, fields in settings.fields.items():
        table = contacts if owner == "contact" else records
        asked = [name for name in fields if name not in ("timezone", *COLUMNS)]
        columns = [
            func.max(func.length(json_text(table.c.attributes, name))) for name in asked
        ]
        if not asked:
            continue
        statement = select(*columns).where(ordinary(_whose(table)))
        if owner != "contact":
            statement = statement.where(records.c.kind == owner)
        longest = connection.execute(statement).one()
        found |= {
            f"{owner}.{name}": length
            for name, length in zip(asked, longest, strict=True)
            if length
        }
    return found


def _whose(table: Table) -> Column[int]:
    """The number of the contact of a row."""
    return contacts.c.id if table is contacts else table.c.contact_id


def event_names(connection: Connection) -> set[str]:
    """The names of the events that have come in: one look into the index for each name."""
    found: set[str] = set()
    name = connection.execute(select(func.min(events.c.name))).scalar()
    while name is not None:
        found.add(name)
        name = connection.execute(
            select(func.min(events.c.name)).where(events.c.name > name)
        ).scalar()
    return found
