"""How messages ended, written down, with what follows from it; their runs go on where
the end is known."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from drip.core.answers import without_addresses
from drip.core.lifecycle import (
    PROVISIONAL,
    Cause,
    EarlierAttempts,
    NextTry,
    Outcome,
    needs_proof,
    outcome_of,
    tried_for,
)
from drip.core.message import MOST_REFUSED, Assigned, Receipt, Sent, Unknown
from drip.engine.alarming import alarm
from drip.engine.dispatch_result import CLOSED, COSTLY, DispatchResult
from drip.engine.last_check import Ready
from drip.engine.outcomes import ended
from drip.engine.server_trust import DEAD, ServerTrust
from drip.storage.campaigns import runs, tasks
from drip.storage.campaigns.runs import Run
from drip.storage.operating import holds, webhook_outbox
from drip.storage.people import suppressions
from drip.storage.sending import attempts, rate_limits, relays
from drip.storage.sending.attempts import Attempt
from drip.storage.sending.outbox import OutboxMessage

# What is put off for so long is an alarm.
LONG_PUT_OFF = timedelta(days=1)
PUT_OFF = (
    "after five days of it they fail; the mail server's log tells more, and `drip log` "
    "whom it is about"
)
WHY_US = (
    "check `user` and the password, and ask whoever runs the server what it has "
    "against this machine; it is tried again with one message, and `drip stop --off` "
    "tries at once"
)
SLOWER = (
    "it is tried again; give the transport a `rate:` (or fewer `connections`) that the "
    "server allows"
)
SETTLE = "`drip status` lists what is held, `drip release` settles it"
log = logging.getLogger("drip.dispatcher")


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """What the other side said of a message, or is known without it."""

    ready: Ready
    receipt: Receipt

    @property
    def left(self) -> bool:
        return isinstance(self.receipt, Sent | Assigned)

    @property
    def id(self) -> int:
        """The message's number."""
        return self.ready.id

    @property
    def message(self) -> OutboxMessage:
        return self.ready.message

    @property
    def campaign(self) -> str:
        return self.ready.campaign.key

    @property
    def answer(self) -> str:
        return self.receipt.answer

    @property
    def quoted(self) -> str:
        """The answer as an operator may see it: without anybody's address."""
        return without_addresses(self.receipt.answer)


