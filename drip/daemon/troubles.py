"""What keeps the daemon from its work: said once, kept for `drip status` and whoever is told, over by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy import Connection

from drip.engine.alarming import with_remedy
from drip.storage.base.database import Database
from drip.storage.operating import alarms, daemons

# Alarms that are over once it goes well.
TROUBLES = ("trouble", "transport-down", "slow-answer")
log = logging.getLogger("drip.daemon")


class Troubles:
    """Threads may share it. What the database does not take now it gets once it does."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()
        self._unkept: dict[tuple[str, str], tuple[str, datetime]] = {}
        # Whether the last beat went well; the database may know of troubles of an earlier daemon.
        self.none = False

    def tell(self, sentence: str, help: str, action: str, about: str = "") -> None:
        """Says it once, not at every beat: what servers say may be new each time."""
        if (action, about) not in self._told:
            self._told.add((action, about))
            told = f"{with_remedy(sentence, help)} Nothing is lost; it is tried again."
            log.error("%s", told, extra={"action": action})

    def keep(
        self, number: int, sentence: str, help: str, action: str, about: str = ""
    ) -> None:
        """Keeps an alarm, and for the daemon of this number (0: none) what keeps messages from leaving."""
        with self._lock:
            self._unkept.setdefault(
                (action, about), (with_remedy(sentence, help), self._clock())
            )
            try:
                with self._database.write() as connection:
                    if number:
                        daemons.report(connection, number, sentence)
                    self._raise(connection)
            except Exception:
                # The database may be what is in trouble. It stands in the log, and is kept later.
                return
            self._unkept.clear()

    def over(
        self, about: Collection[str] | None = None, but: Collection[str] = ()
    ) -> None:
        """What was kept is so no more; `about` None is everything. What could not be kept meanwhile is told of all the same."""
        with self._lock:
            with self._database.write() as connection:
                self._raise(connection)
                alarms.over(connection, TROUBLES, self._clock(), but, about)
            self._unkept.clear()

    def forget(self) -> None:
        """It goes well: what comes now is news."""
        self._told.clear()
        self.none = True

    def _raise(self, connection: Connection) -> None:
        for (action, about), (sentence, at) in self._unkept.items():
            alarms.raised(connection, action, about, sentence, at)
