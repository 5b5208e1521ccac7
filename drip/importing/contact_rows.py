"""Rows of contacts: who they are, and what they said about topics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, time
from itertools import product
from typing import NamedTuple

from sqlalchemy import Connection

from drip.core.calendar import instant, zone
from drip.core.channels import CHANNELS
from drip.core.fields import (
    Field,
    parse,
    parse_birthday,
    parse_date,
    parse_yes_no,
    suspect_birthday,
)
from drip.core.meanings import CONSENT
from drip.core.settings import Settings
from drip.engine.deriving import date_fields, guess_zone, refresh
from drip.importing.batches import ImportReport
from drip.importing.columns import fresh_key, ignored, match_columns
from drip.importing.rows import Row
from drip.importing.values import parse_plain
from drip.storage.people import consents, contacts, sign_ups
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import PLAIN, Contact


class RowConsent(NamedTuple):
    """What a row says about a topic on a channel. `at` is None for a bare yes or no, of
    which nobody knows when it was said."""

    topic: str
    channel: str
    given: bool
    at: datetime | None


class ContactRows:
    """Rows of contacts with the columns of one file, taken batch by batch. `scopes` are
    those of the program that says so; None for a person, who may say all."""

    def __init__(
        self,
        settings: Settings,
        written: Sequence[str],
        mapping: Mapping[str, str],
        source: str,
        scopes: Collection[str] | None = None,
    ) -> None:
        fields = settings.fields["contact"]
        topics = _topic_columns(settings)
        columns = match_columns(
            written,
            mapping,
            [*fields, *topics],
            ("key",),
        )
        self.report = ImportReport(notes=ignored(columns, fields))
        self._columns = columns
        self._settings = settings
        self._source = source
        # The file's own, each of which is looked at in every row.
        own = columns.by_field
        self._fields = {name: field for name, field in fields.items() if name in own}
        self._fields.pop("key")
        self._topics = {name: topic for name, topic in topics.items() if name in own}
        self._may_consent = scopes is None or CONSENT in scopes
        self._seen: set[str] = set()

    def take(
        self,
        connection: Connection,
        batch: Sequence[Row],
        now: datetime,
    ) -> None:
        """Stores those that are good."""
        keys = [self._columns.cell(row, "key") for row in batch]
        known = contacts.contacts_by_key(connection, keys)
        touched: list[Contact] = []
        said: list[tuple[Contact, list[RowConsent]]] = []
        for row in batch:
            try:
                contact, differs = self._contact(row, known)
                words = self._words(row, now)
            except ValueError as wrong:
                self.report.reject(row, wrong)
                continue
            self._seen.add(contact.key)
            known[contact.key] = contact
            said.append((contact, words))
            if differs:
                touched.append(contact)
            self.report.count(known=bool(contact.id), differs=differs)
        self._store(connection, touched)
        self._store_words(connection, said, now)

    def _store(self, connection: Connection, touched: Sequence[Contact]) -> None:
        settings = self._settings
        dates = date_fields(settings, "contact")
        contacts.save_contacts(
            connection,
            touched,
            dates,
        )
        # Only now do new contacts have their numbers.
        changed = [(contact.id, 0) for contact in touched]
        refresh(connection, settings, changed)

    def _store_words(
        self,
        connection: Connection,
        said: Sequence[tuple[Contact, list[RowConsent]]],
        now: datetime,
    ) -> None:
        """What the contacts said, with the address that each has; whoever is in a file
        is nobody who has merely signed up."""
        spoken = [
            _consent(
                contact.id,
                word,
                now,
            )
            for contact, words in said
            for word in words
        ]
        addresses = {contact.id: contact.email for contact, _ in said}
        emails = list(addresses.values())
        sign_ups.make_ordinary(
            connection,
            list(addresses),
            emails,
        )
        self.report.consents += consents.record(
            connection,
            spoken,
            self._source,
            addresses,
            now,
        )

    def _contact(self, row: Row, known: Mapping[str, Contact]) -> tuple[Contact, bool]:
        """The contact of a row, and whether it differs from what is stored. Raises
        ValueError with the reason."""
        key = fresh_key(row, self._columns, self._seen)
        before = known.get(key)
        contact = _copied(key, before)
        for name, field in self._fields.items():
            # An empty cell changes nothing: exports leave out what they do not know.
            if text := self._columns.cell(row, name):
                self._set(
                    contact,
                    row,
                    name,
                    field,
                    text,
                )
        contact.zone = guess_zone(contact)
        return contact, contact != before

    def _set(
        self,
        contact: Contact,
        row: Row,
        name: str,
        field: Field,
        text: str,
    ) -> None:
        """Gives a contact what a cell says. Raises ValueError."""
        if name in PLAIN:
            # A phone number without its country's prefix means nothing by itself.
            country = self._columns.cell(row, "country") or contact.country or ""
            setattr(
                contact,
                name,
                parse_plain(
                    name,
                    text,
                    country,
                ),
            )
            return
        contact.attributes[name] = parse(field, text)
        # Forms fill in a day where none is known, and thousands would be congratulated
        # on it.
        if field.kind == "birthday" and suspect_birthday(parse_birthday(text)):
            self.report.notes.append(_placeholder_note(row, text))

    def _words(self, row: Row, now: datetime) -> list[RowConsent]:
        """What a row says about topics. Raises ValueError, also for a program that may
        say nothing of the kind."""
        words = list(self._read_words(row, now))
        # Consent has to be demonstrated (GDPR art. 7(1)): no program makes it up that
        # was not trusted with it.
        if words and not self._may_consent:
            raise _needs_scope(words[0].topic)
        return words

    def _read_words(self, row: Row, now: datetime) -> Iterator[RowConsent]:
        timezone = self._settings.timezone
        for name, topic_and_channel in self._topics.items():
            text = self._columns.cell(row, name)
            if text:
                given_at = _given(
                    name,
                    text,
                    timezone,
                    now,
                )
                yield RowConsent(*topic_and_channel, *given_at)


def _placeholder_note(row: Row, birthday: str) -> str:
    suspicion = f"the birthday {birthday} looks like a placeholder"
    return f"line {row.line}: {suspicion} for an unknown one"


def _needs_scope(topic: str) -> ValueError:
    needed = f"for which the scope `{CONSENT}` is needed"
    return ValueError(f"`{topic}` is consent to a topic, {needed}")


def _topic_columns(settings: Settings) -> dict[str, tuple[str, str]]:
    """The topic and channel that a column is about, by its name: `offers.sms`, or
    `offers` for mails."""
    pairs = product(settings.topics, CHANNELS)
    by_channel = {f"{topic}.{channel}": (topic, channel) for topic, channel in pairs}
    by_mail = {topic: (topic, "email") for topic in settings.topics}
    return by_channel | by_mail


def _consent(
    contact_id: int,
    word: RowConsent,
    now: datetime,
) -> Consent:
    topic, channel, given, at = word
    return Consent(
        contact_id,
        topic,
        channel,
        given,
        at or now,
        at is not None,
    )


def _copied(key: str, before: Contact | None) -> Contact:
    """What is known of a contact, to be changed; an empty one of whom nothing is."""
    contact = Contact(key)
    if before is None:
        return contact
    contact.id = before.id
    # A copy, or the one that it is compared with would change along with it.
    contact.attributes = dict(before.attributes)
    for name in PLAIN:
        setattr(contact, name, getattr(before, name))
    return contact


def _midnight(text: str, timezone: str) -> datetime:
    """When a day begins. Raises ValueError for what is no day."""
    return instant(datetime.combine(parse_date(text), time()), zone(timezone))


def _given(
    name: str,
    text: str,
    timezone: str,
    now: datetime,
) -> tuple[bool, datetime | None]:
    """Yes, no, or the day on which it was given. Raises ValueError for anything
    else."""
    try:
        return parse_yes_no(text), None
    except ValueError:
        pass
    try:
        at = _midnight(text, timezone)
    except ValueError:
        raise ValueError(f"`{text}` in {name} is neither yes, no nor a date") from None
    if at > now:
        # It would outlive every no that is said until then.
        raise ValueError(
            f"`{text}` in {name} is in the future, and nobody has said yes then"
        )
    return True, at