@dataclass
class EndRecorder:
    """Stores ends in one transaction at `now`. `result` counts them."""

    connection: Connection
    fence: int
    trust: ServerTrust
    now: datetime
    result: DispatchResult = field(default_factory=DispatchResult)
    # The domains that have asked for less.
    closed: set[str] = field(default_factory=set)

    def record(self, ends: Sequence[AttemptEnd], begun: Container[int]) -> None:
        """Stores how messages ended; `begun` are those that are `sending` already.

        What was refused before its text could go was never begun.
        """
        messages = [end.message for end in ends]
        never = [message for message in messages if message.id not in begun]
        # An end is stored of what is `sending` under our number alone, so that a daemon
        # that was taken for dead overwrites nothing.
        attempts.begin(
            self.connection,
            never,
            self.fence,
            self.now,
        )
        self._record_left([end for end in ends if end.left])
        # In the order in which they ended, as their alarms and notices come.
        done = [end.ready for end in ends if end.left or self._ends(end)]
        go_on(self.connection, done, self.now)

    def _record_left(self, ends: Sequence[AttemptEnd]) -> None:
        ids = [end.id for end in ends]
        attempts.settle_sent(
            self.connection,
            ids,
            self.fence,
            self.now,
        )
        notices = [_notice(end.ready) for end in ends]
        webhook_outbox.add(
            self.connection,
            "sent",
            notices,
            self.now,
        )
        tasks.add(self.connection, self._assigned(ends))
        self.result.sent += len(ends)

    def _assigned(self, ends: Sequence[AttemptEnd]) -> list[dict[str, Any]]:
        """The tasks that messages became: work for a person in place of a message."""
        return [
            _task(end.ready, end.receipt, self.now)
            for end in ends
            if isinstance(end.receipt, Assigned)
        ]

    def _ends(self, end: AttemptEnd) -> bool:
        """Stores an end that is not `sent`; whether the message's run can go on."""
        outcome, message = self._outcome(end), end.message
        wait = outcome.wait(message.id, message.attempts)
        due_at = None if wait is None else self.now + wait
        attempt = Attempt(message, outcome, end.answer, due_at)
        attempts.settle(
            self.connection,
            attempt,
            self.fence,
            self.now,
        )
        self.result.count(outcome)
        if follow_up := _FOLLOW_UPS.get(outcome.cause):
            follow_up(self, end, outcome)
        return outcome.ends

    def _outcome(self, end: AttemptEnd) -> Outcome:
        receipt = end.receipt
        outcome = outcome_of(
            receipt,
            self._tries(end.message, receipt),
            end.ready.campaign.on_unknown,
        )
        # Asked of the database, and for these few alone: each question counts a
        # refusal.
        if needs_proof(receipt, outcome) and self._proves_nothing(end):
            return self._provisional()
        return outcome

    def _provisional(self) -> Outcome:
        """Once more at once, where the server has taken somebody meanwhile."""
        proven = self.trust.has_accepted(self.connection)
        return replace(PROVISIONAL, again=NextTry.AT_ONCE) if proven else PROVISIONAL

    def _tries(self, message: OutboxMessage, receipt: Receipt) -> EarlierAttempts:
        resent = self._resent(message, receipt)
        return EarlierAttempts(message.attempts, message.counted, resent)

    def _resent(self, message: OutboxMessage, receipt: Receipt) -> int:
        """After how many attempts it may have left, where that matters."""
        if not isinstance(receipt, Unknown):
            return 0
        if message.counted:
            return 0 if message.maybe_left_at is None else 1
        return relays.deaths(self.connection, message.id)

    def _proves_nothing(self, end: AttemptEnd) -> bool:
        return self.trust.proves_nothing(
            self.connection, end.ready, end.answer, self.now
        )

    # --- what follows

    def _nothing_taken(self, end: AttemptEnd, outcome: Outcome) -> None:
        sentence = f"The other side takes nothing ({end.quoted})."
        self.result.stuck(sentence, WHY_US, COSTLY)

    def _too_much(self, end: AttemptEnd, outcome: Outcome) -> None:
        sentence = f"The other side wants fewer messages at once ({end.quoted})."
        self.result.stuck(sentence, SLOWER, CLOSED)

    def _maybe_us(self, end: AttemptEnd, outcome: Outcome) -> None:
        answer = end.answer
        in_row = self.trust.refused_in_row(
            self.connection,
            end.ready,
            answer,
            self.now,
        )
        # Of a server that took others just now, one refusal stops nobody else.
        if not self.trust.took or in_row >= MOST_REFUSED:
            self._nothing_taken(end, outcome)

    def _unproven(self, end: AttemptEnd, outcome: Outcome) -> None:
        if outcome.again is not NextTry.AT_ONCE:
            self.trust.doubt(
                self.connection, end.ready, end.answer, self.now, self.result
            )

    def _sender_refused(self, end: AttemptEnd, outcome: Outcome) -> None:
        """Every other message of the campaign would be refused too."""
        campaign = end.campaign
        # Held already, maybe by a person, whose reason stays.
        if campaign in holds.held_scopes(self.connection):
            return
        reason = f"its sender is refused ({end.quoted})"
        holds.hold(
            self.connection,
            campaign,
            self.now,
            reason,
        )
        self._alarm(
            "sender-refused",
            campaign,
            f"{campaign} is held: {reason}.",
        )

    def _dead(self, end: AttemptEnd, outcome: Outcome) -> None:
        if address := end.ready.address:
            # `ServerTrust` finds those by this word, if they have to be taken back.
            reason = f"{DEAD} ({end.quoted})"
            suppressions.suppress(
                self.connection,
                address,
                reason,
                self.now,
            )

    def _domain_closed(self, end: AttemptEnd, outcome: Outcome) -> None:
        self._put_off(end, outcome)
        # The domain alone: all others take as much as before.
        channel, domain = end.message.channel, end.ready.domain
        rate_limits.close(
            self.connection,
            channel,
            domain,
            self.now,
            *CLOSED,
            reason=end.quoted,
        )
        self.closed.add(domain)

    def _put_off(self, end: AttemptEnd, outcome: Outcome) -> None:
        message = end.message
        if outcome.ends or tried_for(message.attempts) < LONG_PUT_OFF:
            return
        sentence = (
            f"Messages by {message.channel} are put off for more than a day "
            f"({end.quoted})."
        )
        self._alarm("put-off", message.channel, sentence, PUT_OFF)

    def _open(self, end: AttemptEnd, outcome: Outcome) -> None:
        if outcome.maybe_left:
            relays.died(
                self.connection,
                end.id,
                self.now,
            )
        else:
            self._held_unknown(end)

    def _held_unknown(self, end: AttemptEnd) -> None:
        campaign = end.campaign
        sentence = (
            f"A message of {campaign} may have left or not, and is held ({end.quoted})."
        )
        self._alarm("unknown", campaign, sentence, SETTLE)

    def _alarm(
        self,
        action: str,
        about: str,
        sentence: str,
        help: str = "",
    ) -> None:
        alarm(
            self.connection,
            log,
            action,
            about,
            sentence,
            self.now,
            help,
        )


