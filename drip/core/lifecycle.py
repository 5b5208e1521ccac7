"""The life of a message and of a run: the states of the one and which may follow which,
what an attempt to hand it over comes to, and why the other is looked at next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, StrEnum
from functools import cache
from hashlib import sha256

from drip.core.campaign import OnUnknown
from drip.core.message import Assigned, Receipt, Refused, Sent, Unknown, Unsent
from drip.core.rates import backoff


class MessageState(StrEnum):
    """As it is stored: the database knows no other state."""

    # It waits to be judged, or to be judged again.
    DEFERRED = "deferred"
    # It is granted: its slot under every cap is taken.
    PENDING = "pending"
    # It is being handed over, or whoever did so died.
    SENDING = "sending"
    SENT = "sent"
    SKIPPED = "skipped"
    FAILED = "failed"
    # A person has to say what became of it.
    HELD = "held"


# What follows which. None is a message that is not stored yet. A state that nothing
# follows is an end: a message that left is never sent again, and one that was given up
# is not taken up again.
FOLLOWS: Mapping[MessageState | None, frozenset[MessageState]] = {
    None: frozenset(
        {
            MessageState.DEFERRED,
            MessageState.PENDING,
            MessageState.SKIPPED,
            MessageState.HELD,
        }
    ),
    MessageState.DEFERRED: frozenset(
        {
            MessageState.DEFERRED,
            MessageState.PENDING,
            MessageState.SKIPPED,
            MessageState.HELD,
        }
    ),
    MessageState.PENDING: frozenset(
        {
            MessageState.DEFERRED,
            MessageState.PENDING,
            MessageState.SENDING,
            MessageState.SKIPPED,
            MessageState.HELD,
        }
    ),
    MessageState.SENDING: frozenset(
        {
            MessageState.DEFERRED,
            MessageState.PENDING,
            MessageState.SENT,
            MessageState.FAILED,
            MessageState.HELD,
        }
    ),
    MessageState.HELD: frozenset(
        {MessageState.DEFERRED, MessageState.SENT, MessageState.FAILED}
    ),
    MessageState.SENT: frozenset(),
    MessageState.SKIPPED: frozenset(),
    MessageState.FAILED: frozenset(),
}
# What has not begun to leave.
UNSENT = (MessageState.DEFERRED, MessageState.PENDING)


def may_come_from(state: MessageState) -> tuple[MessageState, ...]:
    """The states of stored messages that `state` may follow."""
    return tuple(
        before
        for before, after in FOLLOWS.items()
        if before is not None and state in after
    )


# --- how long it is tried

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# RFC 5321 section 4.5.4.1: give up after four to five days.
GIVE_UP_AFTER = timedelta(days=5)
# What a session died on is offered again so often, and so long after it.
MOST_RESENT = 3
RESENT_AFTER = timedelta(hours=1)


@cache
def tried_for(attempts: int) -> timedelta:
    """How long a message was tried at least: it may have been held before, or stood
    behind others."""
    waits = (
        backoff(
            FIRST_RETRY,
            number,
            LONGEST_RETRY,
        )
        for number in range(1, attempts + 1)
    )
    return sum(waits, timedelta())


def next_try(message_id: int, attempts: int) -> timedelta:
    """How long after a failed attempt the next one is made: twice as long each time,
    and no two messages at one instant.

    What spreads them is a hash of the message and the attempt, so that a run can be
    played again.
    """
    wait = backoff(FIRST_RETRY, attempts + 1, LONGEST_RETRY)
    drawn = sha256(f"{message_id}/{attempts}".encode()).digest()[0]
    return wait * (1 + drawn / 1024)


# --- what an attempt comes to


class Cause(Enum):
    """What an outcome is about, and so what else follows from it."""

    LEFT = "it left"
    # A refusal that by its words is about us, though it was said of a recipient.
    MAYBE_US = "the other side may refuse us"
    UNPROVEN = "the other side has taken nobody"
    # The other side takes nothing at all, or not so much at once.
    NOTHING_TAKEN = "the other side takes nothing"
    TOO_MUCH = "the other side wants fewer messages at once"
    SENDER = "the sender is refused"
    ADDRESS = "the address is dead"
    MESSAGE = "the message is refused"
    DOMAIN = "the recipient's domain takes nothing for a while"
    # This machine lacked something, or the message's time had passed.
    OURSELVES = "nothing that the other side said"
    NOT_NOW = "not at the moment"
    # It may have left.
    OPEN = "nobody knows"


class NextTry(Enum):
    """When a message that did not leave is looked at again."""

    AT_ONCE = "at once"
    LATER = "after a while that doubles with each attempt"
    MUCH_LATER = "as `LATER`, and no sooner than `RESENT_AFTER`"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state that follows an attempt, with the code that is stored beside it.

    `again` is None for an end. `counts` says whether the attempt is one: what was said
    of nobody in particular is as if it had not been tried, so that nobody is given up
    for it.
    """

    state: MessageState
    code: str | None
    cause: Cause
    again: NextTry | None = None
    counts: bool = True

    @property
    def ends(self) -> bool:
        """Whether the message's run can go on."""
        return self.again is None

    @property
    def maybe_left(self) -> bool:
        """Whether it goes once more though it may have left."""
        return self.cause is Cause.OPEN and self.again is not None

    def wait(self, message_id: int, attempts: int) -> timedelta | None:
        """How long from now it is due again, after so many attempts before this one."""
        match self.again:
            case None:
                return None
            case NextTry.AT_ONCE:
                return timedelta()
            case NextTry.LATER:
                return next_try(message_id, attempts)
            case NextTry.MUCH_LATER:
                return max(next_try(message_id, attempts), RESENT_AFTER)


