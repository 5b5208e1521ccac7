"""`drip run`: a heartbeat that plans and dispatches. Holds no state worth saving.

APScheduler repeats its tasks (`rhythm`): the beat, telling of alarms, telling other programs, sending what people asked for,
clearing what is left of erased people. Whatever goes wrong in one of them is told once, and it goes on; but for a `Doubt`, which
ends the daemon before it sends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.calendar import EPOCH, ZONES_VERSION
from drip.core.clock import jump
from drip.core.shortage import shortage
from drip.daemon.alarm_notifier import AlarmNotifier
from drip.daemon.answering import Answering
from drip.daemon.clearer import Clearer
from drip.daemon.files import FilesInForce
from drip.daemon.rhythm import Rhythm
from drip.daemon.senders import Senders, SharedDispatcher
from drip.daemon.troubles import Troubles
from drip.daemon.webhook_sender import WebhookSender
from drip.engine.alarming import alarm
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.outbox_session import LeaseLost
from drip.engine.repeating import Repeating, words
from drip.engine.tick import tick
from drip.errors import DripError, Problems
from drip.storage.base.database import Database, workspace_id
from drip.storage.operating import alarms, daemons, lost_time
from drip.storage.sending import outbox, rate_limits
from drip.workspace import Workspace

log = logging.getLogger("drip.daemon")
# So long until the lock is tried again.
AGAIN_S = 1.0
# What last went well so long ago is late, or three beats ago where that is longer. One beat may take longer: mail servers have
# ten minutes for an answer.
LATE_S, LATE_BEATS, LONGEST_S = 120.0, 3, 1_800.0


class ClockOrRestoreSuspected(DripError):
    """Something looks like a day of arrears and may be none: the daemon ends before it sends, and asks."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the operator has looked at before the start: `drip run --after-clock-jump`, `--after-restore`."""

    clock: bool = False
    database: bool = False


