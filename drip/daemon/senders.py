"""Several processes that hand over, each its share of the contacts, so that rendering and sending use more than one core.

Together they are one daemon: they have its number, which is the fencing token, and begin nothing but by its lease. Each has
connections of its own. What they leave behind when they die is looked after by the daemon, while none of them is at work.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path

from drip.core.message import Transport
from drip.engine.book import Book
from drip.engine.dispatcher import Dispatcher
from drip.engine.handover import LeaseLost, Tally
from drip.errors import DripError
from drip.process import own_zones, unhurried
from drip.storage.database import Database
from drip.workspace import Workspace

log = logging.getLogger("drip.daemon")
STOP = None
READY = "ready"


@dataclass(frozen=True, slots=True)
class Order:
    """Hand over what there is, as the daemon of this number, by a clock that is so far ahead."""

    number: int
    ahead: timedelta


@dataclass
class SharedDispatcher(Dispatcher):
    """A dispatcher whose work is done by processes."""

    senders: Senders = field(kw_only=True)

    def hand_over(self, book: Book) -> Tally:
        """Has all of them hand over for a while. Raises LeaseLost, and DripError for what one of them ran into."""
        # Their clock is never behind the one by which messages were granted.
        before = _now()
        return self.senders.hand_over(Order(self.fence, self.clock() - before), self.stop)


class Senders:
    """The processes, started when there is something to do for the first time."""

    def __init__(self, root: Path, environment: Mapping[str, str], count: int) -> None:
        self._root, self._environment, self._count = root, dict(environment), count
        self._running: list[tuple[SpawnProcess, Pipe]] = []

    def hand_over(self, order: Order, stop: Callable[[], bool]) -> Tally:
        """Gives the order to all, waits for all, and counts together what they did."""
        self.start()
        for _, pipe in self._running:
            # One that has died is noticed below.
            with contextlib.suppress(OSError):
                pipe.send(order)
        answers: list[Tally | Exception] = []
        told = False
        for process, pipe in self._running:
            while not pipe.poll(0.2):
                if stop() and not told:
                    told = True
                    self._tell_to_stop()
                if not process.is_alive() and not pipe.poll():
                    break
            try:
                answers.append(pipe.recv())
            except (EOFError, OSError):
                answers.append(
                    DripError("A process that sends has died.", help="the others went on; it is started anew")
                )
        failed = [each for each in answers if isinstance(each, Exception)]
        if told or failed:
            self.close()
        if failed:
            raise failed[0]
        total = Tally()
        for each in answers:
            if isinstance(each, Tally):
                total.add(each)
        return total

    def close(self) -> None:
        """Ends the processes once they have finished what is in flight. May be called twice."""
        self._tell_to_stop()
        for process, pipe in self._running:
            process.join()
            pipe.close()
        self._running = []

    def _tell_to_stop(self) -> None:
        for _, pipe in self._running:
            with contextlib.suppress(OSError):
                pipe.send(STOP)

    def start(self) -> None:
        """Has the processes running and ready, if they are not."""
        if self._running:
            return
        context = multiprocessing.get_context("spawn")
        for part in range(self._count):
            own, theirs = context.Pipe()
            process = context.Process(
                target=_send, args=(self._root, self._environment, (part, self._count), theirs), daemon=True
            )
            process.start()
            theirs.close()
            self._running.append((process, own))
        for _, pipe in self._running:
            with contextlib.suppress(EOFError, OSError):
                pipe.recv()


def _send(root: Path, environment: Mapping[str, str], share: tuple[int, int], pipe: Pipe) -> None:
    """A process that hands over a share, until it is told to stop or whoever started it has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    unhurried()
    own_zones()
    files = _Files(root, environment)
    try:
        with Workspace(root, environment).database(_now()) as database:
            pipe.send(READY)
            while (order := _received(pipe)) is not STOP:
                pipe.send(_answer(files, database, order, share, pipe))
    except OSError:
        log.warning("The daemon has gone.", extra={"action": "daemon-gone"})
    finally:
        files.close()


def _received(pipe: Pipe) -> Order | None:
    try:
        order: Order | None = pipe.recv()
    except EOFError:
        return STOP
    return order


def _answer(files: _Files, database: Database, order: Order, share: tuple[int, int], pipe: Pipe) -> Tally | Exception:
    def clock() -> datetime:
        return _now() + order.ahead

    try:
        workspace, book, transports = files.read(database, clock())
        dispatcher = Dispatcher(database, workspace.templates, transports, clock, order.number, pipe.poll, share=share)
        return dispatcher.hand_over(book)
    except (LeaseLost, DripError) as known:
        return known
    except Exception as error:
        log.exception("A process that sends failed.", extra={"action": "sender-failed"})
        return RuntimeError(f"{type(error).__name__}: {error}")


class _Files:
    """What a process reads of the workspace, anew when a file has changed."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._workspace = Workspace(root, environment)
        self._seen: object = None
        self._book: Book | None = None
        self._transports: Mapping[str, Transport] = {}

    def read(self, database: Database, now: datetime) -> tuple[Workspace, Book, Mapping[str, Transport]]:
        """The workspace, its campaigns in force, and its transports. Raises DripError."""
        seen = self._workspace.fingerprint()
        if self._book is None or seen != self._seen:
            fresh = Workspace(self._workspace.root, self._workspace.environment)
            if self._book is None or fresh.loaded.settings is not None:
                transports, book = fresh.transports(), fresh.book(database, now)
                self.close()
                self._workspace, self._book, self._transports = fresh, book, transports
            self._seen = seen
        return self._workspace, self._book, self._transports

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
