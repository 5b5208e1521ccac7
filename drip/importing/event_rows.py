"""Rows of events: what happened to contacts, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from drip.core.characters import without_hidden
from drip.core.fields import own_key, parse_number
from drip.core.meanings import REDEEMED, scope_of
from drip.core.settings import Settings
from drip.engine.deriving import refresh, take_readings
from drip.importing.batches import ImportReport
from drip.importing.columns import field_name, match_columns, owner_of
from drip.importing.instants import parse_instant
from drip.importing.rows import Row
from drip.language.phrases import EVENT_NAME
from drip.storage.people import contacts, coupons, sign_ups
from drip.storage.people import events as event_store
from drip.storage.people import records as record_store
from drip.storage.people.contacts import Contact
from drip.storage.people.records import Record

EVENT_COLUMNS = ("event", "id", "contact", "at")
NEEDED = ("event", "contact", "at")
# In hexadecimal digits, of the hash that stands for an event's id.
LONG_ENOUGH = 24
# An event as `event_store.add_events` takes it.
EventRow = dict[str, Any]


class EventRows:
    """Rows of events with the columns of one file, taken batch by batch. `scopes` are
    those of the program that says so; None for a person, who may say all."""

    def __init__(
        self,
        settings: Settings,
        written: Sequence[str],
        mapping: Mapping[str, str],
        scopes: Collection[str] | None = None,
    ) -> None:
        known = [*EVENT_COLUMNS, *settings.kinds]
        self._columns = match_columns(
            written,
            mapping,
            known,
            NEEDED,
        )
        self._settings, self._scopes = settings, scopes
        self.report = ImportReport()

    def take(self, connection: Connection, batch: Sequence[Row]) -> None:
        """Stores those that are good."""
        owners = contacts.contacts_by_key(connection, self._cells(batch, "contact"))
        records = self._records(connection, batch)
        events: list[EventRow] = []
        redeemed: dict[str, str] = {}
        for row in batch:
            try:
                event = self._event(row, owners, records)
                self._refuse_without_scope(event["name"])
                _check_code(connection, event, redeemed)
                events.append(event)
            except ValueError as wrong:
                self.report.reject(row, wrong)
        self._store(connection, events)

    def _store(self, connection: Connection, events: Sequence[EventRow]) -> None:
        fresh = take_events(
            connection,
            self._settings,
            events,
        )
        # Whoever does something is no stranger's address that expires unconfirmed.
        numbers = {event["contact_id"] for event in events}
        sign_ups.make_ordinary(connection, numbers)
        self.report.new += fresh
        self.report.same += len(events) - fresh

    def _records(
        self,
        connection: Connection,
        batch: Sequence[Row],
    ) -> dict[str, Mapping[str, Record]]:
        """The records that a batch names, by kind and key."""
        kinds = [
            kind for kind in self._settings.kinds if kind in self._columns.by_field
        ]
        return {
            kind: record_store.record_ids(
                connection,
                kind,
                self._cells(batch, kind),
            )
            for kind in kinds
        }

    def _cells(self, batch: Sequence[Row], name: str) -> set[str]:
        return {self._columns.cell(row, name) for row in batch}

    def _refuse_without_scope(self, name: str) -> None:
        """Raises ValueError for an event that says for somebody what only they can
        say."""
        needed = scope_of(name, self._settings)
        if self._scopes is not None and needed not in (None, *self._scopes):
            raise ValueError(f"for `{name}` the scope `{needed}` is needed")

    def _event(
        self,
        row: Row,
        owners: Mapping[str, Contact],
        records: Mapping[str, Mapping[str, Record]],
    ) -> EventRow:
        """Raises ValueError with the reason."""
        if row.wrong:
            raise ValueError(row.wrong)
        columns = self._columns
        name = columns.key(row, "event")
        if not EVENT_NAME.fullmatch(name):
            raise ValueError(f"`{name}` is not an event's name like order.placed")
        contact = owner_of(columns.key(row, "contact"), owners)
        at = parse_instant(columns.cell(row, "at"), self._settings.timezone)
        record_id = self._record_id(
            row,
            contact,
            records,
        )
        fields = self._fields(row)
        # Without an id the same row of a file that comes twice is still one event.
        given = own_key(columns.key(row, "id"))
        key = given or _digest(
            name,
            contact.key,
            at,
            fields,
        )
        return {
            "contact_id": contact.id,
            "record_id": record_id,
            "name": name,
            "key": key,
            "at": at,
            "fields": fields,
        }

    def _record_id(
        self,
        row: Row,
        contact: Contact,
        records: Mapping[str, Mapping[str, Record]],
    ) -> int:
        """The record that a row names, 0 for none. Raises ValueError for one that is
        not the contact's."""
        number = 0
        for kind, known in records.items():
            key = self._columns.key(row, kind)
            if not key:
                continue
            record = known.get(key)
            # Somebody else's is unknown too: a mail would tell of a stranger's things.
            if record is None or record.contact_id != contact.id:
                raise ValueError(f"this contact has no {kind} `{key}`")
            number = record.id
        return number

    def _fields(self, row: Row) -> dict[str, str]:
        """What stands in the columns that are nothing else."""
        free = self._columns.free
        said = {field_name(column): _said_in(row, column) for column in free}
        return {name: text for name, text in said.items() if text}


