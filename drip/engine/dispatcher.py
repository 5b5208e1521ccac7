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

from drip.core.campaign import Campaign
from drip.core.decide import Candidate, permitted
from drip.core.message import Message, Receipt, Refused, Sent, Transport, TransportDown, Unknown, Unsent
from drip.core.steps import Send
from drip.engine.book import Book
from drip.engine.composing import Identity, Subject, compose, identity
from drip.engine.facts import Batch, heard_by
from drip.engine.judging import candidate_of, load_of_runs, step_of
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage import control, outbox, people, runs
from drip.storage.database import Database
from drip.storage.outbox import Outgoing
from drip.storage.people import Contact
from drip.storage.runs import Run

BATCH = 100
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# RFC 5321 section 4.5.4.1: give up after four to five days.
GIVE_UP_AFTER = timedelta(days=5)
# The way was closed: nothing was tried.
NOT_BEGUN = Unsent("the way out was closed")
# Between the last check and its turn too much time had passed.
STALE = Unsent("its time had passed when its turn came")
# So long after the last check a message is not begun any more: its lease would hardly outlast it.
TURN = control.LEASE / 4
log = logging.getLogger("drip.dispatcher")


class LeaseLost(Exception):
    """This daemon was taken for dead, so that it may not begin anything: it has to start anew under another number."""


@dataclass
class Tally:
    """What one call of `dispatch` did. `trouble` says what keeps messages from leaving, if anything does."""

    sent: int = 0
    failed: int = 0
    held: int = 0
    again: int = 0
    given_back: int = 0
    trouble: str | None = None
    help: str | None = None

    @property
    def moved(self) -> bool:
        """Whether anything has changed that the planner has to look at."""
        return bool(self.sent or self.failed or self.held or self.given_back)

    def add(self, other: Tally) -> None:
        """Counts another round's together with this one's; the newest trouble is the one that is told."""
        self.sent += other.sent
        self.failed += other.failed
        self.held += other.held
        self.again += other.again
        self.given_back += other.given_back
        self.trouble, self.help = other.trouble or self.trouble, other.help or self.help


@dataclass
class Ready:
    """A granted message with all that rendering and the last check need."""

    outgoing: Outgoing
    run: Run
    campaign: Campaign
    step: Send
    contact: Contact


@dataclass(frozen=True, slots=True)
class Begun:
    """What the last check looked at, and when it was made."""

    candidate: Candidate
    at: datetime


