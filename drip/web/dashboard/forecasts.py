"""What the coming time holds, as the newest simulation found it. One takes seconds to minutes, and a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path

from drip.core.shortage import lacking
from drip.errors import DripError
from drip.preview.foreseen import Sums, summed
from drip.process import own_zones, unhurried
from drip.web.site import Site
from drip.workspace import Workspace

AHEAD = timedelta(days=30)
# One that is older is made anew when somebody looks.
STALE_S = 300.0
# To clear away.
PATIENCE_S = 10.0
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
        self._made_s, self._pause_s = 0.0, STALE_S
        self.newest: Forecast | None = None
        self.trouble: str | None = None

    def look(self) -> bool:
        """Whether the next one is being made: because there is none, it is old, or the files have changed."""
        with self._lock:
            if self._process is not None:
                return True
            seen, passed_s = self._site.workspace.fingerprint(), self._site.passed_s()
            if seen == self._made_of and passed_s - self._made_s < self._pause_s:
                return False
            self._process, self._made_of = self._started(passed_s), seen
            return True

    def _started(self, now_s: float) -> SpawnProcess:
        """The process that makes the next one, and a thread that waits for it. Raises Shortage if there is none to be had: it is
        tried again when somebody looks."""
        context = multiprocessing.get_context("spawn")
        own, theirs = context.Pipe(duplex=False)
        workspace, now = self._site.workspace, self._site.clock()
        process = context.Process(
            target=_foresee, args=(workspace.root, dict(workspace.environment), now, theirs), name="drip-forecast"
        )
        taker = threading.Thread(target=self._take, args=(process, own, now_s), name="drip-forecast", daemon=True)
        with theirs, lacking():
            process.start()
            try:
                taker.start()
            except RuntimeError:
                process.kill()
                process.join()
                raise
        return process

    def close(self) -> None:
        """Ends the one that is being made, with those that it shares its work with; each clears away its copy."""
        process = self._process
        if process is None or process.pid is None:
            return
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            # It is not so far that it has a group of its own.
            process.terminate()
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()

    def _take(self, process: SpawnProcess, pipe: Pipe, began_s: float) -> None:
        found: object
        try:
            found = pipe.recv()
        except Exception:
            # It died, or is of another version than this process.
            found = "It was ended before it was through."
        pipe.close()
        process.join()
        with self._lock:
            self._process = None
            # As long a pause as it took, at least.
            self._made_s = self._site.passed_s()
            self._pause_s = max(STALE_S, self._made_s - began_s)
            if isinstance(found, Forecast):
                self.newest, self.trouble = found, None
            else:
                self.trouble = str(found)
                log.warning("There is no new forecast.", extra={"action": "no-forecast"})


def _foresee(root: Path, environment: Mapping[str, str], now: datetime, pipe: Pipe) -> None:
    # Ctrl-C is the server's, who ends the whole group in order.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unhurried()
    own_zones()
    try:
        workspace = Workspace(root, environment)
        with workspace.database(now) as database:
            pipe.send(Forecast(now, now + AHEAD, summed(workspace, database, now, now + AHEAD)))
    except KeyboardInterrupt:
        return
    except DripError as error:
        pipe.send(str(error))
    except Exception as error:
        # Its words can hold what is known of people.
        pipe.send(f"The simulation failed ({type(error).__name__}): `drip preview` says more.")
