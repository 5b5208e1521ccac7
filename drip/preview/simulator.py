"""The planner and the dispatcher on a virtual clock, over a copy of the database, sending nowhere."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from drip import private
from drip.core.message import Desk, Message, Receipt, Sent, Transport
from drip.core.settings import CHANNELS
from drip.engine.beat import beat
from drip.engine.book import Book
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Doorkeeper, coming_entries
from drip.engine.following import next_regrouping
from drip.engine.handover import Ready
from drip.engine.planner import next_due
from drip.engine.tally import Tally
from drip.preview.wholesale import EACH_STEP, Wholesale
from drip.rendering.templates import Templates
from drip.storage import control, people
from drip.storage.copying import WHOLE, Part, copy_into
from drip.storage.database import Database
from drip.storage.opening import create_database
from drip.storage.sqlite import SqliteDatabase

AFTER = timedelta(milliseconds=1)
PREVIEWED = Sent("previewed")
# So many are stored by one transaction.
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no daemon runs: from `start` up to, not including, `end`."""

    start: datetime
    end: datetime


class Nowhere:
    """Takes every message and keeps none: the last mile of a preview."""

    channels = frozenset(CHANNELS)

    def send(self, message: Message) -> Receipt:
        return PREVIEWED

    def deliver(self, messages: Iterator[Message], desk: Desk) -> None:
        ended: list[tuple[Message, Receipt]] = []
        while lot := list(islice(messages, AT_ONCE)):
            may = desk.turn(ended, lot)
            ended = [
                (message, PREVIEWED)
                for message, permitted in zip(lot, may, strict=True)
                if permitted
            ]
        desk.turn(ended, [])

    def close(self) -> None:
        """Nothing is kept open."""


@contextlib.contextmanager
def rehearsal(
    database: Database, now: datetime, part: Part = WHOLE
) -> Iterator[Database]:
    """A copy of the database, or of a part of it, to try things on; gone afterwards."""
    with private.scratch() as folder:
        path = folder / "rehearsal.db"
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
    dispatcher = Dispatcher(
        database,
        templates,
        transports,
        lambda: clock[0],
        fence=0,
        seen=seen,
        pacing=False,
    )
    if all(isinstance(each, Nowhere) for each in transports.values()):
        dispatcher = Wholesale(
            database,
            templates,
            transports,
            lambda: clock[0],
            fence=0,
            seen=seen,
            pacing=False,
            each_step=each_step,
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
        now = min(
            (each for each in (next_due(database, now), wakes.after(now)) if each),
            default=end + AFTER,
        )
        if outage and outage.start <= now < outage.end:
            now = outage.end
    return total


class Wakes:
    """The instants up to `end` at which someone could enter a campaign or a segment, in a time in which no data comes in."""

    def __init__(
        self, database: Database, book: Book, start: datetime, end: datetime
    ) -> None:
        self._database, self._book, self._end = database, book, end
        self._change: int | None = None
        self._coming = next_regrouping(book, start, end)
        self._look(start)

    def after(self, now: datetime) -> datetime | None:
        """The first of them after `now`, up to which everything was done; None if there is none."""
        if self._book.sets_fields():
            # A step can have set another date, or where somebody lives.
            self._look(now)
        n = bisect_right(self._coming, now)
        return self._coming[n] if n < len(self._coming) else None

    def _look(self, now: datetime) -> None:
        """Adds the instants of everybody, and later on of those about whom something is new since the last look."""
        with self._database.read() as connection:
            change = people.last_change(connection)
            if change == self._change:
                return
            new = set[datetime]().union(
                *(
                    coming_entries(
                        connection, self._book, campaign, now, self._end, self._change
                    )
                    for campaign in self._book.entering()
                )
            )
        self._change = change
        if not new.issubset(self._coming):
            self._coming = sorted(new.union(self._coming))
