"""What becomes of a message or a run.

Of a run each function returns another one. A message is one that its caller has made or
copied, and has given to nobody yet: it is filled in, since copying each of a blast's
once more would be felt.

How a run ends, and what becomes of the messages that it leaves waiting, is said here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from drip.core.decide import Reason
from drip.core.lifecycle import UNSENT, MessageState, Wake
from drip.engine.effects import MessageChanged, MessageJudged
from drip.errors import Place
from drip.storage.campaigns.runs import Run
from drip.storage.sending.outbox import OutboxMessage


def waits_until(run: Run, at: datetime) -> Run:
    """The run, to be looked at when an instant has come."""
    later = run.copy()
    later.wake, later.due_at = Wake.DUE, at
    return later


def rests(run: Run, why: Wake) -> Run:
    """The run, to be looked at when something comes that no clock knows."""
    resting = run.copy()
    resting.wake, resting.due_at = why, None
    return resting


def ended(
    run: Run,
    reason: Reason | None,
    now: datetime,
) -> Run:
    """The run, over; without a reason it is simply done."""
    over = run.copy()
    over.active, over.ended_at = False, now
    over.wake = over.due_at = None
    if reason:
        over.code, over.sentence = reason.code, reason.sentence
        over.place = str(reason.place)
    return over


def stopping(
    messages: Iterable[OutboxMessage],
    reason: Reason | None,
    now: datetime,
) -> list[MessageJudged]:
    """What ends with a run that ends for a reason: those of its messages that have not
    left."""
    if reason is None:
        return []
    unsent = (message for message in messages if message.state in UNSENT)
    return [skipped(replace(message), reason, now) for message in unsent]


def skipped(
    message: OutboxMessage,
    reason: Reason,
    now: datetime,
) -> MessageJudged:
    """The message, which will not be sent."""
    message.state, message.settled_at = MessageState.SKIPPED, now
    return MessageJudged(_because(message, reason), reason, None)


def grant(
    message: OutboxMessage,
    channel: str,
    now: datetime,
) -> None:
    """The message may go by a channel."""
    message.state, message.channel = MessageState.PENDING, channel
    message.granted_at = message.due_at = now
    message.code = message.sentence = message.place = None


def held(
    message: OutboxMessage,
    channel: str,
    at: datetime,
    place: Place,
    now: datetime,
) -> MessageChanged:
    """The message, which may have left at an instant of which the ledger was lost: a
    person has to say."""
    message.state, message.channel = MessageState.HELD, channel
    message.sent_at, message.settled_at = at, now
    message.code, message.place = "unknown", str(place)
    message.sentence = "it may have left before the database was put back from a backup"
    return MessageChanged(message)


def deferred(
    message: OutboxMessage,
    until: datetime,
    reason: Reason,
    run_rests: bool,
) -> MessageChanged | MessageJudged:
    """The message, which waits; for the same reason as before this is not written down
    again each time."""
    same = message.code == reason.code and message.place == str(reason.place)
    known = same and (reason.code == "paused" or message.due_at == until)
    message.state, message.due_at = MessageState.DEFERRED, until
    message.granted_at = None
    if known:
        return MessageChanged(message, run_rests)
    return MessageJudged(
        _because(message, reason),
        reason,
        until,
        run_rests,
    )


def put_off(message: OutboxMessage, due: datetime) -> MessageChanged:
    """Another message, whose date moved away meanwhile."""
    return MessageChanged(replace(message, planned_at=due, due_at=due))


def _because(message: OutboxMessage, reason: Reason) -> OutboxMessage:
    # The sentence is the judgement's.
    message.code, message.sentence = reason.code, None
    message.place = str(reason.place)
    return message
