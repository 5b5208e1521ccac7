"""Clears what is left of erased people, beside the ticks."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from drip.core.calendar import EPOCH
from drip.core.clock import Clock
from drip.engine import clearing
from drip.storage.base.database import Database
from drip.workspace import Workspace

# What could not be cleared is tried again after this.
AGAIN = timedelta(minutes=1)
# Nobody else can write meanwhile, and sign-ups that run out are erased all day: it
# takes a fiftieth of the time at most.
REST = 50
log = logging.getLogger("drip.daemon")


class Clearer:
    """Used by one thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._since = self._again_at = EPOCH
        # What was in the way last; at first nobody knows what another daemon has said.
        self._in_the_way: str | None = ""

    def clear(self, workspace: Workspace) -> None:
        """Clears what it can, and says once what is in the way."""
        began = self._clock()
        # A clock that was set back must not keep it waiting.
        if self._since <= began < self._again_at:
            return
        why = workspace.clear(self._database, began)
        self._rest(began, failed=why is not None)
        if why is not None or self._in_the_way is not None:
            with self._database.write() as connection:
                clearing.watch(connection, began)
        self._say(why)

    def _rest(self, began: datetime, *, failed: bool) -> None:
        ended = self._clock()
        least = AGAIN if failed else timedelta()
        self._since = ended
        self._again_at = ended + max(REST * (ended - began), least)

    def _say(self, why: str | None) -> None:
        if why and why != self._in_the_way:
            log.warning(
                "Something is left of people who were erased: %s. It is tried again.",
                why,
                extra={"action": "uncleared"},
            )
        self._in_the_way = why
