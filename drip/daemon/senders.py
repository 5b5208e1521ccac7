"""Several processes that hand over, each its share of the contacts, so that rendering
and sending use more than one core.

Together they are one daemon: they have its number, which is the fencing token, and
begin nothing but by its lease. Each has connections of its own. What they leave behind
when they die is looked after by the daemon, while none of them is at work.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path

from drip.core.shortage import Shortage, shortage
from drip.daemon.files import FilesInForce
from drip.engine.campaign_set import CampaignSet
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.outbox_session import LeaseLost
from drip.engine.repeating import words
from drip.errors import DripError
from drip.process import own_zones, unhurried
from drip.storage.sending import outbox
from drip.workspace import Workspace

log = logging.getLogger("drip.daemon")
# What a process is told beside the number of the daemon to hand over as.
STOP, STORE = None, 0
READY = "ready"


@dataclass
class SharedDispatcher(Dispatcher):
    """A dispatcher whose work is done by processes."""

    senders: Senders = field(kw_only=True)

    def store(self) -> None:
        """Has the processes store what they could not store before. Raises what one of
        them ran into."""
        self.senders.store()

    def hand_over(self, campaign_set: CampaignSet) -> DispatchResult:
        """Has all of them hand over for a while. Raises LeaseLost, DripError and
        Shortage for what one of them ran into."""
        self.meet_servers()
        with self.database.read() as connection:
            if not outbox.channels_waiting(connection, self.clock(), self.share):
                return DispatchResult()
        return self.senders.hand_over(self.fence, self.stop)


class Senders:
    """The processes, started when there is something to do for the first time. `clock`
    has to be one that can be pickled."""

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        clock: Callable[[], datetime],
        count: int,
    ) -> None:
        self._about, self._count = (root, dict(environment), clock), count
        self._running: list[tuple[SpawnProcess, Pipe]] = []

    def hand_over(self, number: int, stop: Callable[[], bool]) -> DispatchResult:
        """Has all hand over as the daemon of this number, waits for all, and counts
        together what they did."""
        self.start()
        return self._ask(number, stop)

    def store(self) -> None:
        """Has all store how messages ended, as far as they could not before."""
        self._ask(STORE, lambda: False)

    def _ask(self, order: int, stop: Callable[[], bool]) -> DispatchResult:
        for _, pipe in self._running:
            # One that has died is noticed below.
            with contextlib.suppress(OSError):
                pipe.send(order)
        answers: list[DispatchResult | Exception] = []
        told = died = False
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
                died = True
                answers.append(
                    DripError(
                        "A process that sends has died.",
                        help="the others went on; it is started anew",
                    )
                )
        failed = [each for each in answers if isinstance(each, Exception)]
        # Who lacks something or waits for the database goes on: it may know of ends
        # that it could not store.
        if (
            told
            or died
            or any(
                not isinstance(each, Shortage | DripError | LeaseLost)
                for each in failed
            )
        ):
            self.close()
        if failed:
            raise failed[0]
        total = DispatchResult()
        for each in answers:
            if isinstance(each, DispatchResult):
                total.add(each)
        return total

    def close(self) -> None:
        """Ends the processes once they have finished what is in flight. May be called
        twice."""
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
        """Has the processes running and ready, if they are not. Raises what one of them
        ran into, and OSError."""
        if self._running:
            return
        try:
            for part in range(self._count):
                self._running.append(self._started(part))
        except Exception:
            # Without one of them its share of the people would get nothing.
            self.close()
            raise
        for _, pipe in self._running:
            # One that has died is noticed when it is given something to do.
            with contextlib.suppress(EOFError, OSError):
                if isinstance(answer := pipe.recv(), Exception):
                    self.close()
                    raise answer

    def _started(self, part: int) -> tuple[SpawnProcess, Pipe]:
        context = multiprocessing.get_context("spawn")
        own, theirs = context.Pipe()
        with theirs:
            process = context.Process(
                target=_send,
                args=(*self._about, (part, self._count), theirs),
                daemon=True,
            )
            process.start()
        return process, own


def _send(
    root: Path,
    environment: Mapping[str, str],
    clock: Callable[[], datetime],
    share: tuple[int, int],
    pipe: Pipe,
) -> None:
    """A process that hands over a share, until it is told to stop or whoever started it
    has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    unhurried()
    own_zones()
    files = FilesInForce(Workspace(root, environment))
    try:
        with files.workspace.database(clock()) as database:
            dispatcher = Dispatcher(
                database,
                files.workspace.templates,
                {},
                clock,
                0,
                pipe.poll,
                share=share,
            )
            pipe.send(READY)
            while (order := _received(pipe)) is not STOP:
                pipe.send(_answer(files, dispatcher, order))
    except ConnectionError:
        log.warning("The daemon has gone.", extra={"action": "daemon-gone"})
    except Exception as error:
        # It could not begin.
        with contextlib.suppress(OSError):
            pipe.send(_known(error))
    finally:
        files.close()


def _received(pipe: Pipe) -> int | None:
    """What to do next: the number of the daemon to hand over as, or one of the other
    orders."""
    try:
        order: int | None = pipe.recv()
    except EOFError:
        return STOP
    return order


def _answer(
    files: FilesInForce, dispatcher: Dispatcher, order: int
) -> DispatchResult | Exception:
    try:
        dispatcher.store()
        if order == STORE:
            return DispatchResult()
        dispatcher.fence = order
        files.read(dispatcher.database, dispatcher.clock())
        assert files.campaign_set
        dispatcher.templates, dispatcher.transports = (
            files.workspace.templates,
            files.transports,
        )
        return dispatcher.hand_over(files.campaign_set)
    except Exception as error:
        return _known(error)


def _known(error: Exception) -> Exception:
    """As it is raised and told by the daemon, whatever it was: not everything goes
    through a pipe."""
    if isinstance(error, LeaseLost | DripError):
        return error
    return shortage(error) or RuntimeError(words(error)[0])
