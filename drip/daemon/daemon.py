"""`drip run`: a heartbeat that plans and dispatches. Holds no state worth saving.

APScheduler repeats its tasks (`rhythm`): the tick, telling of alarms, telling other
programs, sending what people asked for, clearing what is left of erased people.
Whatever goes wrong in one of them is said once, and it goes on; but for a clock or a
database that is not to be believed (`trust`), which ends the daemon before it sends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from drip.core.calendar import ZONES_VERSION
from drip.core.clock import Clock, Stopwatch
from drip.core.shortage import shortage
from drip.daemon.alarm_notifier import AlarmNotifier
from drip.daemon.answering import Answering
from drip.daemon.clearer import Clearer
from drip.daemon.files import FilesInForce
from drip.daemon.rhythm import Rhythm
from drip.daemon.senders import Senders, SharedDispatcher
from drip.daemon.troubles import Troubles
from drip.daemon.trust import (
    NO_TRUST,
    ClockOrRestoreSuspected,
    Trust,
    check_at_start,
    check_clock,
)
from drip.daemon.webhook_sender import WebhookSender
from drip.engine.alarming import alarm, with_remedy
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.outbox_session import LeaseLost
from drip.engine.repeating import Repeating, words
from drip.engine.tick import tick
from drip.errors import DripError, Problem, Problems
from drip.storage.base.database import Database, workspace_id
from drip.storage.operating import alarms, daemons
from drip.storage.sending import outbox, rate_limits
from drip.workspace import Workspace

log = logging.getLogger("drip.daemon")
# So long until the lock is tried again.
AGAIN_S = 1.0
# What last went well so long ago is late, or so many ticks ago where that is longer.
LATE_S = 120.0
LATE_TICKS = 3
# One tick may take longer: mail servers have ten minutes for an answer (RFC 5321,
# section 4.5.3.2.6).
LONGEST_S = 1_800.0
SHOWS = "`drip check` shows what is wrong"


class Daemon:
    """One daemon on one workspace. `stop` is set to end it: what is in flight is
    finished, nothing more is begun."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        clock: Clock,
        trust: Trust = NO_TRUST,
        passed_s: Stopwatch = time.monotonic,
        senders: int = 1,
    ) -> None:
        self.stop = threading.Event()
        self._database = database
        self._clock = clock
        self._passed_s = passed_s
        self._trust = trust
        self._files = FilesInForce(workspace)
        self._lock = database.lock()
        # Another daemon has the database, though this one had it.
        self._ousted = False
        self._number = 0
        self._ticked_at: tuple[datetime, float] | None = None
        self._suspicion: ClockOrRestoreSuspected | None = None
        self._troubles = Troubles(database, clock)
        self._senders = _senders(workspace, clock, senders)
        self._dispatcher = self._made_dispatcher()
        self._enroller = Enroller()
        self._make_tasks()
        self._rhythm: Rhythm | None = None

    def _make_tasks(self) -> None:
        """What is repeated, each with what one turn of it does."""
        self._notifier = AlarmNotifier(self._database, self._clock)
        self._webhooks = WebhookSender(self._database, self._clock, self.stop.is_set)
        self._answering = Answering(self._database, self._clock, self.stop.is_set)
        self._clearer = Clearer(self._database, self._clock)
        self._ticking = self._task("Planning and sending")
        self._notifying = self._task("Telling of alarms")
        self._works: dict[Repeating, Callable[[], None]] = {
            self._ticking: self._tick_in_order,
            self._notifying: self._notify,
            self._task("Telling other programs"): self._deliver_webhooks,
            self._task("Sending what people asked for"): self._send_answers,
            self._task("Clearing what is left of erased people"): self._clear,
        }

    def _task(self, name: str) -> Repeating:
        return Repeating(name, self._passed_s, log, LATE_S, LONGEST_S)

    @property
    def tasks(self) -> Sequence[Repeating]:
        """All that is repeated."""
        return tuple(self._works)

    def run(self, every_s: float) -> None:
        """Ticks every `every_s` seconds until stopped. Waits while another daemon has
        the database. Raises ClockOrRestoreSuspected."""
        self._wait_for_lock()
        if self.stop.is_set():
            return
        with self._working():
            self._repeat_until_stopped(every_s)

    def run_once(self) -> DispatchResult:
        """Does all that is due now. Raises DripError if another daemon has the
        database, and ClockOrRestoreSuspected."""
        if not self._lock.take():
            raise DripError(
                f"A daemon is running on this database already{self._who_has_it()}.",
                help="it does what is due; stop it first to run by hand",
            )
        with self._working():
            result = self._tick()
            for task, work in self._works.items():
                # Alarms are told at the end.
                if task not in (self._ticking, self._notifying):
                    with task.attempt():
                        work()
        return result

    # --- from the start to the end

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Started meanwhile; a suspicion that ends it is an alarm."""
        suspicion = None
        try:
            self._start()
            yield
        except ClockOrRestoreSuspected as error:
            suspicion = error
            about = ("doubt", "", error.sentence, self._clock(), error.help or "")
            with self._database.write() as connection:
                alarm(connection, log, *about)
            raise
        finally:
            # It does not end in order then, so that the next one asks again.
            self._end(in_order=suspicion is None)

    def _wait_for_lock(self) -> None:
        if self._lock.take() or self.stop.is_set():
            return
        log.warning(
            "Another daemon has this database%s. Waiting for it to end.",
            self._who_has_it(),
            extra={"action": "waiting-for-lock"},
        )
        while not self._lock.take():
            if self.stop.wait(AGAIN_S):
                return

    def _who_has_it(self) -> str:
        with self._database.read() as connection:
            last = daemons.last_daemon(connection)
        return f" (process {last.pid})" if last else ""

    def _start(self) -> None:
        now = self._clock()
        with self._database.write() as connection:
            self._name = workspace_id(connection)
            last = daemons.last_daemon(connection)
            noted = self._lock.notes.read(self._name)
            check_at_start(connection, last, noted, now, self._trust)
            self._number = daemons.start_daemon(connection, os.getpid(), now)
        self._read_files(now)
        log.info(
            "Started as daemon %d, with the time zones of %s.",
            self._number,
            ZONES_VERSION,
            extra={"action": "started"},
        )

    def _end(self, *, in_order: bool) -> None:
        try:
            with self._notifying.attempt():
                self._notify()
            self._files.close()
            with self._ticking.attempt():
                self._dispatcher.store()
            if self._senders:
                self._senders.close()
            if self._number and in_order:
                self._note_end()
        finally:
            self._lock.give_back()

    def _note_end(self) -> None:
        with self._database.write() as connection:
            daemons.end_daemon(connection, self._number, self._clock())
        log.info("Ended.", extra={"action": "ended"})

    # --- what is repeated

    def _repeat_until_stopped(self, every_s: float) -> None:
        for task in self.tasks:
            task.late_s = max(LATE_S, LATE_TICKS * every_s)
            task.begin()
        self._rhythm = Rhythm(self._ticking, every_s, self.stop, self._failed)
        with self._rhythm.going(self._attempt, self.tasks):
            self.stop.wait()
        if self._suspicion:
            raise self._suspicion

    def _attempt(self, task: Repeating) -> None:
        """One turn; none where another daemon would do the same beside it."""
        beside = task is not self._ticking
        if self.stop.is_set() or (self._ousted and beside):
            return
        failed_before = task.error is not None
        with task.attempt():
            self._works[task]()
            if failed_before and beside:
                self._troubles.over([task.name])
        if task.error:
            self._failed(task, task.error)

    def _failed(self, task: Repeating, error: Exception) -> None:
        """Keeps as an alarm what was said in the log."""
        sentence, help = words(error)
        number = self._number if task is self._ticking else 0
        if number or shortage(error):
            # What the machine lacks is one alarm, whichever task it shows in.
            self._troubles.none = False
            self._troubles.keep(number, sentence, help, "trouble")
        else:
            sentence = f"{task.name} failed: {sentence}"
            self._troubles.keep(0, sentence, help, "trouble", task.name)

    def _notify(self) -> None:
        """Beside the ticks: whoever is told of alarms may be slow."""
        with contextlib.suppress(Problems):
            self._notifier.notify(self._files.workspace)

    def _deliver_webhooks(self) -> None:
        """Beside the ticks: other programs may be slow too."""
        self._webhooks.deliver(self._files.workspace)

    def _send_answers(self) -> None:
        """Beside the ticks: whoever asked for something does not wait for a
        campaign."""
        with contextlib.suppress(Problems):
            self._answering.send(self._files.workspace)

    def _clear(self) -> None:
        """Beside the ticks: it may wait for readers."""
        self._clearer.clear(self._files.workspace)

    # --- the tick

    def _tick_in_order(self) -> None:
        """The next one comes earlier where a rate lets messages leave earlier. A
        suspicion ends the daemon."""
        try:
            again_at = self._tick().again_at
        except ClockOrRestoreSuspected as suspicion:
            self._suspicion = suspicion
            self.stop.set()
            return
        if again_at is not None and self._rhythm:
            in_s = (again_at - self._clock()).total_seconds()
            self._rhythm.earlier(self._ticking, in_s)

    def _tick(self) -> DispatchResult:
        now = self._clock()
        passed_s = self._passed_s()
        self._keep_lock()
        self._read_files(now)
        self._keep_alive(now, passed_s)
        try:
            dispatcher = self._ready_dispatcher()
            result = tick(self._files.campaign_set, self._enroller, dispatcher)
        except LeaseLost:
            # What was planned stays; handing over begins again under a new number.
            log.warning(
                "Stood still for too long; starting anew.",
                extra={"action": "lease-lost"},
            )
            return self._tick()
        self._lock.notes.write(self._name, now)
        self._report(result)
        return result

    def _keep_lock(self) -> None:
        """Raises DripError if another daemon has the database now."""
        # A server that was started anew has given the lock back.
        self._ousted = not self._lock.is_ours() and not self._lock.take()
        if self._ousted:
            raise DripError(
                f"Another daemon has taken this database over{self._who_has_it()}.",
                help="this one waits until that one ends; stop one of the two",
            )

    def _keep_alive(self, now: datetime, passed_s: float) -> None:
        """Raises ClockOrRestoreSuspected."""
        with self._database.write() as connection:
            if self._ticked_at:
                before, before_s = self._ticked_at
                passed = timedelta(seconds=passed_s - before_s)
                # What the operator has looked at lies before the start.
                check_clock(connection, before, now, passed)
            self._ticked_at = now, passed_s
            self._number = daemons.keep_alive(
                connection,
                self._number,
                os.getpid(),
                now,
            )
            daemons.report(connection, self._number, None)

    def _report(self, result: DispatchResult) -> None:
        counts = (result.sent, result.failed, result.held)
        if any(counts):
            log.info(
                "%d sent, %d failed, %d held.",
                *counts,
                extra={"action": "dispatched"},
            )
        if result.trouble:
            self._in_trouble(result.trouble, result)
        elif not self._troubles.none:
            self._troubles.over(but=self._failed_beside())
            self._troubles.forget()

    def _in_trouble(self, sentence: str, result: DispatchResult) -> None:
        action = "trouble" if result.lacking else "transport-down"
        about = (sentence, result.help or "", action, result.troubled)
        self._troubles.none = False
        self._troubles.say(*about)
        self._troubles.keep(self._number, *about)

    def _failed_beside(self) -> list[str]:
        """The tasks beside the ticks that do not go well."""
        return [
            task.name for task in self.tasks if task.error and task is not self._ticking
        ]

    # --- who hands over

    def _made_dispatcher(self) -> Dispatcher:
        """Kept from tick to tick: it knows of ends that the database did not take."""
        templates = self._files.workspace.templates
        transports = self._files.transports
        about = (templates, transports, self._clock, 0, self.stop.is_set)
        if self._senders:
            return SharedDispatcher(self._database, *about, senders=self._senders)
        return Dispatcher(self._database, *about)

    def _ready_dispatcher(self) -> Dispatcher:
        """By the files in force."""
        self._dispatcher.templates = self._files.workspace.templates
        self._dispatcher.transports = self._files.transports
        self._dispatcher.fence = self._number
        return self._dispatcher

    # --- the files

    def _read_files(self, now: datetime) -> None:
        """Reads the files again when one changed; broken ones leave the last good
        version in force."""
        if not self._files.read(self._database, now, self._say_what_is_wrong):
            return
        with self._database.write() as connection:
            # A campaign may be live again, and a transport mended.
            outbox.wake_paused(connection, None, now)
            rate_limits.open_channels(connection, self._files.changed)
        broken = sorted(self._files.workspace.loaded.broken)
        with self._database.write() as connection:
            alarms.over(
                connection,
                ["kept"],
                now,
                but=broken,
            )
            for key in broken:
                said = f"campaigns/{key}.yaml cannot be read; {self._what_runs(key)}."
                alarm(connection, log, "kept", key, said, now, SHOWS)

    def _what_runs(self, key: str) -> str:
        """Of a campaign that cannot be read."""
        if key in self._files.campaign_set.kept:
            return "its last good version stays in force"
        return "it does not run"

    def _say_what_is_wrong(self, fresh: Workspace) -> None:
        for problem in fresh.problems():
            if problem.level == "error":
                _log_problem(problem)
        if fresh.loaded.settings is None and self._files.are_in_force:
            log.error(
                "The settings cannot be read; the last good ones stay in force.",
                extra={"action": "kept"},
            )


def _log_problem(problem: Problem) -> None:
    log.error(
        "%s: %s",
        problem.place,
        with_remedy(f"{problem.sentence}.", problem.help),
        extra={"action": "file-problem"},
    )


def _senders(
    workspace: Workspace,
    clock: Clock,
    count: int,
) -> Senders | None:
    if count <= 1:
        return None
    return Senders(workspace.root, workspace.environment, clock, count)
