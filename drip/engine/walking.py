"""A run walks through its campaign: to the next message that is due, or to where it waits or ends.

`walk(passage, now)` reads nothing and stores nothing. It returns where the run has come to, and what that brings about.
`coming` is the same way looked at from afar: the messages that are sure to come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from drip.core.calendar import local
from drip.core.campaign import LATE_JOINER, DateTrigger
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.core.lifecycle import Wake
from drip.core.steps import (
    ACTIONS,
    Action,
    Branch,
    End,
    SendStep,
    Split,
    Step,
    Task,
    Wait,
    WaitFor,
    WaitUntil,
    arm_of,
)
from drip.engine.actions import effect_of
from drip.engine.effects import ConfirmationAwaited, Effect, RunChanged
from drip.engine.facts import named
from drip.engine.leaving import about_it, outside, over
from drip.engine.outcomes import ended, put_off, rests, stopping, waits_until
from drip.engine.passages import (
    Passage,
    after_wait,
    began,
    due_of,
    point_of,
    until_of,
)
from drip.storage.people.people import Event


class AtMessage(NamedTuple):
    """The run is at a message that is due; `left_out` is why it is passed over all the same."""

    step: SendStep
    planned_at: datetime
    left_out: Reason | None = None


class Waits(NamedTuple):
    """The run is looked at again at an instant."""

    until: datetime


class Resting(NamedTuple):
    """The run waits for something that no clock knows."""

    why: Wake


class Ended(NamedTuple):
    """The run is over; without a reason it is simply done."""

    reason: Reason | None


Stop = AtMessage | Waits | Resting | Ended


class Walked(NamedTuple):
    """Where a run has come to, the passage as it is there, and what the way brought about, in its order."""

    stop: Stop
    passage: Passage
    effects: tuple[Effect, ...] = ()


@dataclass(slots=True)
class _Way:
    """The effects of the steps so far, while a run walks."""

    effects: list[Effect] = field(default_factory=list)

    def stops(self, stop: Stop, passage: Passage, *more: Effect) -> Walked:
        return Walked(stop, passage, (*self.effects, *more))


# A run that goes on, or where it has stopped.
Taken = Passage | Walked


def walk(passage: Passage, now: datetime) -> Walked:
    """Moves a run on as far as it can go at `now`."""
    start, way = passage, _Way()
    reason = over(passage, now)
    if reason:
        return _end(passage, reason, way, now)
    while (step := passage.step) is not None:
        if isinstance(step, SendStep):
            taken = _at_message(passage, step, way, start, now)
        else:
            taken = _pass(passage, step, way, now)
        if isinstance(taken, Walked):
            return taken
        passage = taken
    return _end(passage, None, way, now)


def coming(passage: Passage) -> Iterator[AtMessage]:
    """The messages that are sure to come, if each leaves when it is due: up to where the way hangs on anything."""
    trigger = passage.campaign.trigger
    hung = trigger.name if isinstance(trigger, DateTrigger) else None
    while (step := passage.step) is not None:
        since = passage.run.since
        match step:
            case SendStep(at=at) if at is None or at.field == hung:
                since = due_of(passage, step)
                yield AtMessage(step, since)
            case Wait(duration=duration):
                since = after_wait(passage, duration)
            case _ if not isinstance(step, SendStep | Action):
                return
        passage = passage.on(step.next, since)


def _end(passage: Passage, reason: Reason | None, way: _Way, now: datetime) -> Walked:
    gone = passage._replace(run=ended(passage.run, reason, now))
    stopped = stopping(passage.messages.values(), reason, now)
    return way.stops(Ended(reason), gone, RunChanged(gone.run), *stopped)


def _wait(passage: Passage, until: datetime, way: _Way, *more: Effect) -> Walked:
    waiting = passage._replace(run=waits_until(passage.run, until))
    return way.stops(Waits(until), waiting, *more, RunChanged(waiting.run))


def _rest(passage: Passage, why: Wake, way: _Way) -> Walked:
    resting = passage._replace(run=rests(passage.run, why))
    return way.stops(Resting(why), resting, RunChanged(resting.run))


# --- messages


def _at_message(
    passage: Passage, step: SendStep, way: _Way, start: Passage, now: datetime
) -> Taken:
    """On, if the message has its end; stopped, if it is on its way, not due yet, or to be judged."""
    run, message = passage.run, passage.messages.get(step.id)
    if message and message.state in ("pending", "sending"):
        return _rest(passage, Wake.WAITS_FOR_MESSAGE, way)
    if message and message.state != "deferred":
        return passage.on(step.next, message.sent_at or message.settled_at or now)
    due = due_of(passage, step)
    if due > now:
        moved = (put_off(message, due),) if message else ()
        return _wait(passage, due, way, *moved)
    reason = outside(passage, now)
    if reason:
        return _end(passage, reason, way, now)
    changed = () if passage.run is start.run else (RunChanged(run),)
    return way.stops(
        AtMessage(step, due, left_out(passage, step, due)), passage, *changed
    )


def left_out(passage: Passage, step: SendStep, due: datetime) -> Reason | None:
    """Why a message is passed over: nobody confirmed, its date is unknown or long over, or its `only_if`."""
    if passage.facts.unconfirmed(passage.contact) and _has_asked(passage, step):
        sentence = "nobody has confirmed this sign-up, and was asked once"
        return Reason("no-consent", sentence, step.place)
    if step.at is not None:
        dated = _by_date(passage, step, due)
        if dated:
            return dated
    failure = passage.fails(step.only_if) if step.only_if else None
    if failure is None:
        return None
    return Reason("only-if", f"only_if: {failure.sentence}", failure.place)


def _by_date(passage: Passage, step: SendStep, due: datetime) -> Reason | None:
    """Why a message that hangs on a date makes no sense: that is unknown, or was over long before the run began."""
    assert step.at
    if point_of(passage, step.at) is None:
        sentence = f"{step.at.field} is unknown, and the message hangs on it"
        return Reason("no-date", sentence, step.place)
    # Of a late joiner: one with a `grace` is judged by that.
    long_over = step.grace is None and _over_before(passage, due)
    if not long_over or step.id in passage.messages:
        return None
    day = local(due, passage.zone)
    sentence = f"it was to leave on {day:%Y-%m-%d}, before this run began"
    return Reason("too-late", sentence, step.place)


def _over_before(passage: Passage, due: datetime) -> bool:
    """Whether something was over so long before the run began that it is not made up for."""
    return due + LATE_JOINER < passage.run.started_at


def _has_asked(passage: Passage, step: SendStep) -> bool:
    """Whether another message of the run was not passed over."""
    return any(
        message.step != step.id and message.state != "skipped"
        for message in passage.messages.values()
    )


# --- other steps


def _pass(passage: Passage, step: Step, way: _Way, now: datetime) -> Taken:
    """Takes a run through a step that is no message."""
    if isinstance(step, Task) and step.at is not None:
        due = point_of(passage, step.at) or passage.run.since
        if due > now:
            return _wait(passage, due, way)
        # What follows counts from this date.
        passage = passage.on(passage.run.position, max(due, passage.run.since))
        if _over_before(passage, due):
            return passage.on(step.next, passage.run.since)
    if step.only_if and passage.fails(step.only_if):
        return passage.on(step.next, passage.run.since)
    return _take(passage, step, way, now)


def _take(passage: Passage, step: Step, way: _Way, now: datetime) -> Taken:
    match step:
        case End():
            return _end(passage, None, way, now)
        case Wait(duration=duration):
            return _until(passage, step, after_wait(passage, duration), way, now)
        case WaitUntil(until=until):
            return _until(passage, step, until_of(passage, until), way, now)
        case WaitFor():
            return _wait_for(passage, step, way, now)
        case Branch():
            return passage.on(_chosen(passage, step), passage.run.since)
        case Split():
            return _split(passage, step, now)
    assert isinstance(step, ACTIONS)
    return _do(passage, step, way, now)


def _until(
    passage: Passage, step: Step, until: datetime, way: _Way, now: datetime
) -> Taken:
    if until > now:
        return _wait(passage, until, way)
    return passage.on(step.next, max(until, passage.run.since))


def _chosen(passage: Passage, branch: Branch) -> int:
    """Where the first arm leads whose condition holds."""
    values = passage.values(passage.heard)
    for condition, position in branch.arms:
        if why_not(condition, values) is None:
            return position
    return branch.otherwise


def _split(passage: Passage, split: Split, now: datetime) -> Passage:
    campaign = passage.campaign
    arm = passage.facts.winners.get((campaign.key, split.id))
    if arm is None:
        arm = arm_of(split, passage.contact.key, campaign.key)
    came = {split.id: {"arm": arm, "at": now.timestamp()}}
    there = passage.on(split.arms[arm][1], passage.run.since)
    return there._replace(
        run=replace(there.run, arms={**(passage.run.arms or {}), **came})
    )


def _do(passage: Passage, step: Action, way: _Way, now: datetime) -> Passage:
    """Does what a step says. A stranger's address gets no points, codes, tags, consents, and no call."""
    if not passage.facts.unconfirmed(passage.contact):
        effect = effect_of(step, passage, now)
        if effect:
            way.effects.append(effect)
            passage = passage.after(effect)
    return passage.on(step.next, passage.run.since)


