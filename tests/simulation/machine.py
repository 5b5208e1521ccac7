"""A machine that one seed determines: actors take turns on one thread, time passes only when all of them wait.

Actors are greenlets. At every SQL statement, before every commit, at each look at the clock and at each stage of a
transport an actor comes by `pause`: there it may be made to wait, die (from then on nothing it does has an effect), get
an error from the database, or stand still for longer than its lease.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from greenlet import greenlet
from sqlalchemy import event

from drip.storage.base.database import Database
from drip.storage.base.sqlite import SqliteDatabase

MILLISECOND = timedelta(milliseconds=1)
# As SQLite's busy timeout in `drip.storage.base.database`.
PATIENCE = timedelta(seconds=30)
KILL = {
    "statement": 0.0004,
    "commit": 0.004,
    "clock": 0.002,
    "connect": 0.01,
    "mail": 0.01,
    "data": 0.015,
    "body": 0.015,
    "dot": 0.03,
    "answer": 0.02,
}
SWITCH = {"statement": 0.04, "commit": 0.2, "begin": 0.3}


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Actor:
    """Somebody who does something in the house. `mortal` ones are programs that can die."""

    name: str
    act: greenlet
    wake: datetime
    mortal: bool
    dead: bool = False


@dataclass
class Machine:
    """`now()` is the clock that the house reads; `true` is the time that passes. Faults are injected while `faulty`."""

    seed: int
    start: datetime
    faulty: bool = True
    injected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.true, self.offset = self.start, timedelta(0)
        # Drawn apart, so that all the rest of a seed is what it was.
        apart = random.Random(f"relay {self.seed}")
        self.relays_after = timedelta(hours=apart.choice([0, 0, 10, 30]))
        self._actors: list[Actor] = []
        self._current: Actor | None = None
        self._main = greenlet.getcurrent()
        self._lock: Actor | None = None
        self._waiting: list[Actor] = []
        self._databases: list[Database] = []

    # --- time

    def now(self) -> datetime:
        """The clock, which may have been set wrongly."""
        self.pause("clock")
        return self.reading()

    def reading(self) -> datetime:
        """The clock without anything coming in between."""
        at = self.true + self.offset
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def sleep(self, length: timedelta) -> None:
        """The actor at work waits."""
        actor = self._current
        assert actor
        actor.wake = self.true + length
        self._main.switch()
        if actor.dead:
            raise Killed

    def sleep_until_next(self, minutes: int) -> None:
        """The actor at work waits until the next full so-many minutes, when others are at work too."""
        step = timedelta(minutes=minutes)
        self.sleep(step - (self.true - self.start) % step)

    def run(self, until: datetime) -> None:
        """Lets everybody act until a time."""
        while True:
            alive = [each for each in self._actors if not each.act.dead]
            first = min((each.wake for each in alive), default=None)
            if first is None or first > until:
                self.true = until
                return
            self.true = max(self.true, first)
            ready = [each for each in alive if each.wake <= self.true]
            self._current = self.chance.choice(ready)
            if self.faulty and self.chance.random() < 0.0002:
                self._step_clock()
            self._current.act.switch()
            self._current = None

    def _step_clock(self) -> None:
        self.injected["clock step"] += 1
        step = timedelta(
            minutes=self.chance.choice([-1200, -300, -61, -1, 1, 59, 180, 900])
        )
        self.offset = step if not self.offset else timedelta(0)

    def spawn(
        self,
        name: str,
        do: Callable[[], None],
        after: timedelta = timedelta(0),
        *,
        mortal: bool = False,
    ) -> None:
        """Somebody new begins to act."""
        self._actors.append(
            Actor(name, greenlet(do, self._main), self.true + after, mortal)
        )

    def end(self) -> None:
        """Everybody dies, and everything is closed."""
        self.faulty = False
        for actor in self._actors:
            if not actor.act.dead:
                actor.dead = True
                self._current = actor
                if actor.act:
                    actor.act.throw(Killed)
        self._current = None
        for database in self._databases:
            database.close()

    # --- faults

    def pause(self, kind: str) -> None:
        """A place at which something can come in between."""
        actor = self._current
        if actor is None:
            return
        if actor.dead:
            raise Killed
        if self.faulty and actor.mortal:
            self._trouble(actor, kind)
        if self.chance.random() < SWITCH.get(kind, 0.1):
            self.sleep(MILLISECOND * self.chance.randint(0, 4))

    def _trouble(self, actor: Actor, kind: str) -> None:
        roll = self.chance.random()
        if roll < KILL.get(kind, 0):
            self.injected[f"killed at {kind}"] += 1
            actor.dead = True
            raise Killed
        roll = self.chance.random()
        if kind == "statement" and roll < 0.0008:
            self.injected["database error"] += 1
            raise sqlite3.OperationalError("disk I/O error")
        if roll > (0.9999 if kind == "statement" else 0.997):
            self.injected["stood still past its lease"] += 1
            self.sleep(timedelta(minutes=self.chance.randint(11, 90)))

    # --- the database

    def database(self, path: Path) -> Database:
        """One process' connections to the database."""
        database = SqliteDatabase(path)
        engine: Any = database._engine
        event.listen(engine, "connect", _fast)
        event.listen(engine, "before_cursor_execute", self._before_statement)
        event.listen(engine, "commit", self._before_commit)
        event.listen(engine, "rollback", self._let_go)
        self._databases.append(database)
        return database

    def _before_statement(
        self, connection: Any, cursor: Any, statement: str, *_: Any
    ) -> None:
        if self._current is None:
            return
        if statement != "BEGIN IMMEDIATE":
            self.pause("statement")
            return
        self.pause("begin")
        asked = self.true
        while self._lock is not None:
            # People and other programs try again until it works.
            if self._current.mortal and self.true - asked >= PATIENCE:
                raise sqlite3.OperationalError("database is locked")
            self._waiting.append(self._current)
            self.sleep(PATIENCE)
        self._lock = self._current

    def _before_commit(self, connection: Any) -> None:
        self.pause("commit")
        self._let_go(connection)

    def _let_go(self, connection: Any) -> None:
        if self._lock is self._current:
            self._lock = None
            for actor in self._waiting:
                actor.wake = min(
                    actor.wake, self.true + MILLISECOND * self.chance.randint(0, 20)
                )
            self._waiting.clear()


def _fast(connection: Any, _record: Any) -> None:
    """Crashes of the program only, not of the machine: nothing needs to reach the disk."""
    connection.execute("PRAGMA synchronous=OFF")
