"""The desk of one delivery: the last check right before a message begins, and how each one ended.

A message is committed as `sending` before the first byte of its text leaves, in one transaction with the ends of those
before it. Who dies in between leaves as many messages of unknown outcome as the transport has under way at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from drip.core.answers import without_addresses
from drip.core.calendar import millis
from drip.core.campaign import Campaign
from drip.core.decide import Candidate, permitted
from drip.core.message import (
    MOST_REFUSED,
    Assigned,
    Message,
    Receipt,
    Refused,
    Sent,
    Unknown,
    Unsent,
)
from drip.core.rates import backoff
from drip.core.steps import SendStep
from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.candidates import candidate_of
from drip.engine.dispatch_result import CLOSED_MS, COSTLY_MS, DispatchResult
from drip.engine.facts import ContactFacts
from drip.storage.base.database import Database
from drip.storage.campaigns import runs, tasks
from drip.storage.campaigns.runs import Run
from drip.storage.operating import alarms, control, webhook_outbox
from drip.storage.people import consents, people
from drip.storage.people.people import Contact, address_of
from drip.storage.sending import links, outbox, rate_limits, relays
from drip.storage.sending.links import Lead
from drip.storage.sending.outbox import OutboxMessage

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# What a session died on is offered again so often, and so long after it.
MOST_RESENT = 3
RESENT_AFTER = timedelta(hours=1)
# What is put off for so long is told of.
LONG_PUT_OFF = timedelta(days=1)
# RFC 5321 section 4.5.4.1: give up after four to five days.
GIVE_UP_AFTER = timedelta(days=5)
# Between the last check and its turn too much time had passed.
STALE = Unsent("its time had passed when its turn came", "machine")
# So long after the last check a message is not begun any more: its lease would hardly outlast it.
TURN = control.LEASE / 4
REFUSES = (
    "check `user` and the password, and ask whoever runs the server whether this machine may send through it. Nobody was given "
    "up; one recipient at a time is tried, and what is still refused after three days waits for `drip release`"
)
WHY_US = (
    "check `user` and the password, and ask whoever runs the server what it has against this machine; it is tried again with "
    "one message, and `drip stop --off` tries at once"
)
AGAIN = "it is tried again with one message; `drip stop --off` tries at once"
SLOWER = "it is tried again; give the transport a `rate:` (or fewer `connections`) that the server allows"
PUT_OFF = "after five days of it they fail; the mail server's log tells more, and `drip log` whom it is about"
SLOW = "it is waited for as long as RFC 5321 says; the mail server's log tells more"
DEAD = "the address is dead"
SETTLE = "`drip status` lists what is held, `drip release` settles it"
log = logging.getLogger("drip.dispatcher")


class LeaseLost(Exception):
    """This daemon was taken for dead, so that it may not begin anything: it has to start anew under another number."""


@dataclass
class Ready:
    """A granted message with all that rendering and the last check need."""

    outgoing: OutboxMessage
    run: Run
    campaign: Campaign
    step: SendStep
    contact: Contact
    facts: ContactFacts
    taken_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LastCheck:
    """What the last check looked at, and when it was made."""

    candidate: Candidate
    at: datetime


@dataclass
class OutboxSession:
    """A `core.message.DeliverySession`. `take` what is handed to a transport; afterwards `finish`."""

    database: Database
    campaign_set: CampaignSet
    clock: Callable[[], datetime]
    fence: int
    tally: DispatchResult
    channel: str
    # The server behind the channel; None where nobody has to get to know us.
    relay: str | None = None
    # Whether it has taken a recipient: what is ready says so, and the transport.
    accepts: bool = True
    stop: Callable[[], bool] = lambda: False
    _hand: dict[str, Ready] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _ended: list[tuple[Ready, Receipt]] = field(default_factory=list)
    _links: dict[str, Lead] = field(default_factory=dict)
    _stopped: bool = False
    _closed: set[str] = field(default_factory=set)
    # What was heard before the server had taken anybody, as far as was known then.
    _unproven: set[int] = field(default_factory=set)
    # Whether the database knows that the server takes somebody, and of refusals since it last did.
    _known: bool = False
    _refusals: bool = True
    # Whether it has taken a recipient in this delivery.
    _took: bool = False
    # What was not worth offering any more, to be judged anew.
    _withdrawn: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._known = self.accepts

    @property
    def in_hand(self) -> set[int]:
        """The messages that were taken and have not ended."""
        return {each.outgoing.id for each in self._hand.values()}

    def take(self, ready: Ready, message: Message, now: datetime) -> None:
        """This message is given to the transport."""
        ready.taken_at = now
        self._hand[message.message_id] = ready

    def held_up(self, since: datetime) -> bool:
        """Whether one that was taken before then has not ended."""
        oldest = next(iter(self._hand.values()), None)
        return (
            oldest is not None
            and oldest.taken_at is not None
            and oldest.taken_at < since
        )

    def wants(self, message: Message) -> bool:
        """Whether a message is worth offering, by what is known since it was taken: it was not stopped or held, and neither the
        server nor its domain has asked for less."""
        if self.tally.trouble or self._stopped:
            return False
        if not self._closed and not self.campaign_set.holds:
            return True
        each = self._hand[message.message_id]
        if domain_of(each.contact, self.channel) in self._closed:
            return False
        if self.campaign_set.paused(each.campaign) is None:
            return True
        self._withdrawn.add(each.outgoing.id)
        return False

    def waits(self, sentence: str | None) -> None:
        """An answer takes long: said at once, and over when it has come."""
        with self.database.write() as connection:
            if sentence:
                alarm(
                    connection,
                    log,
                    "slow-answer",
                    self.channel,
                    sentence,
                    self.clock(),
                    SLOW,
                )
            else:
                alarms.over(connection, ["slow-answer"], self.clock())

    def turn(
        self, ended: Sequence[tuple[Message, Receipt]], ready: Sequence[Message]
    ) -> list[bool]:
        """Stores how messages ended, makes the last check of those that are ready, and marks those that may begin (G4)."""
        heard = [
            (self._hand.pop(message.message_id), receipt) for message, receipt in ended
        ]
        self._ended += heard
        if not self.accepts:
            self._unproven |= {each.outgoing.id for each, _ in heard}
        lot = [self._hand[message.message_id] for message in ready]
        with self.database.write() as connection:
            self._took |= bool(ready)
            if (
                self._known
                and self._refusals
                and any(isinstance(receipt, Sent) for _, receipt in self._ended)
            ):
                # It takes messages, so that what it refuses is not about us.
                relays.sent(connection, self.channel)
                self._refusals = False
            counted = self._record(connection)
            if (ready or self.accepts) and not self._known:
                # What it refused before this proves nothing, and is offered once more.
                self._accepted(connection)
            begun = self._begin(connection, lot, counted)
            self._keep_links(connection, ready, lot)
        self._stored(counted)
        self._stopped = self.stop()
        self._begun |= set(begun)
        # One look at the clock for all of them: between two looks the program may stand still, and the first would be late.
        now = self.clock()
        return [
            self._may(message, each, begun, now)
            for message, each in zip(ready, lot, strict=True)
        ]

    def _keep_links(
        self, connection: Connection, ready: Sequence[Message], lot: Sequence[Ready]
    ) -> None:
        """Where their links lead is known before they leave."""
        fresh: dict[str, Lead] = {}
        for each, own in zip(ready, lot, strict=True):
            for name, to in each.links.items():
                known = fresh.get(name) or self._links.get(name)
                if known is None:
                    fresh[name] = Lead(to, own.contact.id)
                elif known.contact_id not in (None, own.contact.id):
                    fresh[name] = Lead(to, None)
        if fresh:
            links.keep(connection, fresh)
            self._links |= fresh

    def finish(self) -> None:
        """Stores the ends that are not stored yet."""
        if self._ended:
            with self.database.write() as connection:
                counted = self._record(connection)
            self._stored(counted)

    def put_behind(self) -> None:
        """What the transport left for another time goes behind what is due now; what was stopped or held is judged anew."""
        if self._withdrawn:
            with self.database.write() as connection:
                outbox.give_back(connection, self._withdrawn, self.clock())
            self.tally.given_back += len(self._withdrawn)
        left = self.in_hand - self._begun - self._withdrawn
        if left and not self.tally.trouble:
            self.tally.more = True
            with self.database.write() as connection:
                outbox.put_off(connection, dict.fromkeys(left, millis(self.clock())))

    def _stored(self, counted: DispatchResult) -> None:
        """What had ended is in the database now."""
        ended = {each.outgoing.id for each, _ in self._ended}
        self._begun -= ended
        self._unproven -= ended
        self._ended = []
        self.tally.add(counted)

    def _may(
        self, message: Message, each: Ready, begun: dict[int, LastCheck], now: datetime
    ) -> bool:
        """Whether it was begun, and there is still time: committing may have taken long."""
        if each.outgoing.id in begun and _in_time(each, begun[each.outgoing.id], now):
            return True
        del self._hand[message.message_id]
        if each.outgoing.id in begun:
            self._ended.append((each, STALE))
        return False

    def _begin(
        self, connection: Connection, lot: list[Ready], counted: DispatchResult
    ) -> dict[int, LastCheck]:
        now = self.clock()
        if not control.renew(connection, self.fence, now):
            raise LeaseLost
        self.campaign_set.refresh(connection)
        if not lot:
            return {}
        good: dict[int, LastCheck] = {}
        refused: set[int] = set()
        for each, same in zip(lot, _unchanged(connection, lot), strict=True):
            planned = each.outgoing.planned_at
            candidate = candidate_of(
                self.campaign_set,
                each.facts,
                each.contact,
                each.campaign,
                each.step,
                planned,
                has_content=True,
            )
            may = same and permitted(
                candidate, each.facts.person(each.contact), each.outgoing.channel, now
            )
            # Before it was granted other messages fill the windows: the clock was set back.
            may = (
                may
                and each.outgoing.granted_at is not None
                and each.outgoing.granted_at <= now
            )
            if may:
                good[each.outgoing.id] = LastCheck(candidate, now)
            else:
                refused.add(each.outgoing.id)
        outbox.give_back(connection, refused, now)
        counted.given_back += len(refused)
        grants = {
            each.outgoing.id: each.outgoing for each in lot if each.outgoing.id in good
        }
        mine = outbox.begin(connection, grants.values(), self.fence, now)
        return {number: begun for number, begun in good.items() if number in mine}

    def _record(self, connection: Connection) -> DispatchResult:
        """Stores how messages ended, and lets their runs go on where that is known."""
        now, counted = self.clock(), DispatchResult()
        # What was refused before its text could go was never begun.
        never = [
            each.outgoing
            for each, _ in self._ended
            if each.outgoing.id not in self._begun
        ]
        outbox.begin(connection, never, self.fence, now)
        left = [
            each
            for each, receipt in self._ended
            if isinstance(receipt, Sent | Assigned)
        ]
        outbox.settle_sent(
            connection, [each.outgoing.id for each in left], self.fence, now
        )
        webhook_outbox.add(connection, "sent", [_notice(each) for each in left], now)
        tasks.add(
            connection,
            [
                _task(*each, now)
                for each in self._ended
                if isinstance(each[1], Assigned)
            ],
        )
        counted.sent += len(left)
        done = [
            each
            for each, receipt in self._ended
            if self._settled(connection, each, receipt, now, counted)
        ]
        go_on(connection, done, now)
        return counted

    def _settled(
        self,
        connection: Connection,
        each: Ready,
        receipt: Receipt,
        now: datetime,
        counted: DispatchResult,
    ) -> bool:
        """Whether the message has reached its end. Stores every end but `sent`."""
        outgoing, fence = each.outgoing, self.fence
        match receipt:
            case Sent() | Assigned():
                return True
            case Refused(answer, "transport", True) if (
                _tried_for(outgoing.attempts) < GIVE_UP_AFTER
            ):
                # By its words about us; should it be about this recipient after all, it comes ever more seldom, and not for ever.
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "pending",
                    now,
                    code="unsent",
                    sentence=answer,
                    due_at=now + next_try(outgoing),
                )
                counted.again += 1
                in_row = self._refused_in_row(connection, each, answer, now)
                if not self._took or in_row >= MOST_REFUSED:
                    counted.stuck(
                        f"The other side takes nothing ({without_addresses(answer)}).",
                        WHY_US,
                        COSTLY_MS,
                    )
                return False
            case Refused(answer, "transport", False) | Unsent(answer, "transport"):
                # About nobody in particular: it is as if it had not been tried. It goes behind the others, in whose way it
                # would stand if it was about this message after all.
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "pending",
                    now,
                    code="unsent",
                    sentence=answer,
                    attempts=outgoing.attempts,
                    due_at=now,
                )
                counted.again += 1
                counted.stuck(
                    f"The other side takes nothing ({without_addresses(answer)}).",
                    WHY_US,
                    COSTLY_MS,
                )
                return False
            case Unsent(answer, "rate"):
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "pending",
                    now,
                    code="unsent",
                    sentence=answer,
                    attempts=outgoing.attempts,
                    due_at=now,
                )
                counted.again += 1
                said = without_addresses(answer)
                counted.stuck(
                    f"The other side wants fewer messages at once ({said}).",
                    SLOWER,
                    CLOSED_MS,
                )
                return False
            case Refused(answer, scope, early) if (
                early or scope == "address"
            ) and self._proves_nothing(connection, each, answer, now):
                proven = self._has_accepted(connection)
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "pending",
                    now,
                    code="provisional",
                    sentence=answer,
                    due_at=now if proven else now + next_try(outgoing),
                )
                counted.again += 1
                if not proven:
                    self._doubt(connection, each, answer, now, counted)
                return False
            case Refused(answer, "sender"):
                self._hold_campaign(connection, each, answer, now)
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "deferred",
                    now,
                    code="unsent",
                    sentence=answer,
                    due_at=now,
                    attempts=outgoing.attempts,
                )
                counted.given_back += 1
                return False
            case Refused(answer, scope):
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "failed",
                    now,
                    code="refused",
                    sentence=answer,
                )
                address = address_of(each.contact, outgoing.channel)
                if scope == "address" and address:
                    people.suppress(
                        connection,
                        address,
                        f"{DEAD} ({without_addresses(answer)})",
                        now,
                    )
                counted.failed += 1
                return True
            case Unsent(answer, "machine"):
                # As if it had never been its turn.
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "deferred",
                    now,
                    code="unsent",
                    sentence=answer,
                    due_at=now,
                    attempts=outgoing.attempts,
                )
                counted.given_back += 1
                return False
            case Unsent(answer) if _tried_for(outgoing.attempts) >= GIVE_UP_AFTER:
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "failed",
                    now,
                    code="gave-up",
                    sentence=answer,
                )
                counted.failed += 1
                return True
            case Unsent(answer, scope):
                if _tried_for(outgoing.attempts) >= LONG_PUT_OFF:
                    said = f"Messages by {outgoing.channel} are put off for more than a day ({without_addresses(answer)})."
                    alarm(
                        connection, log, "put-off", outgoing.channel, said, now, PUT_OFF
                    )
                if scope == "domain":
                    domain = domain_of(each.contact, outgoing.channel)
                    said = without_addresses(answer)
                    rate_limits.close(
                        connection,
                        outgoing.channel,
                        domain,
                        millis(now),
                        *CLOSED_MS,
                        reason=said,
                    )
                    self._closed.add(domain)
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "pending",
                    now,
                    code="unsent",
                    sentence=answer,
                    due_at=now + next_try(outgoing),
                )
                counted.again += 1
                return False
            case Unknown(answer) if self._may_resend(connection, each):
                # It may have left, so whether it may go once more is for the caps to say.
                relays.died(connection, outgoing.id, now)
                counted.unknown += 1
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "deferred",
                    now,
                    code="unsent",
                    sentence=answer,
                    due_at=now + max(next_try(outgoing), RESENT_AFTER),
                    maybe_left=True,
                )
                counted.again += 1
                return False
            case Unknown(answer):
                outbox.settle(
                    connection,
                    outgoing,
                    fence,
                    "held",
                    now,
                    code="unknown",
                    sentence=answer,
                )
                said = f"A message of {each.campaign.key} may have left or not, and is held ({without_addresses(answer)})."
                alarm(connection, log, "unknown", each.campaign.key, said, now, SETTLE)
                counted.held += 1
                counted.unknown += 1
                return True

    def _has_accepted(self, connection: Connection) -> bool:
        """Whether the server has taken somebody, by what all who send together know."""
        if not self.accepts and self.relay is not None:
            self.accepts = self._known = relays.accepts(
                connection, self.channel, self.relay
            )
        return self.accepts

    def _accepted(self, connection: Connection) -> None:
        """The server has just taken somebody."""
        if self.relay is not None:
            relays.accepted(connection, self.channel, self.relay, self.clock())
        self.accepts = self._known = True

    def _refused_in_row(
        self, connection: Connection, each: Ready, answer: str, now: datetime
    ) -> int:
        """How many different recipients it has refused since it last took a message, this one among them."""
        self._refusals = True
        return relays.refused(
            connection, self.channel, each.outgoing.id, each.contact.id, answer, now
        )

    def _proves_nothing(
        self, connection: Connection, each: Ready, answer: str, now: datetime
    ) -> bool:
        """Whether a refusal may be about us: the server had taken nobody when it was heard; or it has refused so many in a row
        that this is so again, and nobody of these is given up."""
        if each.outgoing.id in self._unproven:
            return True
        if (
            self.relay is None
            or self._refused_in_row(connection, each, answer, now) < MOST_REFUSED
        ):
            return False
        self.accepts = self._known = False
        known = people.contacts_by_id(
            connection, relays.doubt(connection, self.channel)
        )
        for contact in known.values():
            if address := address_of(contact, self.channel):
                people.take_back(connection, address, DEAD)
        return True

    def _doubt(
        self,
        connection: Connection,
        each: Ready,
        answer: str,
        now: datetime,
        counted: DispatchResult,
    ) -> None:
        """The server has refused one recipient more, and taken nobody: too many, and it is about us."""
        count = self._refused_in_row(connection, each, answer, now)
        if count >= MOST_REFUSED:
            said = f"has refused {count} recipients and taken nobody since, so this may be about us"
            counted.stuck(
                f"The mail server {self.relay} {said} ({without_addresses(answer)}).",
                REFUSES,
                COSTLY_MS,
            )

    def _may_resend(self, connection: Connection, each: Ready) -> bool:
        """Whether a message that may have left goes once more: what caps count once only, as each copy would use a slot."""
        outgoing = each.outgoing
        if each.campaign.on_unknown != "resend":
            return False
        if outgoing.counted:
            return outgoing.maybe_left_at is None
        return relays.deaths(connection, outgoing.id) < MOST_RESENT

    def _hold_campaign(
        self, connection: Connection, each: Ready, answer: str, now: datetime
    ) -> None:
        """Every other message of the campaign would be refused too."""
        reason = f"its sender is refused ({without_addresses(answer)})"
        if each.campaign.key not in control.held_scopes(connection):
            control.hold(connection, each.campaign.key, now, reason)
            alarm(
                connection,
                log,
                "sender-refused",
                each.campaign.key,
                f"{each.campaign.key} is held: {reason}.",
                now,
            )


def _notice(each: Ready) -> tuple[int, dict[str, Any]]:
    """What other programs are told of a message that left, and whom it is about."""
    sent = each.outgoing
    return each.contact.id, {
        "message": sent.id,
        "campaign": sent.campaign,
        "step": sent.step,
        "channel": sent.channel,
        "contact": each.contact.key,
    }


def _task(each: Ready, receipt: Receipt, now: datetime) -> dict[str, Any]:
    """The row of a task that a message became."""
    assert isinstance(receipt, Assigned)
    return {
        "run_id": each.run.id,
        "step": each.outgoing.step,
        "contact_id": each.contact.id,
        "title": receipt.title,
        "assign_to": receipt.assign_to,
        "priority": receipt.priority,
        "created_at": now,
        "due": None,
        "state": "open",
        "place": str(each.step.place),
        "notes": receipt.notes,
    }


def domain_of(contact: Contact, channel: str) -> str:
    """The domain that a message goes to; none by other channels than e-mail."""
    address = contact.email if channel == "email" else None
    return address.rpartition("@")[2].lower() if address else ""


@cache
def _tried_for(attempts: int) -> timedelta:
    """How long a message was tried at least: it may have been held before, or stood behind others."""
    return sum(
        (backoff(FIRST_RETRY, each + 1, LONGEST_RETRY) for each in range(attempts)),
        timedelta(),
    )


def next_try(outgoing: OutboxMessage) -> timedelta:
    """How long after a failed attempt the next one is made: twice as long each time, and no two messages at one instant.

    What spreads them is a hash of the message and the attempt, so that a run can be played again.
    """
    wait = backoff(FIRST_RETRY, outgoing.attempts + 1, LONGEST_RETRY)
    drawn = sha256(f"{outgoing.id}/{outgoing.attempts}".encode()).digest()[0]
    return wait * (1 + drawn / 1024)


def go_on(connection: Connection, done: list[Ready], now: datetime) -> None:
    """Runs leave the step whose message has ended; those that are through are ended here and now."""
    through = []
    for each in done:
        run, steps = each.run, each.campaign.steps
        at_step = (
            run.active
            and run.position < len(steps)
            and steps[run.position] is each.step
        )
        if at_step and each.step.next == len(steps):
            through.append(
                replace(
                    run,
                    position=each.step.next,
                    active=False,
                    wake=None,
                    due_at=None,
                    ended_at=now,
                )
            )
    runs.save_runs(connection, through)
    ended = {run.id for run in through}
    runs.wake(
        connection,
        [each.run.id for each in done if each.run.active and each.run.id not in ended],
    )


def _unchanged(connection: Connection, lot: list[Ready]) -> list[bool]:
    """Whether address, zone, consent and suppressions of each are what they were when its facts were fetched."""
    known = [
        each.facts.standing(each.contact, each.outgoing.topic, each.outgoing.channel)
        for each in lot
    ]
    return [
        before == after
        for before, after in zip(
            known, consents.standings(connection, known), strict=True
        )
    ]


def _in_time(each: Ready, begun: LastCheck, now: datetime) -> bool:
    return begun.at - TURN < now < begun.at + TURN and permitted(
        begun.candidate, each.facts.person(each.contact), each.outgoing.channel, now
    )
