"""What a server or the daemon does again and again, whatever goes wrong: said once, and
known when it last went well."""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from drip.core.shortage import shortage
from drip.errors import DripError

# So many different causes are logged until it goes well again.
MOST_LOGGED = 5
# What went well for so short a time has not ended: several tasks may get the last file
# by turns.
CALM_S = 60.0
LONGEST_LOGGED = 300


class Repeating:
    """One such task. `name` begins a sentence: `Looking at keys`.

    `passed_s` is a stopwatch. It is late if it last went well more than `late_s`
    seconds ago; one attempt that is under way may take `longest_s`. What is done
    `on_demand` is not late while there is nothing to do.
    """

    def __init__(
        self,
        name: str,
        passed_s: Callable[[], float],
        log: logging.Logger,
        late_s: float,
        longest_s: float = 0,
        *,
        on_demand: bool = False,
    ) -> None:
        self.name, self.late_s = name, late_s
        self._passed_s, self._log = passed_s, log
        self._longest_s, self._on_demand = longest_s, on_demand
        self._good_s: float | None = None
        self._bad_s = 0.0
        self._under_way = False
        self._logged: set[str] = set()
        # That of the last attempt, if it failed.
        self.error: Exception | None = None

    def begin(self) -> None:
        """It is repeated from now on: what was never begun is not late."""
        if self._good_s is None or (self._on_demand and not self.error):
            self._good_s = self._passed_s()

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt: whatever it raises is logged and goes no further.

        Once for each cause, until it has gone well for a minute.
        """
        self.begin()
        self._under_way = True
        try:
            yield
        except Exception as error:
            self.error, self._bad_s = error, self._passed_s()
            self._report(error)
        else:
            self.error, self._good_s = None, self._passed_s()
            if self._good_s >= self._bad_s + CALM_S:
                self._logged.clear()
        finally:
            self._under_way = False

    @property
    def age_s(self) -> float:
        """How long ago it last went well."""
        return 0.0 if self._good_s is None else self._passed_s() - self._good_s

    @property
    def late(self) -> str | None:
        """A sentence that says how late it is, if it is.

        It holds nothing that may not be shown to everybody.
        """
        goes_well = self._under_way and not self.error
        if self._on_demand and not self._under_way and not self.error:
            return None
        # What takes long by its nature is late only once it has taken longer than it
        # may.
        most_s = max(self.late_s, self._longest_s) if goes_well else self.late_s
        age_s = self.age_s
        if age_s <= most_s:
            return None
        return f"{self.name} last went well {_span(age_s)} ago; the log says why."

    def _report(self, error: Exception) -> None:
        sentence, help = words(error)
        # Ports, sizes and times differ each time, and the cause is the same.
        cause = re.sub(r"\d+", "", sentence)
        if cause in self._logged or len(self._logged) >= MOST_LOGGED:
            return
        self._logged.add(cause)
        remedy = f" Help: {help}." if help else ""
        self._log.error(
            "%s failed: %s%s It is tried again.",
            self.name,
            sentence,
            remedy,
            extra={"action": "trouble"},
        )


def words(error: Exception) -> tuple[str, str]:
    """A sentence and the remedy.

    Of what nobody foresaw its kind, its words and where it was raised.
    """
    if lack := shortage(error):
        return f"{lack.sentence} No message is held or lost for it.", lack.help
    if isinstance(error, DripError):
        return f"{error.place or ''} {error.sentence}".strip(), error.help or ""
    return _unforeseen(error), "report it; the daemon or server goes on"


def _unforeseen(error: Exception) -> str:
    # On one line and cut: others read the log by the line, and words can be without
    # end.
    said = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_LOGGED]
    return f"something that nobody foresaw: {said}{_where(error)}."


def _where(error: Exception) -> str:
    # The place tells more than a traceback in a log of one line each, and quotes no
    # data.
    raised = traceback.extract_tb(error.__traceback__)
    if not raised:
        return ""
    return f" ({Path(raised[-1].filename).name}, line {raised[-1].lineno})"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