def _said_in(row: Row, column: str) -> str:
    return without_hidden(row.cells.get(column, "")).strip()


def _digest(
    name: str,
    contact: str,
    at: datetime,
    fields: Mapping[str, str],
) -> str:
    """Stands for the id of an event that came without one."""
    # Sorted, or the same file with its columns in another order would count twice.
    said = repr((name, contact, at.isoformat(), sorted(fields.items())))
    return sha256(said.encode()).hexdigest()[:LONG_ENOUGH]


def _check_code(
    connection: Connection,
    event: EventRow,
    redeemed: dict[str, str],
) -> None:
    """Raises ValueError for a redemption of a code that there is not, or that was
    redeemed before, or by another event of this batch (`redeemed` has their keys). The
    code is written as it was given out."""
    key = event["key"]
    code = event["fields"].get("code")
    if event["name"] != REDEEMED or not code:
        return
    found = coupons.code(connection, code)
    if found is None:
        raise ValueError(f"there is no code `{code}`")
    known, _ = found
    event["fields"]["code"] = known.code
    # The same event may come again, as a shop tries a request again: that is no second
    # redemption.
    repeated = event_store.has_event(
        connection,
        REDEEMED,
        key,
    )
    before = known.redeemed_at and not repeated
    if before or redeemed.setdefault(known.code, key) != key:
        raise _redeemed_before(code)


def _redeemed_before(code: str) -> ValueError:
    return ValueError(f"`{code}` was redeemed before, and a code is good once")


def take_events(
    connection: Connection,
    settings: Settings,
    events: Sequence[Mapping[str, Any]],
) -> int:
    """Stores events, and what follows from them for derived dates and meters; how many
    were new."""
    fresh = event_store.add_events(connection, events)
    for event in events:
        _redeem_code(connection, event)
    # A file that comes twice costs no second look at anybody.
    if fresh:
        _take_readings(connection, settings, events)
        refresh(connection, settings, _touched(events))
    return fresh


def _redeem_code(connection: Connection, event: Mapping[str, Any]) -> None:
    code = event["fields"].get("code")
    if event["name"] == REDEEMED and code:
        coupons.redeem(connection, code, event["at"])


def _touched(events: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Contacts and records (0 for the contact alone) that events are about."""
    # An event about a record is one of its contact as well, whose own dates may follow
    # from it.
    of_contacts = {(event["contact_id"], 0) for event in events}
    of_records = {(event["contact_id"], event["record_id"]) for event in events}
    return sorted(of_contacts | of_records)


def _take_readings(
    connection: Connection,
    settings: Settings,
    events: Sequence[Mapping[str, Any]],
) -> None:
    """Numbers that events say about records may be readings of their meters."""
    numbers = {event["record_id"] for event in events if event["record_id"]}
    records = record_store.records_by_id(connection, numbers)
    shown = []
    for event in events:
        number = event["record_id"]
        if record := records.get(number):
            said = _numbers(event["fields"])
            shown.append((record.kind, number, said, event["at"]))
    take_readings(connection, settings, shown)


def _numbers(fields: Mapping[str, str]) -> dict[str, float]:
    numbers = {name: _number_or_none(text) for name, text in fields.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _number_or_none(text: str) -> float | None:
    try:
        return parse_number(text)
    except ValueError:
        return None
