"""Where a figure is taken: in SQLite, and in PostgreSQL where its programs are at hand."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import psycopg

from drip.storage.base.opening import open_database
from drip.storage.base.places import server
from drip.storage.base.schema import metadata
from tests.servers import Postgres, binaries, postgres


def kinds() -> Iterator[Postgres | None]:
    """None, which is SQLite, and then a server that keeps every commit as SQLite does."""
    sys.stdout.write("SQLite\n")
    yield None
    if binaries() is None:
        sys.stdout.write("PostgreSQL: its programs are not here, so no figures\n")
        return
    with postgres(quick=False) as running:
        with psycopg.connect(running.fresh()) as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
        sys.stdout.write(f"PostgreSQL {version}\n")
        yield running


def moved(file: Path, to: Postgres, now: datetime) -> str:
    """The address of a new database with everything that is in a file."""
    address = to.fresh()
    open_database(server(address, file.parent), now).close()
    with closing(sqlite3.connect(file)) as source, psycopg.connect(address) as target:
        for table in metadata.sorted_tables:
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            target.execute(f'DELETE FROM "{table.name}"')  # type: ignore[call-overload]
            with target.cursor().copy(
                f'COPY "{table.name}" ({names}) FROM STDIN'
            ) as copy:  # type: ignore[call-overload]
                for row in source.execute(f'SELECT {names} FROM "{table.name}"'):
                    copy.write_row(row)
            if table.autoincrement_column is not None:
                counted = f"pg_get_serial_sequence('{table.name}', '{table.autoincrement_column.name}')"
                newest = f'SELECT coalesce(max("{table.autoincrement_column.name}"), 1) FROM "{table.name}"'
                target.execute(
                    f"SELECT setval({counted}, ({newest})) WHERE {counted} IS NOT NULL"
                )  # type: ignore[call-overload]
        target.commit()
        target.autocommit = True
        target.execute("VACUUM ANALYZE")
    return address
