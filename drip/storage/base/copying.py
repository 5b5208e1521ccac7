"""Copying a database, or a part of it, into a SQLite file to try things on."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import JSON, Column, Connection, Table, text

from drip.storage.base.columns import to_ms
from drip.storage.base.database import Database
from drip.storage.base.schema import (
    alarms,
    answered,
    api_keys,
    audit,
    contacts,
    data_mails,
    deliveries,
    erasures,
    events,
    judgements,
    links,
    metadata,
    operators,
    rate_limits,
    refusals,
    relays,
    session_deaths,
    sessions,
    webhook_outbox,
    webhook_positions,
)
from drip.storage.base.sqlite import SqliteDatabase

AT_ONCE = 10_000
# Nothing that is judged looks at what came back, at how servers take messages, at
# what people and programs were told, or at who ordered what.
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
    webhook_positions,
    links,
    operators,
    sessions,
    data_mails,
    erasures,
)
COPIED = [table for table in metadata.sorted_tables if table not in APART]


@dataclass(frozen=True, slots=True)
class CopiedPart:
    """What of a database is copied.

    Everything, one contact's, or that of every `of`-th contact, from the `nth` on. The
    events of the names `events` come along whosever they are.
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
    """Copies a database of this version, or a part of it, into the fresh one at
    `target`.

    But for the judgements from before `now`: nothing that is judged looks at them.
    """
    fresh = sqlite3.connect(target, isolation_level=None)
    with contextlib.closing(fresh) as connection:
        # A rehearsal that dies is made anew: nothing in it has to outlive a power cut.
        connection.execute("PRAGMA synchronous=OFF")
        if isinstance(source, SqliteDatabase):
            with source.translated_errors():
                _copy_file(source.path, connection, part, now)
        else:
            with source.read() as there:
                _copy_rows(there, connection, part, now)


def _copy_file(
    source: Path, connection: sqlite3.Connection, part: CopiedPart, now: datetime
) -> None:
    # Within SQLite: no row becomes an object of Python's.
    connection.execute("ATTACH ? AS source", (str(source),))
    connection.execute("BEGIN")
    for table in COPIED:
        names = ", ".join(map(_quoted, table.columns))
        rows = _where(table, part, now, "source.")
        connection.execute(f'DELETE FROM main."{table.name}"')
        copied = f'SELECT {names} FROM source."{table.name}"{rows.condition}'
        insert = f'INSERT INTO main."{table.name}" ({names}) {copied}'
        connection.execute(insert, rows.values)
    connection.execute("COMMIT")


def _copy_rows(
    source: Connection, connection: sqlite3.Connection, part: CopiedPart, now: datetime
) -> None:
    """Of a database elsewhere: its rows, a batch at a time."""
    some_at_a_time = source.execution_options(yield_per=AT_ONCE)
    connection.execute("BEGIN")
    for table in COPIED:
        names = ", ".join(map(_quoted, table.columns))
        stored = ", ".join(map(_as_stored, table.columns))
        places = ", ".join("?" * len(table.columns))
        rows = _where(table, part, now, "")
        connection.execute(f'DELETE FROM "{table.name}"')
        asked = text(f'SELECT {stored} FROM "{table.name}"{rows.condition}')
        insert = f'INSERT INTO "{table.name}" ({names}) VALUES ({places})'
        for some in some_at_a_time.execute(asked, rows.values).partitions():
            connection.executemany(insert, [tuple(row) for row in some])
    connection.execute("COMMIT")


def _quoted(column: Column[Any]) -> str:
    return f'"{column.name}"'


def _as_stored(column: Column[Any]) -> str:
    """A value as a file keeps it: JSON as text."""
    if isinstance(column.type, JSON):
        return f'CAST("{column.name}" AS TEXT)'
    return _quoted(column)


class _CopiedRows(NamedTuple):
    """Which rows of a table are copied: a `WHERE` of SQL, or nothing, and its
    values."""

    condition: str
    values: dict[str, str]


def _where(table: Table, part: CopiedPart, now: datetime, schema: str) -> _CopiedRows:
    if table is judgements:
        return _judgements(part, now, schema)
    held = part.holds("id" if table is contacts else "contact_id")
    if held is None or not (table is contacts or "contact_id" in table.columns):
        return _CopiedRows("", {})
    if table is events and part.events:
        names = {f"name{number}": name for number, name in enumerate(part.events)}
        listed = ", ".join(f":{key}" for key in names)
        return _CopiedRows(f" WHERE {held} OR name IN ({listed})", names)
    return _CopiedRows(f" WHERE {held}", {})


def _judgements(part: CopiedPart, now: datetime, schema: str) -> _CopiedRows:
    later = f" WHERE at >= {to_ms(now)}"
    held = part.holds("contact_id")
    if held is None:
        return _CopiedRows(later, {})
    own = f"SELECT id FROM {schema}messages WHERE {held}"
    return _CopiedRows(f"{later} AND message_id IN ({own})", {})
