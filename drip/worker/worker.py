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
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from drip.core.shortage import Shortage
from drip.errors import DripError, Place
from drip.worker.child import serve
from drip.worker.frames import FrameKind, Nonsense, packed, receive, send, unpacked

GB = 1024**3
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
FORECASTS = Limits(answer_s=3_600.0, memory_bytes=4 * GB, nice=10)


class Ended(DripError):
    """It took too long or too much memory, or the process died of it."""


class Busy(DripError):
    """Others are before us, for too long."""


class _Died(Ended):
    """The process has gone, or says what nobody can read."""


class Failed(Exception):
    """It ran into something that nobody foresaw; `str()` is the name of its kind."""


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
        passed_s: Callable[[], float],
        limits: Limits,
        *,
        shares: bool = False,
    ) -> None:
        self._makes, self._about, self._passed_s = (
            makes,
            (root, dict(environment)),
            passed_s,
        )
        self._limits, self._shares = limits, shares
        self._turn = anyio.Lock()
        # Nobody else waits for a thread because this one waits for the process.
        self._thread = anyio.CapacityLimiter(1)
        self._process: _Process | None = None
        self._resting: dict[Hashable, tuple[float, Ended]] = {}
        self._closed = False

    async def ask(self, what: str, about: Hashable, **more: Any) -> Any:
        """The answer to one question of `drip.worker.answers`. Raises DripError: the
        worker's own, Ended, Busy; Shortage; and Failed.

        `about` is what is not tried again for a while after it had to be ended.
        """
        self._raise_if_resting(about)
        try:
            with anyio.fail_after(self._limits.turn_s):
                await self._turn.acquire()
        except TimeoutError:
            sentence = f"{self._makes} has to wait: another one takes long."
            raise Busy(sentence, help="try again in a few seconds") from None
        try:
            self._raise_if_resting(about)
            return await run_sync(
                partial(self.answer, what, **more), limiter=self._thread
            )
        except Ended as ended:
            self._resting[about] = (self._passed_s() + self._limits.rest_s, ended)
            raise
        finally:
            self._turn.release()

    def answer(self, what: str, **more: Any) -> Any:
        """As `ask`, for one thread that has the worker to itself."""
        question = packed({"what": what, **more})
        try:
            with contextlib.suppress(_Died):
                return self._answer(question)
            # By somebody else's hand, or of having had nothing to do for long: once
            # more.
            return self._answer(question)
        except Ended as ended:
            log.warning("%s", ended.sentence, extra={"action": "worker-ended"})
            raise

    def close(self) -> None:
        """Ends the process. May be called twice."""
        self._closed = True
        self._end()

    def _raise_if_resting(self, about: Hashable) -> None:
        now = self._passed_s()
        self._resting = {
            key: each for key, each in self._resting.items() if each[0] > now
        }
        if about in self._resting:
            # Another one each time: an exception keeps all that it ever came by.
            ended = self._resting[about][1]
            raise Ended(ended.sentence, help=ended.help)

    def _answer(self, question: bytes) -> Any:
        process = self._running()
        try:
            kind, answer = process.ask(question, self._limits)
        except TimeoutError:
            self._end()
            most = self._limits.answer_s if process.begun else self._limits.ready_s
            raise self._ended(
                f"takes longer than {most:g} seconds", process.noted
            ) from None
        except (OSError, Nonsense):
            self._end()
            raise self._ended(
                "has ended the process that it is made in", process.noted, _Died
            ) from None
        match kind:
            case FrameKind.OUT_OF_MEMORY:
                self._end()
                most = self._limits.memory_bytes / GB
                raise self._ended(
                    f"takes more than {most:g} GB of memory", process.noted
                )
            case FrameKind.WRONG | FrameKind.LACKS:
                raise answer
            case FrameKind.FAILED:
                raise Failed(answer)
            case _:
                return answer

    def _running(self) -> _Process:
        """Raises Busy once the worker was closed, whichever thread was first."""
        if not self._closed:
            try:
                self._process = self._process or _Process(
                    *self._about, self._limits, daemon=not self._shares
                )
            except OSError as error:
                sentence = f"No process can be begun: {error.strerror}."
                raise Busy(
                    sentence,
                    help="try again in a minute, and look for what takes up this machine",
                ) from None
            process = self._process
            if not self._closed:
                return process
        self._end()
        raise Busy("The server is being stopped.")

    def _ended(self, how: str, noted: str, kind: type[Ended] = Ended) -> Ended:
        again = f"it is tried again once a file has changed, or in {self._limits.rest_s:g} seconds"
        return kind(
            f"{self._makes} {how}; it was at {noted}.",
            help=f"make that or its loops shorter: {again}",
        )

    def _end(self) -> None:
        process, self._process = self._process, None
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
        # Begun anew, since neither a server's threads nor its database survive being
        # forked.
        context = multiprocessing.get_context("spawn")
        with contextlib.ExitStack() as undone:
            self._folder = tempfile.TemporaryDirectory(
                prefix="drip-", ignore_cleanup_errors=True
            )
            undone.callback(self._folder.cleanup)
            self._pipe, theirs = socket.socketpair()
            undone.callback(self._pipe.close)
            with theirs:
                about = (
                    theirs,
                    root,
                    environment,
                    limits.memory_bytes,
                    limits.nice,
                    self._folder.name,
                )
                self._process = context.Process(
                    target=serve, args=about, name="drip-worker", daemon=daemon
                )
                self._process.start()
            undone.pop_all()
        self._ending = threading.Lock()
        self.begun, self.noted = False, ""

    def ask(self, question: bytes, limits: Limits) -> tuple[FrameKind, Any]:
        """What it answers. Raises TimeoutError, OSError if it has gone, and
        Nonsense."""
        self.begun, self.noted = False, "the files of the workspace"
        ends = time.monotonic() + limits.ready_s
        self._pipe.settimeout(limits.ready_s)
        send(self._pipe, FrameKind.ASK, question)
        while True:
            kind, body = receive(lambda length: self._taken(length, ends))  # noqa: B023 - called at once
            match kind:
                case FrameKind.BEGUN if not self.begun:
                    self.begun, ends = True, time.monotonic() + limits.answer_s
                case FrameKind.NOTE:
                    self.noted = " ".join(body[:200].decode("utf-8", "replace").split())
                case FrameKind.HTML:
                    return kind, body
                case FrameKind.WRONG:
                    return kind, _error(unpacked(body))
                case FrameKind.LACKS:
                    return kind, _lack(unpacked(body))
                case FrameKind.JSON:
                    return kind, unpacked(body)
                case FrameKind.FAILED | FrameKind.OUT_OF_MEMORY:
                    return kind, body[:100].decode("utf-8", "replace")
                case _:
                    raise Nonsense

    def end(self) -> None:
        """At once, with all that it began; what it had copied is cleared away. May be
        called twice, and by two threads."""
        with self._ending:
            number = self._process.pid
            if self._process.exitcode is None and number:
                # It may not be so far that it has a group of its own.
                for kill in (os.killpg, os.kill):
                    with contextlib.suppress(ProcessLookupError):
                        kill(number, signal.SIGKILL)
            self._process.join()
            self._pipe.close()
            self._folder.cleanup()

    def _taken(self, length: int, ends: float) -> bytes:
        found = bytearray()
        while len(found) < length:
            left_s = ends - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._pipe.settimeout(left_s)
            more = self._pipe.recv(min(length - len(found), 1024 * 1024))
            if not more:
                raise ConnectionResetError
            found += more
        return bytes(found)


def _lack(told: Any) -> Shortage:
    match told:
        case {"sentence": str(sentence), "help": str(help)}:
            return Shortage(sentence, help)
        case _:
            raise Nonsense


def _error(told: Any) -> DripError:
    match told:
        case {
            "sentence": str(sentence),
            "help": (str() | None) as help,
            "place": (str() | None) as place,
        }:
            return DripError(sentence, help=help, place=Place(place) if place else None)
        case _:
            raise Nonsense
