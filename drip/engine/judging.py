"""One batch of contacts, brought up to date: runs walk to their next message, messages are judged.

All that is due for a group is judged together: priority, then due time, then a stable order, and what one message uses
counts for those after it. Everything happens inside one write transaction: what is loaded, what is decided, what is
stored. So a slot that a grant takes is taken before anyone else can count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from drip.core.calendar import millis
from drip.core.campaign import Campaign, step_of
from drip.core.caps import Cap, Use
from drip.core.decide import Candidate, Defer, Person, Reason, Send, Skip, decide
from drip.core.lifecycle import Wake
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.effects import (
    Effect,
    MessageChanged,
    MessageJudged,
    RunChanged,
    RunRests,
)
from drip.engine.facts import ContactFacts
from drip.engine.leaving import ended_or_outside
from drip.engine.loading import Batch, Group
from drip.engine.outcomes import deferred, granted, held, skipped
from drip.engine.passages import Passage, passage_of
from drip.engine.reserving import Reservation, reservations
from drip.engine.walking import AtMessage, walk
from drip.storage.campaigns.runs import Run
from drip.storage.people.people import Contact
from drip.storage.sending.outbox import OutboxMessage

# How long a run rests whose campaign version today's settings do not fit.
UNREADABLE_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Texts:
    """What judging asks the templates: whether there is content for an occurrence, and a task's title filled in."""

    has_content: Callable[[str, str], bool]
    fill: Callable[[str, Mapping[str, Any]], str]


class Due(NamedTuple):
    """A message to be judged: the one that its run is at, or one that waits in the outbox to be judged again."""

    passage: Passage
    step: SendStep
    message: OutboxMessage | None
    candidate: Candidate
    at_step: bool


def judge(
    batch: Batch, campaign_set: CampaignSet, texts: Texts, now: datetime
) -> Iterator[Effect]:
    """What comes of everything that is due for the groups of a batch."""
    candidates = _Candidates(batch, campaign_set, texts.has_content)
    facts = batch.facts
    for group in batch.groups:
        judging = _Judging(batch, group, candidates, facts, now)
        judging.work()
        # The stock of codes is everybody's: who comes next takes the next one.
        facts = judging.facts
        yield from judging.effects


