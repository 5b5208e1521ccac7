"""One batch of contacts, brought up to date: runs walk to their next message, messages
are judged.

All that is due for a group is judged together: priority, then due time, then a stable
order, and what one message uses counts for those after it. Nothing is read or written
here; but it has to happen inside the one write transaction in which the batch was
loaded and its effects are stored. So a slot that a grant takes is taken before anyone
else can count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from drip.core.calendar import millis
from drip.core.campaign import Campaign, step_of
from drip.core.caps import Use
from drip.core.decide import Candidate, Defer, Person, Send, Skip, decide
from drip.core.lifecycle import MessageState, Wake
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.candidates import Candidates
from drip.engine.effects import (
    Effect,
    MessageChanged,
    MessageJudged,
    RunChanged,
)
from drip.engine.leaving import ended_or_outside
from drip.engine.loading import Group, LoadedBatch
from drip.engine.outcomes import deferred, grant, held, skipped
from drip.engine.passages import Passage, passage_of
from drip.engine.reserving import Reservation, reservations
from drip.engine.stepping import AtMessage
from drip.engine.walking import walk
from drip.storage.campaigns.runs import Run
from drip.storage.operating.lost_time import Lost
from drip.storage.sending.outbox import OutboxMessage

# How long a run rests whose campaign version today's settings do not fit.
UNREADABLE_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Texts:
    """What judging asks the templates: whether there is content for an occurrence, and
    a task's title filled in."""

    has_content: Callable[[str, str], bool]
    fill: Callable[[str, Mapping[str, Any]], str]


class Due(NamedTuple):
    """A message to be judged: the one that its run is at, or one that waits in the
    outbox to be judged again."""

    passage: Passage
    step: SendStep
    message: OutboxMessage | None
    candidate: Candidate
    at_step: bool

    @property
    def run_id(self) -> int:
        """The run that it is of."""
        return self.passage.run.id


def judge(
    batch: LoadedBatch,
    campaign_set: CampaignSet,
    texts: Texts,
    now: datetime,
) -> list[Effect]:
    """What comes of everything that is due for the groups of a batch at `now`, in the
    order of the groups."""
    candidates = Candidates(campaign_set, texts.has_content, batch.lost)
    judging = _Judging(batch, candidates, now)
    for group in batch.groups:
        judging.work(group)
    return judging.effects


