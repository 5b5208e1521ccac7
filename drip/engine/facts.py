"""What is known about a batch of contacts, fetched in a few queries and shaped for judging and rendering.

What only some conditions ask for (tags, segments, coupons, events) is fetched when the first one asks, for the whole
batch at once. What steps change in a run is changed here too, so that the next condition sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from drip.core.calendar import Birthday, age_on, local, shifted, zone
from drip.core.channels import CHANNELS
from drip.core.conditions import Facts, first_instant
from drip.core.decide import Person, Reason
from drip.core.derived import KEPT, DateField, Total
from drip.core.fields import Value, load
from drip.core.settings import Settings, Topic
from drip.errors import Place
from drip.storage.campaigns.runs import Run
from drip.storage.people import (
    consents,
    contacts,
    counters,
    date_index,
    records,
    segments,
    sign_ups,
    suppressions,
)
from drip.storage.people import coupons as coupon_store
from drip.storage.people import events as event_store
from drip.storage.people import pauses as pause_store
from drip.storage.people import tags as tag_store
from drip.storage.people.consents import Consent, Standing
from drip.storage.people.contacts import Contact, address_of
from drip.storage.people.coupons import Code
from drip.storage.people.events import Event
from drip.storage.people.records import Record


class ContactFacts:
    """Contacts with their consents, suppressions, records and events, as of one transaction."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        contact_ids: Collection[int],
        now: datetime,
    ) -> None:
        self.settings, self.now = settings, now
        self._connection, self._ids = connection, list(contact_ids)
        self.contacts = contacts.contacts_by_id(connection, contact_ids)
        self._consents = consents.of_contacts(connection, contact_ids)
        self._sign_ups = sign_ups.of_contacts(connection, contact_ids)
        self._key = suppressions.suppression_key(connection)
        self._suppressed: dict[str, str] = {}
        if suppressions.any_suppressed(connection):
            channels = list(settings.transports)
            digests = [
                self._digest(each, channel)
                for each in self.contacts.values()
                for channel in channels
            ]
            self._suppressed = suppressions.suppressed(connection, digests)
        self.records: dict[int, Record] = {}
        self.events: dict[int, Event] = {}
        self.codes: dict[int, list[Code]] = {}
        self._issued: dict[int, list[Code]] = {}
        self._happened: dict[tuple[int, str], list[Event]] = {}
        self._heard: set[str] = set()
        self._asked: dict[str, Any] = {}
        self._held_back: dict[tuple[int, str | None], tuple[datetime, str]] | None = (
            None
        )
        self._totals: dict[tuple[str, bool], dict[int, float]] = {}

    # --- fetched for the runs at hand

    def with_records(self, ids: Collection[int]) -> None:
        """Fetches these records too; 0 stands for none."""
        named = {each for each in ids if each} - set(self.records)
        if named:
            self.records |= records.records_by_id(self._connection, named)

    def with_events(self, ids: Iterable[int | None]) -> None:
        """Fetches these events too."""
        named = {each for each in ids if each} - set(self.events)
        if named:
            self.events |= event_store.events_by_id(self._connection, named)

    def listen(self, names: Collection[str]) -> None:
        """Fetches the events of these names that are not at hand yet, of all contacts in one query."""
        missing = set(names) - self._heard
        if not missing:
            return
        self._heard |= missing
        for contact, own in event_store.events_of(
            self._connection, self._ids, missing
        ).items():
            for event in own:
                self._happened.setdefault((contact, event.name), []).append(event)
                self.events[event.id] = event

    def happened(self, contact_id: int, name: str) -> Sequence[Event]:
        """The contact's events of a name, oldest first."""
        if name not in self._heard:
            self.listen({name})
        return self._happened.get((contact_id, name), ())

    def with_codes(self, run_ids: Collection[int]) -> None:
        """Fetches the coupons issued in these runs."""
        if run_ids:
            self.codes |= coupon_store.codes_of_runs(self._connection, run_ids)

    def prepare(self) -> None:
        """Fetches all that the last check and templates ask for, so that it is there once the transaction is over."""
        for contact in list(self.contacts.values())[:1]:
            self.fields(contact)
            self.paused(contact, None)
            for topic in self.settings.topics.values():
                self._ran_out(contact, topic)
            if self.settings.counters:
                self.balances(contact.id)
        for record in {each.kind: each for each in self.records.values()}.values():
            self.record_fields(record)

    def _once(self, name: str, fetch: Callable[[], Any]) -> Any:
        if name not in self._asked:
            self._asked[name] = fetch()
        return self._asked[name]

    def tags(self, contact_id: int) -> set[str]:
        """The contact's tags, to be changed with what is stored."""
        found: dict[int, set[str]] = self._once(
            "tags", lambda: tag_store.tags_of(self._connection, self._ids)
        )
        return found.setdefault(contact_id, set())

    def sets(self, contact_id: int) -> Collection[str]:
        """The segments and ranks that the contact is in."""
        found: dict[int, set[str]] = self._once(
            "sets", lambda: segments.sets_of(self._connection, self._ids)
        )
        return found.get(contact_id, ())

    def coupons(self, contact: Contact) -> set[str]:
        """The coupons of which the contact holds a code that is still good."""
        found: dict[int, list[Code]] = self._once(
            "coupons",
            lambda: coupon_store.codes_of_contacts(self._connection, self._ids),
        )
        today = local(self.now, zone(self.zone_of(contact))).date().isoformat()
        own = [*found.get(contact.id, ()), *self._issued.get(contact.id, ())]
        return {
            each.coupon
            for each in own
            if each.redeemed_at is None and (each.expires or today) >= today
        }

    def forget_kept(self) -> None:
        """Derived dates were worked out anew."""
        self._asked.pop("kept", None)

    def add_code(self, run: Run, code: Code) -> None:
        """A code that was issued just now, in a run."""
        self.codes.setdefault(run.id, []).append(code)
        self._issued.setdefault(run.contact_id, []).append(code)

    def balances(self, contact_id: int) -> dict[str, int]:
        """Where the contact's counters stand, to be changed with what is stored."""
        found: dict[int, dict[str, int]] = self._once(
            "balances", lambda: counters.balances_of(self._connection, self._ids)
        )
        return found.setdefault(contact_id, {})

    def paused(
        self, contact: Contact, topic: str | None
    ) -> tuple[datetime, Reason] | None:
        """Until when a topic is held back for this contact, and why."""
        pauses = self._pauses()
        held = pauses.get((contact.id, topic)) if pauses else None
        if held is None or held[0] <= self.now:
            return None
        until, place = held
        day = local(until, zone(self.zone_of(contact)))
        return until, Reason(
            "paused",
            f"{topic} is held back for this contact until {day:%Y-%m-%d}",
            place_of(place),
        )

    def _pauses(self) -> dict[tuple[int, str | None], tuple[datetime, str]]:
        if self._held_back is None:
            self._held_back = dict(
                pause_store.pauses_of(self._connection, self._ids).items()
            )
        return self._held_back

    def pause(self, contact: Contact, topic: str, until: datetime, place: str) -> None:
        """A topic that is held back from now on."""
        found = self._pauses()
        found[contact.id, topic] = max(
            (until, place), found.get((contact.id, topic), (until, place))
        )

    # --- consent and address

    def unconfirmed(self, contact: Contact) -> bool:
        """Whether nothing is known of this contact but a sign-up that nobody has confirmed, or did in time."""
        known = self._sign_ups.get(contact.id)
        return known is not None and known.hidden

    def confirmable(self, contact: Contact) -> bool:
        """Whether it is one that can still be confirmed."""
        known = self._sign_ups.get(contact.id)
        return known is not None and known.state == "open"

    def zone_of(self, contact: Contact) -> str:
        return contact.zone or self.settings.timezone

    def person(self, contact: Contact) -> Person:
        """The contact as `decide` sees it."""
        settings = self.settings
        where = zone(contact.zone or settings.timezone)
        return Person(
            where,
            partial(self._closed, contact),
            settings.quiet_hours,
            settings.quiet_hours_place,
            settings.holidays,
        )

    def standing(self, contact: Contact, topic: str | None, channel: str) -> Standing:
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
            digest in self._suppressed,
            digest,
        )

    def _digest(self, contact: Contact, channel: str) -> str:
        """The hash under which the contact's address would be suppressed; empty where there is none."""
        address = address_of(contact, channel)
        return suppressions.digest(self._key, address) if address else ""

    def _said(
        self, contact: Contact, topic: str | None, channel: str
    ) -> Consent | None:
        for each in self._consents.get(contact.id, ()):
            if each.topic == topic and each.channel == channel:
                return each
        return None

    def say(self, consent: Consent) -> None:
        """A consent given or taken back just now."""
        own = self._consents.setdefault(consent.contact_id, [])
        own[:] = [
            each
            for each in own
            if (each.topic, each.channel) != (consent.topic, consent.channel)
        ]
        own.append(consent)

    def _closed(
        self, contact: Contact, channel: str, topic: str | None
    ) -> Reason | None:
        """Why nothing may go by a channel: of a topic, or (None) at all."""
        place = self.settings.transport_places.get(channel, self.settings.place)
        if channel not in self.settings.transports:
            return Reason(
                "no-address", f"nothing says how messages by {channel} leave", place
            )
        if not address_of(contact, channel):
            missing = CHANNELS[channel].address_in_words
            return Reason("no-address", f"there is no {missing}", place)
        if self._suppressed and (
            why := self._suppressed.get(self._digest(contact, channel))
        ):
            return Reason("suppressed", f"the address is suppressed: {why}", place)
        if topic is None:
            return None
        return self._no_consent(contact, self.settings.topics[topic], channel)

    def _no_consent(
        self, contact: Contact, topic: Topic, channel: str
    ) -> Reason | None:
        """An implied topic is open until someone says no; every other one is closed until someone says yes."""
        said = self._said(contact, topic.key, channel)
        if said and not said.given:
            return Reason(
                "no-consent",
                f"{topic.key} was switched off on {said.at:%Y-%m-%d}",
                topic.place,
            )
        if said is None and topic.opt_in != "implied":
            return Reason(
                "no-consent",
                f"there is no consent to {topic.key} by {channel}",
                topic.place,
            )
        if said is None and contact.id in self._sign_ups:
            return Reason(
                "no-consent",
                f"a sign-up for another topic does not imply {topic.key}",
                topic.place,
            )
        if said is None and self._ran_out(contact, topic):
            return Reason(
                "no-consent",
                f"the implied consent to {topic.key} has run out",
                topic.place,
            )
        return None

    def _ran_out(self, contact: Contact, topic: Topic) -> bool:
        """Whether nothing has happened for so long that consent is not implied any more."""
        if topic.expires is None:
            return False
        last = self._once(
            "last event", lambda: event_store.last_event(self._connection, self._ids)
        ).get(contact.id)
        return last is None or last < first_instant(
            topic.expires, self.now, self.settings.timezone
        )

    def subscribed(self, contact: Contact, key: object) -> bool:
        """Whether this contact said yes to a topic on some channel, or is implied to and never said no to it."""
        said = False
        for each in self._consents.get(contact.id, ()):
            if each.topic == key:
                if each.given:
                    return True
                said = True
        topic = self.settings.topics.get(str(key))
        if (
            topic is None
            or topic.opt_in != "implied"
            or said
            or contact.id in self._sign_ups
        ):
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
        """What conditions read: `contact.first_name`, `vehicle.status`, `order.total`, `counter.coffee_card`.

        `heard` are the events that the run knows, by what their fields are called by.
        """
        past = _Past(self, contact)
        return Facts(
            _Values(self, contact, record, heard),
            past,
            self.now,
            self.zone_of(contact),
            self.settings.timezone,
            past,
            since,
            record.id if record else 0,
        )

    def fields(self, contact: Contact) -> dict[str, Value]:
        """The contact's known fields by bare name, with `age` where a birthday has its year."""
        values = self.settings.load("contact", contact.attributes)
        values |= {
            name: value
            for name in contacts.COLUMNS
            if (value := getattr(contact, name)) is not None
        }
        values["timezone"] = self.zone_of(contact)
        birthday = values.get("birthday")
        if isinstance(birthday, Birthday):
            age = age_on(birthday, local(self.now, zone(self.zone_of(contact))).date())
            if age is not None:
                values["age"] = age
        return self._with_derived("contact", values, contact.id, 0)

    def record_fields(self, record: Record) -> dict[str, Value]:
        """The record's known fields by bare name, derived ones too."""
        values: dict[str, Value] = {
            "key": record.key,
            **self.settings.load(record.kind, record.attributes),
        }
        return self._with_derived(record.kind, values, record.contact_id, record.id)

    def _with_derived(
        self, owner: str, values: dict[str, Value], contact_id: int, record_id: int
    ) -> dict[str, Value]:
        for full, derived in self.settings.derived.items():
            kind, _, name = full.partition(".")
            if kind != owner:
                continue
            if isinstance(derived, Total):
                values[name] = self._total(full, derived, contact_id, record_id)
            elif isinstance(derived, DateField):
                source = values.get(derived.field.partition(".")[2])
                if isinstance(source, date):
                    values[name] = shifted(source, derived.steps)
            elif full in (kept := self._kept().get((contact_id, record_id), {})):
                values[name] = kept[full]
        return values

    def _kept(self) -> Mapping[tuple[int, int], Mapping[str, date]]:
        names = [
            full
            for full, derived in self.settings.derived.items()
            if isinstance(derived, KEPT)
        ]
        found: Mapping[tuple[int, int], Mapping[str, date]] = self._once(
            "kept", lambda: date_index.kept_dates(self._connection, names, self._ids)
        )
        return found

    def _total(
        self, full: str, total: Total, contact_id: int, record_id: int
    ) -> int | float:
        of_records = bool(record_id)
        if (full, of_records) not in self._totals:
            since = (
                first_instant(total.span, self.now, self.settings.timezone)
                if total.span
                else None
            )
            owners = list(self.records) if of_records else self._ids
            found = event_store.totals(
                self._connection, total, owners, of_records, since, self.now
            )
            self._totals[full, of_records] = found
        number = self._totals[full, of_records].get(record_id or contact_id, 0)
        return int(number) if number == int(number) else number

    def context(
        self,
        contact: Contact,
        record: Record | None,
        heard: Mapping[str, Event],
        codes: Sequence[Code] = (),
    ) -> dict[str, Any]:
        """What templates read: plain data only."""
        fields: dict[str, Any] = {**self.fields(contact)}
        if self.settings.counters:
            own = self.balances(contact.id)
            fields |= {name: own.get(name, 0) for name in self.settings.counters}
        values: dict[str, Any] = {"contact": fields}
        values["business"] = {
            "name": self.settings.business_name,
            "address": self.settings.business_address,
        }
        if record:
            values[record.kind] = self.record_fields(record)
        for prefix, event in heard.items():
            at = local(event.at, zone(self.zone_of(contact)))
            values.setdefault(prefix, {"name": event.name, "at": at, **event.fields})
        if codes:
            values["coupon"] = self._coupon(codes[-1])
        return values

    def _coupon(self, code: Code) -> dict[str, Any]:
        known = self.settings.coupons.get(code.coupon)
        values: dict[str, Any] = {
            "code": code.code,
            "offer": known.offer if known else code.coupon,
        }
        if code.expires:
            values["expires"] = date.fromisoformat(code.expires)
        return values


