"""One step that is no message: where a run goes on after it, or why it stops there, and
what it does.

A kind of step has its case in `take`; what a step does to a contact is in
`engine.actions`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

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
from drip.engine.effects import ConfirmationAwaited, Effect
from drip.engine.facts import named
from drip.engine.leaving import about_it
from drip.engine.outcomes import ended, rests, stopping, waits_until
from drip.engine.passages import (
    Passage,
    after_wait,
    began,
    over_before,
    point_of,
    until_of,
)
from drip.storage.people.events import Event


class AtMessage(NamedTuple):
    """The run is at a message that is due; `left_out` is why it is passed over all the
    same."""

    step: SendStep
    planned_at: datetime
    left_out: Reason | None = None


class Waits(NamedTuple):
    """The run is looked at again at an instant."""

    until: datetime


class Resting(NamedTuple):
    """The run waits for something that no clock knows."""

    why: Wake


class AtEnd(NamedTuple):
    """The run is over; without a reason it is simply done."""

    reason: Reason | None


Stop = AtMessage | Waits | Resting | AtEnd


class Taken(NamedTuple):
    """A run after a step, or, with a `stop`, where it stays; and what the step brought
    about."""

    passage: Passage
    stop: Stop | None = None
    effects: tuple[Effect, ...] = ()


def goes_on(
    passage: Passage,
    position: int,
    since: datetime,
) -> Taken:
    """On at a position; what follows counts from `since`."""
    return Taken(passage.on(position, since))


def waits(
    passage: Passage,
    until: datetime,
    effect: Effect | None = None,
) -> Taken:
    """Stopped, up to an instant."""
    waiting = passage.of(waits_until(passage.run, until))
    effects = (effect,) if effect else ()
    return Taken(waiting, Waits(until), effects)


def rests_for(passage: Passage, why: Wake) -> Taken:
    """Stopped, until something comes that no clock knows."""
    resting = passage.of(rests(passage.run, why))
    return Taken(resting, Resting(why))


def ends(
    passage: Passage,
    reason: Reason | None,
    now: datetime,
) -> Taken:
    """Over, and with it, where there is a reason, what of the run's messages has not
    left."""
    messages = passage.messages.values()
    stopped = stopping(messages, reason, now)
    gone = passage.of(ended(passage.run, reason, now))
    return Taken(gone, AtEnd(reason), tuple(stopped))


def take(
    step: Step,
    passage: Passage,
    now: datetime,
) -> Taken:
    """Takes a run through a step that is no message."""
    if isinstance(step, Task) and step.at is not None:
        due = point_of(passage, step.at) or passage.run.since
        if due > now:
            return waits(passage, due)
        # What follows counts from this date.
        since = max(due, passage.run.since)
        passage = passage.on(passage.run.position, since)
        if over_before(passage, due):
            return goes_on(passage, step.next, since)
    if step.only_if and passage.fails(step.only_if):
        return goes_on(passage, step.next, passage.run.since)
    return _take(step, passage, now)


def _take(
    step: Step,
    passage: Passage,
    now: datetime,
) -> Taken:
    match step:
        case End():
            return ends(passage, None, now)
        case Wait(duration=duration):
            until = after_wait(passage, duration)
            return _wait(
                step,
                passage,
                until,
                now,
            )
        case WaitUntil(until=moment):
            until = until_of(passage, moment)
            return _wait(
                step,
                passage,
                until,
                now,
            )
        case WaitFor():
            return _wait_for(step, passage, now)
        case Branch():
            return _branch(step, passage)
        case Split():
            return _split(step, passage, now)
    assert isinstance(step, ACTIONS)
    return _do(step, passage, now)


def _wait(
    step: Step,
    passage: Passage,
    until: datetime,
    now: datetime,
) -> Taken:
    if until > now:
        return waits(passage, until)
    since = max(until, passage.run.since)
    return goes_on(passage, step.next, since)


def _branch(branch: Branch, passage: Passage) -> Taken:
    """On where the first arm leads whose condition holds."""
    since = passage.run.since
    values = passage.values(passage.heard)
    for condition, position in branch.arms:
        if why_not(condition, values) is None:
            return goes_on(passage, position, since)
    return goes_on(passage, branch.otherwise, since)


def _split(
    split: Split,
    passage: Passage,
    now: datetime,
) -> Taken:
    """On in the arm that has won, or else in the one that the contact always gets."""
    run, campaign = passage.run, passage.campaign
    arm = passage.facts.winners.get((campaign.key, split.id))
    if arm is None:
        arm = arm_of(split, passage.contact.key, campaign.key)
    _, position = split.arms[arm]
    came = {"arm": arm, "at": now.timestamp()}
    arms = {**(run.arms or {}), split.id: came}
    there = passage.on(position, run.since)
    there.run.arms = arms
    return Taken(there)


def _do(
    step: Action,
    passage: Passage,
    now: datetime,
) -> Taken:
    """Does what a step says. A stranger's address gets no points, codes, tags,
    consents, and no call."""
    position, since = step.next, passage.run.since
    if passage.facts.unconfirmed(passage.contact):
        return goes_on(passage, position, since)
    effect = effect_of(step, passage, now)
    if effect is None:
        return goes_on(passage, position, since)
    after = passage.after(effect)
    return Taken(after.on(position, since), effects=(effect,))


# --- events


def _wait_for(
    step: WaitFor,
    passage: Passage,
    now: datetime,
) -> Taken:
    """On, if the event has come, or if it can come no more; else stopped."""
    limit = after_wait(passage, step.up_to) if step.up_to else None
    until = min(limit, now) if limit else now
    event = _awaited(step, passage, until)
    if event:
        since = max(event.at, passage.run.since)
        return goes_on(_having_heard(passage, event), step.next, since)
    if limit is None:
        return rests_for(passage, Wake.WAITS_FOR_EVENT)
    if limit <= now:
        return goes_on(passage, step.otherwise, limit)
    return waits(passage, limit, _confirmation(step, passage, limit))


def _confirmation(
    step: WaitFor,
    passage: Passage,
    limit: datetime,
) -> ConfirmationAwaited | None:
    """A sign-up can be confirmed as long as the run that asks for it waits."""
    asks_back = step.event == passage.campaign.asks_back
    if not asks_back or not passage.facts.unconfirmed(passage.contact):
        return None
    return ConfirmationAwaited(passage.contact.id, passage.run.id, limit)


def _awaited(
    step: WaitFor,
    passage: Passage,
    until: datetime,
) -> Event | None:
    """The first such event since the run began that it has not waited for already."""
    run, since = passage.run, began(passage)
    known = {*(run.heard or {}).values(), run.event_id}
    for event in passage.facts.happened(passage.contact.id, step.event):
        in_time = since <= event.at <= until
        new = event.id not in known and about_it(passage, event)
        if in_time and new and _meets(step, passage, event):
            return event
    return None


def _meets(
    step: WaitFor,
    passage: Passage,
    event: Event,
) -> bool:
    if step.where is None:
        return True
    values = passage.values({**passage.heard, **named(event)})
    return why_not(step.where, values) is None


def _having_heard(passage: Passage, event: Event) -> Passage:
    """By its name for what follows, and by its number so that it does not count for
    another wait."""
    prefix = event.name.partition(".")[0]
    heard = {
        **(passage.run.heard or {}),
        prefix: event.id,
        f"#{event.id}": event.id,
    }
    run = passage.run.copy()
    run.heard = heard
    return passage.of(run)
