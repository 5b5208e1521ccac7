"""The planner and the dispatcher on a virtual clock, over a copy of the database,
sending nowhere."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice

from sqlalchemy import Connection

from drip import private
from drip.core.campaign import Campaign
from drip.core.channels import CHANNELS
from drip.core.message import DeliverySession, Message, Receipt, Sent, Transport
from drip.engine.campaign_set import CampaignSet
from drip.engine.catch_up import next_regrouping
from drip.engine.dispatch_result import DispatchResult
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller, coming_entries
from drip.engine.last_check import Ready
from drip.engine.planner import next_due
from drip.engine.tick import tick
from drip.engine.triggers.kind import Ahead
from drip.preview.sampled_dispatcher import EACH_STEP, SampledDispatcher
from drip.rendering.templates import Templates
from drip.storage.base.copying import WHOLE, CopiedPart, copy_into
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database
from drip.storage.base.sqlite import SqliteDatabase
from drip.storage.operating import daemons
from drip.storage.people import change_marks

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

    def deliver(self, messages: Iterator[Message], session: DeliverySession) -> None:
        ended: list[tuple[Message, Receipt]] = []
        while batch := list(islice(messages, AT_ONCE)):
            may = session.turn(ended, batch)
            begun = zip(batch, may, strict=True)
            ended = [(message, PREVIEWED) for message, permitted in begun if permitted]
        session.turn(ended, [])

    def close(self) -> None:
        """Nothing is kept open."""


@contextlib.contextmanager
def rehearsal(
    database: Database,
    now: datetime,
    part: CopiedPart = WHOLE,
) -> Iterator[Database]:
    """A copy of the database, or of a part of it, to try things on; gone afterwards."""
    with private.scratch() as folder:
        path = folder / "rehearsal.db"
        create_database(path, now, durable=False).close()
        # It lies in a folder that only we may enter: it holds whatever is known of
        # people.
        copy_into(database, path, part, now)
        copy = SqliteDatabase(path, durable=False)
        try:
            yield copy
        finally:
            copy.close()


def simulate(
    database: Database,
    campaign_set: CampaignSet,
    templates: Templates,
    transports: Mapping[str, Transport],
    start: datetime,
    end: datetime,
    progress: Callable[[datetime], None] = lambda now: None,
    outage: Outage | None = None,
    seen: Callable[[Ready, Message], None] = lambda ready, message: None,
    each_step: int = EACH_STEP,
) -> DispatchResult:
    """Runs the stages at every instant from `start` to `end` at which something is due.

    But not during `outage`. Works on `database` itself: give it a rehearsal, unless it
    is a workspace of its own. `seen` is given every message that was rendered: where
    they go nowhere, `each_step` of each step and all that are unlike those (see
    `SampledDispatcher`).
    """
    clock = [start]
    make: Callable[..., Dispatcher] = Dispatcher
    if all(isinstance(transport, Nowhere) for transport in transports.values()):
        make = partial(SampledDispatcher, each_step=each_step)
    dispatcher = make(
        database,
        templates,
        transports,
        lambda: clock[0],
        fence=0,
        seen=seen,
        pacing=False,
    )
    enroller = Enroller()
    total = DispatchResult()
    wakes = Wakes(
        database,
        campaign_set,
        start,
        end,
    )
    now = start
    while now <= end:
        # The stages ask for the time; nothing else in them knows that it is none.
        clock[0] = now
        progress(now)
        with database.write() as connection:
            # Days of virtual time pass in a second: its lease would be over.
            dispatcher.fence = daemons.keep_alive(
                connection,
                dispatcher.fence,
                0,
                now,
            )
        total.add(
            tick(
                campaign_set,
                enroller,
                dispatcher,
            )
        )
        instants = (next_due(database, now), wakes.after(now))
        now = min((at for at in instants if at), default=end + AFTER)
        # What fell due in it is done at its end, as by a daemon that starts again.
        if outage and outage.start <= now < outage.end:
            now = outage.end
    return total


class Wakes:
    """The instants up to `end` at which someone could enter a campaign or a segment.

    In that time no data comes in.
    """

    def __init__(
        self,
        database: Database,
        campaign_set: CampaignSet,
        start: datetime,
        end: datetime,
    ) -> None:
        self._database, self._campaign_set, self._end = database, campaign_set, end
        self._change: int | None = None
        self._coming = next_regrouping(
            campaign_set,
            start,
            end,
        )
        self._look(start)

    def after(self, now: datetime) -> datetime | None:
        """The first of them after `now`, up to which everything was done, if any."""
        if self._campaign_set.sets_fields():
            # A step can have set another date, or where somebody lives.
            self._look(now)
        following = bisect_right(self._coming, now)
        return self._coming[following] if following < len(self._coming) else None

    def _look(self, now: datetime) -> None:
        """Adds the instants of everybody.

        Later on those of the people about whom something is new since the last look.
        """
        with self._database.read() as connection:
            change = change_marks.last_change(connection)
            if change == self._change:
                return
            fresh = self._entries(connection, now)
        self._change = change
        if not fresh.issubset(self._coming):
            self._coming = sorted(fresh.union(self._coming))

    def _entries(self, connection: Connection, now: datetime) -> set[datetime]:
        ahead = (
            self._ahead(connection, campaign, now)
            for campaign in self._campaign_set.entering()
        )
        return set(chain.from_iterable(map(coming_entries, ahead)))

    def _ahead(
        self,
        connection: Connection,
        campaign: Campaign,
        now: datetime,
    ) -> Ahead:
        end, after = self._end, self._change
        return Ahead(
            connection,
            self._campaign_set,
            campaign,
            now,
            end,
            after,
        )