class _Judging:
    """The folds over all that is due for the groups of a batch, one after the other.

    What is known goes from one to the next, since the stock of codes is everybody's:
    who comes next takes the next one.
    """

    def __init__(
        self,
        batch: LoadedBatch,
        candidates: Candidates,
        now: datetime,
    ) -> None:
        self._batch = batch
        self._candidates = candidates
        self._now = now
        self._at = millis(now)
        self._facts = batch.facts
        self.effects: list[Effect] = []
        # Runs and messages as they are now.
        self._runs: dict[int, Run] = {}
        self._messages: dict[int, Mapping[str, OutboxMessage]] = {}
        self._persons: dict[int, Person] = {}
        # Of the group at hand.
        self._group: Group = ()
        self._usage: list[Use] = []
        self._reserved: list[Reservation] | None = None

    def work(self, group: Group) -> None:
        """Walks the runs of a group, then judges what is due, and what comes due by
        that."""
        self._group, self._usage, self._reserved = group, [], None
        due = self._first_arrivals()
        if self._batch.waiting:
            due += self._judged_again()
        while due:
            if len(due) > 1:
                due.sort(key=_rank)
            first = due.pop(0)
            if self._goes_on(first):
                following = self._arrived(self._runs[first.run_id])
                due += [following] if following else []

    def _first_arrivals(self) -> list[Due]:
        due: list[Due] = []
        for contact_id in self._group:
            self._usage += self._batch.usage.get(contact_id, ())
            for run in self._batch.runs.get(contact_id, ()):
                self._runs[run.id] = run
                arrived = self._arrived(run)
                if arrived:
                    due.append(arrived)
        return due

    # --- runs

    def _arrived(self, run: Run) -> Due | None:
        """Walks a run to its next message; that, if it is due."""
        campaign = self._batch.campaigns[run.campaign, run.version]
        if not run.active:
            return None
        if campaign is None:
            self._hold(run)
            return None
        passage, stop, effects = walk(self._passage(run, campaign), self._now)
        if effects:
            self._take(effects, passage)
        if not isinstance(stop, AtMessage):
            return None
        step, planned_at, left_out = stop
        message = passage.messages.get(step.id)
        candidate = self._candidates.of(
            passage,
            step,
            message,
            planned_at,
            left_out,
        )
        return Due(
            passage,
            step,
            message,
            candidate,
            True,
        )

    def _hold(self, run: Run) -> None:
        held_back = run.copy()
        held_back.wake = Wake.HELD
        held_back.due_at = self._now + UNREADABLE_AGAIN
        self._changed(held_back)

    def _passage(self, run: Run, campaign: Campaign) -> Passage:
        return passage_of(
            run,
            campaign,
            self._facts,
            self._messages_of(run.id),
        )

    def _messages_of(self, run_id: int) -> Mapping[str, OutboxMessage]:
        """A run's messages as they are now, by step."""
        # What was decided in this fold is not stored yet, and counts all the same.
        changed = self._messages.get(run_id)
        if changed is not None:
            return changed
        return self._batch.messages.get(run_id, {})

    def _take(self, effects: tuple[Effect, ...], passage: Passage) -> None:
        """What a walk has brought about is what later ones find."""
        self.effects += effects
        self._runs[passage.run.id] = passage.run
        if passage.facts is not self._facts:
            self._facts = passage.facts
            # Whether a channel is open to them may be another question now.
            self._persons.clear()
        for effect in effects:
            if isinstance(effect, MessageChanged | MessageJudged):
                self._keep(effect.message)

    def _keep(self, message: OutboxMessage) -> None:
        others = self._messages_of(message.run_id)
        self._messages[message.run_id] = {**others, message.step: message}

    def _changed(self, run: Run) -> None:
        self._runs[run.id] = run
        self.effects.append(RunChanged(run))

    def _judged_again(self) -> Iterator[Due]:
        """Messages of steps that their run has left, which an operator let go on."""
        for contact_id in self._group:
            for run_id, step_id in self._batch.waiting.get(contact_id, ()):
                run = self._runs.get(run_id)
                message = self._messages_of(run_id).get(step_id)
                if run and message and self._is_due(message):
                    yield from self._again(run, message)

    def _is_due(self, message: OutboxMessage) -> bool:
        return message.state == "deferred" and message.due_at <= self._now

    def _again(self, run: Run, message: OutboxMessage) -> Iterator[Due]:
        campaign = self._batch.campaigns[run.campaign, run.version]
        step = step_of(campaign, message.step)
        if campaign is None or step is None:
            later = replace(message, due_at=self._now + UNREADABLE_AGAIN)
            self.effects.append(MessageChanged(later))
            return
        passage = self._passage(run, campaign)
        at = passage.step
        if run.active and at and at.id == step.id:
            # Its run is at it, and has brought it along already.
            return
        ended = ended_or_outside(passage, self._now)
        planned_at = message.planned_at
        candidate = self._candidates.of(
            passage,
            step,
            message,
            planned_at,
            ended,
        )
        yield Due(
            passage,
            step,
            message,
            candidate,
            at_step=False,
        )

    # --- messages

    def _goes_on(self, due: Due) -> bool:
        """Judges a message; whether its run goes on at once."""
        message = _message_of(due, self._now)
        person = self._person(due.passage.run.contact_id)
        match decide(
            due.candidate,
            person,
            self._used(due),
            self._now,
        ):
            case Send(channel):
                return self._grant(due, message, channel)
            case Skip(reason):
                self._store(skipped(message, reason, self._now))
                late = reason.code == "too-late"
                since = due.candidate.planned_at if late else self._now
                return self._move_on(due, since)
            case Defer(until, reason):
                self._store(
                    deferred(
                        message,
                        until,
                        reason,
                        due.at_step,
                    )
                )
                return False

    def _person(self, contact_id: int) -> Person:
        # Asked for each message that is judged, and the same for all of a contact's.
        person = self._persons.get(contact_id)
        if person is None:
            contact = self._facts.contacts[contact_id]
            person = self._persons[contact_id] = self._facts.person(contact)
        return person

    def _grant(
        self,
        due: Due,
        message: OutboxMessage,
        channel: str,
    ) -> bool:
        """The message may go, or has gone by what is known; whether its run goes on at
        once."""
        ready_at = due.candidate.ready_at
        if _may_have_left(self._batch.lost, ready_at):
            self._use(message, channel, millis(ready_at))
            place = due.step.place
            self._store(
                held(
                    message,
                    channel,
                    ready_at,
                    place,
                    self._now,
                )
            )
            return self._move_on(due, self._now)
        self._use(message, channel, self._at)
        grant(message, channel, self._now)
        # The run goes on once it is known what became of the message.
        self._store(MessageChanged(message, due.at_step))
        return False

    def _use(
        self,
        message: OutboxMessage,
        channel: str,
        since: int,
    ) -> None:
        """A slot is taken: it left at some instant from `since` up to now."""
        if message.counted:
            use = Use(
                since,
                self._at,
                channel,
                message.topic,
                message.campaign,
            )
            self._usage.append(use)

    def _used(self, due: Due) -> list[Use]:
        """What counts against a message: what was used, and what is kept for those of a
        higher priority still to come."""
        if not self._batch.coming or not due.candidate.caps:
            return self._usage
        if self._reserved is None:
            self._reserved = list(self._kept_free())
        above = due.step.priority
        kept = [kept.use for kept in self._reserved if kept.priority > above]
        return self._usage + kept

    def _kept_free(self) -> Iterator[Reservation]:
        for contact_id in self._group:
            coming = self._batch.coming.get(contact_id, ())
            yield from reservations(coming, self._facts, self._now)

    def _store(self, effect: MessageChanged | MessageJudged) -> None:
        self.effects.append(effect)
        if not effect.run_rests:
            # Of a run that rests nobody looks at a message again in this batch.
            self._keep(effect.message)

    def _move_on(self, due: Due, since: datetime) -> bool:
        """A run goes on from the step that it is at, and from no other; whether it
        does."""
        if due.at_step:
            run = self._runs[due.run_id].copy()
            run.position, run.since = due.step.next, since
            self._changed(run)
        return due.at_step


def _may_have_left(lost: Lost | None, ready_at: datetime) -> bool:
    """Whether it was due in a time of which the ledger was lost."""
    return lost is not None and lost.start < ready_at <= lost.end


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
        state=MessageState.DEFERRED,
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
