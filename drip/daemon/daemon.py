"""`drip run`: a heartbeat that plans and dispatches. Holds no state worth saving.

APScheduler beats with one job: never two at a time, missed beats merged into one, and none too late to run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Connection

from drip.core.calendar import EPOCH, ZONES_VERSION
from drip.core.clock import jump
from drip.daemon.answering import Answering
from drip.daemon.clearer import Clearer
from drip.daemon.courier import Courier
from drip.daemon.files import Files
from drip.daemon.senders import Senders, SharedDispatcher
from drip.daemon.teller import Teller
from drip.engine.alarming import alarm
from drip.engine.beat import beat
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Doorkeeper
from drip.engine.handover import LeaseLost
from drip.engine.tally import Tally
from drip.errors import DripError, Problems
from drip.storage import alarms, control, lanes, outbox
from drip.storage.database import Database, workspace_id
from drip.workspace import Workspace

log = logging.getLogger("drip.daemon")
# A beat that is longer than the time between two is no news.
logging.getLogger("apscheduler").setLevel(logging.ERROR)
LOCK_AGAIN_S = 1.0
# Alarms that are over once a beat went well.
TROUBLES = ("trouble", "transport-down", "slow-answer")
# Between two beats, whatever the rate.
SHORTEST = timedelta(milliseconds=50)


class Doubt(DripError):
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
        self._files = Files(workspace)
        self._database, self._clock, self._trust = database, clock, trust
        self._passed_s = passed_s
        self._senders = Senders(workspace.root, workspace.environment, clock, senders) if senders > 1 else None
        self._beat_at: tuple[datetime, float] | None = None
        # It does not end in order then, so that the next one asks again.
        self._doubted = False
        self.failure: BaseException | None = None
        self._job: Job | None = None
        self._lock = database.lock()
        self._told: set[tuple[str, str]] = set()
        self._untroubled = False
        self._teller = Teller(database, clock)
        self._courier = Courier(database, clock, self.stop.is_set)
        self._answering = Answering(database, clock, self.stop.is_set)
        self._clearer = Clearer(database, clock)
        self._doorkeeper = Doorkeeper()
        self._number = 0

    def run(self, every_s: float) -> None:
        """Beats every `every_s` seconds until stopped. Waits while another daemon has the database."""
        self._wait_for_lock()
        if self.stop.is_set():
            return
        with self._working():
            self._beat_until_stopped(every_s)

    def run_once(self) -> Tally:
        """Does all that is due now. Raises DripError if another daemon has the database."""
        if not self._lock.take():
            raise DripError(
                f"A daemon is running on this database already{self._who()}.",
                help="it does what is due; stop it first to run by hand",
            )
        with self._working():
            tally = self._beat()
            self._carry()
            self._answer()
            self._clear()
        return tally

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Started meanwhile; a doubt that ends it is an alarm."""
        try:
            self._start()
            yield
        except Doubt as doubt:
            with self._database.write() as connection:
                alarm(connection, log, "doubt", "", doubt.sentence, self._clock(), doubt.help or "")
            raise
        finally:
            self._end()

    def _wait_for_lock(self) -> None:
        told = False
        while not self._lock.take() and not self.stop.wait(LOCK_AGAIN_S if told else 0):
            if not told:
                log.warning(
                    "Another daemon has this database%s. Waiting for it to end.",
                    self._who(),
                    extra={"action": "waiting-for-lock"},
                )
                told = True

    def _who(self) -> str:
        with self._database.read() as connection:
            last = control.last_daemon(connection)
        return f" (process {last.pid})" if last else ""

    def _start(self) -> None:
        now = self._clock()
        with self._database.write() as connection:
            self._name = workspace_id(connection)
            self._doubt(connection, control.last_daemon(connection), now)
            self._number = control.start_daemon(connection, os.getpid(), now)
        self._read_files(now)
        log.info(
            "Started as daemon %d, with the time zones of %s.", self._number, ZONES_VERSION, extra={"action": "started"}
        )

    def _doubt(self, connection: Connection, last: control.Daemon | None, now: datetime) -> None:
        """Ends before anything is sent if clock or database are not to be believed, and nobody has said that they are."""
        # Of all daemons: the newest may have died before its first beat, after the clock was set back a little.
        noted, known = self._lock.notes.read(self._name), control.known_until(connection) or EPOCH
        if noted and noted > known:
            if not self._trust.database:
                since = f"after {_stamp(known)}" if last else "of any daemon"
                raise Doubt(
                    f"The database was put back: it knows of nothing {since}, and a daemon worked on it until "
                    f"{_stamp(noted)}. What was due in between may have left already.",
                    help="look at the mail server's log; then `drip run --after-restore`, which holds what was due in "
                    "between for you to settle, and goes on with the rest",
                )
            control.lose(connection, control.Lost(known, min(noted, now)))
            return
        if last is None:
            return
        # One that ended in order was away on purpose, for however long.
        away = timedelta(0) if last.ended_at is None else now - last.ended_at
        before = max(last.heartbeat_at, last.ended_at or last.heartbeat_at)
        self._doubt_clock(connection, before, now, away, trusted=self._trust.clock)

    def _doubt_clock(
        self, connection: Connection, before: datetime, now: datetime, passed: timedelta, *, trusted: bool
    ) -> None:
        jumped = jump(before, now, max(passed, timedelta(0)))
        self._doubted = jumped is not None and not trusted
        if jumped and not trusted:
            which = {"forward": "jumped ahead, or drip died and was away", "back": "was set back"}[jumped]
            raise Doubt(
                f"The clock says {_stamp(now)}, and the last beat was at {_stamp(before)}: it {which}.",
                help="set the clock right; if it is, `drip run --after-clock-jump` goes on"
                + (
                    ", and sends what is late and still makes sense (`drip preview` shows it)"
                    if jumped == "forward"
                    else ""
                ),
            )
        if jumped == "back":
            control.set_back(connection, now)

    def _tell(self) -> None:
        """Tells of alarms by the settings in force, beside the beats: whoever is told may be slow."""
        with contextlib.suppress(Problems):
            self._teller.tell(self._files.workspace)

    def _carry(self) -> None:
        """Tells other programs what happened, beside the beats too."""
        try:
            self._courier.deliver(self._files.workspace)
        except DripError as error:
            log.error("Webhooks cannot be told: %s", error.sentence, extra={"action": "webhook-down"})

    def _answer(self) -> None:
        """Sends what people asked for themselves, beside the beats as well."""
        try:
            self._answering.send(self._files.workspace)
        except (DripError, Problems) as error:
            log.error("What people asked for cannot be sent: %s", error, extra={"action": "data-mail-down"})

    def _clear(self) -> None:
        """Clears what is left of erased people, beside the beats: it may wait for readers."""
        try:
            self._clearer.clear(self._files.workspace)
        except DripError as error:
            log.error(
                "What is left of erased people cannot be cleared: %s", error.sentence, extra={"action": "uncleared"}
            )

    def _end(self) -> None:
        self._tell()
        self._files.close()
        if self._senders:
            self._senders.close()
        if self._number and not self._doubted:
            with self._database.write() as connection:
                control.end_daemon(connection, self._number, self._clock())
            log.info("Ended.", extra={"action": "ended"})
        self._lock.give_back()

    def _beat_until_stopped(self, every_s: float) -> None:
        scheduler = BackgroundScheduler(timezone="UTC")
        self._job = scheduler.add_job(
            self._guarded_beat,
            "interval",
            seconds=every_s,
            next_run_time=datetime.now(scheduler.timezone),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        for beside in (self._tell, self._carry, self._answer, self._clear):
            scheduler.add_job(
                beside, "interval", seconds=every_s, coalesce=True, max_instances=1, misfire_grace_time=None
            )
        scheduler.start()
        try:
            self.stop.wait()
        finally:
            scheduler.shutdown(wait=True)
        if self.failure:
            raise self.failure

    def _guarded_beat(self) -> None:
        """A beat whose trouble is told and tried again; what nobody foresaw ends the daemon, loudly."""
        if self.stop.is_set():
            return
        try:
            self._come_again(self._beat())
        except Doubt as doubt:
            self.failure = doubt
            self.stop.set()
        except DripError as error:
            self._in_trouble(f"{error.place or ''} {error.sentence}".strip(), error.help, "trouble")
        except Exception as error:  # handed to the main thread, which raises it
            self.failure = error
            self.stop.set()

    def _come_again(self, tally: Tally) -> None:
        """Beats earlier than it would, where a rate lets messages leave earlier."""
        if tally.again_at is None or self._job is None:
            return
        wait = max(tally.again_at - self._clock(), SHORTEST)
        self._job.modify(next_run_time=min(datetime.now(UTC) + wait, self._job.next_run_time))

    def _beat(self) -> Tally:
        now, passed = self._clock(), self._passed_s()
        # A server that was started anew has given the lock back.
        if not self._lock.is_ours() and not self._lock.take():
            help = "this one waits until that one ends; stop one of the two"
            raise DripError(f"Another daemon has taken this database over{self._who()}.", help=help)
        self._read_files(now)
        assert self._files.book
        with self._database.write() as connection:
            if self._beat_at:
                before, then = self._beat_at
                # What the operator has looked at lies before the start.
                self._doubt_clock(connection, before, now, timedelta(seconds=passed - then), trusted=False)
            self._beat_at = now, passed
            self._number = control.keep_alive(connection, self._number, os.getpid(), now)
            control.report(connection, self._number, None)
        try:
            tally = beat(self._files.book, self._doorkeeper, self._dispatcher())
        except LeaseLost:
            # What was planned stays; handing over begins again under a new number.
            log.warning("Stood still for too long; starting anew.", extra={"action": "lease-lost"})
            return self._beat()
        self._lock.notes.write(self._name, now)
        if tally.sent or tally.failed or tally.held:
            counts = (tally.sent, tally.failed, tally.held)
            log.info("%d sent, %d failed, %d held.", *counts, extra={"action": "dispatched"})
        if tally.trouble:
            self._in_trouble(tally.trouble, tally.help, "transport-down", tally.troubled)
        elif not self._untroubled:
            self._told.clear()
            self._untroubled = True
            with self._database.write() as connection:
                alarms.over(connection, TROUBLES, now)
        return tally

    def _dispatcher(self) -> Dispatcher:
        files, database, stop = self._files, self._database, self.stop.is_set
        templates = files.workspace.templates
        if self._senders:
            return SharedDispatcher(
                database, templates, files.transports, self._clock, self._number, stop, senders=self._senders
            )
        return Dispatcher(database, templates, files.transports, self._clock, self._number, stop)

    def _read_files(self, now: datetime) -> None:
        """Reads the files again when one changed; broken ones leave the last good version in force."""
        if not self._files.read(self._database, now, self._found):
            return
        with self._database.write() as connection:
            # A campaign may be live again, and a transport mended.
            outbox.wake_paused(connection, None, now)
            lanes.open_channels(connection, self._files.changed)
        assert self._files.book
        broken = sorted(self._files.workspace.loaded.broken)
        with self._database.write() as connection:
            alarms.over(connection, ["kept"], now, but=broken)
            for key in broken:
                stays = "its last good version stays in force" if key in self._files.book.kept else "it does not run"
                said = f"campaigns/{key}.yaml cannot be read; {stays}."
                alarm(connection, log, "kept", key, said, now, "`drip check` shows what is wrong")

    def _found(self, fresh: Workspace) -> None:
        for problem in fresh.problems():
            if problem.level == "error":
                help = f" Help: {problem.help}." if problem.help else ""
                log.error("%s: %s.%s", problem.place, problem.sentence, help, extra={"action": "file-problem"})
        if fresh.loaded.settings is None and self._files.book:
            log.error("The settings cannot be read; the last good ones stay in force.", extra={"action": "kept"})

    def _in_trouble(self, sentence: str, help: str | None, action: str, about: str = "") -> None:
        """Tells it once, not at every beat, and keeps it for `drip status`. What servers say may be new each time."""
        if (action, about) not in self._told:
            self._told.add((action, about))
            remedy = f" Help: {help}." if help else ""
            log.error("%s%s Nothing is lost; it is tried again.", sentence, remedy, extra={"action": action})
        self._untroubled = False
        with contextlib.suppress(DripError), self._database.write() as connection:
            control.report(connection, self._number, sentence)
            alarms.raised(connection, action, about, sentence, self._clock())


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
