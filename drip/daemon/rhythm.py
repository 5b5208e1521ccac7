"""Tasks that APScheduler repeats: never two of one at a time, missed turns merged into one, and none too late to run."""

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
from apscheduler.schedulers.background import BackgroundScheduler

from drip.engine.repeating import Repeating

# A turn that is longer than the time between two is no news.
logging.getLogger("apscheduler").setLevel(logging.ERROR)
# So long until what the scheduler itself failed at is tried again.
AGAIN_S = 1.0
# Between two turns, however early the next one is wanted.
SHORTEST_S = 0.05


class Rhythm:
    """Turns every `every_s` seconds. What the scheduler itself fails at counts against `first`, and `failed` is told."""

    def __init__(
        self, first: Repeating, every_s: float, stop: threading.Event, failed: Callable[[Repeating, Exception], None]
    ) -> None:
        self._first, self._every_s, self._stop, self._failed = first, every_s, stop, failed
        self._jobs: dict[Repeating, Job] = {}

    @contextlib.contextmanager
    def going(self, attempt: Callable[[Repeating], None], tasks: Collection[Repeating]) -> Iterator[None]:
        """The tasks are repeated meanwhile; a turn that is under way at the end is waited for. `attempt` raises nothing."""
        scheduler = self._started(len(tasks))
        if scheduler:
            self._jobs = {task: self._job(scheduler, attempt, task) for task in tasks}
        try:
            yield
        finally:
            if scheduler:
                scheduler.shutdown(wait=True)

    def earlier(self, task: Repeating, in_s: float) -> None:
        """The next turn of a task is due then, if that is earlier than it would be."""
        job = self._jobs[task]
        wanted = datetime.now(UTC) + timedelta(seconds=max(in_s, SHORTEST_S))
        job.modify(next_run_time=min(wanted, job.next_run_time))

    def _job(self, scheduler: BackgroundScheduler, attempt: Callable[[Repeating], None], task: Repeating) -> Job:
        return scheduler.add_job(
            attempt,
            "interval",
            [task],
            seconds=self._every_s,
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def _started(self, threads: int) -> BackgroundScheduler | None:
        """None if it could not be started until the stop: a machine may lack threads for a while."""
        while not self._stop.is_set():
            with self._first.attempt():
                scheduler = _Scheduler(self._first, self._stop, executors={"default": _Executor(_pool(threads))})
                scheduler.start()
                return scheduler
            if self._first.error:
                self._failed(self._first, self._first.error)
            self._stop.wait(AGAIN_S)
        return None


class _Executor(BasePoolExecutor):  # type: ignore[misc]  # the library has no types
    """Has turns done by threads of a pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(pool)


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]  # the library has no types
    """Goes on after whatever its own thread fails at."""

    def __init__(self, task: Repeating, stop: threading.Event, **options: Any) -> None:
        super().__init__(timezone="UTC", **options)
        self._task, self._stop = task, stop

    def _main_loop(self) -> None:
        while self.running:
            with self._task.attempt():
                super()._main_loop()
            if self.running:
                self._stop.wait(AGAIN_S)
                self.wakeup()


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads that run already. One that cannot be started when it is needed leaves its work behind in the queue, to be done
    beside the next turn of the same task. Raises RuntimeError."""
    pool, all_run = ThreadPoolExecutor(count, thread_name_prefix="drip"), threading.Barrier(count + 1)
    try:
        for _ in range(count):
            pool.submit(all_run.wait)
        all_run.wait()
    except RuntimeError:
        all_run.abort()
        pool.shutdown(cancel_futures=True)
        raise
    return pool