FollowUp = Callable[[EndRecorder, AttemptEnd, Outcome], None]
_FOLLOW_UPS: Mapping[Cause, FollowUp] = {
    Cause.NOTHING_TAKEN: EndRecorder._nothing_taken,
    Cause.TOO_MUCH: EndRecorder._too_much,
    Cause.MAYBE_US: EndRecorder._maybe_us,
    Cause.UNPROVEN: EndRecorder._unproven,
    Cause.SENDER: EndRecorder._sender_refused,
    Cause.ADDRESS: EndRecorder._dead,
    Cause.DOMAIN: EndRecorder._domain_closed,
    Cause.NOT_NOW: EndRecorder._put_off,
    Cause.OPEN: EndRecorder._open,
}


def _notice(ready: Ready) -> tuple[int, dict[str, Any]]:
    """What other programs hear of a message that left, and whom it is about."""
    message = ready.message
    # Without the address: a key is enough to find somebody by (GDPR, Art. 5(1)(c)).
    payload = {
        "message": message.id,
        "campaign": message.campaign,
        "step": message.step,
        "channel": message.channel,
        "contact": ready.contact.key,
    }
    return ready.contact.id, payload


def _task(ready: Ready, task: Assigned, now: datetime) -> dict[str, Any]:
    """The row of a task that a message became."""
    return {
        "run_id": ready.run.id,
        "step": ready.message.step,
        "contact_id": ready.contact.id,
        "title": task.title,
        "assign_to": task.assign_to,
        "priority": task.priority,
        "created_at": now,
        "due": None,
        "state": "open",
        "place": str(ready.step.place),
        "notes": task.notes,
    }


def go_on(connection: Connection, done: Sequence[Ready], now: datetime) -> None:
    """Runs leave the step whose message has ended.

    Those that are through are ended here and now: to have each of a blast's runs looked
    at once more would take as long as to judge it.
    """
    through = [_ended(ready, now) for ready in done if _is_through(ready)]
    runs.save_runs(connection, through)
    over = {run.id for run in through}
    active = [ready.run.id for ready in done if ready.run.active]
    runs.wake(connection, [run_id for run_id in active if run_id not in over])


def _is_through(ready: Ready) -> bool:
    """Whether the message was its run's last step, and the run is still there."""
    run, step, steps = ready.run, ready.step, ready.campaign.steps
    if not run.active or run.position >= len(steps):
        return False
    return steps[run.position] is step and step.next == len(steps)


def _ended(ready: Ready, now: datetime) -> Run:
    over = ended(ready.run, None, now)
    over.position = ready.step.next
    return over