@dataclass(frozen=True, slots=True)
class EarlierAttempts:
    """How a message was tried before this attempt.

    `resent` counts the attempts after which it may have left. `counted` says whether
    caps count it: then each copy would use a slot, so that it goes once more and no
    oftener.
    """

    attempts: int
    counted: bool
    resent: int


LEFT = Outcome(MessageState.SENT, None, Cause.LEFT)
REFUSED = Outcome(MessageState.FAILED, "refused", Cause.MESSAGE)
REFUSED_ADDRESS = replace(REFUSED, cause=Cause.ADDRESS)
GAVE_UP = Outcome(MessageState.FAILED, "gave-up", Cause.NOT_NOW)
HELD = Outcome(MessageState.HELD, "unknown", Cause.OPEN)
RESENT = Outcome(
    MessageState.DEFERRED,
    "unsent",
    Cause.OPEN,
    NextTry.MUCH_LATER,
)
PUT_OFF = Outcome(
    MessageState.PENDING,
    "unsent",
    Cause.NOT_NOW,
    NextTry.LATER,
)
# It comes ever more seldom and not for ever, should it be about this recipient after
# all.
PUT_OFF_FOR_US = replace(PUT_OFF, cause=Cause.MAYBE_US)
PUT_OFF_FOR_DOMAIN = replace(PUT_OFF, cause=Cause.DOMAIN)
# Behind the others, in whose way it would stand if it was about this message after all.
NOTHING_TAKEN = Outcome(
    MessageState.PENDING, "unsent", Cause.NOTHING_TAKEN, NextTry.AT_ONCE, counts=False
)
TOO_MUCH = replace(NOTHING_TAKEN, cause=Cause.TOO_MUCH)
# As if it had never been its turn.
GIVEN_BACK = Outcome(
    MessageState.DEFERRED, "unsent", Cause.OURSELVES, NextTry.AT_ONCE, counts=False
)
REFUSED_SENDER = replace(GIVEN_BACK, cause=Cause.SENDER)
# A refusal that proves nothing, because the server may mean us: offered once more.
PROVISIONAL = Outcome(
    MessageState.PENDING, "provisional", Cause.UNPROVEN, NextTry.LATER
)

_OF_REFUSED = {
    "transport": NOTHING_TAKEN,
    "sender": REFUSED_SENDER,
    "address": REFUSED_ADDRESS,
}
_OF_UNSENT = {"transport": NOTHING_TAKEN, "rate": TOO_MUCH, "machine": GIVEN_BACK}


def outcome_of(
    receipt: Receipt,
    tries: EarlierAttempts,
    on_unknown: OnUnknown,
) -> Outcome:
    """What an attempt comes to if what the other side says is believed (see
    `needs_proof`)."""
    match receipt:
        case Sent() | Assigned():
            return LEFT
        case Refused(scope="transport", at_recipient=True):
            return PUT_OFF_FOR_US if _worth_another(tries) else REFUSED
        case Refused(scope=scope):
            return _OF_REFUSED.get(scope, REFUSED)
        case Unsent(scope=scope) if scope in _OF_UNSENT:
            return _OF_UNSENT[scope]
        case Unsent(scope=scope) if _worth_another(tries):
            return PUT_OFF_FOR_DOMAIN if scope == "domain" else PUT_OFF
        case Unsent():
            return GAVE_UP
        case Unknown():
            again = on_unknown == "resend" and tries.resent < _most_resent(tries)
            return RESENT if again else HELD


def needs_proof(receipt: Receipt, outcome: Outcome) -> bool:
    """Whether an outcome stands only if the server has shown that it takes anybody: one
    that refuses everybody may mean us.

    What was said after the text had gone, and not of the address, is about the message.
    """
    if not isinstance(receipt, Refused) or outcome in (NOTHING_TAKEN, PUT_OFF_FOR_US):
        return False
    return receipt.at_recipient or receipt.scope == "address"


def _worth_another(tries: EarlierAttempts) -> bool:
    return tried_for(tries.attempts) < GIVE_UP_AFTER


def _most_resent(tries: EarlierAttempts) -> int:
    return 1 if tries.counted else MOST_RESENT


# --- runs


class Wake(StrEnum):
    """Why an active run is looked at next. One that has ended has none.

    A run that is `new`, `due` or `held` is looked at when its `due_at` has come; no
    other has one.
    """

    # It has just been started, by a question who is in the audience.
    NEW = "new"
    # Something about its contact or record is new, so that everything is worked out
    # again.
    LOOKS_AGAIN = "looks-again"
    # Its message has its end: it goes on at once, even if the clock was set back
    # meanwhile.
    GOES_ON = "goes-on"
    # It waits for an instant: of a message, a `wait`, or the end of a `wait_for`.
    DUE = "due"
    # Its message was granted or deferred, and the outbox says when it is looked at.
    WAITS_FOR_MESSAGE = "waits-for-message"
    # It stands at a `wait_for` that never runs out: only what is new wakes it.
    WAITS_FOR_EVENT = "waits-for-event"
    # Today's settings do not fit its version: it is tried again later.
    HELD = "held"


# These are looked at as soon as the planner comes by, and the timed ones when they are
# due.
AT_ONCE = (Wake.LOOKS_AGAIN, Wake.GOES_ON)
TIMED = (Wake.NEW, Wake.DUE, Wake.HELD)
UNTIMED = (Wake.WAITS_FOR_MESSAGE, Wake.WAITS_FOR_EVENT, *AT_ONCE)
