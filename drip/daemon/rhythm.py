"""Tasks that APScheduler repeats: never two turns of one at a time, missed turns merged
into one, and none too late to run."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import BasePoolExecutor
from apscheduler.job import Job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from drip.engine.repeating import Repeating

# A turn that is longer than the time between two is no news.
logging.getLogger("apscheduler").setLevel(logging.ERROR)
# So long until what the scheduler itself failed at is tried again.
AGAIN_S = 1.0
# Between two turns, however early the next one is wanted.
SHORTEST_S = 0.05


# One turn of a task. It raises nothing.
Attempt = Callable[[Repeating], None]


class Rhythm:
    """Turns every `every_s` seconds. What the scheduler itself fails at counts against
    `first`, and is given to `failed`."""

    def __init__(
        self,
        first: Repeating,
        every_s: float,
        stop: threading.Event,
        failed: Callable[[Repeating, Exception], None],
    ) -> None:
        self._first = first
        self._every = timedelta(seconds=every_s)
        self._stop = stop
        self._failed = failed
        self._jobs: dict[Repeating, Job] = {}

    @contextlib.contextmanager
    def going(
        self,
        attempt: Callable[[Repeating], None],
        tasks: Collection[Repeating],
    ) -> Iterator[None]:
        """The tasks are repeated meanwhile; a turn that is under way at the end is
        waited for."""
        with contextlib.ExitStack() as stack:
            scheduler = self._started(len(tasks), stack)
            if scheduler:
                for task in tasks:
                    self._jobs[task] = self._job(scheduler, attempt, task)
                # Not before all are known: a turn may want its next one at once.
                scheduler.resume()
            yield

    def earlier(self, task: Repeating, in_s: float) -> None:
        """The next turn of a task is due then, if that is earlier than it would be."""
        job = self._jobs[task]
        pause = timedelta(seconds=max(in_s, SHORTEST_S))
        _move(job, min(datetime.now(UTC) + pause, job.next_run_time))

    def _job(
        self,
        scheduler: BackgroundScheduler,
        attempt: Attempt,
        task: Repeating,
    ) -> Job:
        return scheduler.add_job(
            attempt,
            _Every(self._every),
            [task],
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def _started(
        self,
        threads: int,
        stack: contextlib.ExitStack,
    ) -> BackgroundScheduler | None:
        """Ends with the stack. None if it could not be started until the stop: a
        machine may lack threads for a while."""
        while not self._stop.is_set():
            with self._first.attempt():
                return stack.enter_context(self._scheduling(threads))
            if self._first.error:
                self._failed(self._first, self._first.error)
            self._stop.wait(AGAIN_S)
        return None

    @contextlib.contextmanager
    def _scheduling(self, threads: int) -> Iterator[BackgroundScheduler]:
        """Raises RuntimeError where threads are lacking."""
        with _pool(threads) as pool:
            scheduler = _Scheduler(
                self._first,
                self._every,
                self._stop,
                {"default": _Executor(pool)},
            )
            scheduler.start(paused=True)
            try:
                yield scheduler
            finally:
                # The pool waits for the turns: while the scheduler would, it holds a
                # lock that `earlier` takes.
                scheduler.shutdown(wait=False)


class _Executor(BasePoolExecutor):  # type: ignore[misc]  # the library has no types
    """Has turns done by threads of a pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(pool)


class _Every(BaseTrigger):  # type: ignore[misc]
    """Missed turns are not listed: of a clock that jumps ahead by years, as one that
    begins in 1970, there are millions."""

    def __init__(self, every: timedelta) -> None:
        self._every = every

    def get_next_fire_time(
        self,
        previous_fire_time: datetime,
        now: datetime,
    ) -> datetime:
        wanted = previous_fire_time + self._every
        return wanted if wanted > now else now + self._every


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]
    """Goes on after whatever its own thread fails at, and as before if the clock is set
    back."""

    def __init__(
        self,
        task: Repeating,
        every: timedelta,
        stop: threading.Event,
        executors: dict[str, BasePoolExecutor],
    ) -> None:
        super().__init__(timezone="UTC", executors=executors)
        self._task = task
        self._every = every
        self._stop = stop

    def _main_loop(self) -> None:
        while self.running:
            with self._task.attempt():
                super()._main_loop()
            if self.running:
                self._stop.wait(AGAIN_S)
                self.wakeup()

    def _process_jobs(self) -> Any:
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if job.next_run_time > now + self._every:
                _move(job, now)
        return super()._process_jobs()


def _move(job: Job, at: datetime) -> None:
    """Its next turn is then. There is none any more once the scheduler was shut
    down."""
    with contextlib.suppress(JobLookupError):
        job.modify(next_run_time=at)


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads that run already. One that cannot be started when it is needed leaves its
    work behind in the queue, to be done beside the next turn of the same task. Raises
    RuntimeError."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="drip")
    all_run = threading.Barrier(count + 1)
    try:
        for _ in range(count):
            pool.submit(all_run.wait)
        all_run.wait()
    except Exception:
        all_run.abort()
        pool.shutdown(cancel_futures=True)
        raise
    return pool