class _Judging:
    """The fold over all that is due for one group."""

    def __init__(
        self,
        batch: Batch,
        group: Group,
        candidates: _Candidates,
        facts: ContactFacts,
        now: datetime,
    ) -> None:
        self._batch, self._group, self._candidates = batch, group, candidates
        self._now, self._at = now, millis(now)
        self.facts = facts
        self.effects: list[Effect] = []
        self._runs: dict[int, Run] = {}
        self._messages: dict[int, Mapping[str, OutboxMessage]] = {}
        self._usage: list[Use] = []
        self._persons: dict[int, Person] = {}
        self._reserved: list[Reservation] | None = None

    def work(self) -> None:
        batch = self._batch
        for contact_id in self._group:
            self._usage += batch.usage.get(contact_id, ())
            for run in batch.runs.get(contact_id, ()):
                self._runs[run.id] = run
        arrived = (self._arrived(run_id) for run_id in list(self._runs))
        due = [found for found in arrived if found]
        if any(contact_id in batch.waiting for contact_id in self._group):
            taken = {(found.passage.run.id, found.step.id) for found in due}
            due += self._judged_again(taken)
        while due:
            if len(due) > 1:
                due.sort(key=_rank)
            first = due.pop(0)
            if self._goes_on(first):
                following = self._arrived(first.passage.run.id)
                due += [following] if following else []

    # --- runs

    def _passage(self, run: Run, campaign: Campaign) -> Passage:
        return passage_of(run, campaign, self.facts, self._messages_of(run.id))

    def _messages_of(self, run_id: int) -> Mapping[str, OutboxMessage]:
        """A run's messages as they are now, by step."""
        known = self._messages.get(run_id)
        return self._batch.messages.get(run_id, {}) if known is None else known

    def _arrived(self, run_id: int) -> Due | None:
        """Walks a run to its next message; what that is, if it is due."""
        run = self._runs[run_id]
        if not run.active:
            return None
        campaign = self._batch.campaigns[run.campaign, run.version]
        if campaign is None:
            due_at = self._now + UNREADABLE_AGAIN
            self._changed(replace(run, wake=Wake.HELD, due_at=due_at))
            return None
        stop, passage, effects = walk(self._passage(run, campaign), self._now)
        if effects:
            self._take(effects, passage)
        if not isinstance(stop, AtMessage):
            return None
        message = passage.messages.get(stop.step.id)
        candidate = self._candidates.of(
            passage, stop.step, message, stop.planned_at, stop.left_out
        )
        return Due(passage, stop.step, message, candidate, at_step=True)

    def _take(self, effects: tuple[Effect, ...], passage: Passage) -> None:
        """What a walk has brought about is what later ones find."""
        self.effects += effects
        if passage.facts is not self.facts:
            self.facts = passage.facts
            self._persons.clear()
        self._runs[passage.run.id] = passage.run
        for effect in effects:
            if isinstance(effect, MessageChanged | MessageJudged):
                self._keep(effect.message)

    def _keep(self, message: OutboxMessage) -> None:
        run_id = message.run_id
        self._messages[run_id] = {
            **self._messages_of(run_id),
            message.step: message,
        }

    def _changed(self, run: Run) -> None:
        self._runs[run.id] = run
        self.effects.append(RunChanged(run))

    def _judged_again(self, taken: set[tuple[int, str]]) -> Iterator[Due]:
        """Messages of steps that their run has left, which an operator let go on."""
        for contact_id in self._group:
            for run_id, step_id in self._batch.waiting.get(contact_id, ()):
                run = self._runs.get(run_id)
                if run and (run_id, step_id) not in taken:
                    found = self._again(run, step_id)
                    if found:
                        yield found

    def _again(self, run: Run, step_id: str) -> Due | None:
        message = self._messages_of(run.id)[step_id]
        if message.state != "deferred" or message.due_at > self._now:
            return None
        campaign = self._batch.campaigns[run.campaign, run.version]
        step = step_of(campaign, step_id)
        if campaign is None or step is None:
            due_at = self._now + UNREADABLE_AGAIN
            self.effects.append(MessageChanged(replace(message, due_at=due_at)))
            return None
        passage = self._passage(run, campaign)
        candidate = self._candidates.of(
            passage,
            step,
            message,
            message.planned_at,
            ended_or_outside(passage, self._now),
        )
        return Due(passage, step, message, candidate, at_step=False)

    # --- messages

    def _goes_on(self, due: Due) -> bool:
        """Judges a message; whether its run goes on at once."""
        message = _message_of(due, self._now)
        usage, person = self._used(due), self._person(due.passage.run.contact_id)
        match decide(due.candidate, person, usage, self._now):
            case Send(channel):
                return self._grant(due, message, channel)
            case Skip(reason):
                self._store(skipped(message, reason, self._now))
                late = reason.code == "too-late"
                since = due.candidate.planned_at if late else self._now
                return self._move_on(due, since)
            case Defer(until, reason):
                self._store(deferred(message, until, reason))
                self._rest(due)
                return False

    def _person(self, contact_id: int) -> Person:
        if contact_id not in self._persons:
            contact = self.facts.contacts[contact_id]
            self._persons[contact_id] = self.facts.person(contact)
        return self._persons[contact_id]

    def _grant(self, due: Due, message: OutboxMessage, channel: str) -> bool:
        """The message may go, or has gone by what is known; whether its run goes on at once."""
        ready_at = due.candidate.ready_at
        unsure = self._may_have_left(ready_at)
        if message.counted:
            left = millis(ready_at) if unsure else self._at
            use = Use(left, self._at, channel, message.topic, due.candidate.campaign)
            self._usage.append(use)
        if unsure:
            self._store(held(message, channel, ready_at, due.step.place, self._now))
            return self._move_on(due, self._now)
        self._store(granted(message, channel, self._now))
        # The run goes on once it is known what became of the message.
        self._rest(due)
        return False

    def _may_have_left(self, ready_at: datetime) -> bool:
        """Whether it was due in a time of which the ledger was lost."""
        lost = self._batch.lost
        return lost is not None and lost.start < ready_at <= lost.end

    def _used(self, due: Due) -> list[Use]:
        """What counts against a message: what was used, and what is kept for those of a higher priority still to come."""
        if not self._batch.coming or not due.candidate.caps:
            return self._usage
        if self._reserved is None:
            coming = self._batch.coming
            self._reserved = [
                kept
                for contact_id in self._group
                for kept in reservations(
                    coming.get(contact_id, ()), self.facts, self._now
                )
            ]
        priority = due.step.priority
        kept = [kept.use for kept in self._reserved if kept.priority > priority]
        return self._usage + kept

    def _store(self, effect: MessageChanged | MessageJudged) -> None:
        self.effects.append(effect)
        self._keep(effect.message)

    def _rest(self, due: Due) -> None:
        if due.at_step:
            self.effects.append(RunRests(due.passage.run.id))

    def _move_on(self, due: Due, since: datetime) -> bool:
        """A run goes on from the step that it is at, and from no other."""
        if due.at_step:
            run = self._runs[due.passage.run.id]
            self._changed(replace(run, position=due.step.next, since=since))
        return due.at_step


