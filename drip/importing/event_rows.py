"""Rows of events: what happened to contacts, and what follows from it."""

from __future__ import annotations

import contextlib
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
        self._columns = match_columns(written, mapping, known, NEEDED)
        self._settings, self._scopes = settings, scopes
        self.report = ImportReport()

    def take(self, connection: Connection, batch: Sequence[Row]) -> None:
        """Stores those that are good."""
        owners = contacts.contacts_by_key(connection, self._cells(batch, "contact"))
        records = {
            kind: record_store.record_ids(connection, kind, self._cells(batch, kind))
            for kind in self._settings.kinds
            if kind in self._columns.by_field
        }
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
        fresh = take_events(connection, self._settings, events)
        sign_ups.make_ordinary(connection, {event["contact_id"] for event in events})
        self.report.new += fresh
        self.report.same += len(events) - fresh

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
        record_id = self._record_id(row, contact, records)
        fields = self._fields(row)
        key = own_key(columns.key(row, "id"))
        return {
            "contact_id": contact.id,
            "record_id": record_id,
            "name": name,
            "key": key or _digest(name, contact.key, at, fields),
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
            if key and (key not in known or known[key].contact_id != contact.id):
                raise ValueError(f"this contact has no {kind} `{key}`")
            number = known[key].id if key else number
        return number

    def _fields(self, row: Row) -> dict[str, str]:
        """What stands in the columns that are nothing else."""
        said = {
            field_name(column): without_hidden(row.cells.get(column, "")).strip()
            for column in self._columns.free
        }
        return {name: text for name, text in said.items() if text}


def _digest(name: str, contact: str, at: datetime, fields: Mapping[str, str]) -> str:
    """Stands for the id of an event that came without one."""
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
    code, key = event["fields"].get("code"), event["key"]
    if event["name"] != REDEEMED or not code:
        return
    found = coupons.code(connection, code)
    if found is None:
        raise ValueError(f"there is no code `{code}`")
    known, _ = found
    event["fields"]["code"] = known.code
    repeated = event_store.has_event(connection, REDEEMED, key)
    before = known.redeemed_at and not repeated
    if before or redeemed.setdefault(known.code, key) != key:
        raise ValueError(f"`{code}` was redeemed before, and a code is good once")


def take_events(
    connection: Connection,
    settings: Settings,
    events: Sequence[Mapping[str, Any]],
) -> int:
    """Stores events, and what follows from them for derived dates and meters; how many
    were new."""
    fresh = event_store.add_events(connection, events)
    for event in events:
        if event["name"] == REDEEMED and event["fields"].get("code"):
            coupons.redeem(connection, event["fields"]["code"], event["at"])
    if fresh:
        _take_readings(connection, settings, events)
        touched = {
            (event["contact_id"], record)
            for event in events
            for record in (0, event["record_id"])
        }
        refresh(connection, settings, sorted(touched))
    return fresh


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
        if record := records.get(event["record_id"]):
            said = _numbers(event["fields"])
            shown.append((record.kind, event["record_id"], said, event["at"]))
    take_readings(connection, settings, shown)


def _numbers(fields: Mapping[str, str]) -> dict[str, float]:
    found = {}
    for name, text in fields.items():
        with contextlib.suppress(ValueError):
            found[name] = parse_number(text)
    return found