@dataclass
class Dispatcher:
    """Empties the outbox. `clock` is read for each message; `stop` is asked before each one is begun.

    `seen` is told of every message that was rendered.
    """

    database: Database
    templates: Templates
    transports: Mapping[str, Transport]
    clock: Callable[[], datetime]
    fence: int
    stop: Callable[[], bool] = lambda: False
    seen: Callable[[Ready, Message], None] = lambda ready, message: None
    _identity: Identity | None = field(default=None, repr=False)

    def dispatch(self, book: Book) -> Tally:
        """Hands over everything that is granted and due, in order of priority, until told to stop."""
        tally = Tally()
        full = True
        while full and not self.stop() and tally.trouble is None:
            now = self.clock()
            with self.database.write() as connection:
                reap(connection, book, self.fence, now)
                waiting = self._waiting(connection, now)
                if not waiting:
                    break
                self._identity = self._identity or identity(connection)
                facts = Batch(connection, book.settings, {each.contact_id for each in waiting}, now)
                ready = self._ready(connection, book, facts, waiting)
                unreadable = {each.id for each in waiting} - {each.outgoing.id for each in ready}
                outbox.give_back(connection, unreadable, now)
            self._hand_over(book, facts, ready, tally)
            full = len(waiting) == BATCH
        return tally

    def _waiting(self, connection: Connection, now: datetime) -> list[Outgoing]:
        return outbox.pending(connection, now, BATCH)

    def _ready(self, connection: Connection, book: Book, facts: Batch, waiting: list[Outgoing]) -> list[Ready]:
        """The messages with their runs, steps and facts; without those whose campaign cannot be read any more."""
        found = runs.runs_by_id(connection, {each.run_id for each in waiting})
        campaigns = load_of_runs(connection, book, facts, list(found.values()))
        facts.prepare()
        ready = []
        for outgoing in waiting:
            run = found[outgoing.run_id]
            campaign = campaigns[run.campaign, run.version]
            step = step_of(campaign, outgoing.step)
            if campaign and step:
                ready.append(Ready(outgoing, run, campaign, step, facts.contacts[outgoing.contact_id]))
        return ready

    def _hand_over(self, book: Book, facts: Batch, ready: list[Ready], tally: Tally) -> None:
        """Renders and sends; the ends of one lot are committed with the beginnings of the next."""
        ended: list[tuple[Ready, Receipt]] = []
        rendered = self._rendered(facts, ready, tally)
        try:
            while not self.stop() and tally.trouble is None:
                lot = list(islice(rendered, self._at_once()))
                if not lot:
                    break
                with self.database.write() as connection:
                    self._record(connection, ended, tally)
                    ended = []
                    book.refresh(connection)
                    begun = self._begin(connection, book, facts, [each for each, _ in lot], tally)
                for each, message in lot:
                    if each.outgoing.id in begun:
                        receipt = self._send(facts, each, begun[each.outgoing.id], message, tally)
                        ended.append((each, receipt))
        finally:
            if ended:
                with self.database.write() as connection:
                    self._record(connection, ended, tally)

    def _at_once(self) -> int:
        return min((transport.at_once for transport in self.transports.values()), default=1)

    def _rendered(self, facts: Batch, ready: list[Ready], tally: Tally) -> Iterator[tuple[Ready, Message]]:
        for each in ready:
            try:
                message = self._message(facts, each)
                self._saw(each, message)
                yield each, message
            except DripError as error:
                place = str(error.place or each.step.place)
                each.outgoing.place = place
                with self.database.write() as connection:
                    outbox.close(connection, each.outgoing, "held", self.clock(), "render-error", error.sentence)
                    self._go_on(connection, [each], self.clock())
                log.warning("%s (%s)", error.sentence, place, extra={"action": "render-error"})
                tally.held += 1

    def _saw(self, each: Ready, message: Message) -> None:
        self.seen(each, message)

    def _begin(
        self, connection: Connection, book: Book, facts: Batch, lot: list[Ready], tally: Tally
    ) -> dict[int, Begun]:
        """The last check, in the transaction that marks messages as being handed over (G4)."""
        now = self.clock()
        if not control.renew(connection, self.fence, now):
            raise LeaseLost
        known = [facts.standing(each.contact, each.outgoing.topic, each.outgoing.channel) for each in lot]
        good: dict[int, Begun] = {}
        refused: set[int] = set()
        for each, before, after in zip(lot, known, people.standings(connection, known), strict=True):
            planned = each.outgoing.planned_at
            candidate = candidate_of(book, facts, each.contact, each.campaign, each.step, planned, has_content=True)
            may = before == after and permitted(candidate, facts.person(each.contact), each.outgoing.channel, now)
            # Before it was granted other messages fill the windows: the clock was set back.
            may = may and each.outgoing.granted_at is not None and each.outgoing.granted_at <= now
            if may:
                good[each.outgoing.id] = Begun(candidate, now)
            else:
                refused.add(each.outgoing.id)
        if refused:
            outbox.give_back(connection, refused, now)
            tally.given_back += len(refused)
        mine = outbox.begin(connection, good, self.fence, now)
        return {number: begun for number, begun in good.items() if number in mine}

    def _send(self, facts: Batch, each: Ready, begun: Begun, message: Message, tally: Tally) -> Receipt:
        channel, now = each.outgoing.channel, self.clock()
        in_time = begun.at - TURN < now < begun.at + TURN
        if not in_time or not permitted(begun.candidate, facts.person(each.contact), channel, now):
            return STALE
        transport = self.transports.get(channel)
        if transport is None:
            tally.trouble, tally.help = f"Nothing says how messages by {channel} leave.", "add `transports:`"
            return NOT_BEGUN
        try:
            return transport.send(message)
        except TransportDown as down:
            tally.trouble, tally.help = str(down), down.help
        except Exception as error:
            # What nobody foresaw: it may have left, and the others go on.
            log.exception("The transport failed.", extra={"action": "transport-failed"})
            return Unknown(f"the transport failed: {type(error).__name__}: {error}")
        return NOT_BEGUN

    def _record(self, connection: Connection, ended: list[tuple[Ready, Receipt]], tally: Tally) -> None:
        """Stores how messages ended, and lets their runs go on where that is known."""
        now = self.clock()
        sent = [each.outgoing.id for each, receipt in ended if isinstance(receipt, Sent)]
        outbox.settle_sent(connection, sent, self.fence, now)
        tally.sent += len(sent)
        done = [each for each, receipt in ended if self._settled(connection, each, receipt, now, tally)]
        self._go_on(connection, done, now)

    def _settled(self, connection: Connection, each: Ready, receipt: Receipt, now: datetime, tally: Tally) -> bool:
        """Whether the message has reached its end. Stores every end but `sent`."""
        outgoing, fence = each.outgoing, self.fence
        again = now + min(FIRST_RETRY * 2 ** min(outgoing.attempts, 10), LONGEST_RETRY)
        match receipt:
            case Sent():
                return True
            case Refused(answer):
                outbox.settle(connection, outgoing, fence, "failed", now, code="refused", sentence=answer)
                tally.failed += 1
                return True
            case Unsent(answer) if receipt is NOT_BEGUN:
                trouble = tally.trouble or answer
                outbox.settle(connection, outgoing, fence, "pending", now, code="unsent", sentence=trouble,
                              attempts=outgoing.attempts)  # fmt: skip
                tally.again += 1
                return False
            case Unsent(answer) if receipt is STALE:
                outbox.settle(connection, outgoing, fence, "deferred", now, code="unsent", sentence=answer, due_at=now,
                              attempts=outgoing.attempts)  # fmt: skip
                tally.given_back += 1
                return False
            case Unsent(answer) if now - outgoing.planned_at > GIVE_UP_AFTER:
                outbox.settle(connection, outgoing, fence, "failed", now, code="gave-up", sentence=answer)
                tally.failed += 1
                return True
            case Unsent(answer):
                outbox.settle(connection, outgoing, fence, "pending", now, code="unsent", sentence=answer, due_at=again)
                tally.again += 1
                return False
            case Unknown(answer) if each.campaign.on_unknown == "resend" and outgoing.maybe_left_at is None:
                # It may have left, so whether it may go once more is for the caps to say. Twice of unknown outcome is
                # for a person to settle.
                outbox.settle(connection, outgoing, fence, "deferred", now, code="unsent", sentence=answer, due_at=again,
                              maybe_left=True)  # fmt: skip
                tally.again += 1
                return False
            case Unknown(answer):
                outbox.settle(connection, outgoing, fence, "held", now, code="unknown", sentence=answer)
                tally.held += 1
                return True

    def _go_on(self, connection: Connection, done: list[Ready], now: datetime) -> None:
        """Runs leave the step whose message has ended; those that are through are ended here and now."""
        through = []
        for each in done:
            run, steps = each.run, each.campaign.steps
            at_step = run.active and run.position < len(steps) and steps[run.position] is each.step
            if at_step and each.step.next == len(steps):
                run.position, run.active, run.next_due_at, run.ended_at = each.step.next, False, None, now
                through.append(run)
        runs.save_runs(connection, through)
        runs.wake(connection, [each.run.id for each in done if each.run.active])

    def _message(self, facts: Batch, each: Ready) -> Message:
        assert self._identity
        run = each.run
        record, heard = facts.records.get(run.record_id), heard_by(facts, run.event_id, run.heard)
        codes = tuple(facts.codes.get(run.id, ()))
        about = Subject(facts.contacts[run.contact_id], record, heard, codes, run.id, run.occurrence)
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


def reap(connection: Connection, book: Book, fence: int, now: datetime) -> int:
    """Settles what was begun and never recorded: held, or sent again where its campaign says so."""
    control.end_dead(connection, now)
    left = outbox.left_behind(connection, fence)
    if not left:
        return 0
    log.warning("%d message(s) were being handed over when the program ended.", len(left), extra={"action": "reaped"})
    found = runs.runs_by_id(connection, {each.run_id for each in left})
    again = set()
    for each in left:
        run = found[each.run_id]
        campaign = book.version(connection, run.campaign, run.version)
        if campaign and campaign.on_unknown == "resend" and each.maybe_left_at is None:
            again.add(each.id)
    outbox.settle_left_behind(connection, again, now, resend=True)
    outbox.settle_left_behind(connection, {each.id for each in left} - again, now, resend=False)
    runs.wake(connection, {each.run_id for each in left if each.id not in again})
    return len(left)
