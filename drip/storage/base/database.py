"""A database as all of storage knows it.

It has two kinds of transaction, and there is the right to be its one daemon.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RootTransaction,
    delete,
    insert,
    text,
)

from drip import private
from drip.storage.base.facts import fact
from drip.storage.base.schema import signing_keys
from drip.storage.base.sql import Folded, select_as, typed_rows

INDEXES = {
    "sqlite": (
        "SELECT name FROM sqlite_master "
        "WHERE type = 'index' AND name LIKE 'attribute_%'"
    ),
    "postgresql": (
        "SELECT indexname FROM pg_indexes "
        "WHERE schemaname = current_schema() AND indexname LIKE 'attribute_%'"
    ),
}


class Database(ABC):
    """One database. `read()` and `write()` are its only two kinds of transaction.

    Writers are one after the other: a write transaction takes the one lock before it
    reads anything, so that what it judges cannot change before it is stored. `where`
    names it in sentences.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        self._engine, self.where = engine, where

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: all that is read in it is of one moment."""
        with self._transaction(writing=False) as (connection, _):
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing, and no other writer meanwhile."""
        with self._transaction(writing=True) as (connection, _):
            yield connection

    @contextlib.contextmanager
    def attempt(self) -> Iterator[Connection]:
        """A write transaction that is taken back at its end: to see what would
        happen."""
        with self._transaction(writing=True) as (connection, transaction):
            yield connection
            transaction.rollback()

    @contextlib.contextmanager
    def _transaction(
        self, *, writing: bool
    ) -> Iterator[tuple[Connection, RootTransaction]]:
        with (
            self.translated_errors(),
            self._engine.connect() as connection,
            self._begin(connection, writing=writing) as transaction,
        ):
            yield connection, transaction

    def close(self) -> None:
        """Its connections are closed."""
        self._engine.dispose()

    @abstractmethod
    def _begin(
        self, connection: Connection, *, writing: bool
    ) -> contextlib.AbstractContextManager[RootTransaction]:
        """A transaction; one that writes has the one lock."""

    @abstractmethod
    def translated_errors(self) -> contextlib.AbstractContextManager[None]:
        """The database's own errors become DripErrors, in plain words.

        For what its machine lacks they are Shortages.
        """

    @abstractmethod
    def examine(self, connection: Connection) -> None:
        """Raises DripError if it cannot hold every text, before it is filled."""

    @abstractmethod
    def scrub(self, *, thorough: bool) -> bool:
        """Whether nothing that was deleted or overwritten is left in its own files.

        What takes long is only done if it is small, or `thorough`. Somebody who reads
        meanwhile can be in the way: try again later.
        """

    @abstractmethod
    def lock(self) -> DaemonLock:
        """The right to be its one daemon, not taken yet."""


class DaemonLock(Protocol):
    """The right to be the one daemon of a database.

    It comes back by itself when the process dies.
    """

    notes: Notes

    def take(self) -> bool:
        """Whether it is ours now."""

    def is_ours(self) -> bool:
        """Whether it still is."""

    def is_free(self) -> bool:
        """Whether no daemon has it at this moment."""

    def give_back(self) -> None:
        """Others may take it."""


@dataclass(frozen=True, slots=True)
class Notes:
    """Until when a database was worked on, written down beside it.

    A backup put back knows of less than this.
    """

    path: Path

    def write(self, workspace: str, beat: datetime) -> None:
        """Writes it down."""
        private.folder(self.path.parent)
        text = f"{workspace} {beat.isoformat()}\n".encode()
        number = os.open(
            self.path,
            os.O_RDWR | os.O_CREAT,
            private.FILE,
        )
        try:
            os.pwrite(number, text, 0)
            os.ftruncate(number, len(text))
        finally:
            os.close(number)

    def read(self, workspace: str) -> datetime | None:
        """Until when this workspace's database was worked on, if that is written
        down."""
        with contextlib.suppress(OSError, ValueError):
            whose, _, beat = self.path.read_text("utf-8").strip().partition(" ")
            return datetime.fromisoformat(beat) if whose == workspace else None
        return None


WORKSPACE = "workspace"


class _LinkKey(NamedTuple):
    id: str
    secret: bytes


def workspace_id(connection: Connection) -> str:
    """The id that tells this workspace's messages from every other's.

    It never leaves (`core.token.public_name`).
    """
    found = fact(connection, WORKSPACE)
    assert found is not None, "a database is made with it"
    return found.decode()


def link_keys(connection: Connection) -> dict[str, bytes]:
    """The keys that sign links, newest last."""
    keys = select_as(signing_keys, _LinkKey)
    in_order = keys.order_by(signing_keys.c.created_at)
    return dict(typed_rows(connection, in_order, into=_LinkKey))


def add_link_key(connection: Connection, now: datetime) -> None:
    """From now on a new key signs links."""
    key = {
        "id": secrets.token_hex(4),
        "secret": secrets.token_bytes(32),
        "created_at": now,
    }
    connection.execute(insert(signing_keys).values(key))


def drop_link_keys(connection: Connection) -> int:
    """Links that were signed so far are good no more; how many keys there were."""
    return connection.execute(delete(signing_keys)).rowcount


def index_contacts(
    connection: Connection, wanted: Mapping[str, ColumnElement[Any]]
) -> None:
    """Has an index over contacts for each of these expressions, by name, and no
    other."""
    there = set(connection.scalars(text(INDEXES[connection.dialect.name])))
    for name in there - set(wanted):
        connection.execute(text(f'DROP INDEX "{name}"'))
    for name in sorted(set(wanted) - there):
        _index(connection, name, wanted[name])


def _index(connection: Connection, name: str, wanted: ColumnElement[Any]) -> None:
    expression = wanted.compile(
        connection.engine, compile_kwargs={"include_table": False}
    )
    on_server = connection.dialect.name == "postgresql"
    # PostgreSQL refuses texts of more than 2,700 bytes in a tree, and folded ones are
    # mostly asked for as a whole.
    how = "USING hash " if on_server and isinstance(wanted, Folded) else ""
    connection.exec_driver_sql(f'CREATE INDEX "{name}" ON contacts {how}({expression})')
