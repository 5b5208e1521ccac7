"""Handing over what was granted: checked once more, rendered, sent, and its end recorded.

A message is committed as `sending` before its transport is called, in one transaction with the end of
the message before it. Who dies in between leaves exactly one message whose outcome is unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Connection

from drip.core.campaign import Campaign, Send
from drip.core.decide import permitted
from drip.core.message import Message, Receipt, Refused, Sent, Transport, TransportDown, Unknown, Unsent
from drip.engine.book import Book
from drip.engine.composing import Identity, Subject, compose, identity
from drip.engine.facts import Batch
from drip.engine.judging import candidate_of
from drip.rendering.messages import RenderError
from drip.rendering.templates import Templates
from drip.storage import outbox, people, runs
from drip.storage.database import Database
from drip.storage.outbox import Outgoing
from drip.storage.people import Contact
from drip.storage.runs import Run

BATCH = 100
# A grant that has not left within this is judged again, so that what counts is when it really left.
GRANT_LASTS = timedelta(minutes=10)
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# RFC 5321 section 4.5.4.1: give up after four to five days.
MOST_ATTEMPTS = 120
log = logging.getLogger("drip.dispatcher")


@dataclass
class Tally:
    """What one call of `dispatch` did. `trouble` says what keeps messages from leaving, if anything does."""

    sent: int = 0
    failed: int = 0
    held: int = 0
    again: int = 0
    trouble: str | None = None
    help: str | None = None


@dataclass
class Ready:
    """A granted message with all that rendering and the last check need."""

    outgoing: Outgoing
    run: Run
    campaign: Campaign
    step: Send
    contact: Contact


@dataclass
class Dispatcher:
    """Empties the outbox. `clock` is read for each message; `stop` is asked before each one is begun."""

    database: Database
    templates: Templates
    transports: Mapping[str, Transport]
    clock: Callable[[], datetime]
    fence: int
    stop: Callable[[], bool] = lambda: False
    _identity: Identity | None = field(default=None, repr=False)

    def dispatch(self, book: Book) -> Tally:
        """Hands over everything that is granted and due, in order of priority, until told to stop."""
        tally = Tally()
        full = True
        while full and not self.stop() and tally.trouble is None:
            now = self.clock()
            with self.database.write() as connection:
                outbox.give_back_stale(connection, now - GRANT_LASTS, now)
                waiting = outbox.pending(connection, now, BATCH)
                if not waiting:
                    break
                self._identity = self._identity or identity(connection)
                facts = Batch(connection, book.settings, {each.contact_id for each in waiting})
                ready = self._ready(connection, book, facts, waiting)
                unreadable = {each.id for each in waiting} - {each.outgoing.id for each in ready}
                outbox.give_back(connection, unreadable, now)
            self._hand_over(book, facts, ready, tally)
            full = len(waiting) == BATCH
        return tally

    def _ready(self, connection: Connection, book: Book, facts: Batch, waiting: list[Outgoing]) -> list[Ready]:
        """The messages with their runs, steps and facts; without those whose campaign cannot be read any more."""
        found = runs.runs_by_id(connection, {each.run_id for each in waiting})
        facts.with_records(connection, [run.record_id for run in found.values()])
        facts.with_events(connection, [run.event_id for run in found.values()])
        ready = []
        for outgoing in waiting:
            run = found[outgoing.run_id]
            campaign = book.version(connection, run.campaign, run.version)
            steps = campaign.steps if campaign else ()
            step = next((each for each in steps if isinstance(each, Send) and each.id == outgoing.step), None)
            if campaign and step:
                ready.append(Ready(outgoing, run, campaign, step, facts.contacts[outgoing.contact_id]))
        return ready

    def _hand_over(self, book: Book, facts: Batch, ready: list[Ready], tally: Tally) -> None:
        """Renders and sends; the ends of one lot are committed with the beginnings of the next."""
        ended: list[tuple[Ready, Receipt]] = []
        rendered = self._rendered(facts, ready, tally)
        while not self.stop() and tally.trouble is None:
            lot = list(islice(rendered, self._at_once()))
            if not lot:
                break
            with self.database.write() as connection:
                self._record(connection, ended, tally)
                book.refresh(connection)
                begun = self._begin(connection, book, facts, [each for each, _ in lot])
            ended = [(each, self._send(each, message, tally)) for each, message in lot if each.outgoing.id in begun]
        if ended:
            with self.database.write() as connection:
                self._record(connection, ended, tally)

    def _at_once(self) -> int:
        return min(transport.at_once for transport in self.transports.values())

    def _rendered(self, facts: Batch, ready: list[Ready], tally: Tally) -> Iterator[tuple[Ready, Message]]:
        for each in ready:
            try:
                yield each, self._message(facts, each)
            except RenderError as error:
                place = str(error.place or each.step.place)
                each.outgoing.place = place
                with self.database.write() as connection:
                    outbox.close(connection, each.outgoing, "held", self.clock(), "render-error", error.sentence)
                log.warning("%s (%s)", error.sentence, place, extra={"action": "render-error"})
                tally.held += 1

    def _begin(self, connection: Connection, book: Book, facts: Batch, lot: list[Ready]) -> set[int]:
        """The last check, in the transaction that marks messages as being handed over (G4)."""
        now = self.clock()
        known = [facts.standing(each.contact, each.outgoing.topic, each.outgoing.channel) for each in lot]
        good: set[int] = set()
        refused: set[int] = set()
        for each, before, after in zip(lot, known, people.standings(connection, known), strict=True):
            candidate = candidate_of(book, each.campaign, each.step, each.outgoing.planned_at, has_content=True)
            may = before == after and permitted(candidate, facts.person(each.contact), each.outgoing.channel, now)
            (good if may else refused).add(each.outgoing.id)
        if refused:
            outbox.give_back(connection, refused, now)
        return outbox.begin(connection, good, self.fence, now)

    def _send(self, each: Ready, message: Message, tally: Tally) -> Receipt:
        transport = self.transports[each.outgoing.channel]
        try:
            return transport.send(message)
        except TransportDown as down:
            tally.trouble, tally.help = str(down), down.help
            return Unsent(str(down))

    def _record(self, connection: Connection, ended: list[tuple[Ready, Receipt]], tally: Tally) -> None:
        now = self.clock()
        sent = [each.outgoing.id for each, receipt in ended if isinstance(receipt, Sent)]
        outbox.settle_sent(connection, sent, self.fence, now)
        tally.sent += len(sent)
        for each, receipt in ended:
            self._record_failure(connection, each, receipt, now, tally)

    def _record_failure(
        self, connection: Connection, each: Ready, receipt: Receipt, now: datetime, tally: Tally
    ) -> None:
        outgoing, fence = each.outgoing, self.fence
        match receipt:
            case Refused(answer):
                outbox.settle(connection, outgoing, fence, "failed", now, code="refused", sentence=answer)
                tally.failed += 1
            case Unsent(answer) if outgoing.attempts + 1 >= MOST_ATTEMPTS:
                outbox.settle(connection, outgoing, fence, "failed", now, code="gave-up", sentence=answer)
                tally.failed += 1
            case Unsent(answer):
                again = now + min(FIRST_RETRY * 2 ** min(outgoing.attempts, 10), LONGEST_RETRY)
                outbox.settle(connection, outgoing, fence, "pending", now, code="unsent", sentence=answer, due_at=again)
                tally.again += 1
            case Unknown(answer):
                self._unknown(connection, each, answer, now)
                tally.held += 1

    def _unknown(self, connection: Connection, each: Ready, answer: str, now: datetime) -> None:
        if each.campaign.on_unknown == "resend":
            outbox.settle(connection, each.outgoing, self.fence, "pending", now, code="unsent", sentence=answer)
        else:
            outbox.settle(connection, each.outgoing, self.fence, "held", now, code="unknown", sentence=answer)

    def _message(self, facts: Batch, each: Ready) -> Message:
        assert self._identity
        run = each.run
        record, event = facts.records.get(run.record_id), facts.events.get(run.event_id or 0)
        about = Subject(facts.contacts[run.contact_id], record, event, run.id, run.occurrence)
        return compose(
            self.templates,
            facts,
            self._identity,
            each.campaign,
            each.step,
            about,
            each.outgoing.channel,
            self.clock(),
        )


def reap(database: Database, book: Book, fence: int, now: datetime) -> int:
    """Settles what an earlier daemon left in the middle: held, or sent again where its campaign says so."""
    with database.write() as connection:
        left = outbox.left_behind(connection, fence)
        found = runs.runs_by_id(connection, {each.run_id for each in left})
        again = set()
        for each in left:
            run = found[each.run_id]
            campaign = book.version(connection, run.campaign, run.version)
            if campaign and campaign.on_unknown == "resend":
                again.add(each.id)
        outbox.settle_left_behind(connection, again, now, resend=True)
        outbox.settle_left_behind(connection, {each.id for each in left} - again, now, resend=False)
    return len(left)
