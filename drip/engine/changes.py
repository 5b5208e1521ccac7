"""What a batch changes, collected and stored at once: runs, messages, judgements, and what steps did.

How a run ends, and what becomes of the messages that it leaves waiting, is said here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from drip.core.decide import Reason
from drip.core.lifecycle import UNSENT, MessageState
from drip.errors import Place
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import NEVER, Run
from drip.storage.operating import webhook_outbox
from drip.storage.people import contacts as contact_store
from drip.storage.sending import decisions, outbox
from drip.storage.sending.decisions import Judgement
from drip.storage.sending.outbox import OutboxMessage


@dataclass
class Changes:
    """The changes of one transaction at `now`."""

    now: datetime
    runs: dict[int, Run] = field(default_factory=dict)
    _resting: list[int] = field(default_factory=list)
    _messages: list[OutboxMessage] = field(default_factory=list)
    _judgements: list[Judgement] = field(default_factory=list)

    def changed(self, run: Run) -> None:
        """This run is to be stored."""
        self.runs[run.id] = run

    def rests(self, run: Run) -> None:
        """This run, in which nothing else has changed, waits for its message."""
        run.next_due_at = NEVER
        if run.id not in self.runs:
            self._resting.append(run.id)

    def message(self, message: OutboxMessage) -> None:
        """This message is to be stored."""
        self._messages.append(message)

    def end(
        self, run: Run, reason: Reason | None, told: Iterable[OutboxMessage]
    ) -> None:
        """Ends a run; without a reason it is simply done. What of its messages (`told`) has not left ends with it."""
        run.active, run.next_due_at, run.ended_at = False, None, self.now
        self.changed(run)
        if reason is None:
            return
        run.code, run.sentence, run.place = (
            reason.code,
            reason.sentence,
            str(reason.place),
        )
        for message in told:
            if message.state in UNSENT:
                self.skip(message, reason)

    def skip(self, message: OutboxMessage, reason: Reason) -> None:
        """This message will not be sent."""
        message.state, message.settled_at = MessageState.SKIPPED, self.now
        self._record(message, reason, None)

    def hold(
        self, message: OutboxMessage, channel: str, at: datetime, place: Place
    ) -> None:
        """This message may have left at an instant of which the ledger was lost: a person has to say."""
        message.state, message.channel, message.sent_at, message.settled_at = (
            MessageState.HELD,
            channel,
            at,
            self.now,
        )
        message.code, message.place = "unknown", str(place)
        message.sentence = (
            "it may have left before the database was put back from a backup"
        )
        self.message(message)

    def defer(self, message: OutboxMessage, until: datetime, reason: Reason) -> None:
        """A message that waits for the same reason as before is not written down again each time."""
        same = message.code == reason.code and message.place == str(reason.place)
        told = same and (reason.code == "paused" or message.due_at == until)
        message.state, message.due_at, message.granted_at = (
            MessageState.DEFERRED,
            until,
            None,
        )
        if told:
            self.message(message)
        else:
            self._record(message, reason, until)

    def _record(
        self, message: OutboxMessage, reason: Reason, until: datetime | None
    ) -> None:
        # The sentence is the judgement's.
        message.code, message.sentence, message.place = (
            reason.code,
            None,
            str(reason.place),
        )
        self.message(message)
        filled_by = ",".join(reason.filled_by) or None
        made = Judgement(
            message,
            self.now,
            reason.code,
            reason.sentence,
            str(reason.place),
            filled_by,
            until,
        )
        self._judgements.append(made)

    def store(self, connection: Connection) -> None:
        """Writes everything down."""
        runs.rest(connection, self._resting)
        runs.save_runs(connection, list(self.runs.values()))
        # One message can have changed more than once.
        outbox.save_messages(
            connection, list({id(each): each for each in self._messages}.values())
        )
        decisions.save_judgements(connection, self._judgements)
        self._tell(connection)

    def _tell(self, connection: Connection) -> None:
        """Other programs are told of goals that were met."""
        met = [
            run
            for run in self.runs.values()
            if run.code == "goal-met" and run.ended_at == self.now
        ]
        if met:
            known = contact_store.contacts_by_id(
                connection, {run.contact_id for run in met}
            )
            told = [
                (
                    run.contact_id,
                    {
                        "run": run.id,
                        "campaign": run.campaign,
                        "contact": known[run.contact_id].key,
                    },
                )
                for run in met
            ]
            webhook_outbox.add(connection, "goal", told, self.now)
