"""What a server or the daemon does again and again, whatever goes wrong: told once, and known when it last went well."""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from drip.core.shortage import shortage
from drip.errors import DripError

# So many different causes are told until it goes well again.
MOST_TOLD = 5
# What went well for so short a time has not ended: several tasks may get the last file by turns.
CALM_S = 60.0
LONGEST_TOLD = 300


class Repeating:
    """One such task. `name` begins a sentence: `Looking at keys`. `passed_s` is a stopwatch.

    It is late if it last went well more than `late_s` seconds ago; one attempt that is under way may take `longest_s`. What is
    done `on_demand` is not late while there is nothing to do.
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
        self.name = name
        self._passed_s, self._log, self.late_s, self._longest_s = (
            passed_s,
            log,
            late_s,
            longest_s,
        )
        self._on_demand = on_demand
        self._good_s: float | None = None
        self._bad_s = 0.0
        self._under_way = False
        self._told: set[str] = set()
        # That of the last attempt, if it failed.
        self.error: Exception | None = None

    def begin(self) -> None:
        """It is repeated from now on: what was never begun is not late."""
        if self._good_s is None or (self._on_demand and not self.error):
            self._good_s = self._passed_s()

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt: whatever it raises is told, once for each cause until it has gone well for a minute, and goes no further."""
        self.begin()
        self._under_way = True
        try:
            yield
        except Exception as error:
            self.error, self._bad_s = error, self._passed_s()
            self._tell(error)
        else:
            self.error, self._good_s = None, self._passed_s()
            if self._good_s >= self._bad_s + CALM_S:
                self._told.clear()
        finally:
            self._under_way = False

    @property
    def age_s(self) -> float:
        """How long ago it last went well."""
        return 0.0 if self._good_s is None else self._passed_s() - self._good_s

    @property
    def late(self) -> str | None:
        """A sentence that says how late it is, if it is. It holds nothing that may not be shown to everybody."""
        if self._on_demand and not self._under_way and not self.error:
            return None
        age_s, most_s = self.age_s, self.late_s
        if self._under_way and not self.error:
            most_s = max(most_s, self._longest_s)
        if age_s <= most_s:
            return None
        return f"{self.name} last went well {_span(age_s)} ago; the log says why."

    def _tell(self, error: Exception) -> None:
        sentence, help = words(error)
        cause = re.sub(r"\d+", "", sentence)
        if cause in self._told or len(self._told) >= MOST_TOLD:
            return
        self._told.add(cause)
        remedy = f" Help: {help}." if help else ""
        self._log.error(
            "%s failed: %s%s It is tried again.",
            self.name,
            sentence,
            remedy,
            extra={"action": "trouble"},
        )


def words(error: Exception) -> tuple[str, str]:
    """A sentence and the remedy. Of what nobody foresaw its kind, its words and where it was raised."""
    if lack := shortage(error):
        return f"{lack.sentence} No message is held or lost for it.", lack.help
    if isinstance(error, DripError):
        return f"{error.place or ''} {error.sentence}".strip(), error.help or ""
    raised = traceback.extract_tb(error.__traceback__)
    where = (
        f" ({Path(raised[-1].filename).name}, line {raised[-1].lineno})"
        if raised
        else ""
    )
    told = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_TOLD]
    return (
        f"something that nobody foresaw: {told}{where}.",
        "report it; the daemon or server goes on",
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
