"""The one place that writes what planning has brought about, and that knows the order
of the stores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection

from drip.core.decide import Reason
from drip.core.lifecycle import Wake
from drip.core.settings import Settings
from drip.engine.deriving import Owner, date_fields, refresh
from drip.engine.effects import (
    CodeIssued,
    ConfirmationAwaited,
    ConsentSaid,
    CounterMoved,
    Effect,
    FieldsSet,
    MessageChanged,
    MessageJudged,
    Retagged,
    RunChanged,
    TaskGiven,
    TopicsPaused,
)
from drip.engine.outcomes import ended, rests, stopping
from drip.storage.campaigns import runs, tasks
from drip.storage.campaigns.runs import Run
from drip.storage.operating import webhook_outbox
from drip.storage.people import (
    change_marks,
    consents,
    counters,
    coupons,
    pauses,
    sign_ups,
    tags,
)
from drip.storage.people import (
    contacts as contact_store,
)
from drip.storage.people import (
    records as record_store,
)
from drip.storage.people.contacts import Contact
from drip.storage.sending import decisions, outbox
from drip.storage.sending.decisions import Judgement
from drip.storage.sending.outbox import OutboxMessage

# Fills `{{ … }}` of a task's title in; what is unknown reads as such.
Fill = Callable[[str, Mapping[str, Any]], str]
# A message's run and step.
MessageKey = tuple[int, str]


def as_written(text: str, values: Mapping[str, Any]) -> str:
    """A title in which nothing is filled in."""
    return text


@dataclass
class UnitOfWork:
    """Effects of one transaction at `now`, gathered, then stored at once."""

    settings: Settings
    now: datetime
    fill: Fill = as_written
    _runs: dict[int, Run] = field(default_factory=dict)
    _resting: list[int] = field(default_factory=list)
    _messages: dict[MessageKey, OutboxMessage] = field(default_factory=dict)
    _judged: list[MessageJudged] = field(default_factory=list)
    _steps: dict[type, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def add(self, effects: Iterable[Effect]) -> None:
        """These are to be stored, in their order as far as that matters: of a run or a
        message the last one counts."""
        for effect in effects:
            # By what comes most often: these are as many as messages.
            if isinstance(effect, MessageChanged | MessageJudged):
                message = effect.message
                self._messages[message.run_id, message.step] = message
                if effect.run_rests:
                    self._rest(message.run_id)
                if isinstance(effect, MessageJudged):
                    self._judged.append(effect)
            elif isinstance(effect, RunChanged):
                self._runs[effect.run.id] = effect.run
            else:
                self._steps[type(effect)].append(effect)

    def end(
        self,
        run: Run,
        reason: Reason,
        messages: Iterable[OutboxMessage],
    ) -> None:
        """Ends a run for a reason, and what of its messages has not left."""
        self.add([RunChanged(ended(run, reason, self.now))])
        self.add(stopping(messages, reason, self.now))

    def _rest(self, run_id: int) -> None:
        if run_id in self._runs:
            changed = self._runs[run_id]
            self._runs[run_id] = rests(changed, Wake.WAITS_FOR_MESSAGE)
        else:
            # Nothing else about it is new: one statement for all of these, which a
            # blast is full of.
            self._resting.append(run_id)

    def store(self, connection: Connection) -> None:
        """Writes everything down."""
        # Before the runs: whether another run of a sign-up is under way, so that its
        # end may not come sooner, is asked of the table as it was when these walked.
        self._store_people(connection)
        self._store_runs(connection)
        self._store_messages(connection)
        self._store_goals(connection)
        self._store_steps(connection)
        # Last: what a step set is new to the contact's other runs, which were not at
        # hand, and storing those at hand has taken away the marks that fields and
        # consents left. A run that was stored later would sleep over what is new.
        self._wake(connection)

    def _store_people(self, connection: Connection) -> None:
        for awaited in self._steps[ConfirmationAwaited]:
            sign_ups.wait_until(connection, *awaited)
        self._hand_out(connection)
        self._move_counters(connection)
        for consent in self._steps[ConsentSaid]:
            self._say(connection, consent)
        for retagged in self._steps[Retagged]:
            _retag(connection, retagged)
        self._set_fields(connection)

    def _hand_out(self, connection: Connection) -> None:
        codes: list[CodeIssued] = self._steps[CodeIssued]
        taken = [(issued.taken.number, issued.code) for issued in codes if issued.taken]
        coupons.hand_out(connection, taken)

    def _say(self, connection: Connection, consent: ConsentSaid) -> None:
        contact = consent.contact
        addresses = {contact.id: contact.email}
        consents.record(
            connection,
            consent.said,
            consent.source,
            addresses,
            self.now,
            consent.proof,
        )

    def _move_counters(self, connection: Connection) -> None:
        # The numbers of the movements are those of the order in which the steps were
        # done: occurrences of campaigns that start when a counter reaches something are
        # called by them.
        moved: list[CounterMoved] = self._steps[CounterMoved]
        for counter, together in groupby(moved, key=attrgetter("counter")):
            movements = [effect.movement for effect in together]
            counters.move(connection, counter, movements)

    def _set_fields(self, connection: Connection) -> None:
        effects: list[FieldsSet] = self._steps[FieldsSet]
        if not effects:
            return
        # Of somebody who was changed twice the last one has both.
        contacts = {effect.contact.id: effect.contact for effect in effects}
        fields = date_fields(self.settings, "contact")
        contact_store.save_contacts(connection, list(contacts.values()), fields)
        records = {
            effect.record.id: effect.record for effect in effects if effect.record
        }
        for kind in {record.kind: None for record in records.values()}:
            own = [record for record in records.values() if record.kind == kind]
            record_store.save_records(connection, own, date_fields(self.settings, kind))
        owners: list[Owner] = [(contact_id, 0) for contact_id in contacts]
        owners += [(record.contact_id, record.id) for record in records.values()]
        # Saving takes all dates away, so that what follows from fields is worked out
        # after it.
        refresh(connection, self.settings, owners)

    def _store_runs(self, connection: Connection) -> None:
        runs.rest(connection, self._resting)
        runs.save_runs(connection, list(self._runs.values()))

    def _store_messages(self, connection: Connection) -> None:
        """Messages come first: a new one has its number, which a judgement needs, once
        it is stored."""
        outbox.save_messages(connection, list(self._messages.values()))
        judgements = [self._judgement(judged) for judged in self._judged]
        decisions.save_judgements(connection, judgements)

    def _judgement(self, judged: MessageJudged) -> Judgement:
        message, reason, until, _ = judged
        return Judgement(
            # The one that was stored: another effect may have changed it since.
            self._messages[message.run_id, message.step],
            self.now,
            reason.code,
            reason.sentence,
            str(reason.place),
            ",".join(reason.filled_by) or None,
            until,
        )

    def _store_goals(self, connection: Connection) -> None:
        """Other programs hear of goals that were met."""
        met = [run for run in self._runs.values() if self._has_just_met(run)]
        if not met:
            return
        known = contact_store.contacts_by_id(
            connection, {run.contact_id for run in met}
        )
        payloads = [(run.contact_id, _goal(run, known[run.contact_id])) for run in met]
        webhook_outbox.add(
            connection,
            "goal",
            payloads,
            self.now,
        )

    def _has_just_met(self, run: Run) -> bool:
        return run.code == "goal-met" and run.ended_at == self.now

    def _store_steps(self, connection: Connection) -> None:
        given = self._steps[TaskGiven]
        tasks.add(connection, [self._task(task) for task in given])
        codes: list[CodeIssued] = self._steps[CodeIssued]
        made = [issued.code for issued in codes if issued.taken is None]
        coupons.issue(connection, made)
        paused: list[TopicsPaused] = self._steps[TopicsPaused]
        pauses.pause(connection, [row for topics in paused for row in _pauses(topics)])

    def _task(self, task: TaskGiven) -> dict[str, Any]:
        return {**task.row, "title": self.fill(task.title, task.values)}

    def _wake(self, connection: Connection) -> None:
        touched = {
            *(issued.contact_id for issued in self._steps[CodeIssued]),
            *(moved.movement.contact_id for moved in self._steps[CounterMoved]),
            *(retagged.contact_id for retagged in self._steps[Retagged]),
        }
        # Consents and fields have marked their contacts as changed where they were
        # stored.
        woken = {
            effect.contact.id
            for kind in (ConsentSaid, FieldsSet)
            for effect in self._steps[kind]
        }
        change_marks.touch(connection, touched)
        change_marks.wake_runs(connection, list(woken))


def _retag(connection: Connection, retagged: Retagged) -> None:
    rows = [(retagged.contact_id, tag) for tag in retagged.tags]
    if retagged.on:
        tags.add_tags(connection, rows)
    else:
        tags.remove_tags(connection, rows)


def _goal(run: Run, contact: Contact) -> dict[str, Any]:
    """What other programs hear of a goal that was met."""
    return {"run": run.id, "campaign": run.campaign, "contact": contact.key}


def _pauses(topics: TopicsPaused) -> list[dict[str, Any]]:
    return [
        {
            "contact_id": topics.contact_id,
            "topic": topic,
            "until": topics.until,
            "place": topics.place,
        }
        for topic in topics.topics
    ]
