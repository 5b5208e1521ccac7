"""What becomes of a message or a run, as values: each function returns another one and leaves what it was given alone.

How a run ends, and what becomes of the messages that it leaves waiting, is said here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from drip.core.decide import Reason
from drip.core.lifecycle import Wake
from drip.engine.effects import MessageChanged, MessageJudged
from drip.errors import Place
from drip.storage.campaigns.runs import Run
from drip.storage.sending.outbox import OutboxMessage

# Messages in these states can still be stopped.
UNSENT = ("deferred", "pending")


def waits_until(run: Run, at: datetime) -> Run:
    """The run, to be looked at when an instant has come."""
    return replace(run, wake=Wake.DUE, due_at=at)


def rests(run: Run, why: Wake) -> Run:
    """The run, to be looked at when something comes that no clock knows."""
    return replace(run, wake=why, due_at=None)


def ended(run: Run, reason: Reason | None, now: datetime) -> Run:
    """The run, over; without a reason it is simply done."""
    over = replace(run, active=False, wake=None, due_at=None, ended_at=now)
    if reason:
        over.code, over.sentence = reason.code, reason.sentence
        over.place = str(reason.place)
    return over


def stopping(
    messages: Iterable[OutboxMessage], reason: Reason | None, now: datetime
) -> list[MessageJudged]:
    """What ends with a run that ends for a reason: those of its messages that have not left."""
    if reason is None:
        return []
    return [
        skipped(message, reason, now) for message in messages if message.state in UNSENT
    ]


def skipped(message: OutboxMessage, reason: Reason, now: datetime) -> MessageJudged:
    """The message, which will not be sent."""
    gone = replace(message, state="skipped", settled_at=now)
    return MessageJudged(_because(gone, reason), reason, None)


def granted(message: OutboxMessage, channel: str, now: datetime) -> MessageChanged:
    """The message, which may go by a channel."""
    grant = replace(message, state="pending", channel=channel)
    grant.granted_at = grant.due_at = now
    grant.code = grant.sentence = grant.place = None
    return MessageChanged(grant)


def held(
    message: OutboxMessage, channel: str, at: datetime, place: Place, now: datetime
) -> MessageChanged:
    """The message, which may have left at an instant of which the ledger was lost: a person has to say."""
    unsure = replace(message, state="held", channel=channel)
    unsure.sent_at, unsure.settled_at = at, now
    unsure.code, unsure.place = "unknown", str(place)
    unsure.sentence = "it may have left before the database was put back from a backup"
    return MessageChanged(unsure)


def deferred(
    message: OutboxMessage, until: datetime, reason: Reason
) -> MessageChanged | MessageJudged:
    """The message, which waits; for the same reason as before this is not written down again each time."""
    same = message.code == reason.code and message.place == str(reason.place)
    known = same and (reason.code == "paused" or message.due_at == until)
    later = replace(message, state="deferred", due_at=until, granted_at=None)
    if known:
        return MessageChanged(later)
    return MessageJudged(_because(later, reason), reason, until)


def put_off(message: OutboxMessage, due: datetime) -> MessageChanged:
    """The message, whose date moved away meanwhile."""
    return MessageChanged(replace(message, planned_at=due, due_at=due))


def _because(message: OutboxMessage, reason: Reason) -> OutboxMessage:
    # The sentence is the judgement's.
    message.code, message.sentence = reason.code, None
    message.place = str(reason.place)
    return message
