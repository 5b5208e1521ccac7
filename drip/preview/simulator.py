"""The planner and the dispatcher on a virtual clock, over a copy of the database, sending nowhere."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from drip.core.message import Message, Receipt, Sent, Transport
from drip.core.settings import CHANNELS
from drip.engine.beat import beat
from drip.engine.book import Book
from drip.engine.dispatcher import Dispatcher, Ready, Tally
from drip.engine.entry import Doorkeeper
from drip.engine.planner import Wakes, next_due
from drip.preview.wholesale import EACH_STEP, Wholesale
from drip.rendering.templates import Templates
from drip.storage import control
from drip.storage.copying import WHOLE, Part, copy_into
from drip.storage.database import Database
from drip.storage.opening import create_database
from drip.storage.sqlite import SqliteDatabase

AFTER = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no daemon runs: from `start` up to, not including, `end`."""

    start: datetime
    end: datetime


class Nowhere:
    """Takes every message and keeps none: the last mile of a preview."""

    at_once = 1000
    channels = frozenset(CHANNELS)

    def send(self, message: Message) -> Receipt:
        return Sent("previewed")

    def close(self) -> None:
        """Nothing is kept open."""


@contextlib.contextmanager
def rehearsal(database: Database, now: datetime, part: Part = WHOLE) -> Iterator[Database]:
    """A copy of the database, or of a part of it, to try things on; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="drip-") as folder:
        path = Path(folder) / "rehearsal.db"
        create_database(path, now, durable=False).close()
        copy_into(database, path, part, now)
        copy = SqliteDatabase(path, durable=False)
        try:
            yield copy
        finally:
            copy.close()


def simulate(
    database: Database,
    book: Book,
    templates: Templates,
    transports: Mapping[str, Transport],
    start: datetime,
    end: datetime,
    progress: Callable[[datetime], None] = lambda now: None,
    outage: Outage | None = None,
    seen: Callable[[Ready, Message], None] = lambda ready, message: None,
    each_step: int = EACH_STEP,
) -> Tally:
    """Runs the stages at every instant from `start` to `end` at which there is something to do, but not during `outage`.

    Works on `database` itself: give it a rehearsal, unless it is a workspace of its own. `seen` is told of every message
    that was rendered: where they go nowhere, `each_step` of each step and all that are unlike those (see `Wholesale`).
    """
    clock = [start]
    dispatcher = Dispatcher(database, templates, transports, lambda: clock[0], fence=0, seen=seen)
    if all(isinstance(each, Nowhere) for each in transports.values()):
        dispatcher = Wholesale(
            database, templates, transports, lambda: clock[0], fence=0, seen=seen, each_step=each_step
        )
    doorkeeper = Doorkeeper()
    total = Tally()
    wakes = Wakes(database, book, start, end)
    now = start
    while now <= end:
        clock[0] = now
        progress(now)
        with database.write() as connection:
            dispatcher.fence = control.keep_alive(connection, dispatcher.fence, 0, now)
        total.add(beat(book, doorkeeper, dispatcher))
        now = min((each for each in (next_due(database, now), wakes.after(now)) if each), default=end + AFTER)
        if outage and outage.start <= now < outage.end:
            now = outage.end
    return total
