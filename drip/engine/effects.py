"""What walking and judging bring about, as values: `engine.storing` writes them, and
only then has anything happened.

Those of steps change what is known too: `seen_in` is what the next condition of the
contact reads, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, NamedTuple

from drip.core.decide import Reason
from drip.engine.deriving import Owner
from drip.engine.facts import ContactFacts
from drip.storage.campaigns.runs import Run
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import Contact
from drip.storage.people.counters import Movement
from drip.storage.people.coupons import Code, InStock
from drip.storage.people.records import Record
from drip.storage.sending.outbox import OutboxMessage


class RunChanged(NamedTuple):
    """How far a run has come."""

    run: Run


class MessageChanged(NamedTuple):
    """A message as it is now, new ones too; with `run_rests` its run waits for it, and
    may have changed in nothing else."""

    message: OutboxMessage
    run_rests: bool = False


class MessageJudged(NamedTuple):
    """As `MessageChanged`, and why the message does not go: for good, or `until` an
    instant."""

    message: OutboxMessage
    reason: Reason
    until: datetime | None
    run_rests: bool = False


@dataclass(frozen=True, slots=True)
class TaskGiven:
    """Work for a person. `title` is filled in with `values` when it is stored; `row` is
    the rest of the task's row."""

    title: str
    values: Mapping[str, Any]
    row: Mapping[str, Any]

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        """No condition asks about tasks."""
        return facts


@dataclass(frozen=True, slots=True)
class CodeIssued:
    """A coupon's code of a run's step; `taken` from the stock, or made for it."""

    run_id: int
    contact_id: int
    code: Code
    taken: InStock | None

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        own = (*facts.codes.get(self.run_id, ()), self.code)
        held, stock = facts.held_codes, dict(facts.stock)
        if held is not None:
            of_contact = (*held.get(self.contact_id, ()), self.code)
            held = {**held, self.contact_id: of_contact}
        if self.taken:
            coupon = self.code.coupon
            # Whoever comes next in the transaction gets the one behind it.
            stock[coupon] = [code for code in stock[coupon] if code != self.taken]
        return replace(
            facts,
            codes={**facts.codes, self.run_id: own},
            held_codes=held,
            stock=stock,
            touched=facts.touched | {self.contact_id},
        )


@dataclass(frozen=True, slots=True)
class CounterMoved:
    """A counter was moved by a run's step, up to `after`."""

    counter: str
    movement: Movement
    after: int

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        contact_id = self.movement.contact_id
        balances = {**facts.balances(contact_id), self.counter: self.after}
        return replace(
            facts,
            balances_by_contact={
                **(facts.balances_by_contact or {}),
                contact_id: balances,
            },
            touched=facts.touched | {contact_id},
        )


@dataclass(frozen=True, slots=True)
class ConsentSaid:
    """What a step said in a contact's name, with the proof that an event of the run
    gave."""

    contact: Contact
    said: tuple[Consent, ...]
    source: str
    proof: Mapping[str, str] | None

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        places = {(consent.topic, consent.channel) for consent in self.said}
        others = (
            consent
            for consent in facts.consents.get(self.contact.id, ())
            if (consent.topic, consent.channel) not in places
        )
        return replace(
            facts,
            consents={**facts.consents, self.contact.id: (*others, *self.said)},
            touched=facts.touched | {self.contact.id},
        )


@dataclass(frozen=True, slots=True)
class Retagged:
    """Tags that a contact has from now on, or (not `on`) has no more: only those for
    which that is new."""

    contact_id: int
    tags: tuple[str, ...]
    on: bool

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        own = set(facts.tags(self.contact_id))
        tags = own | set(self.tags) if self.on else own - set(self.tags)
        return replace(
            facts,
            tags_by_contact={**(facts.tags_by_contact or {}), self.contact_id: tags},
            touched=facts.touched | {self.contact_id},
        )


@dataclass(frozen=True, slots=True)
class FieldsSet:
    """A contact, and the run's record, with the fields that a step has set; `kept` are
    the dates that follow from them."""

    contact: Contact
    record: Record | None
    kept: Mapping[Owner, Mapping[str, date]]

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        contacts = {**facts.contacts, self.contact.id: self.contact}
        changed = {self.record.id: self.record} if self.record else {}
        return replace(
            facts,
            contacts=contacts,
            records={**facts.records, **changed},
            kept=None if facts.kept is None else {**facts.kept, **self.kept},
            touched=facts.touched | {self.contact.id},
        )


@dataclass(frozen=True, slots=True)
class TopicsPaused:
    """Topics that are held back for a contact."""

    contact_id: int
    topics: tuple[str, ...]
    until: datetime
    place: str

    def seen_in(self, facts: ContactFacts) -> ContactFacts:
        pauses, new = dict(facts.pauses or {}), (self.until, self.place)
        for topic in self.topics:
            place = (self.contact_id, topic)
            # Of two pauses of a topic the longer counts, whoever came first.
            pauses[place] = max(new, pauses.get(place, new))
        return replace(facts, pauses=pauses)


class ConfirmationAwaited(NamedTuple):
    """A sign-up can be confirmed as long as the run that asks for it waits."""

    contact_id: int
    run_id: int
    limit: datetime


StepEffect = (
    TaskGiven
    | CodeIssued
    | CounterMoved
    | ConsentSaid
    | Retagged
    | FieldsSet
    | TopicsPaused
)
Effect = StepEffect | ConfirmationAwaited | RunChanged | MessageChanged | MessageJudged
