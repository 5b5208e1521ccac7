"""Whether a run goes on at all: its record is there, nothing of `exit_when` has come,
its contact is in the audience."""

from __future__ import annotations

from datetime import datetime

from drip.core.calendar import from_millis, later, millis
from drip.core.campaign import Goal
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.core.lifecycle import Wake
from drip.engine.facts import named
from drip.engine.passages import Passage, began
from drip.storage.people.events import Event


def over(passage: Passage, now: datetime) -> Reason | None:
    """Why the run ends now, wherever it stands."""
    gone = _without_record(passage) if passage.run.record_id else None
    return gone or exited(passage, now)


def _without_record(passage: Passage) -> Reason | None:
    run, campaign, record = passage.run, passage.campaign, passage.record
    if record and record.contact_id == run.contact_id:
        return None
    sentence = f"the {campaign.for_each} is not this contact's any more"
    return Reason("record-gone", sentence, campaign.place)


def exited(passage: Passage, now: datetime) -> Reason | None:
    """Why `exit_when` ends the run, if it does."""
    campaign = passage.campaign
    if campaign.exit_events or campaign.exit_at_goal:
        by_event = _by_event(passage, now) or _by_goal(passage, now)
        if by_event:
            return by_event
    for condition in campaign.exit_conditions:
        if passage.fails(condition) is None:
            sentence = "a condition of `exit_when` holds"
            return Reason("exited", sentence, campaign.place)
    return None


def _by_event(passage: Passage, now: datetime) -> Reason | None:
    facts, contact_id = passage.facts, passage.contact.id
    for name, place in passage.campaign.exit_events.items():
        for event in facts.happened(contact_id, name):
            if counts(passage, event, now):
                return Reason("exited", f"{name} happened", place)
    return None


def _by_goal(passage: Passage, now: datetime) -> Reason | None:
    campaign, facts = passage.campaign, passage.facts
    goal, place = campaign.goal, campaign.exit_at_goal
    if goal is None or place is None:
        return None
    limit = _goal_ends(passage, goal) or now
    for event in facts.happened(passage.contact.id, goal.event):
        in_time = counts(passage, event, now) and event.at <= limit
        if in_time and _is_goal(passage, goal, event):
            sentence = f"the goal is met: {goal.event}"
            return Reason("goal-met", sentence, place)
    return None


def _goal_ends(passage: Passage, goal: Goal) -> datetime | None:
    """Up to when an event counts as the goal; None if for ever."""
    if goal.within is None:
        return None
    holidays = passage.facts.settings.holidays
    return later(
        began(passage),
        goal.within,
        passage.zone,
        holidays,
    )


def _is_goal(
    passage: Passage,
    goal: Goal,
    event: Event,
) -> bool:
    values = passage.values(named(event))
    return goal.where is None or why_not(goal.where, values) is None


def counts(
    passage: Passage,
    event: Event,
    now: datetime,
) -> bool:
    """Whether an event happened since the run began, is about its record, and did not
    start it."""
    in_time = began(passage) <= event.at <= now
    return in_time and about_it(passage, event) and event.id != passage.run.event_id


def about_it(passage: Passage, event: Event) -> bool:
    """Whether an event is not about another record than the run's."""
    run = passage.run
    return not (event.record_id and run.record_id) or event.record_id == run.record_id


def outside(passage: Passage, now: datetime) -> Reason | None:
    """Why the contact is not in the audience any more, if so."""
    audience = passage.campaign.audience
    if audience is None or _has_just_come(passage, now):
        return None
    failure = passage.fails(audience)
    if failure is None:
        return None
    return Reason("not-in-audience", failure.sentence, failure.place)


def _has_just_come(passage: Passage, now: datetime) -> bool:
    """Whether it was asked at this very instant who is in the audience, and nothing has
    become of it since."""
    run = passage.run
    # As `now` reads when it comes back from the database.
    if run.position or run.started_at != from_millis(millis(now)):
        return False
    # Of an event that lay ahead it was asked when that came in.
    lay_ahead = run.event_id is not None and run.since >= run.started_at
    news = run.wake == Wake.LOOKS_AGAIN or run.contact_id in passage.facts.touched
    return not lay_ahead and not news


def ended_or_outside(passage: Passage, now: datetime) -> Reason | None:
    """Why nothing of the run may go any more, wherever it stands: it has ended, or
    would."""
    run, campaign = passage.run, passage.campaign
    if run.code:
        return Reason(run.code, run.sentence or "", campaign.place)
    return exited(passage, now) or outside(passage, now)
