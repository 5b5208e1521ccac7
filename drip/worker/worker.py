"""A worker as the pages know it: asked one thing at a time, given so much time and
memory, ended when that is not enough."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from drip.core.clock import Stopwatch
from drip.core.shortage import Shortage
from drip.errors import DripError, Place
from drip.worker.child import serve
from drip.worker.frames import FrameKind, Nonsense, packed, receive, send, unpacked

GB = 1024**3
# Taken from the socket at once.
PIECE_BYTES = 1024 * 1024
log = logging.getLogger("drip.web")


@dataclass(frozen=True, slots=True)
class Limits:
    """`answer_s` counts from when the files are read, which may take `ready_s` together
    with the start of the process; `turn_s` is how long others wait until it is their
    turn. What was ended is not tried again for `rest_s`. `nice` is how far it stands
    back where processors are short (nice(2)): simulations do, for people wait for
    messages."""

    answer_s: float
    memory_bytes: int = GB
    turn_s: float = 5.0
    ready_s: float = 60.0
    rest_s: float = 60.0
    nice: int = 0


# One message takes a hundredth of a second, and tenths where its files were changed; a
# simulation of one contact takes up to some seconds, one of a million contacts minutes
# and 700 MB (tests/README.md).
MESSAGES = Limits(answer_s=5.0)
TIMELINES = Limits(answer_s=30.0, nice=5)
FORECASTS = Limits(
    answer_s=3_600.0,
    memory_bytes=4 * GB,
    nice=10,
)


class Ended(DripError):
    """It took too long or too much memory, or the process died of it."""


class Busy(DripError):
    """Others are before us, for too long."""


class _Died(Ended):
    """The process has gone, or says what nobody can read."""


class Failed(Exception):
    """It ran into something that nobody foresaw; `str()` is the name of its kind."""


@dataclass(frozen=True, slots=True)
class _RestingQuestion:
    """What was ended, and until when (seconds of the stopwatch) it is not tried
    again."""

    until_s: float
    ended: Ended


class Worker:
    """One process, begun when it is needed for the first time, and anew after each that
    was ended.

    `makes` names in sentences what it is asked for, `passed_s` is a stopwatch.
    `shares`: it may have processes of its own.
    """

    def __init__(
        self,
        makes: str,
        root: Path,
        environment: Mapping[str, str],
        passed_s: Stopwatch,
        limits: Limits,
        *,
        shares: bool = False,
    ) -> None:
        self._makes = makes
        self._passed_s = passed_s
        self._limits = limits
        # A process that multiprocessing calls a daemon may begin none itself.
        self._begin = partial(
            _Process,
            root,
            dict(environment),
            limits,
            daemon=not shares,
        )
        self._turn = anyio.Lock()
        # Nobody else waits for a thread because this one waits for the process.
        self._thread = anyio.CapacityLimiter(1)
        self._process: _Process | None = None
        self._resting: dict[Hashable, _RestingQuestion] = {}
        self._closed = False

    async def ask(
        self,
        what: str,
        about: Hashable,
        **more: Any,
    ) -> Any:
        """The answer to one question of `drip.worker.answers`. Raises DripError: the
        worker's own, Ended, Busy; Shortage; and Failed.

        `about` is what is not tried again for a while after it had to be ended.
        """
        self._raise_if_resting(about)
        await self._wait_for_turn()
        try:
            # Whoever was before us may have asked the same, and in vain.
            self._raise_if_resting(about)
            return await run_sync(
                partial(self.answer, what, **more), limiter=self._thread
            )
        except Ended as ended:
            until_s = self._passed_s() + self._limits.rest_s
            self._resting[about] = _RestingQuestion(until_s, ended)
            raise
        finally:
            self._turn.release()

    def answer(self, what: str, **more: Any) -> Any:
        """As `ask`, for one thread that has the worker to itself."""
        question = packed({"what": what, **more})
        try:
            with contextlib.suppress(_Died):
                return self._answer(question)
            # It died by somebody else's hand, or of having had nothing to do for long:
            # once more.
            return self._answer(question)
        except Ended as ended:
            log.warning("%s", ended.sentence, extra={"action": "worker-ended"})
            raise

    def close(self) -> None:
        """Ends the process. May be called twice."""
        self._closed = True
        self._end()

    # --- whose turn it is

    async def _wait_for_turn(self) -> None:
        """Raises Busy."""
        try:
            with anyio.fail_after(self._limits.turn_s):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy(
                f"{self._makes} has to wait: another one takes long.",
                help="try again in a few seconds",
            ) from None

    def _raise_if_resting(self, about: Hashable) -> None:
        self._forget_rests_that_are_over()
        rest = self._resting.get(about)
        if rest:
            # Another one each time: an exception keeps all that it ever came by.
            raise Ended(rest.ended.sentence, help=rest.ended.help)

    def _forget_rests_that_are_over(self) -> None:
        now_s = self._passed_s()
        self._resting = {
            about: rest for about, rest in self._resting.items() if rest.until_s > now_s
        }

    # --- one question

    def _answer(self, question: bytes) -> Any:
        """One try. A process that did not answer in time, or uses up its memory, is not
        asked again: it is ended."""
        process = self._running()
        try:
            kind, answer = process.ask(question, self._limits)
        except TimeoutError:
            self._end()
            raise self._too_slow(process) from None
        except (OSError, Nonsense):
            self._end()
            how = "has ended the process that it is made in"
            raise self._ended(_Died, how, process) from None
        if kind is FrameKind.OUT_OF_MEMORY:
            self._end()
            raise self._too_large(process)
        return _raised_or_returned(kind, answer)

    def _too_slow(self, process: _Process) -> Ended:
        most_s = self._limits.answer_s if process.begun else self._limits.ready_s
        return self._ended(Ended, f"takes longer than {most_s:g} seconds", process)

    def _too_large(self, process: _Process) -> Ended:
        most_gb = self._limits.memory_bytes / GB
        return self._ended(Ended, f"takes more than {most_gb:g} GB of memory", process)

    def _ended(
        self,
        kind: type[Ended],
        how: str,
        process: _Process,
    ) -> Ended:
        return kind(
            f"{self._makes} {how}; it was at {process.noted}.",
            help="make that or its loops shorter: it is tried again once a file has "
            f"changed, or in {self._limits.rest_s:g} seconds",
        )

    # --- the process

    def _running(self) -> _Process:
        """Raises Busy once the worker was closed, whichever thread was first."""
        if not self._closed:
            process = self._begun()
            if not self._closed:
                return process
        self._end()
        raise Busy("The server is being stopped.")

    def _begun(self) -> _Process:
        """Raises Busy if the machine cannot begin one now."""
        if self._process is None:
            try:
                self._process = self._begin()
            except OSError as error:
                raise Busy(
                    f"No process can be begun: {error.strerror}.",
                    help="try again in a minute, and look for what takes up this machine",
                ) from None
        return self._process

    def _end(self) -> None:
        process = self._process
        self._process = None
        if process:
            process.end()


class _Process:
    """One process and the socket to it. `begun`: it has read the files; `noted` is what
    it said that it is at.

    Raises OSError if the machine cannot begin one now.
    """

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        limits: Limits,
        *,
        daemon: bool,
    ) -> None:
        self._ending = threading.Lock()
        self.begun = False
        self.noted = ""
        with contextlib.ExitStack() as undone:
            self._folder = tempfile.TemporaryDirectory(
                prefix="drip-", ignore_cleanup_errors=True
            )
            undone.callback(self._folder.cleanup)
            self._pipe, theirs = socket.socketpair()
            undone.callback(self._pipe.close)
            about = (root, environment, limits.memory_bytes, limits.nice)
            with theirs:
                self._process = _started((theirs, *about, self._folder.name), daemon)
            undone.pop_all()

    def ask(self, question: bytes, limits: Limits) -> tuple[FrameKind, Any]:
        """What it answers. Raises TimeoutError, OSError if it has gone, and
        Nonsense."""
        self.begun = False
        self.noted = "the files of the workspace"
        ends_s = time.monotonic() + limits.ready_s
        self._pipe.settimeout(limits.ready_s)
        send(self._pipe, FrameKind.ASK, question)
        while True:
            kind, body = receive(partial(self._taken, ends_s=ends_s))
            # Once only: nobody gets more time by talking.
            if kind is FrameKind.BEGUN and not self.begun:
                self.begun = True
                ends_s = time.monotonic() + limits.answer_s
            elif kind is FrameKind.NOTE:
                self.noted = " ".join(_text(body[:200]).split())
            else:
                return kind, _decoded(kind, body)

    def end(self) -> None:
        """At once, with all that it began; what it had copied is cleared away. May be
        called twice, and by two threads."""
        with self._ending:
            _kill(self._process)
            self._process.join()
            self._pipe.close()
            self._folder.cleanup()

    def _taken(self, length: int, ends_s: float) -> bytes:
        """So many bytes. Raises TimeoutError, and OSError at the end."""
        found = bytearray()
        while len(found) < length:
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._pipe.settimeout(left_s)
            more = self._pipe.recv(min(length - len(found), PIECE_BYTES))
            if not more:
                raise ConnectionResetError
            found += more
        return bytes(found)


def _raised_or_returned(kind: FrameKind, answer: Any) -> Any:
    """What went wrong in the process is raised here."""
    match kind:
        case FrameKind.WRONG | FrameKind.LACKS:
            raise answer
        case FrameKind.FAILED:
            raise Failed(answer)
        case _:
            return answer


def _started(about: tuple[Any, ...], daemon: bool) -> SpawnProcess:
    # Begun anew, since neither a server's threads nor its database survive a fork.
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=serve,
        args=about,
        name="drip-worker",
        daemon=daemon,
    )
    process.start()
    return process


def _kill(process: SpawnProcess) -> None:
    """With all that it began, unless it has ended."""
    if process.exitcode is not None or process.pid is None:
        return
    # It may not be so far that it has a group of its own.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(process.pid, signal.SIGKILL)


# --- what it says, which is not trusted


def _decoded(kind: FrameKind, body: bytes) -> Any:
    """Raises Nonsense."""
    match kind:
        case FrameKind.HTML:
            return body
        case FrameKind.JSON:
            return unpacked(body)
        case FrameKind.WRONG:
            return _error(unpacked(body))
        case FrameKind.LACKS:
            return _lack(unpacked(body))
        case FrameKind.FAILED | FrameKind.OUT_OF_MEMORY:
            return _text(body[:100])
        case _:
            raise Nonsense


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _lack(row: Any) -> Shortage:
    match row:
        case {"sentence": str(sentence), "help": str(help)}:
            return Shortage(sentence, help)
        case _:
            raise Nonsense


def _error(row: Any) -> DripError:
    match row:
        case {
            "sentence": str(sentence),
            "help": (str() | None) as help,
            "place": (str() | None) as place,
        }:
            return DripError(sentence, help=help, place=Place(place) if place else None)
        case _:
            raise Nonsense
