"""One thread that writes for all requests: those that come at once share a transaction,
each with a savepoint of its own.

A commit waits for the disk. Of many that wait together, one commit is enough. Whatever
happens to the thread, nobody waits for ever, and nobody is told that something is
stored that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from drip.core.clock import Stopwatch
from drip.core.shortage import lacking
from drip.engine.repeating import Repeating
from drip.storage.base.database import Database

# In one transaction, which others wait for.
MOST_TOGETHER = 100
# What has not gone well for so long is in the answer of `/health`. A lock is waited for
# half as long.
LATE_S = 60.0
log = logging.getLogger("drip.web")
Result = TypeVar("Result")
Given = ParamSpec("Given")


class NotStored(Exception):
    """Nothing of it is stored; it can be said once more."""


class Writer:
    """`await do(work, …)` runs `work(connection, …)` in a write transaction; what it
    returns is in the database by then."""

    def __init__(self, database: Database, passed_s: Stopwatch) -> None:
        self._database = database
        self._storing = Repeating(
            "Storing what visitors say",
            passed_s,
            log,
            LATE_S,
            on_demand=True,
        )
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def do(
        self,
        work: Callable[Concatenate[Connection, Given], Result],
        *given: Given.args,
        **named: Given.kwargs,
    ) -> Result:
        """Raises whatever `work` raises; nothing of it is stored then, and the others'
        is. Raises Shortage if there is no thread to be had."""
        self._start()
        job = _Job(
            lambda connection: work(connection, *given, **named),
            asyncio.get_running_loop(),
        )
        self._waiting.put(job)
        result: Result = await job.future
        return result

    def close(self) -> None:
        """What waits is done first."""
        if self._thread is not None and self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        self._thread = None

    @property
    def trouble(self) -> str | None:
        """What keeps it from storing, if anything does."""
        if self._thread is not None and not self._thread.is_alive():
            return "The thread that stores what visitors say does not run."
        return self._storing.late

    async def look(self) -> None:
        """Tries again what went wrong, so that it is known to go well before the next
        visitor comes."""
        if not self.trouble and not self._storing.error:
            return
        try:
            await self.do(lambda connection: None)
        except Exception:
            # What went wrong in the thread was told there.
            if not self._storing.error:
                raise

    def _start(self) -> None:
        with self._starting, lacking():
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work,
                    name="drip-writer",
                    daemon=True,
                )
                self._thread.start()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            jobs = [job]
            is_last = False
            with self._storing.attempt(), _settled(jobs):
                is_last = self._gather(jobs)
                self._store(jobs)
            if is_last:
                return

    def _gather(self, jobs: list[_Job]) -> bool:
        """Adds what waits beside the first one; whether it is the last time."""
        while len(jobs) < MOST_TOGETHER:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                return False
            if more is None:
                return True
            jobs.append(more)
        return False

    def _store(self, jobs: list[_Job]) -> None:
        try:
            with self._database.write() as connection:
                for job in jobs:
                    job.run(connection)
        except Exception as error:
            # The transaction as a whole: it is raised where each of them is awaited.
            for job in jobs:
                job.error = error
            raise
        for job in jobs:
            job.stored = True


@contextlib.contextmanager
def _settled(jobs: list[_Job]) -> Iterator[None]:
    """Whatever happens meanwhile, whoever waits for one of these has an answer in the
    end."""
    try:
        yield
    finally:
        for job in jobs:
            job.settle()


class _Job:
    """One piece of work and who waits for it."""

    def __init__(
        self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._work = work
        self._loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.error: BaseException | None = None
        self.stored = False
        self._result: Any = None

    def run(self, connection: Connection) -> None:
        try:
            with connection.begin_nested():
                self._result = self._work(connection)
        except Exception as error:
            # Raised where it is waited for.
            self.error = error

    def settle(self) -> None:
        # A loop that is closed has nobody who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.error:
            self.future.set_exception(self.error)
        elif not self.stored:
            self.future.set_exception(NotStored("The thread that stores it has ended."))
        else:
            self.future.set_result(self._result)
