"""A passage: one run with all that is known about it, and when its steps are due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from drip.core.calendar import (
    Duration,
    at_minute,
    instant,
    is_business_day,
    later,
    local,
    shift,
    zone,
)
from drip.core.campaign import LATE_JOINER, Campaign, DateTrigger, step_at
from drip.core.conditions import Condition, Facts, Failure, why_not
from drip.core.steps import FixedTime, NextClock, Point, SendStep, Step, Until
from drip.engine.dates import entry_instant
from drip.engine.effects import StepEffect
from drip.engine.facts import ContactFacts
from drip.storage.campaigns.runs import Run
from drip.storage.people.contacts import Contact
from drip.storage.people.events import Event
from drip.storage.people.records import Record
from drip.storage.sending.outbox import OutboxMessage


class Passage(NamedTuple):
    """A run at a step of its campaign, with what is known of its contact; `messages`
    are the run's, by step.

    A value: moving on, or seeing what a step did, makes another one.
    """

    run: Run
    campaign: Campaign
    contact: Contact
    zone: ZoneInfo
    facts: ContactFacts
    messages: Mapping[str, OutboxMessage]

    @property
    def step(self) -> Step | None:
        """The step at which the run stands; None if it is through, or the campaign
        cannot place it."""
        return step_at(self.campaign, self.run.position)

    @property
    def record(self) -> Record | None:
        """The record that the run is about."""
        return self.facts.records.get(self.run.record_id)

    @property
    def heard(self) -> dict[str, Event]:
        """The events that the run knows, by what their fields are called by."""
        return self.facts.heard(self.run.event_id, self.run.heard)

    def on(self, position: int, since: datetime) -> Passage:
        """The same, gone on: what follows counts from `since`."""
        run = self.run.copy()
        run.position, run.since = position, since
        return self.of(run)

    def of(self, run: Run) -> Passage:
        """The same, of the run as it is now. `_replace` takes twice as long, and this
        is done at every step."""
        return Passage(
            run,
            self.campaign,
            self.contact,
            self.zone,
            self.facts,
            self.messages,
        )

    def after(self, effect: StepEffect) -> Passage:
        """The same, with what a step has done."""
        facts = effect.seen_in(self.facts)
        contact = facts.contacts[self.contact.id]
        return self._replace(
            facts=facts, contact=contact, zone=zone(facts.zone_of(contact))
        )

    def fails(self, condition: Condition) -> Failure | None:
        """Why a condition does not hold for the run; None if it does."""
        return why_not(condition, self.values(self.heard))

    def values(self, heard: Mapping[str, Event]) -> Facts:
        """What conditions of the run read, with the fields of these events."""
        return self.facts.facts(
            self.contact,
            self.record,
            heard,
            began(self),
        )


def passage_of(
    run: Run,
    campaign: Campaign,
    facts: ContactFacts,
    messages: Mapping[str, OutboxMessage],
) -> Passage:
    """A run with what is known."""
    contact = facts.contacts[run.contact_id]
    where = zone(contact.zone or facts.settings.timezone)
    return Passage(
        run,
        campaign,
        contact,
        where,
        facts,
        messages,
    )


def began(passage: Passage) -> datetime:
    """From when on an event counts: the trigger's own time, which may lie before the
    run was started."""
    run, facts = passage.run, passage.facts
    trigger_event = facts.events.get(run.event_id or 0)
    if trigger_event:
        return min(run.started_at, trigger_event.at)
    campaign = passage.campaign
    if run.anchor and isinstance(campaign.trigger, DateTrigger):
        anchor = date.fromisoformat(run.anchor)
        zone_name = facts.zone_of(passage.contact)
        planned = entry_instant(campaign, anchor, zone_name)
        return min(run.started_at, planned)
    return run.started_at


def due_of(passage: Passage, step: SendStep) -> datetime:
    """When a message is due: at its date, or else as soon as the step before is
    done."""
    since = passage.run.since
    return since if step.at is None else point_of(passage, step.at) or since


def over_before(passage: Passage, due: datetime) -> bool:
    """Whether something was over so long before the run began that it is not made up
    for."""
    return due + LATE_JOINER < passage.run.started_at


def point_of(passage: Passage, point: Point) -> datetime | None:
    """When a moment that hangs on a date is; None if the date is unknown."""
    day = _day(passage, point.field)
    if not isinstance(day, date):
        return None
    timezone = passage.campaign.timezone
    where = zone(timezone) if timezone else passage.zone
    return at_minute(shift(day, point.offset), point.opens, where)


def _day(passage: Passage, field: str) -> object:
    """The date of a field, as far as it is known; what is no date is returned as it
    is."""
    anchor, trigger = passage.run.anchor, passage.campaign.trigger
    if anchor and isinstance(trigger, DateTrigger) and field == trigger.name:
        return date.fromisoformat(anchor)
    if field == "coupon.expires":
        return _expires(passage)
    values = passage.values(passage.heard).values
    return values.get(field)


def _expires(passage: Passage) -> date | None:
    """The last day of the run's newest code."""
    codes = passage.facts.codes.get(passage.run.id, ())
    expires = codes[-1].expires if codes else None
    return date.fromisoformat(expires) if expires else None


def until_of(passage: Passage, until: Until) -> datetime:
    """When a `wait: until …` is over."""
    since, holidays = passage.run.since, passage.facts.settings.holidays
    match until:
        case Point():
            return point_of(passage, until) or since
        case FixedTime(wall):
            return instant(wall, passage.zone)
        case NextClock():
            return next_clock(
                until,
                since,
                passage.zone,
                holidays,
            )


def after_wait(passage: Passage, wait: Duration) -> datetime:
    """When so much time is over since the step before was done."""
    holidays = passage.facts.settings.holidays
    return later(
        passage.run.since,
        wait,
        passage.zone,
        holidays,
    )


def next_clock(
    until: NextClock,
    since: datetime,
    where: ZoneInfo,
    holidays: frozenset[date],
) -> datetime:
    """The next time it is `until.minute` on such a day; `next business day` and
    `tomorrow` are never today."""
    day = local(since, where).date()
    if until.day != "day":
        day += timedelta(days=1)
    while True:
        at = at_minute(day, until.minute, where)
        if _fits(day, until, holidays) and at > since:
            return at
        day += timedelta(days=1)


def _fits(
    day: date,
    until: NextClock,
    holidays: frozenset[date],
) -> bool:
    if until.day == "business day":
        return is_business_day(day, holidays)
    return until.weekday is None or day.weekday() == until.weekday
