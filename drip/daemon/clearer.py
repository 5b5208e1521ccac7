"""Clears what is left of erased people, beside the beats."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from drip.core.calendar import EPOCH
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

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._since = self._again_at = EPOCH
        # What was said last; at first nobody knows what another daemon has said.
        self._told: str | None = ""

    def clear(self, workspace: Workspace) -> None:
        """Clears what it can, and says once what is in the way."""
        now = self._clock()
        # A clock that was set back must not keep it waiting.
        if self._since <= now < self._again_at:
            return
        why = workspace.clear(self._database, now)
        self._since = ended = self._clock()
        self._again_at = ended + max(
            REST * (ended - now), AGAIN if why is not None else timedelta()
        )
        if why is not None or self._told is not None:
            with self._database.write() as connection:
                clearing.watch(connection, now)
        if why and why != self._told:
            said = "Something is left of people who were erased: %s. It is tried again."
            log.warning(said, why, extra={"action": "uncleared"})
        self._told = why
