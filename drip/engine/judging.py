"""One batch of contacts, brought up to date: runs advance to their next message, messages are judged.

Everything about a contact happens inside one write transaction: what is read, what is decided, what is
stored. So a slot that a grant takes is taken before anyone else can count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from drip.core.calendar import at_minute, later, shift, zone
from drip.core.campaign import Campaign, DateTrigger, Send, Step, Wait
from drip.core.caps import Use, longest_memory
from drip.core.conditions import Facts, why_not
from drip.core.decide import Candidate, Defer, Person, Reason, Skip, decide
from drip.core.decide import Send as Go
from drip.engine.book import Book
from drip.engine.entry import entry_instant
from drip.engine.facts import Batch
from drip.storage import outbox, people, runs
from drip.storage.outbox import Judgement, Outgoing
from drip.storage.people import Contact
from drip.storage.runs import NEVER, Run

# How long a run rests whose campaign version today's settings do not fit.
UNREADABLE_AGAIN = timedelta(hours=1)
# The longest window of a cap is a month; a campaign of an older version may have caps that today's lack.
SHORTEST_MEMORY = timedelta(days=33)


@dataclass(slots=True)
class Due:
    """A message to be judged: the run's next one, or one that waits in the outbox to be judged again."""

    run: Run
    campaign: Campaign
    step: Send
    message: Outgoing | None
    candidate: Candidate
    at_step: bool


def candidate_of(
    book: Book, campaign: Campaign, step: Send, planned_at: datetime, has_content: bool, ended: Reason | None = None
) -> Candidate:
    """A step's message as `decide` sees it."""
    free = step.transactional or not campaign.obeys_caps
    return Candidate(
        campaign=campaign.key,
        step=step.id,
        topic=campaign.topic,
        channels=step.channels,
        planned_at=planned_at,
        grace=step.grace,
        window=step.window,
        window_place=step.window_place,
        transactional=step.transactional,
        caps=() if free else (*book.settings.caps, *campaign.caps),
        wait_when_capped=campaign.wait_when_capped,
        place=step.place,
        topic_place=campaign.topic_place,
        paused=book.paused(campaign),
        ended=ended,
        has_content=has_content,
    )


