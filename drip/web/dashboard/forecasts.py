"""What the coming time holds, as the newest simulation found it. One takes seconds to
minutes, and a worker of its own."""

from __future__ import annotations

import logging
import threading
from typing import Any

from drip.core.shortage import Shortage, lacking
from drip.engine.alarming import with_remedy
from drip.errors import DripError
from drip.web.app_state import AppState
from drip.worker.worker import FORECASTS, Failed, Limits, Worker

# One of a million contacts takes minutes for so many (tests/README.md).
AHEAD_DAYS = 30
# One that is older is made anew when somebody looks.
STALE_S = 300.0
log = logging.getLogger("drip.web")


class Forecasts:
    """Keeps the newest (`calendar` and `pressure`, as pages show them), and has the
    next one made. One at a time."""

    def __init__(self, state: AppState, limits: Limits = FORECASTS) -> None:
        self._state = state
        self._limits = limits
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._made_of: object = None
        self._made_s = 0.0
        self._pause_s = STALE_S
        self.newest: dict[str, Any] | None = None
        self.trouble: str | None = None

    def look(self) -> bool:
        """Whether the next one is being made: because there is none, it is old, or the
        files have changed. Raises Shortage."""
        with self._lock:
            if self._worker is not None:
                return True
            seen = self._state.workspace.fingerprint()
            age_s = self._state.passed_s() - self._made_s
            if seen == self._made_of and age_s < self._pause_s:
                return False
            self._worker = self._begun()
            self._made_of = seen
            return True

    def close(self) -> None:
        """Ends the one that is being made, with those that it shares its work with;
        their copies are cleared away."""
        worker = self._worker
        if worker is not None:
            worker.close()

    def _begun(self) -> Worker:
        """At work, in a thread that waits for it. Raises Shortage."""
        workspace = self._state.workspace
        passed_s = self._state.passed_s
        about = (workspace.root, workspace.environment, passed_s, self._limits)
        worker = Worker("The simulation", *about, shares=True)
        maker = threading.Thread(
            target=self._make,
            args=(worker, passed_s()),
            name="drip-forecast",
            # A simulation takes minutes: a server that ends does not wait for it.
            daemon=True,
        )
        with lacking():
            maker.start()
        return worker

    def _make(self, worker: Worker, began_s: float) -> None:
        found = None
        trouble = None
        now = self._state.clock()
        try:
            found = worker.answer("forecast", now=now.isoformat(), days=AHEAD_DAYS)
        except (DripError, Shortage) as error:
            trouble = with_remedy(error.sentence, error.help)
        except Exception as error:
            # Whatever it was, the next one is made when its time has come. Its words
            # can hold what is known of people.
            kind = str(error) if isinstance(error, Failed) else type(error).__name__
            trouble = f"The simulation failed ({kind}): `drip preview` says more."
        # It is begun anew for the next one: the memory that a simulation takes is not
        # kept.
        worker.close()
        self._keep(found, trouble, began_s)

    def _keep(
        self,
        found: dict[str, Any] | None,
        trouble: str | None,
        began_s: float,
    ) -> None:
        with self._lock:
            self._worker = None
            # As long a pause as it took, at least.
            self._made_s = self._state.passed_s()
            self._pause_s = max(STALE_S, self._made_s - began_s)
            self.newest = found or self.newest
            self.trouble = trouble
        if trouble:
            log.warning("There is no new forecast.", extra={"action": "no-forecast"})
