"""One batch of contacts, brought up to date: runs walk to their next message, messages are judged.

Everything about a contact happens inside one write transaction: what is read, what is decided, what is
stored. So a slot that a grant takes is taken before anyone else can count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from drip.core.calendar import later, millis, zone
from drip.core.campaign import Campaign
from drip.core.caps import Use, longest_memory
from drip.core.decide import Candidate, Defer, Person, Reason, Send, Skip, decide
from drip.core.lifecycle import MessageState
from drip.core.steps import IssueCoupon, SendStep, Split, WaitFor
from drip.engine.actions import Actions
from drip.engine.campaign_set import CampaignSet
from drip.engine.catch_up import follow_runs
from drip.engine.changes import Changes
from drip.engine.facts import ContactFacts
from drip.engine.goals import met
from drip.engine.reserving import Reservation, reservations
from drip.engine.walking import Walker
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import NEVER, Run
from drip.storage.operating import lost_time
from drip.storage.people.contacts import Contact
from drip.storage.sending import outbox
from drip.storage.sending.outbox import OutboxMessage
from drip.storage.sending.usage import near_a_limit, uses_of

# How long a run rests whose campaign version today's settings do not fit.
UNREADABLE_AGAIN = timedelta(hours=1)


@dataclass(slots=True)
class Due:
    """A message to be judged: the run's next one, or one that waits in the outbox to be judged again."""

    run: Run
    campaign: Campaign
    step: SendStep
    message: OutboxMessage | None
    candidate: Candidate
    at_step: bool


@dataclass(frozen=True, slots=True)
class Texts:
    """What judging asks the templates: whether there is content for an occurrence, and a task's title filled in."""

    has_content: Callable[[str, str], bool]
    fill: Callable[[str, Mapping[str, Any]], str]


def candidate_of(
    campaign_set: CampaignSet,
    facts: ContactFacts,
    contact: Contact,
    campaign: Campaign,
    step: SendStep,
    planned_at: datetime,
    has_content: bool,
    ended: Reason | None = None,
    ready_at: datetime | None = None,
) -> Candidate:
    """A step's message as `decide` sees it."""
    caps = (
        ()
        if step.transactional or not campaign.obeys_caps
        else (*campaign_set.settings.caps, *campaign.caps)
    )
    paused, until = campaign_set.paused(campaign), None
    if (
        paused is None
        and not step.transactional
        and (held := facts.paused(contact, campaign.topic))
    ):
        until, paused = held
    return Candidate(
        campaign=campaign.key,
        step=step.id,
        topic=campaign.topic,
        channels=step.channels,
        planned_at=planned_at,
        ready_at=ready_at or planned_at,
        when_late=campaign.when_late,
        grace=step.grace,
        window=step.window,
        window_place=step.window_place,
        transactional=step.transactional,
        caps=tuple(
            cap
            for cap in caps
            if any(
                cap.counts(each, campaign.topic, campaign.key) for each in step.channels
            )
        ),
        wait_when_capped=campaign.wait_when_capped,
        place=step.place,
        topic_place=campaign.topic_place,
        paused=paused,
        paused_until=until,
        ended=ended,
        has_content=has_content,
    )


