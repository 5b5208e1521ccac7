"""Rows of records: things that contacts own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from drip.core.fields import Stored, parse
from drip.core.settings import Settings
from drip.engine.deriving import date_fields, refresh, take_readings
from drip.importing.batches import ImportReport
from drip.importing.columns import fresh_key, ignored, match_columns, owner_of
from drip.importing.rows import Row
from drip.storage.people import contacts, sign_ups
from drip.storage.people import records as record_store
from drip.storage.people.contacts import Contact
from drip.storage.people.records import Record


class RecordRows:
    """Rows of one kind of record with the columns of one file, taken batch by batch."""

    def __init__(
        self,
        settings: Settings,
        kind: str,
        written: Sequence[str],
        mapping: Mapping[str, str],
    ) -> None:
        fields = settings.fields[kind]
        needed = ("key", "contact")
        self._columns = match_columns(
            written,
            mapping,
            [*fields, "contact"],
            needed,
        )
        self.report = ImportReport(notes=ignored(self._columns, fields))
        self._settings = settings
        self._kind = kind
        self._fields = {name: field for name, field in fields.items() if name != "key"}
        self._seen: set[str] = set()

    def take(
        self,
        connection: Connection,
        batch: Sequence[Row],
        now: datetime,
    ) -> None:
        """Stores those that are good."""
        settings, kind = self._settings, self._kind
        known = record_store.record_ids(
            connection,
            kind,
            self._cells(batch, "key"),
        )
        owners = contacts.contacts_by_key(connection, self._cells(batch, "contact"))
        touched: list[Record] = []
        # What this file says, and not what was known before: that is no new reading of
        # a meter.
        shown: dict[str, dict[str, Stored]] = {}
        for row in batch:
            # One bad row keeps none of the others out.
            try:
                record, said = self._record(
                    row,
                    known,
                    owners,
                )
            except ValueError as wrong:
                self.report.reject(row, wrong)
                continue
            self._seen.add(record.key)
            shown[record.key] = said
            differs = record != known.get(record.key)
            if differs:
                touched.append(record)
            self.report.count(known=bool(record.id), differs=differs)
        record_store.save_records(
            connection,
            touched,
            date_fields(settings, kind),
        )
        self._keep_owners(connection, owners)
        # Only now do new records have their numbers.
        readings = [(kind, record.id, shown[record.key], now) for record in touched]
        take_readings(connection, settings, readings)
        changed = [(record.contact_id, record.id) for record in touched]
        refresh(connection, settings, changed)

    def _keep_owners(
        self,
        connection: Connection,
        owners: Mapping[str, Contact],
    ) -> None:
        # Whoever owns something is known by more than a sign-up.
        numbers = [owner.id for owner in owners.values()]
        sign_ups.make_ordinary(connection, numbers)

    def _cells(self, batch: Sequence[Row], name: str) -> set[str]:
        return {self._columns.cell(row, name) for row in batch}

    def _record(
        self,
        row: Row,
        known: Mapping[str, Record],
        owners: Mapping[str, Contact],
    ) -> tuple[Record, dict[str, Stored]]:
        """The record of a row, and what the row itself says of it. Raises ValueError
        with the reason."""
        key = fresh_key(row, self._columns, self._seen)
        owner = owner_of(self._columns.key(row, "contact"), owners)
        said: dict[str, Stored] = {}
        for name, field in self._fields.items():
            if text := self._columns.cell(row, name):
                said[name] = parse(field, text)
        before = known.get(key)
        known_before = before.attributes if before else {}
        number = before.id if before else 0
        attributes = {**known_before, **said}
        return Record(
            self._kind,
            key,
            owner.id,
            attributes,
            number,
        ), said
