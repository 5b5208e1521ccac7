"""A run walks through its campaign: to the next message that is due, or to where it
waits or ends.

`walk(passage, now)` reads nothing and stores nothing. It returns where the run has come
to, and what that brings about. `coming` is the same way looked at from afar: the
messages that are sure to come. Steps that are no messages are in `engine.stepping`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from drip.core.calendar import local
from drip.core.campaign import DateTrigger
from drip.core.decide import Reason
from drip.core.lifecycle import Wake
from drip.core.steps import Action, SendStep, Wait
from drip.engine.effects import RunChanged
from drip.engine.leaving import outside, over
from drip.engine.outcomes import put_off
from drip.engine.passages import (
    Passage,
    after_wait,
    due_of,
    over_before,
    point_of,
)
from drip.engine.stepping import (
    AtMessage,
    Taken,
    ends,
    goes_on,
    rests_for,
    take,
    waits,
)
from drip.storage.sending.outbox import OutboxMessage


def walk(passage: Passage, now: datetime) -> Taken:
    """Moves a run on as far as it can go at `now`: where it stops, and what the way
    there brought about, in its order.

    The run itself is among the effects if it has changed.
    """
    reason = over(passage, now)
    taken = ends(passage, reason, now) if reason else _take(passage, now)
    if isinstance(taken.stop, AtMessage):
        # From the start, as nearly everybody in a blast is: nothing has changed.
        return taken
    effects = taken.effects
    while taken.stop is None:
        taken = _take(taken.passage, now)
        if taken.effects:
            effects += taken.effects
    passage, stop, _ = taken
    return Taken(passage, stop, (*effects, RunChanged(passage.run)))


def _take(passage: Passage, now: datetime) -> Taken:
    step = passage.step
    if isinstance(step, SendStep):
        return _at_message(passage, step, now)
    return take(step, passage, now) if step else ends(passage, None, now)


def _at_message(
    passage: Passage,
    step: SendStep,
    now: datetime,
) -> Taken:
    """On, if the message has its end; stopped, if it is on its way, not due yet, or to
    be judged."""
    message = passage.messages.get(step.id)
    if message and message.state != "deferred":
        return _sent_before(
            passage,
            step,
            message,
            now,
        )
    due = due_of(passage, step)
    if due > now:
        moved_away = put_off(message, due) if message else None
        return waits(passage, due, moved_away)
    reason = outside(passage, now)
    if reason:
        return ends(passage, reason, now)
    why_not = left_out(passage, step, due)
    return Taken(passage, AtMessage(step, due, why_not))


def _sent_before(
    passage: Passage,
    step: SendStep,
    message: OutboxMessage,
    now: datetime,
) -> Taken:
    """What follows a message counts from when it left, or had its end."""
    if message.state in ("pending", "sending"):
        return rests_for(passage, Wake.WAITS_FOR_MESSAGE)
    since = message.sent_at or message.settled_at or now
    return goes_on(passage, step.next, since)


def left_out(
    passage: Passage,
    step: SendStep,
    due: datetime,
) -> Reason | None:
    """Why a message is passed over: nobody confirmed, its date is unknown or long over,
    or its `only_if`."""
    if passage.facts.unconfirmed(passage.contact) and _has_asked(passage, step):
        sentence = "nobody has confirmed this sign-up, and was asked once"
        return Reason("no-consent", sentence, step.place)
    without_date = _by_date(passage, step, due) if step.at else None
    if without_date:
        return without_date
    failure = passage.fails(step.only_if) if step.only_if else None
    if failure is None:
        return None
    sentence = f"only_if: {failure.sentence}"
    return Reason("only-if", sentence, failure.place)


def _by_date(
    passage: Passage,
    step: SendStep,
    due: datetime,
) -> Reason | None:
    """Why a message that hangs on a date makes no sense: that is unknown, or was over
    long before the run began."""
    assert step.at
    if point_of(passage, step.at) is None:
        sentence = f"{step.at.field} is unknown, and the message hangs on it"
        return Reason("no-date", sentence, step.place)
    judged_before = step.id in passage.messages
    # One that has a `grace` is judged by that.
    if step.grace is not None or judged_before or not over_before(passage, due):
        return None
    day = local(due, passage.zone)
    sentence = f"it was to leave on {day:%Y-%m-%d}, before this run began"
    return Reason("too-late", sentence, step.place)


def _has_asked(passage: Passage, step: SendStep) -> bool:
    """Whether another message of the run was not passed over."""
    return any(
        message.step != step.id and message.state != "skipped"
        for message in passage.messages.values()
    )


def coming(passage: Passage) -> Iterator[AtMessage]:
    """The messages that are sure to come, if each leaves when it is due: up to where
    the way hangs on anything.

    The run stands where its campaign begins, or anywhere. What steps do on the way is
    not done.
    """
    while (step := passage.step) is not None:
        since = passage.run.since
        if isinstance(step, SendStep):
            if _is_sure(passage, step):
                since = due_of(passage, step)
                yield AtMessage(step, since)
        elif isinstance(step, Wait):
            since = after_wait(passage, step.duration)
        elif not isinstance(step, Action):
            return
        passage = passage.on(step.next, since)


def _is_sure(passage: Passage, step: SendStep) -> bool:
    """Whether it is known when a message is due: as the one before is done, or by the
    date that the run hangs on."""
    trigger = passage.campaign.trigger
    hung = isinstance(trigger, DateTrigger) and trigger.name
    return step.at is None or step.at.field == hung