class Daemon:
    """One daemon on one workspace. `stop` is set to end it: what is in flight is finished, nothing more is begun."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        clock: Callable[[], datetime],
        trust: Trust = Trust(),
        passed_s: Callable[[], float] = time.monotonic,
        senders: int = 1,
    ) -> None:
        self.stop = threading.Event()
        self._files = FilesInForce(workspace)
        self._database, self._clock, self._trust = database, clock, trust
        self._passed_s = passed_s
        self._senders = (
            Senders(workspace.root, workspace.environment, clock, senders)
            if senders > 1
            else None
        )
        self._beat_at: tuple[datetime, float] | None = None
        # It does not end in order then, so that the next one asks again.
        self._doubted = False
        self._failure: ClockOrRestoreSuspected | None = None
        # Another daemon has the database, though this one had it.
        self._ousted = False
        self._lock = database.lock()
        self._troubles = Troubles(database, clock)
        self._beating = Repeating(
            "Planning and sending", passed_s, log, LATE_S, LONGEST_S
        )
        self._telling = Repeating("Telling of alarms", passed_s, log, LATE_S, LONGEST_S)
        self._carrying = Repeating(
            "Telling other programs", passed_s, log, LATE_S, LONGEST_S
        )
        self._sending_answers = Repeating(
            "Sending what people asked for", passed_s, log, LATE_S, LONGEST_S
        )
        self._clearing = Repeating(
            "Clearing what is left of erased people", passed_s, log, LATE_S, LONGEST_S
        )
        self._works: dict[Repeating, Callable[[], None]] = {
            self._beating: self._beat_in_order,
            self._telling: self._tell,
            self._carrying: self._carry,
            self._sending_answers: self._answer,
            self._clearing: self._clear,
        }
        self._rhythm: Rhythm | None = None
        self._dispatcher = self._made_dispatcher()
        self._teller = AlarmNotifier(database, clock)
        self._courier = WebhookSender(database, clock, self.stop.is_set)
        self._answering = Answering(database, clock, self.stop.is_set)
        self._clearer = Clearer(database, clock)
        self._enroller = Enroller()
        self._number = 0

    def run(self, every_s: float) -> None:
        """Beats every `every_s` seconds until stopped. Waits while another daemon has the database."""
        self._wait_for_lock()
        if self.stop.is_set():
            return
        with self._working():
            self._repeat_until_stopped(every_s)

    def run_once(self) -> DispatchResult:
        """Does all that is due now. Raises DripError if another daemon has the database."""
        if not self._lock.take():
            raise DripError(
                f"A daemon is running on this database already{self._who()}.",
                help="it does what is due; stop it first to run by hand",
            )
        with self._working():
            tally = self._beat()
            for task in (self._carrying, self._sending_answers, self._clearing):
                with task.attempt():
                    self._works[task]()
        return tally

    @property
    def tasks(self) -> Sequence[Repeating]:
        """All that is repeated."""
        return tuple(self._works)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Started meanwhile; a doubt that ends it is an alarm."""
        try:
            self._start()
            yield
        except ClockOrRestoreSuspected as doubt:
            with self._database.write() as connection:
                alarm(
                    connection,
                    log,
                    "doubt",
                    "",
                    doubt.sentence,
                    self._clock(),
                    doubt.help or "",
                )
            raise
        finally:
            self._end()

    def _wait_for_lock(self) -> None:
        told = False
        while not self._lock.take() and not self.stop.wait(AGAIN_S if told else 0):
            if not told:
                log.warning(
                    "Another daemon has this database%s. Waiting for it to end.",
                    self._who(),
                    extra={"action": "waiting-for-lock"},
                )
                told = True

    def _who(self) -> str:
        with self._database.read() as connection:
            last = daemons.last_daemon(connection)
        return f" (process {last.pid})" if last else ""

    def _start(self) -> None:
        now = self._clock()
        with self._database.write() as connection:
            self._name = workspace_id(connection)
            self._doubt(connection, daemons.last_daemon(connection), now)
            self._number = daemons.start_daemon(connection, os.getpid(), now)
        self._read_files(now)
        log.info(
            "Started as daemon %d, with the time zones of %s.",
            self._number,
            ZONES_VERSION,
            extra={"action": "started"},
        )

    def _doubt(
        self, connection: Connection, last: daemons.DaemonRecord | None, now: datetime
    ) -> None:
        """Ends before anything is sent if clock or database are not to be believed, and nobody has said that they are."""
        # Of all daemons: the newest may have died before its first beat, after the clock was set back a little.
        noted, known = (
            self._lock.notes.read(self._name),
            daemons.known_until(connection) or EPOCH,
        )
        if noted and noted > known:
            if not self._trust.database:
                since = f"after {_stamp(known)}" if last else "of any daemon"
                raise ClockOrRestoreSuspected(
                    f"The database was put back: it knows of nothing {since}, and a daemon worked on it until "
                    f"{_stamp(noted)}. What was due in between may have left already.",
                    help="look at the mail server's log; then `drip run --after-restore`, which holds what was due in "
                    "between for you to settle, and goes on with the rest",
                )
            lost_time.lose(connection, lost_time.Lost(known, min(noted, now)))
            return
        if last is None:
            return
        # One that ended in order was away on purpose, for however long.
        away = timedelta(0) if last.ended_at is None else now - last.ended_at
        before = max(last.heartbeat_at, last.ended_at or last.heartbeat_at)
        self._doubt_clock(connection, before, now, away, trusted=self._trust.clock)

    def _doubt_clock(
        self,
        connection: Connection,
        before: datetime,
        now: datetime,
        passed: timedelta,
        *,
        trusted: bool,
    ) -> None:
        jumped = jump(before, now, max(passed, timedelta(0)))
        self._doubted = jumped is not None and not trusted
        if jumped and not trusted:
            which = {
                "forward": "jumped ahead, or drip died and was away",
                "back": "was set back",
            }[jumped]
            raise ClockOrRestoreSuspected(
                f"The clock says {_stamp(now)}, and the last beat was at {_stamp(before)}: it {which}.",
                help="set the clock right; if it is, `drip run --after-clock-jump` goes on"
                + (
                    ", and sends what is late and still makes sense (`drip preview` shows it)"
                    if jumped == "forward"
                    else ""
                ),
            )
        if jumped == "back":
            lost_time.set_back(connection, now)

    def _tell(self) -> None:
        """Tells of alarms by the settings in force, beside the beats: whoever is told may be slow."""
        with contextlib.suppress(Problems):
            self._teller.tell(self._files.workspace)

    def _carry(self) -> None:
        """Tells other programs what happened, beside the beats too."""
        self._courier.deliver(self._files.workspace)

    def _answer(self) -> None:
        """Sends what people asked for themselves, beside the beats as well."""
        with contextlib.suppress(Problems):
            self._answering.send(self._files.workspace)

    def _clear(self) -> None:
        """Clears what is left of erased people, beside the beats: it may wait for readers."""
        self._clearer.clear(self._files.workspace)

    def _end(self) -> None:
        try:
            with self._telling.attempt():
                self._tell()
            self._files.close()
            with self._beating.attempt():
                self._dispatcher.store()
            if self._senders:
                self._senders.close()
            if self._number and not self._doubted:
                with self._database.write() as connection:
                    daemons.end_daemon(connection, self._number, self._clock())
                log.info("Ended.", extra={"action": "ended"})
        finally:
            self._lock.give_back()

    def _repeat_until_stopped(self, every_s: float) -> None:
        for task in self.tasks:
            task.late_s = max(LATE_S, LATE_BEATS * every_s)
            task.begin()
        self._rhythm = Rhythm(self._beating, every_s, self.stop, self._failed)
        with self._rhythm.going(self._attempt, self.tasks):
            self.stop.wait()
        if self._failure:
            raise self._failure

    def _attempt(self, task: Repeating) -> None:
        """One turn; none where another daemon would do the same beside it."""
        if self.stop.is_set() or (self._ousted and task is not self._beating):
            return
        failed_before = task.error is not None
        with task.attempt():
            self._works[task]()
            if failed_before and task is not self._beating:
                self._troubles.over([task.name])
        if task.error:
            self._failed(task, task.error)

    def _failed(self, task: Repeating, error: Exception) -> None:
        """Keeps as an alarm what was said in the log."""
        sentence, help = words(error)
        number = self._number if task is self._beating else 0
        if number or shortage(error):
            # What the machine lacks is one alarm, whichever task it shows in.
            self._troubles.none = False
            self._troubles.keep(number, sentence, help, "trouble")
        else:
            self._troubles.keep(
                0, f"{task.name} failed: {sentence}", help, "trouble", task.name
            )

    def _beat_in_order(self) -> None:
        """The next one comes earlier where a rate lets messages leave earlier. A doubt ends the daemon."""
        try:
            again_at = self._beat().again_at
        except ClockOrRestoreSuspected as doubt:
            self._failure = doubt
            self.stop.set()
            return
        if again_at is not None and self._rhythm:
            self._rhythm.earlier(
                self._beating, (again_at - self._clock()).total_seconds()
            )

    def _beat(self) -> DispatchResult:
        now, passed = self._clock(), self._passed_s()
        # A server that was started anew has given the lock back.
        self._ousted = not self._lock.is_ours() and not self._lock.take()
        if self._ousted:
            help = "this one waits until that one ends; stop one of the two"
            raise DripError(
                f"Another daemon has taken this database over{self._who()}.", help=help
            )
        self._read_files(now)
        assert self._files.campaign_set
        with self._database.write() as connection:
            if self._beat_at:
                before, then = self._beat_at
                # What the operator has looked at lies before the start.
                self._doubt_clock(
                    connection,
                    before,
                    now,
                    timedelta(seconds=passed - then),
                    trusted=False,
                )
            self._beat_at = now, passed
            self._number = daemons.keep_alive(
                connection, self._number, os.getpid(), now
            )
            daemons.report(connection, self._number, None)
        try:
            tally = tick(
                self._files.campaign_set, self._enroller, self._ready_dispatcher()
            )
        except LeaseLost:
            # What was planned stays; handing over begins again under a new number.
            log.warning(
                "Stood still for too long; starting anew.",
                extra={"action": "lease-lost"},
            )
            return self._beat()
        self._lock.notes.write(self._name, now)
        if tally.sent or tally.failed or tally.held:
            counts = (tally.sent, tally.failed, tally.held)
            log.info(
                "%d sent, %d failed, %d held.", *counts, extra={"action": "dispatched"}
            )
        if tally.trouble:
            self._in_trouble(
                tally.trouble,
                tally.help or "",
                "trouble" if tally.lacking else "transport-down",
                tally.troubled,
            )
        elif not self._troubles.none:
            self._troubles.over(
                but=[
                    task.name
                    for task in self.tasks
                    if task.error and task is not self._beating
                ]
            )
            self._troubles.forget()
        return tally

    def _made_dispatcher(self) -> Dispatcher:
        """Kept from beat to beat: it knows of ends that the database did not take."""
        templates, stop = self._files.workspace.templates, self.stop.is_set
        if self._senders:
            return SharedDispatcher(
                self._database,
                templates,
                {},
                self._clock,
                0,
                stop,
                senders=self._senders,
            )
        return Dispatcher(self._database, templates, {}, self._clock, 0, stop)

    def _ready_dispatcher(self) -> Dispatcher:
        """By the files in force."""
        self._dispatcher.templates, self._dispatcher.transports = (
            self._files.workspace.templates,
            self._files.transports,
        )
        self._dispatcher.fence = self._number
        return self._dispatcher

    def _read_files(self, now: datetime) -> None:
        """Reads the files again when one changed; broken ones leave the last good version in force."""
        if not self._files.read(self._database, now, self._found):
            return
        with self._database.write() as connection:
            # A campaign may be live again, and a transport mended.
            outbox.wake_paused(connection, None, now)
            rate_limits.open_channels(connection, self._files.changed)
        assert self._files.campaign_set
        broken = sorted(self._files.workspace.loaded.broken)
        with self._database.write() as connection:
            alarms.over(connection, ["kept"], now, but=broken)
            for key in broken:
                stays = (
                    "its last good version stays in force"
                    if key in self._files.campaign_set.kept
                    else "it does not run"
                )
                said = f"campaigns/{key}.yaml cannot be read; {stays}."
                alarm(
                    connection,
                    log,
                    "kept",
                    key,
                    said,
                    now,
                    "`drip check` shows what is wrong",
                )

    def _found(self, fresh: Workspace) -> None:
        for problem in fresh.problems():
            if problem.level == "error":
                help = f" Help: {problem.help}." if problem.help else ""
                log.error(
                    "%s: %s.%s",
                    problem.place,
                    problem.sentence,
                    help,
                    extra={"action": "file-problem"},
                )
        if fresh.loaded.settings is None and self._files.campaign_set:
            log.error(
                "The settings cannot be read; the last good ones stay in force.",
                extra={"action": "kept"},
            )

    def _in_trouble(self, sentence: str, help: str, action: str, about: str) -> None:
        self._troubles.none = False
        self._troubles.tell(sentence, help, action, about)
        self._troubles.keep(self._number, sentence, help, action, about)


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