class _Values(Mapping[str, Value]):
    """What conditions read, worked out as it is asked for: most ask for one or two fields."""

    def __init__(
        self,
        batch: ContactFacts,
        contact: Contact,
        record: Record | None,
        heard: Mapping[str, Event],
    ) -> None:
        self._batch, self._contact, self._record, self._heard = (
            batch,
            contact,
            record,
            heard,
        )
        self._known: dict[str, Mapping[str, Value]] = {}

    def __getitem__(self, field: str) -> Value:
        owner, _, name = field.partition(".")
        if owner not in self._known:
            self._known[owner] = self._of(owner)
        return self._known[owner][name]

    def _of(self, owner: str) -> Mapping[str, Value]:
        if owner == "contact":
            return self._batch.fields(self._contact)
        if owner == "counter":
            own = self._batch.balances(self._contact.id)
            return {name: own.get(name, 0) for name in self._batch.settings.counters}
        if owner in self._heard:
            return self._heard[owner].fields
        return (
            self._batch.record_fields(self._record)
            if self._record and self._record.kind == owner
            else {}
        )

    def __iter__(self) -> Iterator[str]:
        owners = (
            "contact",
            "counter",
            *self._heard,
            *([self._record.kind] if self._record else []),
        )
        return (f"{owner}.{name}" for owner in owners for name in self._of(owner))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(slots=True)
