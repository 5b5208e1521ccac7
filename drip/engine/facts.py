"""What is known about some contacts, as of one transaction: a value, from which judging
and rendering read.

`engine.loading` fetches it, all at once. What nobody asked for is not there, and
reading it raises LookupError: a condition that reads "nothing" where nothing was
fetched would decide about people silently. What steps do in a run is seen by whoever
reads the value that comes after them (`engine.effects`); this one stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from drip.core.calendar import Birthday, age_on, local, shifted, zone
from drip.core.channels import CHANNELS
from drip.core.conditions import Facts, first_instant
from drip.core.decide import Person, Reason
from drip.core.derived import DateField, Derived, Known, Total
from drip.core.fields import Value, load
from drip.core.settings import Settings, Topic
from drip.engine.deriving import Owner
from drip.errors import Place
from drip.storage.people import contacts, suppressions
from drip.storage.people.consents import Consent, Standing
from drip.storage.people.contacts import Contact, address_of
from drip.storage.people.coupons import Code, InStock
from drip.storage.people.events import Event
from drip.storage.people.records import Record
from drip.storage.people.sign_ups import SignUp

T = TypeVar("T")


class CodeKey(NamedTuple):
    """What codes of a run's own are made with."""

    secret: bytes
    workspace: str


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """Contacts with all that was asked about them; None where nothing was.

    `events` are by number, `happened` by contact and name, oldest first, of the `names`
    that were asked for; `codes` are by run; `held_codes`, `tags`, `sets`, `balances`
    and `last_events` by contact; `pauses` by contact and topic; `kept` and `origins`
    (what kept dates are made of) by owner; `totals` by field, then by contact or
    record. `counted` are the steps of runs that have moved a counter, `winners` the
    arms by campaign and split, `stock` the codes that are left. `touched` are the
    contacts about whom steps have made something new.
    """

    settings: Settings
    now: datetime
    contacts: Mapping[int, Contact]
    consents: Mapping[int, Sequence[Consent]]
    sign_ups: Mapping[int, SignUp]
    suppression_key: bytes
    suppressed: Mapping[str, str]
    records: Mapping[int, Record] = field(default_factory=dict)
    events: Mapping[int, Event] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    happened_by_name: Mapping[tuple[int, str], Sequence[Event]] = field(
        default_factory=dict
    )
    codes: Mapping[int, Sequence[Code]] = field(default_factory=dict)
    pauses: Mapping[tuple[int, str], tuple[datetime, str]] | None = None
    held_codes: Mapping[int, Sequence[Code]] | None = None
    tags_by_contact: Mapping[int, Collection[str]] | None = None
    sets_by_contact: Mapping[int, Collection[str]] | None = None
    balances_by_contact: Mapping[int, Mapping[str, int]] | None = None
    last_events: Mapping[int, datetime] | None = None
    kept: Mapping[Owner, Mapping[str, date]] | None = None
    origins: Mapping[Owner, Known] = field(default_factory=dict)
    totals: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    counted: Collection[tuple[int, str]] = ()
    winners: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    stock: Mapping[str, Sequence[InStock]] = field(default_factory=dict)
    code_key: CodeKey | None = None
    touched: frozenset[int] = frozenset()

    # --- what conditions ask about

    def happened(self, contact_id: int, name: str) -> Sequence[Event]:
        """The contact's events of a name, oldest first."""
        if name not in self.names:
            raise LookupError(f"events {name} were not asked for")
        return self.happened_by_name.get((contact_id, name), ())

    def tags(self, contact_id: int) -> Collection[str]:
        """The contact's tags."""
        return _asked(self.tags_by_contact, "tags").get(contact_id, ())

    def sets(self, contact_id: int) -> Collection[str]:
        """The segments and ranks that the contact is in."""
        return _asked(self.sets_by_contact, "segments").get(contact_id, ())

    def coupons(self, contact: Contact) -> set[str]:
        """The coupons of which the contact holds a code that is still good."""
        codes = _asked(self.held_codes, "coupons").get(contact.id, ())
        today = self._today(contact).isoformat()
        return {
            code.coupon
            for code in codes
            if code.redeemed_at is None and (code.expires or today) >= today
        }

    def balances(self, contact_id: int) -> Mapping[str, int]:
        """Where the contact's counters stand."""
        return _asked(self.balances_by_contact, "counters").get(contact_id, {})

    def paused(
        self, contact: Contact, topic: str | None
    ) -> tuple[datetime, Reason] | None:
        """Until when a topic is held back for this contact, and why."""
        pauses = _asked(self.pauses, "pauses")
        held = pauses.get((contact.id, topic)) if topic and pauses else None
        if held is None or held[0] <= self.now:
            return None
        until, place = held
        day = local(until, zone(self.zone_of(contact)))
        sentence = f"{topic} is held back for this contact until {day:%Y-%m-%d}"
        return until, Reason("paused", sentence, place_of(place))

    # --- consent and address

    def unconfirmed(self, contact: Contact) -> bool:
        """Whether nothing is known of this contact but a sign-up that nobody has
        confirmed, or did in time."""
        known = self.sign_ups.get(contact.id)
        return known is not None and known.hidden

    def confirmable(self, contact: Contact) -> bool:
        """Whether it is one that can still be confirmed."""
        known = self.sign_ups.get(contact.id)
        return known is not None and known.state == "open"

    def zone_of(self, contact: Contact) -> str:
        """The zone that holds for the contact."""
        return contact.zone or self.settings.timezone

    def person(self, contact: Contact) -> Person:
        """The contact as `decide` sees it."""
        settings = self.settings
        return Person(
            zone(contact.zone or settings.timezone),
            partial(self._closed, contact),
            settings.quiet_hours,
            settings.quiet_hours_place,
            settings.holidays,
        )

    def standing(
        self,
        contact: Contact,
        topic: str | None,
        channel: str,
    ) -> Standing:
        """What the last check before sending compares with."""
        said = self._said(contact, topic, channel)
        digest = self._digest(contact, channel)
        return Standing(
            contact.id,
            topic,
            channel,
            address_of(contact, channel),
            contact.zone,
            said.given if said else None,
            digest in self.suppressed,
            digest,
        )

    def _digest(self, contact: Contact, channel: str) -> str:
        """The hash under which the contact's address would be suppressed; empty where
        there is none."""
        address = address_of(contact, channel)
        return suppressions.digest(self.suppression_key, address) if address else ""

    def _said(
        self,
        contact: Contact,
        topic: str | None,
        channel: str,
    ) -> Consent | None:
        for consent in self.consents.get(contact.id, ()):
            if consent.topic == topic and consent.channel == channel:
                return consent
        return None

    def _closed(
        self,
        contact: Contact,
        channel: str,
        topic: str | None,
    ) -> Reason | None:
        """Why nothing may go by a channel: of a topic, or (None) at all."""
        if channel not in self.settings.transports:
            sentence = f"nothing says how messages by {channel} leave"
            return Reason("no-address", sentence, self._place(channel))
        if not address_of(contact, channel):
            sentence = f"there is no {CHANNELS[channel].address_in_words}"
            return Reason("no-address", sentence, self._place(channel))
        # A digest costs more than all else here, and most workspaces have suppressed
        # nobody.
        why = self._suppression(contact, channel) if self.suppressed else None
        if why:
            sentence = f"the address is suppressed: {why}"
            return Reason("suppressed", sentence, self._place(channel))
        if topic is None:
            return None
        return self._no_consent(contact, self.settings.topics[topic], channel)

    def _place(self, channel: str) -> Place:
        settings = self.settings
        return settings.transport_places.get(channel, settings.place)

    def _suppression(self, contact: Contact, channel: str) -> str | None:
        """Why the contact's address is suppressed, if so."""
        return self.suppressed.get(self._digest(contact, channel))

    def _no_consent(
        self,
        contact: Contact,
        topic: Topic,
        channel: str,
    ) -> Reason | None:
        """An implied topic is open until someone says no; every other one is closed
        until someone says yes."""
        said = self._said(contact, topic.key, channel)
        sentence: str | None
        if said is None:
            sentence = self._unsaid(contact, topic, channel)
        elif said.given:
            return None
        else:
            sentence = f"{topic.key} was switched off on {said.at:%Y-%m-%d}"
        return Reason("no-consent", sentence, topic.place) if sentence else None

    def _unsaid(
        self,
        contact: Contact,
        topic: Topic,
        channel: str,
    ) -> str | None:
        """Why a topic is closed to somebody who has said nothing about it, if so."""
        if topic.opt_in != "implied":
            return f"there is no consent to {topic.key} by {channel}"
        if contact.id in self.sign_ups:
            return f"a sign-up for another topic does not imply {topic.key}"
        if self._ran_out(contact, topic):
            return f"the implied consent to {topic.key} has run out"
        return None

    def _ran_out(self, contact: Contact, topic: Topic) -> bool:
        """Whether nothing has happened for so long that consent is not implied any
        more."""
        if topic.expires is None:
            return False
        last = _asked(self.last_events, "last events").get(contact.id)
        begins = first_instant(topic.expires, self.now, self.settings.timezone)
        return last is None or last < begins

    def subscribed(self, contact: Contact, key: object) -> bool:
        """Whether this contact said yes to a topic on some channel, or is implied to
        and never said no to it."""
        own = self.consents.get(contact.id, ())
        said = [consent.given for consent in own if consent.topic == key]
        if said:
            return any(said)
        topic = self.settings.topics.get(str(key))
        if topic is None or topic.opt_in != "implied" or contact.id in self.sign_ups:
            return False
        return not self._ran_out(contact, topic)

    # --- values

    def facts(
        self,
        contact: Contact,
        record: Record | None,
        heard: Mapping[str, Event],
        since: datetime | None = None,
    ) -> Facts:
        """What conditions read: `contact.first_name`, `vehicle.status`, `order.total`,
        `counter.coffee_card`.

        `heard` are the events that the run knows, by what their fields are called by.
        """
        past = _Past(self, contact)
        return Facts(
            _Values(
                self,
                contact,
                record,
                heard,
            ),
            past,
            self.now,
            self.zone_of(contact),
            self.settings.timezone,
            past,
            since,
            record.id if record else 0,
        )

    def fields(self, contact: Contact) -> dict[str, Value]:
        """The contact's known fields by bare name, with `age` where a birthday has its
        year."""
        values = self.settings.load("contact", contact.attributes)
        for name in contacts.COLUMNS:
            value = getattr(contact, name)
            if value is not None:
                values[name] = value
        values["timezone"] = self.zone_of(contact)
        age = self._age(contact, values.get("birthday"))
        if age is not None:
            values["age"] = age
        return self._with_derived("contact", values, (contact.id, 0))

    def _age(self, contact: Contact, birthday: Value | None) -> int | None:
        """How old the contact is; None if the year of birth is unknown."""
        if not isinstance(birthday, Birthday):
            return None
        return age_on(birthday, self._today(contact))

    def _today(self, contact: Contact) -> date:
        """The day on the contact's own calendar."""
        where = zone(self.zone_of(contact))
        return local(self.now, where).date()

    def record_fields(self, record: Record) -> dict[str, Value]:
        """The record's known fields by bare name, derived ones too."""
        values: dict[str, Value] = {
            "key": record.key,
            **self.settings.load(record.kind, record.attributes),
        }
        return self._with_derived(record.kind, values, (record.contact_id, record.id))

    def _with_derived(
        self,
        kind: str,
        values: dict[str, Value],
        owner: Owner,
    ) -> dict[str, Value]:
        for full, derived in self.settings.derived.items():
            own_kind, _, name = full.partition(".")
            if own_kind == kind:
                value = self._derived(
                    full,
                    derived,
                    values,
                    owner,
                )
                if value is not None:
                    values[name] = value
        return values

    def _derived(
        self,
        full: str,
        derived: Derived,
        values: Mapping[str, Value],
        owner: Owner,
    ) -> Value | None:
        """The value of one derived field; None where it cannot be known."""
        match derived:
            case Total():
                return self._total(full, owner)
            case DateField(field, steps):
                source = values.get(field.partition(".")[2])
                return shifted(source, steps) if isinstance(source, date) else None
        kept = _asked(self.kept, "derived dates").get(owner, {})
        return kept.get(full)

    def _total(self, full: str, owner: Owner) -> int | float:
        contact_id, record_id = owner
        number = self.totals[full].get(record_id or contact_id, 0)
        return int(number) if number == int(number) else number

    def context(
        self,
        contact: Contact,
        record: Record | None,
        heard: Mapping[str, Event],
        codes: Sequence[Code] = (),
    ) -> dict[str, Any]:
        """What templates read: plain data only."""
        settings = self.settings
        values: dict[str, Any] = {
            "contact": self._contact_values(contact),
            "business": {
                "name": settings.business_name,
                "address": settings.business_address,
            },
        }
        if record:
            values[record.kind] = self.record_fields(record)
        where = zone(self.zone_of(contact))
        for prefix, event in heard.items():
            at = local(event.at, where)
            about = {"name": event.name, "at": at, **event.fields}
            values.setdefault(prefix, about)
        if codes:
            values["coupon"] = self._coupon(codes[-1])
        return values

    def _contact_values(self, contact: Contact) -> dict[str, Any]:
        """The contact's fields, with its counters."""
        counters = self.settings.counters
        own = self.balances(contact.id) if counters else {}
        balances = {name: own.get(name, 0) for name in counters}
        return {**self.fields(contact), **balances}

    def _coupon(self, code: Code) -> dict[str, Any]:
        known = self.settings.coupons.get(code.coupon)
        offer = known.offer if known else code.coupon
        values: dict[str, Any] = {"code": code.code, "offer": offer}
        if code.expires:
            values["expires"] = date.fromisoformat(code.expires)
        return values

    def heard(
        self, event_id: int | None, heard: Mapping[str, int] | None
    ) -> dict[str, Event]:
        """The events that a run knows, by what their fields are called by: its
        trigger's, and those it waited for."""
        if event_id is None and not heard:
            return {}
        first = self.events.get(event_id or 0)
        found = named(first) if first else {}
        for prefix, number in (heard or {}).items():
            event = self.events.get(number)
            if event:
                found[prefix] = event
        return found


