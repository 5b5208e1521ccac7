"""A tick of planning: what is new is followed up, who enters, and everything that is due judged in batches."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from drip.core.campaign import CounterTrigger
from drip.engine.book import Book
from drip.engine.entry import Doorkeeper, coming_entries
from drip.engine.following import SEGMENTS, follow, next_regrouping
from drip.engine.judging import Judging, Texts
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage import audience, loyalty, outbox, people, runs
from drip.storage.database import Database

# So many contacts are judged in one transaction, and so many of them at once: what is known about these few stays in
# the processor's cache.
BATCH = 2_000
AT_ONCE = 500
log = logging.getLogger("drip.planner")
# A grant that has not left within this is judged again, so that what counts is when it really left.
GRANT_LASTS = timedelta(minutes=10)


def plan(database: Database, book: Book, templates: Templates, doorkeeper: Doorkeeper, now: datetime) -> None:
    """Brings the database up to `now`: afterwards nothing is due that was not judged."""
    with database.write() as connection:
        book.refresh(connection)
        outbox.give_back_stale(connection, now - GRANT_LASTS, now)
        follow(connection, book, now)
        doorkeeper.enter(connection, book, now)
    found: dict[tuple[str, str], bool] = {}

    def has_content(folder: str, occurrence: str) -> bool:
        if (folder, occurrence) not in found:
            found[folder, occurrence] = _is_there(templates, folder, occurrence)
        return found[folder, occurrence]

    texts = Texts(has_content, partial(_filled, templates))
    while True:
        with database.write() as connection:
            ids = runs.contacts_with_something_due(connection, now, BATCH)
            for n in range(0, len(ids), AT_ONCE):
                Judging(connection, book, ids[n : n + AT_ONCE], texts, now).work()
        if not ids:
            return


def _filled(templates: Templates, text: str, values: Mapping[str, Any]) -> str:
    """A task's title; as it is written where it cannot be filled in, since the work has to be done all the same."""
    try:
        return templates.fill(text, values)
    except DripError as error:
        log.warning("%s", error.sentence, extra={"action": "render-error"})
        return text


def _is_there(templates: Templates, folder: str, occurrence: str) -> bool:
    """Whether there is content. A file that cannot be read is there: rendering will say what is wrong with it."""
    try:
        return templates.content(folder, occurrence) is not None
    except DripError:
        return True


class Wakes:
    """The instants up to `end` at which someone could enter a campaign or a segment, in a time in which no data comes in."""

    def __init__(self, database: Database, book: Book, start: datetime, end: datetime) -> None:
        self._database, self._book, self._end = database, book, end
        with database.read() as connection:
            sets = [coming_entries(connection, book, campaign, start, end) for campaign in book.entering()]
            self._change = people.last_change(connection)
        self._coming = sorted({*next_regrouping(book, start, end)}.union(*sets))

    def after(self, now: datetime) -> datetime | None:
        """The first of them after `now`, up to which everything was done; None if there is none."""
        if self._book.sets_fields():
            self._with_changed(now)
        n = bisect_right(self._coming, now)
        return self._coming[n] if n < len(self._coming) else None

    def _with_changed(self, now: datetime) -> None:
        """A step can have set another date, or where somebody lives."""
        with self._database.read() as connection:
            change = people.last_change(connection)
            if change == self._change:
                return
            new = set[datetime]().union(*(
                coming_entries(connection, self._book, campaign, now, self._end, self._change)
                for campaign in self._book.entering()
            ))  # fmt: skip
        self._change = change
        if not new.issubset(self._coming):
            self._coming = sorted(new.union(self._coming))


def is_due(database: Database, now: datetime) -> bool:
    """Whether something stored is due at `now`: a run to look at, or a message to judge."""
    with database.read() as connection:
        return bool(runs.contacts_with_something_due(connection, now, 1))


def has_news(database: Database, book: Book) -> bool:
    """Whether people or counters have changed since campaigns and segments looked last."""
    with database.read() as connection:
        cursors = audience.cursors_of(connection)
        change, entry = people.last_change(connection), loyalty.newest_entry(connection)
    looking = [cursors[campaign.key] for campaign in book.entering() if campaign.key in cursors]
    counting = [
        cursors[campaign.key]
        for campaign in book.entering()
        if isinstance(campaign.trigger, CounterTrigger) and campaign.key in cursors
    ]
    looking += [cursors[SEGMENTS]] if book.sets() and SEGMENTS in cursors else []
    return any(each.change < change for each in looking) or any(each.event_id < entry for each in counting)


def next_due(database: Database, now: datetime) -> datetime | None:
    """The first instant after `now` at which something stored is due."""
    with database.read() as connection:
        return runs.next_due(connection, now)