class _Past:
    """One contact's `core.conditions.History`, and the topics that it is subscribed to."""

    batch: ContactFacts
    contact: Contact

    def __contains__(self, topic: object) -> bool:
        return self.batch.subscribed(self.contact, topic)

    def tags(self) -> Collection[str]:
        return self.batch.tags(self.contact.id)

    def sets(self) -> Collection[str]:
        return self.batch.sets(self.contact.id)

    def coupons(self) -> Collection[str]:
        return self.batch.coupons(self.contact)

    def events(self, name: str) -> Sequence[Event]:
        return self.batch.happened(self.contact.id, name)


def place_of(text: str) -> Place:
    """A place from how it is written down."""
    file, _, line = text.rpartition(":")
    return Place(file, int(line)) if file and line.isdecimal() else Place(text)


def date_value(settings: Settings, field: str, stored: str) -> Value | None:
    """The value of a date field as it is indexed."""
    owner, _, name = field.partition(".")
    declared = settings.fields[owner].get(name)
    return load(declared, stored) if declared else date.fromisoformat(stored)


def heard_by(
    batch: ContactFacts, event_id: int | None, heard: Mapping[str, int] | None
) -> dict[str, Event]:
    """The events that a run knows, by what their fields are called by: its trigger's, and those it waited for."""
    if event_id is None and not heard:
        return {}
    found: dict[str, Event] = {}
    first = batch.events.get(event_id or 0)
    if first:
        found = {"event": first, first.name.partition(".")[0]: first}
    for prefix, number in (heard or {}).items():
        if number in batch.events:
            found[prefix] = batch.events[number]
    return found