def _asked(known: T | None, what: str) -> T:
    """What was fetched. Raises LookupError if it was not."""
    if known is None:
        raise LookupError(f"{what} were not asked for")
    return known


def named(event: Event) -> dict[str, Event]:
    """An event by what its fields are called by: `event.total`, and `order.total` of an
    `order.placed`."""
    return {"event": event, event.name.partition(".")[0]: event}


class _Values(Mapping[str, Value]):
    """What conditions read, worked out as it is asked for: most ask for one or two
    fields."""

    def __init__(
        self,
        facts: ContactFacts,
        contact: Contact,
        record: Record | None,
        heard: Mapping[str, Event],
    ) -> None:
        self._facts, self._contact = facts, contact
        self._record, self._heard = record, heard
        self._known: dict[str, Mapping[str, Value]] = {}

    def __getitem__(self, field: str) -> Value:
        owner, _, name = field.partition(".")
        if owner not in self._known:
            self._known[owner] = self._of(owner)
        return self._known[owner][name]

    def _of(self, owner: str) -> Mapping[str, Value]:
        facts, record = self._facts, self._record
        if owner == "contact":
            return facts.fields(self._contact)
        if owner == "counter":
            own = facts.balances(self._contact.id)
            return {name: own.get(name, 0) for name in facts.settings.counters}
        if owner in self._heard:
            return self._heard[owner].fields
        if record and record.kind == owner:
            return facts.record_fields(record)
        return {}

    def __iter__(self) -> Iterator[str]:
        kinds = [self._record.kind] if self._record else []
        owners = ("contact", "counter", *self._heard, *kinds)
        return (f"{owner}.{name}" for owner in owners for name in self._of(owner))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(slots=True)
class _Past:
    """One contact's `core.conditions.History`, and the topics that it is subscribed
    to."""

    known: ContactFacts
    contact: Contact

    def __contains__(self, topic: object) -> bool:
        return self.known.subscribed(self.contact, topic)

    def tags(self) -> Collection[str]:
        return self.known.tags(self.contact.id)

    def sets(self) -> Collection[str]:
        return self.known.sets(self.contact.id)

    def coupons(self) -> Collection[str]:
        return self.known.coupons(self.contact)

    def events(self, name: str) -> Sequence[Event]:
        return self.known.happened(self.contact.id, name)


def place_of(text: str) -> Place:
    """A place from how it is written down."""
    file, _, line = text.rpartition(":")
    return Place(file, int(line)) if file and line.isdecimal() else Place(text)


def date_value(
    settings: Settings,
    field: str,
    stored: str,
) -> Value | None:
    """The value of a date field as it is indexed."""
    owner, _, name = field.partition(".")
    declared = settings.fields[owner].get(name)
    return load(declared, stored) if declared else date.fromisoformat(stored)