class Judging:
    """Works through the contacts of one batch and stores what came of it."""

    def __init__(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        contact_ids: list[int],
        texts: Texts,
        now: datetime,
    ) -> None:
        self._connection, self._campaign_set, self._now, self._texts = (
            connection,
            campaign_set,
            now,
            texts,
        )
        self._ids, self._at = contact_ids, millis(now)
        self._facts = ContactFacts(connection, campaign_set.settings, contact_ids, now)
        self._runs: dict[int, list[Run]] = defaultdict(list)
        waiting = outbox.deferred(connection, contact_ids)
        loaded = runs.due_runs(
            connection,
            contact_ids,
            now,
            [each.run_id for each in waiting if each.due_at <= now],
        )
        # A date may have moved since the tick began: an import works beside the daemon.
        if moved := [
            run
            for run in loaded
            if run.active and run.next_due_at is None and run.anchor is not None
        ]:
            follow_runs(connection, campaign_set, moved, now)
        for run in loaded:
            self._runs[run.contact_id].append(run)
        self._campaigns = load_of_runs(connection, campaign_set, self._facts, loaded)
        self._facts.listen(
            {
                name
                for each in self._campaigns.values()
                if each
                for name in listens_to(each)
            }
        )
        # What became of the messages of the runs at hand, by run and step.
        self._told: dict[int, dict[str, OutboxMessage]] = defaultdict(dict)
        for message in outbox.of_runs(connection, [run.id for run in loaded]):
            self._told[message.run_id][message.step] = message
        self._waiting: dict[int, list[OutboxMessage]] = defaultdict(list)
        for message in waiting:
            # One object for one message, whichever way it is reached.
            message = self._told[message.run_id].setdefault(message.step, message)
            self._waiting[message.contact_id].append(message)
        # A run obeys the caps of its own version, which today's may lack.
        self._caps = (
            *campaign_set.settings.caps,
            *(cap for each in self._campaigns.values() if each for cap in each.caps),
        )
        memory = longest_memory(self._caps)
        self._lost = lost_time.lost(connection)
        self._usage = uses_of(
            connection, self._near_a_limit(now - memory), now - memory, now
        )
        self._reserved: dict[int, list[Reservation]] | None = None
        self._changes = Changes(now)
        self._actions = Actions(connection, self._facts, texts.fill, now)
        # Most of a batch get the same message, and all that differs between them is who they are.
        self._alike: dict[tuple[int, datetime, bool], Candidate] = {}
        self._walker = Walker(
            self._facts,
            self._changes,
            self._actions,
            self._told,
            Winners(connection, campaign_set, now).arm,
        )

    def _near_a_limit(self, since: datetime) -> list[int]:
        """The contacts whose earlier messages have to be looked at one by one, because a cap may be full for them.

        Most have had so few that none can be, if one message more is all that can come of this batch.
        """
        if self._campaign_set.reserves() or self._lost is not None:
            return self._ids
        limits: dict[datetime, int] = {}
        for cap in self._caps:
            earliest = self._now - longest_memory([cap])
            limits[earliest] = min(cap.limit, limits.get(earliest, cap.limit))
        one = {
            each
            for each in self._ids
            if len(self._runs.get(each, ())) + len(self._waiting.get(each, ())) < 2
        }
        several = [each for each in self._ids if each not in one]
        return several + near_a_limit(self._connection, one, since, limits)

    def work(self) -> None:
        """Judges every contact of the batch, then stores everything at once."""
        for contact_id in self._ids:
            self._contact(self._facts.contacts[contact_id])
        self._changes.store(self._connection)
        self._actions.store()

    def _contact(self, contact: Contact) -> None:
        """All that is due for one contact, judged together: priority, then due time, then a stable order."""
        person = self._facts.person(contact)
        usage = self._usage.setdefault(contact.id, [])
        due = [
            each
            for run in self._runs[contact.id]
            if (each := self._advance(run, contact))
        ]
        if contact.id in self._waiting:
            due += self._judged_again(
                contact, {(each.run.id, each.step.id) for each in due}
            )
        while due:
            if len(due) > 1:
                due.sort(key=_rank)
            each = due.pop(0)
            self._judge(each, person, usage)
            if each.at_step and each.run.active and each.run.next_due_at != NEVER:
                following = self._advance(each.run, contact)
                due += [following] if following else []

    def _advance(self, run: Run, contact: Contact) -> Due | None:
        """Walks a run to its next message; what that is, if it is due."""
        if not run.active:
            return None
        campaign = self._campaigns[run.campaign, run.version]
        if campaign is None:
            run.next_due_at = self._now + UNREADABLE_AGAIN
            self._changes.changed(run)
            return None
        arrived = self._walker.walk(run, campaign, contact)
        if arrived is None:
            return None
        message = self._told[run.id].get(arrived.step.id)
        ended = self._walker.left_out(run, campaign, arrived.step, contact)
        return self._due(
            run,
            campaign,
            arrived.step,
            message,
            arrived.planned_at,
            at_step=True,
            ended=ended,
        )

    def _judged_again(self, contact: Contact, taken: set[tuple[int, str]]) -> list[Due]:
        """Messages of steps that their run has left, which an operator let go on."""
        found = []
        own = {run.id: run for run in self._runs[contact.id]}
        for message in self._waiting[contact.id]:
            run = own.get(message.run_id)
            due = message.state == "deferred" and message.due_at <= self._now
            if run is None or not due or (run.id, message.step) in taken:
                continue
            campaign = self._campaigns[run.campaign, run.version]
            step = step_of(campaign, message.step)
            if campaign is None or step is None:
                message.due_at = self._now + UNREADABLE_AGAIN
                self._changes.message(message)
                continue
            ended = self._ended(run, campaign, contact)
            found.append(
                self._due(
                    run,
                    campaign,
                    step,
                    message,
                    message.planned_at,
                    at_step=False,
                    ended=ended,
                )
            )
        return found

    def _ended(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        if run.code:
            return Reason(run.code, run.sentence or "", campaign.place)
        return self._walker.exited(run, campaign, contact) or self._walker.outside(
            run, campaign, contact
        )

    def _due(
        self,
        run: Run,
        campaign: Campaign,
        step: SendStep,
        message: OutboxMessage | None,
        planned_at: datetime,
        *,
        at_step: bool,
        ended: Reason | None = None,
    ) -> Due:
        content = step.content is None or self._texts.has_content(
            step.content, run.occurrence
        )
        contact = self._facts.contacts[run.contact_id]
        # Steps live as long as their campaigns, which are kept for the whole batch.
        key = (id(step), planned_at, content)
        own = (
            ended is not None or campaign.when_late != "send" or self._lost is not None
        )
        own = own or self._facts.paused(contact, campaign.topic) is not None
        candidate = None if own else self._alike.get(key)
        if candidate is None:
            # A deferred message could leave when its wait was over, any other when the window was open.
            ready = message.due_at if message else planned_at
            if own and not step.transactional:
                ready = (
                    self._facts.person(contact).next_allowed(step.window, ready)
                    or ready
                )
            candidate = candidate_of(
                self._campaign_set,
                self._facts,
                contact,
                campaign,
                step,
                planned_at,
                content,
                ended,
                ready,
            )
            if not own:
                self._alike[key] = candidate
        return Due(run, campaign, step, message, candidate, at_step)

    def _judge(self, due: Due, person: Person, usage: list[Use]) -> None:
        message = due.message or self._new(due)
        message.planned_at = due.candidate.planned_at
        self._told[due.run.id][due.step.id] = message
        decision = decide(
            due.candidate, person, self._with_reserved(due, usage), self._now
        )
        match decision:
            case Send(channel):
                left = self._grant(due, message, channel)
                if message.counted:
                    usage.append(
                        Use(left, self._at, channel, message.topic, due.campaign.key)
                    )
            case Skip(reason):
                self._changes.skip(message, reason)
                late = reason.code == "too-late"
                self._move_on(due, due.candidate.planned_at if late else self._now)
            case Defer(until, reason):
                self._changes.defer(message, until, reason)
                if due.at_step:
                    self._changes.rests(due.run)

    def _grant(self, due: Due, message: OutboxMessage, channel: str) -> int:
        """The message may go, or has gone by what is known; the first instant at which it can have left."""
        if self._may_have_left(due):
            self._changes.hold(message, channel, due.candidate.ready_at, due.step.place)
            self._move_on(due, self._now)
            return millis(due.candidate.ready_at)
        message.state, message.channel = MessageState.PENDING, channel
        message.granted_at = message.due_at = self._now
        message.code = message.sentence = message.place = None
        self._changes.message(message)
        if due.at_step:
            # The run goes on once it is known what became of the message.
            self._changes.rests(due.run)
        return self._at

    def _may_have_left(self, due: Due) -> bool:
        """Whether it was due in a time of which the ledger was lost."""
        return (
            self._lost is not None
            and self._lost.start < due.candidate.ready_at <= self._lost.end
        )

    def _with_reserved(self, due: Due, usage: list[Use]) -> list[Use]:
        """What counts against a message: what was used, and what is kept for those of a higher priority still to come."""
        if not self._campaign_set.reserves() or not due.candidate.caps:
            return usage
        if self._reserved is None:
            self._reserved = reservations(
                self._connection, self._campaign_set, self._facts, self._ids, self._now
            )
        reserved = self._reserved.get(due.run.contact_id, ())
        return usage + [
            each.use for each in reserved if each.priority > due.step.priority
        ]

    def _new(self, due: Due) -> OutboxMessage:
        return OutboxMessage(
            id=0,
            run_id=due.run.id,
            step=due.step.id,
            campaign=due.campaign.key,
            contact_id=due.run.contact_id,
            topic=due.campaign.topic,
            channel=due.step.channels[0],
            counted=due.campaign.counted and not due.step.transactional,
            priority=due.step.priority,
            state=MessageState.DEFERRED,
            planned_at=due.candidate.planned_at,
            due_at=self._now,
        )

    def _move_on(self, due: Due, since: datetime) -> None:
        if due.at_step:
            due.run.position, due.run.since, due.run.next_due_at = (
                due.step.next,
                since,
                self._now,
            )
            self._changes.changed(due.run)


class Winners:
    """Which arms of splits have won, looked up once for a whole batch."""

    def __init__(
        self, connection: Connection, campaign_set: CampaignSet, now: datetime
    ) -> None:
        self._connection, self._campaign_set, self._now = connection, campaign_set, now
        self._winners: dict[tuple[str, str], int | None] = {}

    def arm(self, campaign: Campaign, split: Split) -> int | None:
        """The arm that all who come now get, if the split has learned which."""
        key = (campaign.key, split.id)
        if key not in self._winners:
            self._winners[key] = self._learned(campaign, split)
        return self._winners[key]

    def _learned(self, campaign: Campaign, split: Split) -> int | None:
        """The arm in which most runs met the goal, once the time that the split gives itself is over; none if equal."""
        goal = campaign.goal
        if split.winner_after is None or goal is None:
            return None
        came = runs.in_split(self._connection, campaign.key, split.id)
        where, holidays = (
            zone(self._campaign_set.settings.timezone),
            self._campaign_set.settings.holidays,
        )
        if (
            not came
            or later(came[0].came_at, split.winner_after, where, holidays) > self._now
        ):
            return None
        all_ = Counter(each.arm for each in came)
        good = met(self._connection, self._campaign_set.settings, goal, came, self._now)
        won = Counter(each.arm for each, _ in good)
        rates = sorted(
            ((won[arm] / all_[arm], arm) for arm in all_ if arm < len(split.arms)),
            reverse=True,
        )
        beaten = len(rates) > 1 and rates[0][0] > rates[1][0]
        return rates[0][1] if beaten else None


def load_of_runs(
    connection: Connection,
    campaign_set: CampaignSet,
    facts: ContactFacts,
    loaded: Sequence[Run],
) -> dict[tuple[str, str], Campaign | None]:
    """Fetches what the runs at hand are about: records, events, and their coupons. Returns their campaigns."""
    facts.with_records({run.record_id for run in loaded})
    facts.with_events({run.event_id for run in loaded})
    facts.with_events(
        {number for run in loaded if run.heard for number in run.heard.values()}
    )
    campaigns = {
        key: campaign_set.version(connection, *key)
        for key in {(run.campaign, run.version) for run in loaded}
    }
    issuing = {
        key
        for key, campaign in campaigns.items()
        if campaign and any(isinstance(step, IssueCoupon) for step in campaign.steps)
    }
    if issuing:
        facts.with_codes(
            [run.id for run in loaded if (run.campaign, run.version) in issuing]
        )
        for run in loaded:
            campaign = campaigns[run.campaign, run.version]
            if campaign and run.id in facts.codes:
                # No step comes twice in a run, so the order of the steps is that in which codes were issued.
                facts.codes[run.id].sort(
                    key=lambda code: campaign.position_of(code.step or "") or 0
                )
    return campaigns


def listens_to(campaign: Campaign) -> set[str]:
    """The events that runs of a campaign wait for or end with."""
    names = {
        *campaign.exit_events,
        *(step.event for step in campaign.steps if isinstance(step, WaitFor)),
    }
    if campaign.exit_at_goal and campaign.goal:
        names.add(campaign.goal.event)
    return names


def step_of(campaign: Campaign | None, step_id: str) -> SendStep | None:
    """A campaign's message by its id."""
    position = campaign.position_of(step_id) if campaign else None
    step = campaign.steps[position] if campaign and position is not None else None
    return step if isinstance(step, SendStep) else None


def _rank(due: Due) -> tuple[int, datetime, str, str, int]:
    return (
        -due.step.priority,
        due.candidate.planned_at,
        due.campaign.key,
        due.run.occurrence,
        due.run.record_id,
    )
