"""What is known about a batch of contacts, fetched in a few queries and shaped for judging and rendering."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from drip.core.calendar import Birthday, age_on, local, shifted, zone
from drip.core.campaign import CHANNELS, Settings, Topic
from drip.core.conditions import Facts
from drip.core.decide import Person, Reason
from drip.core.fields import Value, load
from drip.errors import Place
from drip.storage import people
from drip.storage.people import Consent, Contact, Event, Record, Standing

BUILT_IN = ("key", "email", "phone", "locale", "country")


class Batch:
    """Contacts with their consents, suppressions, records and events, as of one transaction."""

    def __init__(self, connection: Connection, settings: Settings, contact_ids: Collection[int]) -> None:
        self.settings = settings
        self.contacts = people.contacts_by_id(connection, contact_ids)
        self._consents = people.consents_of(connection, contact_ids)
        key = people.suppression_key(connection)
        self._digests = {each.id: people.digest(key, each.email or "") for each in self.contacts.values()}
        self._suppressed = people.suppressed(connection, self._digests.values())
        self.records: dict[int, Record] = {}
        self.events: dict[int, Event] = {}

    def with_records(self, connection: Connection, ids: Collection[int]) -> None:
        """Fetches these records too; 0 stands for none."""
        named = {each for each in ids if each}
        if named:
            self.records |= people.records_by_id(connection, named)

    def with_events(self, connection: Connection, ids: Collection[int | None]) -> None:
        """Fetches these events too."""
        named = {each for each in ids if each}
        if named:
            self.events |= people.events_by_id(connection, named)

    def zone_of(self, contact: Contact) -> str:
        return contact.zone or self.settings.timezone

    def person(self, contact: Contact) -> Person:
        """The contact as `decide` sees it."""
        return Person(
            zone=zone(self.zone_of(contact)),
            closed=self._closed(contact),
            quiet_hours=self.settings.quiet_hours,
            quiet_hours_place=self.settings.quiet_hours_place,
        )

    def standing(self, contact: Contact, topic: str | None, channel: str) -> Standing:
        """What the last check before sending compares with."""
        own = self._consents.get(contact.id, [])
        said = next((each for each in own if (each.topic, each.channel) == (topic, channel)), None)
        given = said.given if said else None
        digest = self._digests[contact.id]
        suppressed = digest in self._suppressed
        return Standing(contact.id, topic, channel, contact.email, contact.zone, given, suppressed, digest)

    def _closed(self, contact: Contact) -> dict[tuple[str, str | None], Reason]:
        """Which channels are closed, for each topic and (None) for transactional messages."""
        said = {(each.topic, each.channel): each for each in self._consents.get(contact.id, [])}
        closed: dict[tuple[str, str | None], Reason] = {}
        for channel in CHANNELS:
            unreachable = self._unreachable(contact, channel)
            if unreachable:
                closed[channel, None] = unreachable
            for topic in self.settings.topics.values():
                reason = unreachable or _no_consent(topic, channel, said.get((topic.key, channel)))
                if reason:
                    closed[channel, topic.key] = reason
        return closed

    def _unreachable(self, contact: Contact, channel: str) -> Reason | None:
        place = self.settings.transport_places.get(channel, self.settings.place)
        if not contact.email:
            return Reason("no-address", "there is no e-mail address", place)
        why = self._suppressed.get(self._digests[contact.id])
        if why:
            return Reason("suppressed", f"the address is suppressed: {why}", place)
        return None

    def subscribed(self, contact: Contact) -> frozenset[str]:
        """The topics that this contact may be written to about."""
        said = {(each.topic, each.channel): each for each in self._consents.get(contact.id, [])}
        topics = self.settings.topics.values()
        open_ = (t.key for t in topics for c in CHANNELS if _no_consent(t, c, said.get((t.key, c))) is None)
        return frozenset(open_)

    def facts(self, contact: Contact, record: Record | None, event: Event | None, now: datetime) -> Facts:
        """What conditions read: `contact.first_name`, `vehicle.status`, `event.total`."""
        values: dict[str, Value] = {f"contact.{name}": value for name, value in self.fields(contact, now).items()}
        if record:
            values |= {f"{record.kind}.{name}": value for name, value in self.record_fields(record).items()}
        if event:
            values |= {f"event.{name}": value for name, value in event.fields.items()}
        return Facts(values, self.subscribed(contact), now, self.zone_of(contact))

    def fields(self, contact: Contact, now: datetime) -> dict[str, Value]:
        """The contact's known fields by bare name, with `age` where a birthday has its year."""
        values = self.settings.load("contact", contact.attributes)
        values |= {name: value for name in BUILT_IN if (value := getattr(contact, name)) is not None}
        values["timezone"] = self.zone_of(contact)
        birthday = values.get("birthday")
        if isinstance(birthday, Birthday):
            age = age_on(birthday, local(now, zone(self.zone_of(contact))).date())
            if age is not None:
                values["age"] = age
        return values | self._derived("contact", values)

    def record_fields(self, record: Record) -> dict[str, Value]:
        """The record's known fields by bare name, derived dates too."""
        values: dict[str, Value] = {"key": record.key, **self.settings.load(record.kind, record.attributes)}
        return values | self._derived(record.kind, values)

    def _derived(self, owner: str, values: Mapping[str, Value]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for full, date_field in self.settings.derived.items():
            kind, _, name = full.partition(".")
            source: Any = values.get(date_field.field.partition(".")[2])
            if kind == owner and source is not None:
                found[name] = shifted(source, date_field.steps)
        return found

    def context(self, contact: Contact, record: Record | None, event: Event | None, now: datetime) -> dict[str, Any]:
        """What templates read: plain data only."""
        values: dict[str, Any] = {"contact": self.fields(contact, now)}
        values["business"] = {"name": self.settings.business_name, "address": self.settings.business_address}
        if record:
            values[record.kind] = self.record_fields(record)
        if event:
            fields = {"name": event.name, "at": local(event.at, zone(self.zone_of(contact))), **event.fields}
            values["event"] = fields
            values.setdefault(event.name.partition(".")[0], fields)
        return values


def _no_consent(topic: Topic, channel: str, said: Consent | None) -> Reason | None:
    """An implied topic is open until someone says no; every other one is closed until someone says yes."""
    place: Place = topic.place
    if said and not said.given:
        return Reason("no-consent", f"{topic.key} was switched off on {said.at:%Y-%m-%d}", place)
    if said is None and topic.opt_in != "implied":
        return Reason("no-consent", f"there is no consent to {topic.key} by {channel}", place)
    return None


def date_value(settings: Settings, field: str, stored: str) -> Value | None:
    """The value of a date field as it is indexed."""
    owner, _, name = field.partition(".")
    return load(settings.fields[owner][name], stored)
