"""What keeps the daemon from its work: said once, kept as an alarm
for `drip status` and whoever is notified, over by itself."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection

from drip.core.clock import Clock
from drip.engine.alarming import with_remedy
from drip.storage.base.database import Database
from drip.storage.operating import alarms, daemons

# Alarms that are over once it goes well.
TROUBLES = ("trouble", "transport-down", "slow-answer")
log = logging.getLogger("drip.daemon")
# The action of the log line, and whom or what it is about.
Key = tuple[str, str]


class Troubles:
    """Threads may share it. What the database does not take now it gets once it
    does."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._said: set[Key] = set()
        self._unkept: dict[Key, tuple[str, datetime]] = {}
        # Whether the last tick went well; the database may know of troubles of an
        # earlier daemon.
        self.none = False

    def say(
        self,
        sentence: str,
        help: str,
        action: str,
        about: str = "",
    ) -> None:
        """Says it once, not at every tick: what servers say may be new each time."""
        if (action, about) in self._said:
            return
        self._said.add((action, about))
        log.error(
            "%s Nothing is lost; it is tried again.",
            with_remedy(sentence, help),
            extra={"action": action},
        )

    def keep(
        self,
        number: int,
        sentence: str,
        help: str,
        action: str,
        about: str = "",
    ) -> None:
        """Keeps an alarm, and for the daemon of this number (0: none) what keeps
        messages from leaving."""
        with self._lock:
            news = (with_remedy(sentence, help), self._clock())
            self._unkept.setdefault((action, about), news)
            # The database may be what is in trouble. It stands in the log, and is kept
            # later.
            with contextlib.suppress(Exception):
                self._store(number, sentence)

    def over(
        self,
        about: Collection[str] | None = None,
        but: Collection[str] = (),
    ) -> None:
        """What was kept is so no more; `about` None is everything. What could not be
        kept meanwhile is an alarm all the same."""
        with self._lock:
            with self._database.write() as connection:
                self._raise(connection)
                alarms.over(connection, TROUBLES, self._clock(), but, about)
            self._unkept.clear()

    def forget(self) -> None:
        """It goes well: what comes now is news."""
        self._said.clear()
        self.none = True

    def _store(self, number: int, sentence: str) -> None:
        with self._database.write() as connection:
            if number:
                daemons.report(connection, number, sentence)
            self._raise(connection)
        self._unkept.clear()

    def _raise(self, connection: Connection) -> None:
        for (action, about), (sentence, at) in self._unkept.items():
            alarms.raised(connection, action, about, sentence, at)
