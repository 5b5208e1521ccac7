"""Opening the database, its transactions, its locks and its version. The one module that knows SQLite."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    Select,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError, OperationalError

from drip.core.fields import parse_number
from drip.errors import DripError
from drip.storage.schema import contacts, events, judgements, kept, meta, metadata, signing_keys

MIGRATIONS = Path(__file__).parent / "migrations"
FIRST_REVISION = "0001"
REVISION = "0003"
HOW_LONG_TO_WAIT_MS = 30_000


class Database:
    """One database. `read()` and `write()` are its only two kinds of transaction.

    A write transaction takes SQLite's one write lock before it reads anything (`BEGIN IMMEDIATE`), so
    that what it judges cannot change before it is stored.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._engine = _engine(path, durable)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: all that is read in it is of one moment."""
        with _told(self.path), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing, and no other writer meanwhile."""
        with _told(self.path), self._engine.connect() as connection:
            connection.execution_options(immediate=True)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def attempt(self) -> Iterator[Connection]:
        """A write transaction that is taken back at its end: to see what would happen."""
        with _told(self.path), self._engine.connect() as connection:
            connection.execution_options(immediate=True)
            with connection.begin() as transaction:
                yield connection
                transaction.rollback()

    def close(self) -> None:
        self._engine.dispose()


def open_database(path: Path, now: datetime) -> Database:
    """The database at `path`, made if there is none. Raises DripError if it is older, newer or unreadable."""
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return create_database(path, now)
    database = Database(path)
    found = _known_revision(database)
    if found == REVISION:
        return database
    if found < REVISION:
        raise DripError(f"The database {path} is of an older version.", help="run `drip db upgrade`")
    raise _newer(path)


def _known_revision(database: Database) -> str:
    """The version of drip's tables. Raises DripError for a database that is another program's."""
    found = revision_of(database)
    if found is None or not re.fullmatch(r"\d{4}", found) or found < FIRST_REVISION:
        help = "name another file with DRIP_DATABASE"
        raise DripError(f"{database.path} is not a database of drip.", help=help)
    return found


def _newer(path: Path) -> DripError:
    return DripError(
        f"The database {path} was made by a newer version of drip.",
        help="install that version again, or name another database with DRIP_DATABASE",
    )


def create_database(path: Path, now: datetime, *, durable: bool = True) -> Database:
    """A fresh database with its own id and keys. It appears at `path` whole or not at all."""
    making = path.with_name(f"{path.name}.{os.getpid()}.new")
    with _told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            making.unlink(missing_ok=True)
        except OSError as error:
            raise DripError(
                f"The folder {path.parent} cannot be written to: {error.strerror}.",
                help="make it writable, or name another database with DRIP_DATABASE",
            ) from None
        if durable:
            # Readers and the writer at one time. It stays so, and is never set on a file that may be another program's.
            with contextlib.closing(sqlite3.connect(making)) as fresh:
                fresh.execute("PRAGMA journal_mode=WAL")
        database = Database(making, durable=durable)
        with database.write() as connection:
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})
            connection.execute(insert(meta), [
                {"name": "workspace", "value": secrets.token_hex(8).encode()},
                {"name": "suppression-key", "value": secrets.token_bytes(32)},
            ])  # fmt: skip
            key = {"id": secrets.token_hex(4), "secret": secrets.token_bytes(32), "created_at": now}
            connection.execute(insert(signing_keys).values(key))
        database.close()
        making.rename(path)
    return Database(path, durable=durable)


def revision_of(database: Database) -> str | None:
    """The version of its tables; None for a database without any."""
    with database.read() as connection:
        try:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except OperationalError:
            return None


def upgrade(path: Path) -> tuple[str, str]:
    """Brings an older database to this version's tables. Returns the version before and after."""
    database = Database(path)
    before = _known_revision(database)
    if before > REVISION:
        raise _newer(path)
    migrate(database)
    database.close()
    return before, REVISION


