"""A run walks through its campaign: to the next message that is due, or to where it waits or ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from drip.core.calendar import (
    at_minute,
    from_millis,
    instant,
    is_business_day,
    later,
    local,
    millis,
    shift,
    zone,
)
from drip.core.campaign import LATE_JOINER, Campaign, DateTrigger
from drip.core.conditions import Facts, why_not
from drip.core.decide import Reason
from drip.core.lifecycle import UNSENT
from drip.core.steps import (
    ACTIONS,
    Branch,
    End,
    FixedTime,
    NextClock,
    Point,
    SendStep,
    Split,
    Step,
    Task,
    Until,
    Wait,
    WaitFor,
    WaitUntil,
    arm_of,
)
from drip.engine.actions import Actions
from drip.engine.changes import Changes
from drip.engine.dates import entry_instant
from drip.engine.facts import ContactFacts, heard_by
from drip.storage.campaigns.runs import NEVER, Run
from drip.storage.people.contacts import Contact
from drip.storage.people.events import Event
from drip.storage.sending.outbox import OutboxMessage


class Arrived(NamedTuple):
    """A run at a message whose time has come."""

    step: SendStep
    planned_at: datetime


# Which arm of a split goals speak for, or None while it is too early to tell.
Winner = Callable[[Campaign, Split], int | None]


class Walker:
    """Walks the runs of one batch. `told` are their messages, by run, then by step."""

    def __init__(
        self,
        facts: ContactFacts,
        changes: Changes,
        actions: Actions,
        told: Mapping[int, Mapping[str, OutboxMessage]],
        winner: Winner,
    ) -> None:
        self._facts, self._changes, self._actions, self._winner = (
            facts,
            changes,
            actions,
            winner,
        )
        self._told, self._now = told, changes.now
        # As it reads when it comes back from the database.
        self._kept_now = from_millis(millis(changes.now))

    def walk(self, run: Run, campaign: Campaign, contact: Contact) -> Arrived | None:
        """Moves a run on as far as it can go now. Returns the message that it has come to, if one is due."""
        over = self.over(run, campaign, contact)
        if over:
            self.end(run, over)
            return None
        while run.position < len(campaign.steps):
            step = campaign.steps[run.position]
            if isinstance(step, SendStep):
                arrived = self._at_send(run, campaign, step, contact)
                if arrived is None:
                    self._changes.changed(run)
                if arrived or not run.active or run.next_due_at != self._now:
                    return arrived
                continue
            self._changes.changed(run)
            if not self._pass(run, campaign, step, contact):
                return None
        self.end(run, None)
        return None

    def end(self, run: Run, reason: Reason | None) -> None:
        """Ends a run, and what it left waiting."""
        self._changes.end(
            run, reason, self._told.get(run.id, {}).values() if reason else ()
        )

    # --- steps

    def _at_send(
        self, run: Run, campaign: Campaign, step: SendStep, contact: Contact
    ) -> Arrived | None:
        """`next_due_at` is now when the run has gone on from this step."""
        told = self._told.get(run.id, {}).get(step.id)
        if told and told.state in ("pending", "sending"):
            run.next_due_at = NEVER
            return None
        if told and told.state not in UNSENT:
            self._go(run, step.next, told.sent_at or told.settled_at or self._now)
            return None
        due = self._due_at(run, campaign, step, contact)
        if due > self._now:
            run.next_due_at = due
            if told:
                # Its date moved away meanwhile.
                told.planned_at = told.due_at = due
                self._changes.message(told)
            return None
        outside = self.outside(run, campaign, contact)
        if outside:
            self.end(run, outside)
            return None
        run.next_due_at = None
        return Arrived(step, due)

    def _over_before(self, run: Run, step: SendStep, due: datetime) -> bool:
        """Whether a step that never expires was over long before the run began: a late joiner's."""
        return (
            step.at is not None
            and step.grace is None
            and due + LATE_JOINER < run.started_at
        )

    def left_out(
        self, run: Run, campaign: Campaign, step: SendStep, contact: Contact
    ) -> Reason | None:
        """Why a message is passed over: its date is unknown or was over long before the run began, or its `only_if`."""
        told = self._told.get(run.id, {}).get(step.id)
        if self._facts.unconfirmed(contact) and self._has_asked(run, step):
            return Reason(
                "no-consent",
                "nobody has confirmed this sign-up, and was asked once",
                step.place,
            )
        if step.at is None and step.only_if is None:
            return None
        if step.at is not None and self._point(run, campaign, step.at, contact) is None:
            return Reason(
                "no-date",
                f"{step.at.field} is unknown, and the message hangs on it",
                step.place,
            )
        due = self._due_at(run, campaign, step, contact)
        if told is None and self._over_before(run, step, due):
            sentence = f"it was to leave on {local(due, zone(self._facts.zone_of(contact))):%Y-%m-%d}, before this run began"
            return Reason("too-late", sentence, step.place)
        if step.only_if is None:
            return None
        failure = why_not(step.only_if, self.values(run, campaign, contact))
        return (
            Reason("only-if", f"only_if: {failure.sentence}", failure.place)
            if failure
            else None
        )

    def _has_asked(self, run: Run, step: SendStep) -> bool:
        """Whether another message of the run was not passed over."""
        return any(
            each.step != step.id and each.state != "skipped"
            for each in self._told.get(run.id, {}).values()
        )

    def _pass(self, run: Run, campaign: Campaign, step: Step, contact: Contact) -> bool:
        """Takes a run through a step that is no message; False if it has to wait there, or has ended."""
        if isinstance(step, Task) and step.at is not None:
            due = self._point(run, campaign, step.at, contact) or run.since
            if due > self._now:
                run.next_due_at = due
                return False
            # What follows counts from this date.
            run.since = max(due, run.since)
            if due + LATE_JOINER < run.started_at:
                return self._go(run, step.next, run.since)
        if step.only_if and why_not(step.only_if, self.values(run, campaign, contact)):
            return self._go(run, step.next, run.since)
        match step:
            case End():
                self.end(run, None)
                return False
            case Wait(duration=duration):
                where = zone(self._facts.zone_of(contact))
                return self._wait(
                    run,
                    step,
                    later(run.since, duration, where, self._facts.settings.holidays),
                )
            case WaitUntil(until=until):
                return self._wait(run, step, self._until(run, campaign, until, contact))
            case WaitFor():
                return self._wait_for(run, campaign, step, contact)
            case Branch(arms=arms, otherwise=otherwise):
                values = self.values(run, campaign, contact)
                chosen = (
                    position
                    for condition, position in arms
                    if why_not(condition, values) is None
                )
                return self._go(run, next(chosen, otherwise), run.since)
            case Split():
                return self._split(run, campaign, step, contact)
        assert isinstance(step, ACTIONS)
        # A stranger's address gets no points, codes, tags, consents, and no call.
        if not self._facts.unconfirmed(contact):
            self._actions.do(step, run, campaign, contact, self.heard(run))
        return self._go(run, step.next, run.since)

    def _go(self, run: Run, position: int, since: datetime) -> bool:
        run.position, run.since, run.next_due_at = position, since, self._now
        return True

    def _wait(self, run: Run, step: Step, until: datetime) -> bool:
        if until > self._now:
            run.next_due_at = until
            return False
        return self._go(run, step.next, max(until, run.since))

    def _wait_for(
        self, run: Run, campaign: Campaign, step: WaitFor, contact: Contact
    ) -> bool:
        where = zone(self._facts.zone_of(contact))
        limit = (
            later(run.since, step.up_to, where, self._facts.settings.holidays)
            if step.up_to
            else None
        )
        event = self._heard_of(run, campaign, step, contact, limit or self._now)
        if event:
            # By its name for what follows, and by its number so that it does not count for another wait.
            run.heard = {
                **(run.heard or {}),
                event.name.partition(".")[0]: event.id,
                f"#{event.id}": event.id,
            }
            return self._go(run, step.next, max(event.at, run.since))
        if limit is not None and limit <= self._now:
            return self._go(run, step.otherwise, limit)
        run.next_due_at = limit or NEVER
        if (
            limit
            and step.event == campaign.asks_back
            and self._facts.unconfirmed(contact)
        ):
            self._actions.wait_for_confirmation(run, limit)
        return False

    def _heard_of(
        self,
        run: Run,
        campaign: Campaign,
        step: WaitFor,
        contact: Contact,
        limit: datetime,
    ) -> Event | None:
        """The first such event since the run began that it has not waited for already."""
        began = self.began(run, campaign, contact)
        known = set((run.heard or {}).values()) | {run.event_id}
        for event in self._facts.happened(contact.id, step.event):
            about_it = (
                not (event.record_id and run.record_id)
                or event.record_id == run.record_id
            )
            if (
                event.id in known
                or not about_it
                or not began <= event.at <= min(limit, self._now)
            ):
                continue
            if step.where is None:
                return event
            heard = {
                **self.heard(run),
                "event": event,
                event.name.partition(".")[0]: event,
            }
            record = self._facts.records.get(run.record_id)
            if (
                why_not(step.where, self._facts.facts(contact, record, heard, began))
                is None
            ):
                return event
        return None

    def _split(
        self, run: Run, campaign: Campaign, step: Split, contact: Contact
    ) -> bool:
        arm = self._winner(campaign, step)
        if arm is None:
            arm = arm_of(step, contact.key, campaign.key)
        run.arms = {
            **(run.arms or {}),
            step.id: {"arm": arm, "at": self._now.timestamp()},
        }
        return self._go(run, step.arms[arm][1], run.since)

    # --- times

    def _due_at(
        self, run: Run, campaign: Campaign, step: SendStep, contact: Contact
    ) -> datetime:
        if step.at is None:
            return run.since
        return self._point(run, campaign, step.at, contact) or run.since

    def _point(
        self, run: Run, campaign: Campaign, point: Point, contact: Contact
    ) -> datetime | None:
        """When a moment that hangs on a date is; None if the date is unknown."""
        where = zone(campaign.timezone or self._facts.zone_of(contact))
        trigger = campaign.trigger
        if (
            isinstance(trigger, DateTrigger)
            and point.field == trigger.name
            and run.anchor
        ):
            day: object = date.fromisoformat(run.anchor)
        elif point.field == "coupon.expires":
            codes = self._facts.codes.get(run.id, ())
            day = (
                date.fromisoformat(codes[-1].expires)
                if codes and codes[-1].expires
                else None
            )
        else:
            day = self.values(run, campaign, contact).values.get(point.field)
        return (
            at_minute(shift(day, point.offset), point.opens, where)
            if isinstance(day, date)
            else None
        )

    def _until(
        self, run: Run, campaign: Campaign, until: Until, contact: Contact
    ) -> datetime:
        where = zone(self._facts.zone_of(contact))
        match until:
            case Point():
                return self._point(run, campaign, until, contact) or run.since
            case FixedTime(wall):
                return instant(wall, where)
            case NextClock():
                return next_clock(
                    until, run.since, where, self._facts.settings.holidays
                )

    def began(self, run: Run, campaign: Campaign, contact: Contact) -> datetime:
        """From when on an event counts: the trigger's own time, which may lie before the run was started."""
        if run.event_id in self._facts.events:
            return min(run.started_at, self._facts.events[run.event_id].at)
        if isinstance(campaign.trigger, DateTrigger) and run.anchor:
            anchor = date.fromisoformat(run.anchor)
            planned = entry_instant(campaign, anchor, self._facts.zone_of(contact))
            return min(run.started_at, planned)
        return run.started_at

    # --- whether it goes on at all

    def over(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        """Why the run ends now, wherever it stands."""
        return self._gone(run, campaign) or self.exited(run, campaign, contact)

    def _gone(self, run: Run, campaign: Campaign) -> Reason | None:
        record = self._facts.records.get(run.record_id)
        if run.record_id and (record is None or record.contact_id != run.contact_id):
            return Reason(
                "record-gone",
                f"the {campaign.for_each} is not this contact's any more",
                campaign.place,
            )
        return None

    def exited(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        """Why `exit_when` ends the run, if it does."""
        if campaign.exit_events or campaign.exit_at_goal:
            began = self.began(run, campaign, contact)
            for name, place in campaign.exit_events.items():
                if self._happened(run, name, began, contact):
                    return Reason("exited", f"{name} happened", place)
            if campaign.exit_at_goal and self._goal_met(run, campaign, began, contact):
                assert campaign.goal
                return Reason(
                    "goal-met",
                    f"the goal is met: {campaign.goal.event}",
                    campaign.exit_at_goal,
                )
        for condition in campaign.exit_conditions:
            if why_not(condition, self.values(run, campaign, contact)) is None:
                return Reason(
                    "exited", "a condition of `exit_when` holds", campaign.place
                )
        return None

    def _happened(self, run: Run, name: str, began: datetime, contact: Contact) -> bool:
        return any(
            self._counts(run, event, began)
            for event in self._facts.happened(contact.id, name)
        )

    def _counts(self, run: Run, event: Event, began: datetime) -> bool:
        about_it = (
            not (event.record_id and run.record_id) or event.record_id == run.record_id
        )
        return about_it and began <= event.at <= self._now and event.id != run.event_id

    def _goal_met(
        self, run: Run, campaign: Campaign, began: datetime, contact: Contact
    ) -> bool:
        goal = campaign.goal
        assert goal
        where = zone(self._facts.zone_of(contact))
        limit = (
            later(began, goal.within, where, self._facts.settings.holidays)
            if goal.within
            else self._now
        )
        for event in self._facts.happened(contact.id, goal.event):
            if not self._counts(run, event, began) or event.at > limit:
                continue
            heard = {"event": event, event.name.partition(".")[0]: event}
            record = self._facts.records.get(run.record_id)
            if (
                goal.where is None
                or why_not(goal.where, self._facts.facts(contact, record, heard, began))
                is None
            ):
                return True
        return False

    def outside(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        """Why the contact is not in the audience any more, if so."""
        if campaign.audience is None or self._has_just_come(run):
            return None
        failure = why_not(campaign.audience, self.values(run, campaign, contact))
        return (
            Reason("not-in-audience", failure.sentence, failure.place)
            if failure
            else None
        )

    def _has_just_come(self, run: Run) -> bool:
        """Whether it was asked at this very instant who is in the audience, and nothing has become of it since."""
        if run.position or run.started_at != self._kept_now:
            return False
        # Of an event that lay ahead it was asked when that came in.
        lay_ahead = run.event_id is not None and run.since >= run.started_at
        return not (
            lay_ahead
            or run.next_due_at is None
            or self._actions.touched(run.contact_id)
        )

    def values(self, run: Run, campaign: Campaign, contact: Contact) -> Facts:
        """What conditions of the run's campaign read."""
        record = self._facts.records.get(run.record_id)
        return self._facts.facts(
            contact, record, self.heard(run), self.began(run, campaign, contact)
        )

    def heard(self, run: Run) -> dict[str, Event]:
        return heard_by(self._facts, run.event_id, run.heard)


def next_clock(
    until: NextClock, since: datetime, where: ZoneInfo, holidays: frozenset[date]
) -> datetime:
    """The next time it is `until.minute` on such a day; `next business day` and `tomorrow` are never today."""
    wall = local(since, where)
    day = wall.date() + timedelta(days=1) if until.day != "day" else wall.date()
    while True:
        fits = until.weekday is None or day.weekday() == until.weekday
        if until.day == "business day":
            fits = is_business_day(day, holidays)
        at = at_minute(day, until.minute, where)
        if fits and at > since:
            return at
        day += timedelta(days=1)