def _message_of(due: Due, now: datetime) -> OutboxMessage:
    """The step's message as it is stored, or a new one."""
    planned_at = due.candidate.planned_at
    if due.message:
        return replace(due.message, planned_at=planned_at)
    run, campaign, step = due.passage.run, due.passage.campaign, due.step
    return OutboxMessage(
        id=0,
        run_id=run.id,
        step=step.id,
        campaign=campaign.key,
        contact_id=run.contact_id,
        topic=campaign.topic,
        channel=step.channels[0],
        counted=campaign.counted and not step.transactional,
        priority=step.priority,
        state="deferred",
        planned_at=planned_at,
        due_at=now,
    )


def _rank(due: Due) -> tuple[int, datetime, str, str, int, int]:
    run = due.passage.run
    return (
        -due.step.priority,
        due.candidate.planned_at,
        run.campaign,
        run.occurrence,
        run.record_id,
        run.contact_id,
    )


@dataclass(slots=True)
class _Candidates:
    """Candidates of a batch. Most of its messages are alike, and all that differs between them is whose they are."""

    batch: Batch
    campaign_set: CampaignSet
    has_content: Callable[[str, str], bool]
    _alike: dict[tuple[str, str, str, datetime, bool], Candidate] = field(
        default_factory=dict
    )

    def of(
        self,
        passage: Passage,
        step: SendStep,
        message: OutboxMessage | None,
        planned_at: datetime,
        ended: Reason | None,
    ) -> Candidate:
        """The candidate of a run's message."""
        run, campaign, contact = passage.run, passage.campaign, passage.contact
        content = step.content is None or self.has_content(step.content, run.occurrence)
        timed = campaign.when_late != "send" or self.batch.lost is not None
        paused = passage.facts.paused(contact, campaign.topic)
        own = ended is not None or timed or paused is not None
        key = (campaign.key, campaign.version, step.id, planned_at, content)
        if not own and key in self._alike:
            return self._alike[key]
        candidate = candidate_of(
            self.campaign_set,
            passage.facts,
            contact,
            campaign,
            step,
            planned_at,
            content,
            ended,
            _ready_at(passage, step, message, planned_at) if own else planned_at,
        )
        if not own:
            self._alike[key] = candidate
        return candidate


def _ready_at(
    passage: Passage,
    step: SendStep,
    message: OutboxMessage | None,
    planned_at: datetime,
) -> datetime:
    """A deferred message could leave when its wait was over, any other when the window was open."""
    ready = message.due_at if message else planned_at
    if step.transactional:
        return ready
    person = passage.facts.person(passage.contact)
    return person.next_allowed(step.window, ready) or ready


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
    paused, until = campaign_set.paused(campaign), None
    if paused is None and not step.transactional:
        held_back = facts.paused(contact, campaign.topic)
        if held_back:
            until, paused = held_back
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
        caps=_caps(campaign_set, campaign, step),
        wait_when_capped=campaign.wait_when_capped,
        place=step.place,
        topic_place=campaign.topic_place,
        paused=paused,
        paused_until=until,
        ended=ended,
        has_content=has_content,
    )


def _caps(
    campaign_set: CampaignSet, campaign: Campaign, step: SendStep
) -> tuple[Cap, ...]:
    """The caps that count a message on any of its channels."""
    if step.transactional or not campaign.obeys_caps:
        return ()
    return tuple(
        cap
        for cap in (*campaign_set.settings.caps, *campaign.caps)
        if any(
            cap.counts(channel, campaign.topic, campaign.key)
            for channel in step.channels
        )
    )
