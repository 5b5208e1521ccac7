"""A database that is a SQLite file.

The one module that knows SQLite, but for how its SQL is written (`sql`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from decimal import Context, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, RootTransaction, create_engine, event
from sqlalchemy.exc import DatabaseError

from drip import private
from drip.core.fields import bare_number
from drip.core.shortage import FILES, Shortage
from drip.errors import DripError
from drip.storage.base.database import Database, Notes

HOW_LONG_TO_WAIT_MS = 30_000
# What is marked as sending has to outlive a power cut, or it could be sent again.
SYNCHRONOUS = "FULL"
# So long writers are kept waiting by a look whether readers are in the way.
SCRUBBING_WAITS_MS = 1_000
# So large a database may be to be written anew at once: one of 460 MB takes 3 s of a
# processor, 25 s on a busy machine.
AT_ONCE_BYTES = 128_000_000
# The lower byte of an error's code says what it is, the others say more.
PRIMARY_CODE = 0xFF
# Numbers have up to 30 digits, before the point or behind it.
EXACT = Context(prec=100)


_PRAGMAS = (
    f"busy_timeout={HOW_LONG_TO_WAIT_MS}",
    # 64 MB: what one batch touches of indexes stays in memory, where SQLite's 2 MB
    # thrash.
    "cache_size=-64000",
    # What is deleted or overwritten is so in the file too, not only for those who ask.
    "secure_delete=ON",
)
DURABLE = (
    *_PRAGMAS,
    "foreign_keys=ON",
)
IN_REHEARSALS = (
    *_PRAGMAS,
    # A rehearsal can be of some contacts, with a rank that others are in too.
    "foreign_keys=OFF",
    "journal_mode=MEMORY",
    # Nobody else knows of it: no file locks, and pages stay in memory.
    "locking_mode=EXCLUSIVE",
)


class SqliteDatabase(Database):
    """A SQLite file.

    A write transaction takes its one write lock before it reads anything (`BEGIN
    IMMEDIATE`).
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        super().__init__(_engine(path, durable), str(path))
        self.path = path

    def _begin(self, connection: Connection, *, writing: bool) -> RootTransaction:
        if writing:
            connection.execution_options(immediate=True)
        return connection.begin()

    def examine(self, connection: Connection) -> None:
        """A file's text is UTF-8 always."""

    def lock(self) -> FileLock:
        return FileLock(self.path)

    def scrub(self, *, thorough: bool) -> bool:
        """Writes the file anew (VACUUM) and empties the write-ahead log.

        `secure_delete` is not enough: when rows move to another page, SQLite leaves a
        copy of some in the old one's gap. Measured: of 3,000 erased among 30,000 rows
        18 were still there; after VACUUM none.
        """
        with (
            self.translated_errors(),
            contextlib.closing(self._engine.raw_connection()) as connection,
        ):
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={SCRUBBING_WAITS_MS}")
            try:
                anew = thorough or _bytes(cursor) <= AT_ONCE_BYTES
                if anew:
                    cursor.execute("VACUUM")
                emptied = _empty_log(cursor)
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                return False
            finally:
                cursor.execute(f"PRAGMA busy_timeout={HOW_LONG_TO_WAIT_MS}")
            return anew and emptied

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        with translated_errors(self.path):
            yield


def _bytes(cursor: Any) -> int:
    (pages,) = cursor.execute("PRAGMA page_count").fetchone()
    (size,) = cursor.execute("PRAGMA page_size").fetchone()
    return int(pages * size)


def _empty_log(cursor: Any) -> bool:
    blocked, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not blocked


def _is_busy(error: sqlite3.OperationalError) -> bool:
    code = error.sqlite_errorcode & PRIMARY_CODE
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class FileLock:
    """The right to be the one daemon of a database.

    The kernel gives it back when the process dies.
    """

    def __init__(self, path: Path) -> None:
        real = path.resolve()
        self._path = real.with_name(real.name + ".daemon")
        self._file: int | None = None
        self.notes = Notes(self._path)

    def take(self) -> bool:
        """Whether it is ours now."""
        self._file = os.open(
            self._path,
            os.O_RDWR | os.O_CREAT,
            private.FILE,
        )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.give_back()
            return False
        return True

    def is_ours(self) -> bool:
        """Whether it still is."""
        return self._file is not None

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
    engine = create_engine(
        f"sqlite:///{path}", pool_reset_on_return=None, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions, not the driver.
        connection.isolation_level = None
        connection.create_function("drip_fold", 1, _fold, deterministic=True)
        connection.create_aggregate("drip_sum", 1, _Sum)
        for pragma in DURABLE if durable else IN_REHEARSALS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA synchronous={SYNCHRONOUS if durable else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _fold(value: Any) -> str | None:
    """Text as conditions compare it: without regard to case, of every language."""
    return str(value).casefold() if value is not None else None


@lru_cache(maxsize=10_000)
def _exact(written: str) -> Decimal:
    try:
        return Decimal(bare_number(written))
    except ValueError:
        return Decimal(0)


class _Sum:
    """The exact sum of numbers that were given as text.

    What is no number counts for nothing.
    """

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, value: Any) -> None:
        self._sum = EXACT.add(self._sum, _exact(str(value)))

    def finalize(self) -> float:
        return float(self._sum)


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """SQLite's own errors in plain words.

    Raises Shortage for what the machine lacks, DripError for the rest.
    """
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        answer = str(getattr(error, "orig", error))
        raise _in_words(answer, path) or error from None


def _in_words(answer: str, path: Path) -> Shortage | DripError | None:
    for pattern, sentence, help in _LACKING:
        if pattern in answer:
            return Shortage(sentence.format(path=path), help.format(path=path))
    if "unable to open" in answer and _is_usable(path):
        # It is as it should be, so there is no file left to open it by.
        sentence = f"The database {path} cannot be opened at the moment."
        return Shortage(sentence, FILES[1])
    for pattern, sentence, help in _SAID:
        if pattern in answer:
            return DripError(sentence.format(path=path), help=help)
    return None


def _is_usable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK | os.W_OK)


_LACKING = (
    (
        "disk is full",
        "The disk is full; what was stored before is whole.",
        "make room on the disk that holds {path}",
    ),
    (
        "disk I/O error",
        "The disk that holds {path} does not work, or is full.",
        "look at the disk, then try again",
    ),
    (
        "out of memory",
        "There is no memory left for the database {path}.",
        "end what uses it up, or give the machine more",
    ),
)
_SAID = (
    (
        "file is not a database",
        "{path} is not a database of drip.",
        "name another file with DRIP_DATABASE",
    ),
    (
        "malformed",
        "The database {path} is damaged.",
        "put back the newest backup of it",
    ),
    (
        "unable to open",
        "The database {path} cannot be opened.",
        "make the file and its folder readable and writable",
    ),
    (
        "readonly",
        "The database {path} cannot be written to.",
        "make the file and its folder writable",
    ),
    (
        "locked",
        "The database {path} is busy with another program.",
        "wait for it to end, then try again",
    ),
)
