"""Opening a database, making one where there is none, upgrading an older one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from drip import private
from drip.core.shortage import shortage
from drip.errors import DripError
from drip.storage.base.database import WORKSPACE, Database, add_link_key
from drip.storage.base.facts import SUPPRESSION_KEY, set_fact
from drip.storage.base.places import DatabaseServer, is_missing
from drip.storage.base.schema import metadata
from drip.storage.base.sqlite import SqliteDatabase, translated_errors

MIGRATIONS = Path(__file__).parent.parent / "migrations"
FIRST_REVISION = "0001"
REVISION = "0001"


def open_database(place: Path | DatabaseServer, now: datetime) -> Database:
    """The database at `place`, made if there is none.

    Raises DripError if it is older, newer or unreadable.
    """
    if isinstance(place, Path) and is_missing(place):
        return create_database(place, now)
    database = _at(place)
    try:
        if isinstance(place, DatabaseServer):
            _fill_empty(database, now)
        _check_revision(database)
    except BaseException:
        database.close()
        raise
    return database


def _check_revision(database: Database) -> None:
    found = _known_revision(database)
    if found < REVISION:
        raise DripError(
            f"The database {database.where} is of an older version.",
            help="run `drip db upgrade`",
        )
    if found > REVISION:
        raise _newer(database)


def _at(place: Path | DatabaseServer) -> Database:
    if isinstance(place, Path):
        return SqliteDatabase(place)
    try:
        from drip.storage.base.postgresql import PostgresqlDatabase
    except ImportError:
        raise DripError(
            "PostgreSQL needs a package that is not installed: psycopg.",
            help="`pip install 'drip[postgresql]'` installs it",
        ) from None
    return PostgresqlDatabase(place.url, place.notes)


def _fill_empty(database: Database, now: datetime) -> None:
    with database.read() as connection:
        empty = not inspect(connection).get_table_names()
    if empty:
        with database.write() as connection:
            # Two programs can have found it so.
            if not inspect(connection).get_table_names():
                database.examine(connection)
                _fill(connection, now)


def _known_revision(database: Database) -> str:
    """The version of drip's tables.

    Raises DripError for a database that is another program's.
    """
    found = revision_of(database)
    if found is None or not re.fullmatch(r"\d{4}", found) or found < FIRST_REVISION:
        raise DripError(
            f"{database.where} is not a database of drip.",
            help="name another database with DRIP_DATABASE",
        )
    return found


def _newer(database: Database) -> DripError:
    return DripError(
        f"The database {database.where} was made by a newer version of drip.",
        help="install that version again, or name another database with DRIP_DATABASE",
    )


def create_database(
    path: Path, now: datetime, *, durable: bool = True
) -> SqliteDatabase:
    """A fresh database with its own id and keys.

    It appears at `path`, or where a link there leads, whole or not at all.
    """
    real = path.resolve()
    making = real.with_name(f"{real.name}.{os.getpid()}.new")
    with translated_errors(path):
        _make_file(path, making)
        if durable:
            # Readers and the writer at one time. It stays so, and is never set on a
            # file that may be another program's.
            with contextlib.closing(sqlite3.connect(making)) as fresh:
                fresh.execute("PRAGMA journal_mode=WAL")
        database = SqliteDatabase(making, durable=durable)
        with contextlib.closing(database), database.write() as connection:
            _fill(connection, now)
        # Whoever looks meanwhile finds no file, or a whole one.
        making.rename(real)
    return SqliteDatabase(path, durable=durable)


def _make_file(path: Path, making: Path) -> None:
    try:
        private.folder(making.parent)
        # What SQLite writes beside a database has its permissions.
        os.close(private.create(making))
    except OSError as error:
        raise shortage(error) or DripError(
            f"The folder {path.parent} cannot be written to: {error.strerror}.",
            help="make it writable, or name another database with DRIP_DATABASE",
        ) from None


def _fill(connection: Connection, now: datetime) -> None:
    """The tables, with an id and keys of their own."""
    if connection.dialect.name == "postgresql":
        from drip.storage.base.postgresql import FUNCTIONS

        connection.exec_driver_sql(FUNCTIONS)
    metadata.create_all(connection)
    versions = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
    connection.execute(text(versions))
    of_these = text("INSERT INTO alembic_version VALUES (:revision)")
    connection.execute(of_these, {"revision": REVISION})
    set_fact(connection, WORKSPACE, secrets.token_hex(16).encode())
    set_fact(connection, SUPPRESSION_KEY, secrets.token_bytes(32))
    add_link_key(connection, now)


def revision_of(database: Database) -> str | None:
    """The version of its tables; None for a database without any."""
    asked = text("SELECT version_num FROM alembic_version")
    with database.read() as connection:
        try:
            return connection.execute(asked).scalar()
        except (OperationalError, ProgrammingError):
            return None


def upgrade(place: Path | DatabaseServer) -> tuple[str, str]:
    """Brings an older database to this version's tables.

    Returns the version before and after.
    """
    database = _at(place)
    try:
        before = _known_revision(database)
        if before > REVISION:
            raise _newer(database)
        migrate(database)
    finally:
        database.close()
    return before, REVISION


def migrate(database: Database, to: str = REVISION) -> None:
    """Runs the migrations up to a version that the database has not seen, all or
    none."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)
