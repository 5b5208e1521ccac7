"""What the coming time holds, as the newest simulation found it. One takes seconds to minutes, and a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path

from drip.errors import DripError
from drip.preview.foreseen import Sums, summed
from drip.process import own_zones, unhurried
from drip.web.site import Site
from drip.workspace import Workspace

AHEAD = timedelta(days=30)
# One that is older is made anew when somebody looks.
STALE_S = 300.0
log = logging.getLogger("drip.web")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The time from `since` to `until`, as it looked at `since`, if nothing new happens."""

    since: datetime
    until: datetime
    sums: Sums


class Forecasts:
    """Keeps the newest, and has the next one made. One at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._process: SpawnProcess | None = None
        self._made_of: object = None
        self._made_s = 0.0
        self.newest: Forecast | None = None
        self.trouble: str | None = None

    def look(self) -> bool:
        """Whether the next one is being made: because there is none, it is old, or the files have changed."""
        with self._lock:
            if self._process is not None:
                return True
            seen, passed_s = self._site.workspace.fingerprint(), self._site.passed_s()
            if seen == self._made_of and passed_s - self._made_s < STALE_S:
                return False
            self._made_of, self._made_s = seen, passed_s
            context = multiprocessing.get_context("spawn")
            own, theirs = context.Pipe(duplex=False)
            workspace, now = self._site.workspace, self._site.clock()
            self._process = context.Process(
                target=_foresee, args=(workspace.root, dict(workspace.environment), now, theirs), name="drip-forecast"
            )
            self._process.start()
            theirs.close()
            threading.Thread(target=self._take, args=(self._process, own), name="drip-forecast", daemon=True).start()
            return True

    def close(self) -> None:
        """Ends the one that is being made."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                self._process.join()

    def _take(self, process: SpawnProcess, pipe: Pipe) -> None:
        try:
            found = pipe.recv()
        except (EOFError, OSError):
            found = "It was ended before it was through."
        pipe.close()
        process.join()
        with self._lock:
            self._process = None
            if isinstance(found, Forecast):
                self.newest, self.trouble = found, None
            else:
                self.trouble = str(found)
                log.warning("There is no new forecast.", extra={"action": "no-forecast"})


def _foresee(root: Path, environment: Mapping[str, str], now: datetime, pipe: Pipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unhurried()
    own_zones()
    try:
        workspace = Workspace(root, environment)
        with workspace.database(now) as database:
            pipe.send(Forecast(now, now + AHEAD, summed(workspace, database, now, now + AHEAD)))
    except DripError as error:
        pipe.send(str(error))
    except Exception as error:
        # Its words can hold what is known of people.
        pipe.send(f"The simulation failed ({type(error).__name__}): `drip preview` says more.")