def migrate(database: Database) -> None:
    """Runs the migrations that the database has not seen, all or none."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@dataclass(frozen=True, slots=True)
class Part:
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


WHOLE = Part()


def copy_into(source: Path, target: Path, part: Part, now: datetime) -> None:
    """Copies a database of this version, or a part of it, into the fresh one at `target`.

    But for the judgements from before `now`: nothing that is judged looks at them.
    """
    with _told(source), contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("ATTACH ? AS source", (str(source),))
        connection.execute("BEGIN")
        for table in metadata.sorted_tables:
            columns = [column.name for column in table.columns]
            owner = "id" if table is contacts else "contact_id" if "contact_id" in columns else None
            held = part.holds(owner) if owner else None
            values: tuple[str, ...] = ()
            where = f" WHERE {held}" if held else ""
            if table is events and held:
                where, values = f"{where} OR name IN ({', '.join('?' * len(part.events))})", part.events
            if table is judgements:
                where, held = f" WHERE at >= {kept(now)}", part.holds("contact_id")
                if held:
                    where += f" AND message_id IN (SELECT id FROM source.messages WHERE {held})"
            names = ", ".join(f'"{name}"' for name in columns)
            connection.execute(f'DELETE FROM main."{table.name}"')
            connection.execute(
                f'INSERT INTO main."{table.name}" ({names}) SELECT {names} FROM source."{table.name}"{where}', values
            )
        connection.execute("COMMIT")


def workspace_id(connection: Connection) -> str:
    """The id that tells this workspace's messages from every other's."""
    return bytes(connection.execute(select(meta.c.value).where(meta.c.name == "workspace")).scalar_one()).decode()


def link_keys(connection: Connection) -> dict[str, bytes]:
    """The keys that sign links, newest last."""
    rows = connection.execute(select(signing_keys.c.id, signing_keys.c.secret).order_by(signing_keys.c.created_at))
    return {key_id: bytes(secret) for key_id, secret in rows}


class DaemonLock:
    """The right to be the one daemon of a database. The kernel gives it back when the process dies."""

    def __init__(self, path: Path) -> None:
        real = path.resolve()
        self._path = real.with_name(real.name + ".daemon")
        self._file: int | None = None

    def take(self) -> bool:
        """Whether it is ours now."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.give_back()
            return False
        return True

    def note(self, workspace: str, beat: datetime) -> None:
        """Writes down beside the database until when it was worked on. A backup put back knows of less than this."""
        if self._file is not None:
            text = f"{workspace} {beat.isoformat()}\n".encode()
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))

    def noted(self, workspace: str) -> datetime | None:
        """Until when this workspace's database was worked on, as far as is written down beside it."""
        with contextlib.suppress(OSError, ValueError):
            whose, _, beat = self._path.read_text("utf-8").strip().partition(" ")
            return datetime.fromisoformat(beat) if whose == workspace else None
        return None

    def is_free(self) -> bool:
        """Whether no daemon has it at this moment."""
        if not self.take():
            return False
        self.give_back()
        return True

    def give_back(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _engine(path: Path, durable: bool) -> Engine:
    # Every transaction here ends by itself, so the pool has nothing to roll back.
    engine = create_engine(f"sqlite:///{path}", pool_reset_on_return=None)

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions, not the driver.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={HOW_LONG_TO_WAIT_MS}")
        # A rehearsal can be of some contacts, with a rank that others are in too.
        connection.execute(f"PRAGMA foreign_keys={'ON' if durable else 'OFF'}")
        # 64 MB: what one batch touches of indexes stays in memory, where SQLite's 2 MB thrash.
        connection.execute("PRAGMA cache_size=-64000")
        connection.create_function("drip_fold", 1, _fold, deterministic=True)
        connection.create_aggregate("drip_sum", 1, _Sum)
        if not durable:
            connection.execute("PRAGMA journal_mode=MEMORY")
            # Nobody else knows of it: no file locks, and pages stay in memory.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        # FULL: what is marked as sending has to outlive a power cut, or it could be sent again.
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


class Prepared:
    """A statement of every beat: compiled once, and run without any handling of the values that go in and come out.

    What is given and returned are the database's own values: instants as milliseconds, JSON as text.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._sql: str | None = None
        self._fixed: dict[str, Any] = {}
        self._order: list[str] = []

    def rows(self, connection: Connection, **values: Any) -> list[Any]:
        """All rows, as plain tuples."""
        cursor = self._execute(connection, values).cursor
        return [] if cursor is None else list(cursor.fetchall())

    def count(self, connection: Connection, **values: Any) -> int:
        """How many rows it changed."""
        return self._execute(connection, values).rowcount

    def many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Runs it for each of these rows, whose values are in the order in which the statement names them."""
        if rows:
            connection.exec_driver_sql(self._compiled(connection), list(rows))

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        sql, given = self._compiled(connection), {**self._fixed, **values}
        return connection.exec_driver_sql(sql, tuple(given[name] for name in self._order))

    def _compiled(self, connection: Connection) -> str:
        if self._sql is None:
            compiled: Any = self._statement.compile(connection.engine)
            self._sql, self._order = str(compiled), list(compiled.positiontup)
            self._fixed = {name: compiled.params.get(name) for name in self._order}
        return self._sql


def listed_in(name: str) -> Select[Any]:
    """Values given as one parameter, a JSON list (`numbers`): for `column.in_(…)` of a prepared statement."""
    return select(literal_column("value")).select_from(func.json_each(bindparam(name)))


def numbers(ids: Iterable[int]) -> str:
    """What `listed_in` takes."""
    return json.dumps(list(ids))


def json_value(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """A value of a JSON column by its name: written out, so that an index over the same words serves."""
    return func.json_extract(column, literal_column(f"'$.\"{name}\"'"))


def is_number(value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a value is a number; text is above every number otherwise."""
    return func.typeof(value).in_(("integer", "real"))


def folded(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Text as conditions compare it."""
    return func.drip_fold(value)


def exact_sum(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of a group, exact in whatever order."""
    return func.drip_sum(value)


def index_contacts(connection: Connection, wanted: Mapping[str, ColumnElement[Any]]) -> None:
    """Has an index over contacts for each of these expressions, by name, and none that is not wanted any more."""
    rows = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'attribute_%'"))
    there = {row[0] for row in rows}
    for name in there - set(wanted):
        connection.execute(text(f'DROP INDEX "{name}"'))
    for name in sorted(set(wanted) - there):
        expression = wanted[name].compile(connection.engine, compile_kwargs={"include_table": False})
        connection.exec_driver_sql(f'CREATE INDEX "{name}" ON contacts ({expression})')


def _fold(value: Any) -> str | None:
    """Text as conditions compare it: without regard to case, of every language."""
    return str(value).casefold() if value is not None else None


class _Sum:
    """The exact sum of numbers that were given as text; what is no number counts for nothing."""

    def __init__(self) -> None:
        self._numbers: list[float] = []

    def step(self, value: Any) -> None:
        try:
            self._numbers.append(parse_number(str(value)))
        except ValueError:
            return

    def finalize(self) -> float:
        return math.fsum(self._numbers)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's own errors in plain words."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        said = str(getattr(error, "orig", error))
        for pattern, sentence, help in _SAID:
            if pattern in said:
                raise DripError(sentence.format(path=path), help=help.format(path=path)) from None
        raise


_SAID = (
    ("file is not a database", "{path} is not a database of drip.", "name another file with DRIP_DATABASE"),
    ("malformed", "The database {path} is damaged.", "put back the newest backup of it"),
    ("disk is full", "The disk is full; what was stored before is whole.", "make room on the disk that holds {path}"),
    ("disk I/O error", "The disk that holds {path} does not work, or is full.", "look at the disk, then try again"),
    ("readonly", "The database {path} cannot be written to.", "make the file and its folder writable"),
    ("unable to open", "The database {path} cannot be opened.", "make the file and its folder readable and writable"),
    ("locked", "The database {path} is busy with another program.", "wait for it to end, then try again"),
)  # fmt: skip
