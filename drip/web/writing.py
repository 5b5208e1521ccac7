"""One thread that writes for all requests: those that come at once share a transaction, each with a savepoint of its own.

A commit waits for the disk. Of many that wait together, one commit is enough.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from drip.storage.database import Database

MOST_TOGETHER = 100
Result = TypeVar("Result")


class Writer:
    """`await do(work)` runs `work(connection)` in a write transaction; what it returns is in the database by then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def do(self, work: Callable[[Connection], Result]) -> Result:
        """Raises whatever `work` raises; nothing of it is stored then, and the others' is."""
        self._start()
        job = _Job(work, asyncio.get_running_loop())
        self._waiting.put(job)
        result: Result = await job.future
        return result

    def close(self) -> None:
        """What waits is done first."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="drip-writer", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            jobs, ended = [job], False
            while len(jobs) < MOST_TOGETHER and not ended:
                try:
                    more = self._waiting.get_nowait()
                except queue.Empty:
                    break
                ended = more is None
                jobs += [more] if more else []
            self._together(jobs)
            if ended:
                return

    def _together(self, jobs: list[_Job]) -> None:
        try:
            with self._database.write() as connection:
                for job in jobs:
                    job.run(connection)
        except Exception as error:
            # The transaction as a whole: each of those who wait is told.
            for job in jobs:
                job.error = error
        for job in jobs:
            job.tell()


class _Job:
    """One piece of work and who waits for it."""

    def __init__(self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._work, self._loop = work, loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.error: BaseException | None = None
        self._result: Any = None

    def run(self, connection: Connection) -> None:
        try:
            with connection.begin_nested():
                self._result = self._work(connection)
        except Exception as error:
            # Raised where it is waited for.
            self.error = error

    def tell(self) -> None:
        self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self._result)