class Judging:
    """Works through the contacts of one batch and stores what came of it."""

    def __init__(
        self,
        connection: Connection,
        book: Book,
        contact_ids: list[int],
        has_content: Callable[[str, str], bool],
        now: datetime,
    ) -> None:
        self._connection, self._book, self._now, self._has_content = connection, book, now, has_content
        self._ids = contact_ids
        self._facts = Batch(connection, book.settings, contact_ids)
        self._runs: dict[int, list[Run]] = defaultdict(list)
        loaded = runs.load_runs(connection, contact_ids, now)
        for run in loaded:
            self._runs[run.contact_id].append(run)
        self._facts.with_records(connection, [run.record_id for run in loaded])
        self._facts.with_events(connection, [run.event_id for run in loaded])
        # What became of the messages of the runs at hand, by run and step.
        self._told = {(each.run_id, each.step): each for each in outbox.of_runs(connection, [run.id for run in loaded])}
        self._waiting: dict[int, list[Outgoing]] = defaultdict(list)
        for message in outbox.deferred(connection, contact_ids):
            # One object for one message, whichever way it is reached.
            message = self._told.setdefault((message.run_id, message.step), message)
            self._waiting[message.contact_id].append(message)
        self._exits = people.events_of(connection, contact_ids, self._exit_names(loaded))
        caps = [*book.settings.caps, *(cap for each in book.campaigns.values() for cap in each.caps)]
        memory = max(longest_memory(caps), SHORTEST_MEMORY)
        self._usage = outbox.usage(connection, contact_ids, now - memory, now)
        self._messages: list[Outgoing] = []
        self._judgements: list[Judgement] = []

    def work(self) -> None:
        """Judges every contact of the batch, then stores everything at once."""
        for contact_id in self._ids:
            self._contact(self._facts.contacts[contact_id])
        runs.save_runs(self._connection, [run for each in self._runs.values() for run in each])
        outbox.save_messages(self._connection, self._messages)
        outbox.save_judgements(self._connection, self._judgements)

    def _exit_names(self, loaded: list[Run]) -> set[str]:
        versions = {(run.campaign, run.version) for run in loaded}
        campaigns = (self._book.version(self._connection, *version) for version in versions)
        return {name for campaign in campaigns if campaign for name in campaign.exit_events}

    def _contact(self, contact: Contact) -> None:
        """All that is due for one contact, judged together: priority, then due time, then a stable order."""
        person = self._facts.person(contact)
        usage = self._usage.setdefault(contact.id, [])
        due = [each for run in self._runs[contact.id] if (each := self._advance(run, contact))]
        taken = {(each.run.id, each.step.id) for each in due}
        due += self._judged_again(contact, taken)
        while due:
            due.sort(key=_rank)
            each = due.pop(0)
            self._judge(each, person, usage)
            if each.at_step and each.run.active and each.run.next_due_at != NEVER:
                following = self._advance(each.run, contact)
                due += [following] if following else []

    def _judged_again(self, contact: Contact, taken: set[tuple[int, str]]) -> list[Due]:
        """Messages of steps that their run has left, which an operator let go on."""
        found = []
        own = {run.id: run for run in self._runs[contact.id]}
        for message in self._waiting[contact.id]:
            run = own.get(message.run_id)
            due = message.state == "deferred" and message.due_at <= self._now
            if run is None or not due or (run.id, message.step) in taken:
                continue
            campaign = self._book.version(self._connection, run.campaign, run.version)
            step = _step(campaign, message.step)
            if campaign is None or step is None:
                message.due_at = self._now + UNREADABLE_AGAIN
                self._messages.append(message)
                continue
            ended = self._ended(run, campaign, contact)
            found.append(self._due(run, campaign, step, message, message.planned_at, at_step=False, ended=ended))
        return found

    def _ended(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        if run.code:
            return Reason(run.code, run.sentence or "", campaign.place)
        return self._exited(run, campaign, contact) or self._outside(run, campaign, contact)

    def _due(
        self,
        run: Run,
        campaign: Campaign,
        step: Send,
        message: Outgoing | None,
        planned_at: datetime,
        *,
        at_step: bool,
        ended: Reason | None = None,
    ) -> Due:
        content = step.content is None or self._has_content(step.content, run.occurrence)
        candidate = candidate_of(self._book, campaign, step, planned_at, content, ended)
        return Due(run, campaign, step, message, candidate, at_step)

    def _advance(self, run: Run, contact: Contact) -> Due | None:
        """Moves a run to its next message, if that is due; otherwise to where it waits or ends."""
        if not run.active:
            return None
        campaign = self._book.version(self._connection, run.campaign, run.version)
        if campaign is None:
            run.next_due_at = self._now + UNREADABLE_AGAIN
            return None
        over = self._gone(run, campaign) or self._exited(run, campaign, contact)
        if over:
            self._end(run, over)
            return None
        where = zone(self._facts.zone_of(contact))
        while run.position < len(campaign.steps):
            step = campaign.steps[run.position]
            told = self._told.get((run.id, step.id)) if isinstance(step, Send) else None
            if told and told.state in ("pending", "sending"):
                run.next_due_at = NEVER
                return None
            if told and told.state != "deferred":
                run.since, run.position = told.sent_at or told.settled_at or self._now, run.position + 1
                continue
            if isinstance(step, Wait):
                due = later(run.since, step.duration, where)
            elif isinstance(step, Send):
                due = self._due_at(run, campaign, step, contact)
            else:
                break
            if due > self._now:
                run.next_due_at = due
                self._postpone(run, step, due)
                return None
            if isinstance(step, Send):
                return self._at_send(run, campaign, step, due, contact)
            run.since, run.position = due, run.position + 1
        self._end(run, None)
        return None

    def _at_send(self, run: Run, campaign: Campaign, step: Send, due: datetime, contact: Contact) -> Due | None:
        outside = self._outside(run, campaign, contact)
        if outside:
            self._end(run, outside)
            return None
        message = self._waiting_at(run, step)
        return self._due(run, campaign, step, message, due, at_step=True)

    def _due_at(self, run: Run, campaign: Campaign, step: Send, contact: Contact) -> datetime:
        if step.at is None or run.anchor is None:
            return run.since
        day = shift(date.fromisoformat(run.anchor), step.at)
        return at_minute(day, step.opens, zone(campaign.timezone or self._facts.zone_of(contact)))

    def _postpone(self, run: Run, step: Step, due: datetime) -> None:
        """A message that waited, and whose date moved away meanwhile."""
        message = self._waiting_at(run, step)
        if message:
            message.planned_at = message.due_at = due
            self._messages.append(message)

    def _waiting_at(self, run: Run, step: Step) -> Outgoing | None:
        own = self._waiting[run.contact_id]
        return next((each for each in own if each.run_id == run.id and each.step == step.id), None)

    def _gone(self, run: Run, campaign: Campaign) -> Reason | None:
        record = self._facts.records.get(run.record_id)
        if run.record_id and (record is None or record.contact_id != run.contact_id):
            return Reason("record-gone", f"the {campaign.for_each} is not this contact's any more", campaign.place)
        return None

    def _exited(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        began = self._began(run, campaign, contact)
        for event in self._exits.get(contact.id, []):
            about_it = not (event.record_id and run.record_id) or event.record_id == run.record_id
            if (
                event.name in campaign.exit_events
                and about_it
                and began < event.at <= self._now
                and event.id != run.event_id
            ):
                return Reason("exited", f"{event.name} happened", campaign.exit_events[event.name])
        for condition in campaign.exit_conditions:
            if why_not(condition, self._values(run, contact)) is None:
                return Reason("exited", "a condition of `exit_when` holds", campaign.place)
        return None

    def _began(self, run: Run, campaign: Campaign, contact: Contact) -> datetime:
        """From when on an event counts: the trigger's own time, which may lie before the run was started."""
        if run.event_id in self._facts.events:
            return min(run.started_at, self._facts.events[run.event_id].at)
        if isinstance(campaign.trigger, DateTrigger) and run.anchor:
            anchor = date.fromisoformat(run.anchor)
            planned = entry_instant(self._book.settings, campaign, anchor, self._facts.zone_of(contact))
            return min(run.started_at, planned)
        return run.started_at

    def _outside(self, run: Run, campaign: Campaign, contact: Contact) -> Reason | None:
        if campaign.audience is None:
            return None
        failure = why_not(campaign.audience, self._values(run, contact))
        return Reason("not-in-audience", failure.sentence, failure.place) if failure else None

    def _values(self, run: Run, contact: Contact) -> Facts:
        record = self._facts.records.get(run.record_id)
        event = self._facts.events.get(run.event_id or 0)
        return self._facts.facts(contact, record, event, self._now)

    def _end(self, run: Run, reason: Reason | None) -> None:
        """Ends a run; without a reason it is simply done. What it left waiting in the outbox ends with it."""
        run.active, run.next_due_at, run.ended_at = False, None, self._now
        if reason is None:
            return
        run.code, run.sentence, run.place = reason.code, reason.sentence, str(reason.place)
        for (run_id, _), message in self._told.items():
            if run_id == run.id and message.state in ("deferred", "pending"):
                self._skip(message, reason)

    def _judge(self, due: Due, person: Person, usage: list[Use]) -> None:
        message = due.message or self._new(due)
        message.planned_at = due.candidate.planned_at
        self._told[due.run.id, due.step.id] = message
        decision = decide(due.candidate, person, usage, self._now)
        match decision:
            case Go(channel):
                message.state, message.channel = "pending", channel
                message.granted_at = message.due_at = self._now
                message.code = message.sentence = message.place = None
                self._messages.append(message)
                if message.counted:
                    usage.append(Use(self._now, self._now, channel, message.topic, due.campaign.key, due.campaign.key))
                if due.at_step:
                    # The run goes on once it is known what became of the message.
                    due.run.next_due_at = NEVER
            case Skip(reason):
                self._skip(message, reason)
                late = reason.code == "too-late"
                self._move_on(due, due.candidate.planned_at if late else self._now)
            case Defer(until, reason):
                self._defer(message, until, reason)
                if due.at_step:
                    due.run.next_due_at = NEVER

    def _new(self, due: Due) -> Outgoing:
        return Outgoing(
            id=0,
            run_id=due.run.id,
            step=due.step.id,
            campaign=due.campaign.key,
            contact_id=due.run.contact_id,
            topic=due.campaign.topic,
            channel=due.step.channels[0],
            counted=due.campaign.counted and not due.step.transactional,
            priority=due.step.priority,
            state="deferred",
            planned_at=due.candidate.planned_at,
            due_at=self._now,
        )

    def _move_on(self, due: Due, since: datetime) -> None:
        if due.at_step:
            due.run.position += 1
            due.run.since = since
            due.run.next_due_at = self._now

    def _skip(self, message: Outgoing, reason: Reason) -> None:
        message.state, message.settled_at = "skipped", self._now
        self._record(message, "skipped", reason, None)

    def _defer(self, message: Outgoing, until: datetime, reason: Reason) -> None:
        """A message that waits for the same reason as before is not written down again each time."""
        same = message.code == reason.code and message.place == str(reason.place)
        told = same and (reason.code == "paused" or message.due_at == until)
        message.state, message.due_at, message.granted_at = "deferred", until, None
        if told:
            self._messages.append(message)
        else:
            self._record(message, "deferred", reason, until)

    def _record(self, message: Outgoing, outcome: str, reason: Reason, until: datetime | None) -> None:
        message.code, message.sentence, message.place = reason.code, reason.sentence, str(reason.place)
        self._messages.append(message)
        made = Judgement(message, self._now, outcome, reason.code, reason.sentence, str(reason.place), until)
        self._judgements.append(made)


def _rank(due: Due) -> tuple[int, datetime, str, str, int]:
    return (-due.step.priority, due.candidate.planned_at, due.campaign.key, due.run.occurrence, due.run.record_id)


def _step(campaign: Campaign | None, step_id: str) -> Send | None:
    steps = campaign.steps if campaign else ()
    return next((step for step in steps if isinstance(step, Send) and step.id == step_id), None)