# --- events


def _wait_for(passage: Passage, step: WaitFor, way: _Way, now: datetime) -> Taken:
    limit = after_wait(passage, step.up_to) if step.up_to else None
    event = _heard_of(passage, step, min(limit or now, now))
    if event:
        return _having_heard(passage, event).on(
            step.next, max(event.at, passage.run.since)
        )
    if limit is None:
        return _rest(passage, Wake.WAITS_FOR_EVENT, way)
    if limit <= now:
        return passage.on(step.otherwise, limit)
    asks_back = step.event == passage.campaign.asks_back
    if asks_back and passage.facts.unconfirmed(passage.contact):
        contact_id, run_id = passage.contact.id, passage.run.id
        way.effects.append(ConfirmationAwaited(contact_id, run_id, limit))
    return _wait(passage, limit, way)


def _heard_of(passage: Passage, step: WaitFor, until: datetime) -> Event | None:
    """The first such event since the run began that it has not waited for already."""
    since = began(passage)
    known = {*(passage.run.heard or {}).values(), passage.run.event_id}
    for event in passage.facts.happened(passage.contact.id, step.event):
        in_time = since <= event.at <= until
        new = event.id not in known and about_it(passage, event)
        if in_time and new and _meets(passage, step, event):
            return event
    return None


def _meets(passage: Passage, step: WaitFor, event: Event) -> bool:
    if step.where is None:
        return True
    values = passage.values({**passage.heard, **named(event)})
    return why_not(step.where, values) is None


def _having_heard(passage: Passage, event: Event) -> Passage:
    """By its name for what follows, and by its number so that it does not count for another wait."""
    prefix = event.name.partition(".")[0]
    heard = {**(passage.run.heard or {}), prefix: event.id, f"#{event.id}": event.id}
    return passage._replace(run=replace(passage.run, heard=heard))
