"""What people are like as a whole: for lint, which asks before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, func, select

from drip.core.settings import Settings
from drip.storage.base.schema import contacts, events, ordinary, records
from drip.storage.base.sql import json_text, one_row
from drip.storage.people.contacts import COLUMNS

_contact = contacts.c


class _FirstName(NamedTuple):
    name: str | None


def unknown_shares(connection: Connection, settings: Settings) -> dict[str, float]:
    """The share of contacts, or of records of a kind, who lack a declared field.

    By the field's full name; without those that nobody lacks.
    """
    found: dict[str, float] = {}
    for owner, fields in settings.fields.items():
        asked = [name for name in fields if name not in ("key", "timezone")]
        everybody, *counts = _known_counts(connection, owner, asked)
        for name, count in zip(asked, counts, strict=True):
            if count < everybody:
                found[f"{owner}.{name}"] = (everybody - count) / everybody
    return found


def _known_counts(
    connection: Connection,
    owner: str,
    names: Iterable[str],
) -> tuple[int, ...]:
    """How many there are, and how many of them have each of these fields."""
    known = (func.count(_field(owner, name)) for name in names)
    return _one(connection, _living(owner, (func.count(), *known)))


def _living(owner: str, columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
    """Of contacts, or of records of a kind, whose contact was not erased."""
    if owner == "contact":
        return _people(owner, columns).where(_contact.erased_at.is_(None))
    erased = select(_contact.id).where(_contact.erased_at.is_not(None))
    return _people(owner, columns).where(records.c.contact_id.not_in(erased))


def longest_texts(connection: Connection, settings: Settings) -> dict[str, int]:
    """For each declared field: how many characters its longest value has."""
    found: dict[str, int] = {}
    for owner, fields in settings.fields.items():
        asked = [name for name in fields if name not in ("timezone", *COLUMNS)]
        if asked:
            lengths = _lengths(connection, owner, asked)
            named = zip(asked, lengths, strict=True)
            found |= {f"{owner}.{name}": length for name, length in named if length}
    return found


def _lengths(
    connection: Connection,
    owner: str,
    names: Iterable[str],
) -> tuple[int | None, ...]:
    attributes = _table(owner).c.attributes
    columns = [func.max(func.length(json_text(attributes, name))) for name in names]
    return _one(connection, _people(owner, columns))


def _people(owner: str, columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
    table = _table(owner)
    asked = select(*columns).select_from(table).where(ordinary(_whose(table)))
    return asked if table is contacts else asked.where(records.c.kind == owner)


def _table(owner: str) -> Table:
    return contacts if owner == "contact" else records


def _field(owner: str, name: str) -> ColumnElement[Any]:
    if owner == "contact" and name in COLUMNS:
        return contacts.c[name]
    return json_text(_table(owner).c.attributes, name)


def _one(connection: Connection, statement: Select[Any]) -> tuple[Any, ...]:
    """As many numbers as fields were asked for, which files say."""
    return tuple(connection.execute(statement).one())


def _whose(table: Table) -> Column[int]:
    """The number of the contact of a row."""
    return _contact.id if table is contacts else table.c.contact_id


def event_names(connection: Connection) -> set[str]:
    """The names of the events that have come in.

    It is one look into the index for each name, however many events there are.
    """
    first = select(func.min(events.c.name).label("name"))
    found: set[str] = set()
    name = one_row(connection, first, into=_FirstName).name
    while name is not None:
        found.add(name)
        following = first.where(events.c.name > name)
        name = one_row(connection, following, into=_FirstName).name
    return found
