"""Copying a database, or a part of it, into a SQLite file to try things on."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import JSON, Connection, Table, text

from drip.storage.base.columns import to_ms
from drip.storage.base.database import Database
from drip.storage.base.schema import contacts, deliveries, events, judgements, metadata
from drip.storage.base.schema_operating import (
    alarms,
    answered,
    api_keys,
    audit,
    data_mails,
    erasures,
    links,
    operators,
    rate_limits,
    refusals,
    relays,
    session_deaths,
    sessions,
    told,
    webhook_outbox,
)
from drip.storage.base.sqlite import SqliteDatabase

AT_ONCE = 10_000
# Nothing that is judged looks at what came back, at how servers take messages, at what people and programs were told, or
# at who ordered what.
APART = (
    deliveries,
    rate_limits,
    relays,
    refusals,
    session_deaths,
    alarms,
    api_keys,
    audit,
    answered,
    webhook_outbox,
    told,
    links,
    operators,
    sessions,
    data_mails,
    erasures,
)
COPIED = [table for table in metadata.sorted_tables if table not in APART]


@dataclass(frozen=True, slots=True)
class CopiedPart:
    """What of a database is copied: everything, one contact's, or that of every `of`-th contact, from the `nth` on.

    The events of the names `events` come along whosever they are.
    """

    contact_id: int | None = None
    nth: int = 0
    of: int = 1
    events: tuple[str, ...] = ()

    def holds(self, contact: str) -> str | None:
        """The SQL condition on a contact's number; None if everybody's is copied."""
        if self.contact_id is not None:
            return f"{contact} = {self.contact_id:d}"
        return f"{contact} % {self.of:d} = {self.nth:d}" if self.of > 1 else None


WHOLE = CopiedPart()


def copy_into(source: Database, target: Path, part: CopiedPart, now: datetime) -> None:
    """Copies a database of this version, or a part of it, into the fresh one at `target`.

    But for the judgements from before `now`: nothing that is judged looks at them.
    """
    with contextlib.closing(
        sqlite3.connect(target, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        if isinstance(source, SqliteDatabase):
            with source.told():
                _copy_file(source.path, connection, part, now)
        else:
            with source.read() as there:
                _copy_rows(there, connection, part, now)


def _copy_file(
    source: Path, connection: sqlite3.Connection, part: CopiedPart, now: datetime
) -> None:
    connection.execute("ATTACH ? AS source", (str(source),))
    connection.execute("BEGIN")
    for table in COPIED:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        where, values = _where(table, part, now, "source.")
        connection.execute(f'DELETE FROM main."{table.name}"')
        connection.execute(
            f'INSERT INTO main."{table.name}" ({names}) SELECT {names} FROM source."{table.name}"{where}',
            values,
        )
    connection.execute("COMMIT")


def _copy_rows(
    source: Connection, connection: sqlite3.Connection, part: CopiedPart, now: datetime
) -> None:
    """Of a database elsewhere: its rows, a batch at a time."""
    connection.execute("BEGIN")
    for table in COPIED:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        # The values as a file keeps them: JSON as text.
        asked = ", ".join(
            f'CAST("{column.name}" AS TEXT)'
            if isinstance(column.type, JSON)
            else f'"{column.name}"'
            for column in table.columns
        )
        where, values = _where(table, part, now, "")
        connection.execute(f'DELETE FROM "{table.name}"')
        insert = f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join("?" * len(table.columns))})'
        rows = source.execution_options(yield_per=AT_ONCE).execute(
            text(f'SELECT {asked} FROM "{table.name}"{where}'), values
        )
        for some in rows.partitions():
            connection.executemany(insert, [tuple(row) for row in some])
    connection.execute("COMMIT")


def _where(
    table: Table, part: CopiedPart, now: datetime, schema: str
) -> tuple[str, dict[str, str]]:
    """Which rows of a table are copied, as SQL with its values."""
    owner = (
        "id"
        if table is contacts
        else "contact_id"
        if "contact_id" in table.columns
        else None
    )
    held = part.holds(owner) if owner else None
    if table is judgements:
        held = part.holds("contact_id")
        about = (
            f" AND message_id IN (SELECT id FROM {schema}messages WHERE {held})"
            if held
            else ""
        )
        return f" WHERE at >= {to_ms(now)}{about}", {}
    if table is events and held:
        names = {f"name{n}": name for n, name in enumerate(part.events)}
        listed = ", ".join(f":{key}" for key in names)
        return f" WHERE {held}" + (f" OR name IN ({listed})" if names else ""), names
    return (f" WHERE {held}" if held else ""), {}
