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
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path

from drip.core.clock import Clock
from drip.core.shortage import Shortage, shortage
from drip.daemon.files import FilesInForce
from drip.engine.campaign_set import CampaignSet
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.outbox_session import LeaseLost
from drip.engine.repeating import words
from drip.errors import DripError
from drip.process import own_zones, unhurried
from drip.storage.base.database import Database
from drip.storage.sending import outbox
from drip.workspace import Workspace

log = logging.getLogger("drip.daemon")
# Orders to a process beside the number of the daemon to hand over as.
STOP = None
# No daemon has this number.
STORE = 0
READY = "ready"
# Which part of how many.
Share = tuple[int, int]
# Whether to end, asked again and again.
Stop = Callable[[], bool]
# How often it is asked whether to stop, and whether a process lives.
LOOK_S = 0.2


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
        clock: Clock,
        count: int,
    ) -> None:
        self._about = (root, dict(environment), clock)
        self._count = count
        self._running: list[_Sender] = []

    def hand_over(self, number: int, stop: Stop) -> DispatchResult:
        """Has all hand over as the daemon of this number, waits for all, and counts
        together what they did. Raises what one of them ran into."""
        self.start()
        return self._ask(number, stop)

    def store(self) -> None:
        """Has all store how messages ended, as far as they could not before."""
        self._ask(STORE, lambda: False)

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
        self._wait_until_ready()

    def close(self) -> None:
        """Ends the processes once they have finished what is in flight. May be called
        twice."""
        self._tell_to_stop()
        for sender in self._running:
            sender.process.join()
            sender.pipe.close()
        self._running = []

    def _started(self, part: int) -> _Sender:
        context = multiprocessing.get_context("spawn")
        own, theirs = context.Pipe()
        with theirs:
            share = (part, self._count)
            process = context.Process(
                target=_send,
                args=(*self._about, share, theirs),
                daemon=True,
            )
            process.start()
        return _Sender(process, own)

    def _wait_until_ready(self) -> None:
        for sender in self._running:
            # One that has died is noticed when it is given something to do.
            with contextlib.suppress(EOFError, OSError):
                answer = sender.pipe.recv()
                if isinstance(answer, Exception):
                    self.close()
                    raise answer

    def _ask(self, order: int, stop: Stop) -> DispatchResult:
        for sender in self._running:
            sender.order(order)
        stopped = self._wait(stop)
        answers = [sender.answer() for sender in self._running]
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        if stopped or not all(map(_may_go_on, failures)):
            self.close()
        if failures:
            raise failures[0]
        total = DispatchResult()
        for answer in answers:
            if isinstance(answer, DispatchResult):
                total.add(answer)
        return total

    def _wait(self, stop: Stop) -> bool:
        """Until each has answered or died. Whether they were told to stop meanwhile."""
        stopped = False
        for sender in self._running:
            while sender.is_at_work():
                if stop() and not stopped:
                    stopped = True
                    self._tell_to_stop()
        return stopped

    def _tell_to_stop(self) -> None:
        for sender in self._running:
            sender.order(STOP)


class _SenderDied(DripError):
    """One of the processes has gone."""


@dataclass(frozen=True, slots=True)
class _Sender:
    """One of the processes, as the daemon sees it."""

    process: SpawnProcess
    pipe: Pipe

    def order(self, order: int | None) -> None:
        # One that has died is noticed by its answer.
        with contextlib.suppress(OSError):
            self.pipe.send(order)

    def is_at_work(self) -> bool:
        """Whether it has neither answered nor died; waits for a moment."""
        if self.pipe.poll(LOOK_S):
            return False
        # It may have answered just before it died.
        return self.process.is_alive() or self.pipe.poll()

    def answer(self) -> DispatchResult | Exception:
        try:
            answer: DispatchResult | Exception = self.pipe.recv()
        except (EOFError, OSError):
            return _SenderDied(
                "A process that sends has died.",
                help="the others went on; it is started anew",
            )
        return answer


def _may_go_on(error: Exception) -> bool:
    """Who lacks something or waits for the database: it may know of ends that it could
    not store."""
    known = isinstance(error, Shortage | DripError | LeaseLost)
    return known and not isinstance(error, _SenderDied)


# --- a process's own side


def _send(
    root: Path,
    environment: Mapping[str, str],
    clock: Clock,
    share: Share,
    pipe: Pipe,
) -> None:
    """A process that hands over a share, until it is told to stop or whoever started it
    has gone."""
    # Ctrl-C reaches all of them: the daemon says when to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    unhurried()
    own_zones()
    files = FilesInForce(Workspace(root, environment))
    try:
        with files.workspace.database(clock()) as database:
            dispatcher = _dispatcher(files, database, clock, share, pipe)
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


def _dispatcher(
    files: FilesInForce,
    database: Database,
    clock: Clock,
    share: Share,
    pipe: Pipe,
) -> Dispatcher:
    """It stops when another order has come."""
    return Dispatcher(
        database,
        files.workspace.templates,
        files.transports,
        clock,
        fence=0,
        stop=pipe.poll,
        share=share,
    )


def _received(pipe: Pipe) -> int | None:
    """What to do next: the number of the daemon to hand over as, or one of the other
    orders."""
    try:
        order: int | None = pipe.recv()
    except EOFError:
        return STOP
    return order


def _answer(
    files: FilesInForce,
    dispatcher: Dispatcher,
    order: int,
) -> DispatchResult | Exception:
    try:
        dispatcher.store()
        if order == STORE:
            return DispatchResult()
        files.read(dispatcher.database, dispatcher.clock())
        dispatcher.templates = files.workspace.templates
        dispatcher.transports = files.transports
        dispatcher.fence = order
        return dispatcher.hand_over(files.campaign_set)
    except Exception as error:
        return _known(error)


def _known(error: Exception) -> Exception:
    """As the daemon raises it and says it, whatever it was: not everything goes through
    a pipe."""
    if isinstance(error, LeaseLost | DripError):
        return error
    return shortage(error) or RuntimeError(words(error)[0])
