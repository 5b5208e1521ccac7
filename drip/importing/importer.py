"""Rows to contacts, records and events: each row is taken or set aside with its reason; twice is once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from drip.core.calendar import instant, zone
from drip.core.characters import without_hidden
from drip.core.fields import (
    Field,
    Stored,
    own_key,
    parse,
    parse_birthday,
    parse_date,
    parse_number,
    parse_yes_no,
    suspect_birthday,
)
from drip.core.meanings import CONSENT, REDEEMED, scope_of
from drip.core.settings import CHANNELS, Settings
from drip.engine.deriving import date_fields, guess_zone, refresh, take_readings
from drip.errors import DripError, nearest
from drip.importing.columns import Columns, field_name, ignored, match_columns
from drip.importing.rows import Row, RowFile
from drip.importing.values import parse_instant, parse_plain
from drip.language.phrases import EVENT_NAME
from drip.storage.base.database import Database
from drip.storage.people import consents, contacts, coupons, events, sign_ups
from drip.storage.people import records as record_store
from drip.storage.people.consents import Consent
from drip.storage.people.contacts import PLAIN, Contact
from drip.storage.people.records import Record

BATCH = 2_000
# In characters. Rows are kept in memory until they are stored, and those that are set aside until they are all written.
LARGEST_BATCH, LARGEST_REJECTED, MOST_REJECTED = 1 << 24, 1 << 26, 100_000
EVENT_COLUMNS = ("event", "id", "contact", "at")


@dataclass
class ImportReport:
    """What an import did, row by row."""

    new: int = 0
    changed: int = 0
    same: int = 0
    consents: int = 0
    rejected: list[tuple[Row, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.new + self.changed + self.same + len(self.rejected)


def import_contacts(
    database: Database,
    settings: Settings,
    table: RowFile,
    mapping: Mapping[str, str],
    source: str,
    now: datetime,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportReport:
    """Upserts contacts by `key`. A cell left empty changes nothing. Raises DripError for a file without `key`."""
    rows = _ContactRows(settings, table.columns, mapping, source)
    for batch in _batches(table.rows, rows.report, progress):
        with database.attempt() if dry_run else database.write() as connection:
            rows.take(connection, batch, now)
    return rows.report


def take_contacts(
    connection: Connection,
    settings: Settings,
    table: RowFile,
    source: str,
    now: datetime,
    scopes: Collection[str],
) -> ImportReport:
    """As `import_contacts`, all in the transaction that is under way, from a program with these scopes."""
    rows = _ContactRows(settings, table.columns, {}, source, consent=CONSENT in scopes)
    rows.take(connection, list(table.rows), now)
    return rows.report


class _ContactRows:
    """Rows of contacts with the columns of one file, taken batch by batch. `consent` is whether they may say yes and no."""

    def __init__(
        self,
        settings: Settings,
        columns: Sequence[str],
        mapping: Mapping[str, str],
        source: str,
        *,
        consent: bool = True,
    ) -> None:
        fields = settings.fields["contact"]
        words = {
            f"{topic}.{channel}": (topic, channel)
            for topic in settings.topics
            for channel in CHANNELS
        }
        words |= {topic: (topic, "email") for topic in settings.topics}
        self.report = ImportReport()
        self.columns = match_columns(columns, mapping, [*fields, *words], ("key",))
        self.report.notes = ignored(self.columns, fields)
        self._settings, self._source = settings, source
        # The file's own, each of which is looked at in every row.
        own = self.columns.by_field
        self._fields = {
            name: declared
            for name, declared in fields.items()
            if name in own and name != "key"
        }
        self._words, self._may_consent = (
            {name: about for name, about in words.items() if name in own},
            consent,
        )
        self._seen: set[str] = set()

    def take(self, connection: Connection, batch: Sequence[Row], now: datetime) -> None:
        """Stores those that are good."""
        columns, settings, report = self.columns, self._settings, self.report
        known = contacts.contacts_by_key(
            connection, [columns.cell(row, "key") for row in batch]
        )
        touched: list[Contact] = []
        said: list[tuple[Contact, list[tuple[str, str, bool, datetime | None]]]] = []
        for row in batch:
            try:
                contact, fresh = _contact(
                    row, columns, self._fields, known, self._seen, report
                )
                words = list(_consents(row, columns, settings, self._words, now))
                if words and not self._may_consent:
                    raise ValueError(
                        f"`{words[0][0]}` is consent to a topic, for which the scope `{CONSENT}` is needed"
                    )
            except ValueError as wrong:
                report.rejected.append((row, str(wrong)))
                continue
            self._seen.add(contact.key)
            known[contact.key] = contact
            said.append((contact, words))
            if fresh:
                touched.append(contact)
            report.new += not contact.id
            report.changed += bool(contact.id and fresh)
            report.same += not fresh
        contacts.save_contacts(connection, touched, date_fields(settings, "contact"))
        refresh(connection, settings, [(contact.id, 0) for contact in touched])
        spoken = [
            Consent(contact.id, topic, channel, given, at or now, dated=at is not None)
            for contact, words in said
            for topic, channel, given, at in words
        ]
        addresses = {contact.id: contact.email for contact, _ in said}
        sign_ups.make_ordinary(
            connection, [contact.id for contact, _ in said], list(addresses.values())
        )
        report.consents += consents.record(
            connection, spoken, self._source, addresses, now
        )


def _contact(
    row: Row,
    columns: Columns,
    fields: Mapping[str, Field],
    known: Mapping[str, Contact],
    seen: set[str],
    report: ImportReport,
) -> tuple[Contact, bool]:
    """The contact of a row, and whether it differs from what is stored. Raises ValueError with the reason."""
    key = _key(row, columns, seen)
    before = known.get(key)
    contact = Contact(key, id=before.id if before else 0)
    contact.attributes = dict(before.attributes) if before else {}
    for name in PLAIN:
        setattr(contact, name, getattr(before, name) if before else None)
    for name, declared in fields.items():
        text = columns.cell(row, name)
        if not text:
            continue
        if name in PLAIN:
            setattr(
                contact,
                name,
                parse_plain(
                    name, text, columns.cell(row, "country") or (contact.country or "")
                ),
            )
        else:
            contact.attributes[name] = parse(declared, text)
            _suspect(declared, text, row, report)
    contact.zone = guess_zone(contact)
    return contact, contact != before


def _key(row: Row, columns: Columns, seen: set[str]) -> str:
    if row.wrong:
        raise ValueError(row.wrong)
    key = columns.key(row, "key")
    if not key:
        raise ValueError("there is no key")
    if key in seen:
        raise ValueError(f"the key `{key}` stands in an earlier row")
    return own_key(key)


def _suspect(declared: Field, text: str, row: Row, report: ImportReport) -> None:
    if declared.kind == "birthday" and suspect_birthday(parse_birthday(text)):
        report.notes.append(
            f"line {row.line}: the birthday {text} looks like a placeholder for an unknown one"
        )


def _consents(
    row: Row,
    columns: Columns,
    settings: Settings,
    consent: Mapping[str, tuple[str, str]],
    now: datetime,
) -> Iterator[tuple[str, str, bool, datetime | None]]:
    """What a row says about topics. The instant is None for a bare yes. Raises ValueError."""
    for name, (topic, channel) in consent.items():
        text = columns.cell(row, name)
        if not text:
            continue
        try:
            given, at = parse_yes_no(text), None
        except ValueError:
            try:
                at = instant(
                    datetime.combine(parse_date(text), time()), zone(settings.timezone)
                )
            except ValueError:
                raise ValueError(
                    f"`{text}` in {name} is neither yes, no nor a date"
                ) from None
            if at > now:
                # It would outlive every no that is said until then.
                raise ValueError(
                    f"`{text}` in {name} is in the future, and nobody has said yes then"
                ) from None
            given = True
        yield topic, channel, given, at


def import_records(
    database: Database,
    settings: Settings,
    kind: str,
    table: RowFile,
    mapping: Mapping[str, str],
    now: datetime,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportReport:
    """Upserts records of a kind by `key`. Raises DripError for an unknown kind or a missing column."""
    if kind not in settings.kinds:
        help = nearest(
            kind, ["contacts", "events", *settings.kinds], what="you can import"
        )
        raise DripError(
            f"There is no kind of record `{kind}`.",
            help=help or "declare it under `data:` in _settings.yaml",
        )
    fields = settings.fields[kind]
    columns = match_columns(
        table.columns, mapping, [*fields, "contact"], ("key", "contact")
    )
    report = ImportReport(notes=ignored(columns, fields))
    seen: set[str] = set()
    for batch in _batches(table.rows, report, progress):
        with database.attempt() if dry_run else database.write() as connection:
            known = record_store.record_ids(
                connection, kind, [columns.cell(row, "key") for row in batch]
            )
            owners = contacts.contacts_by_key(
                connection, {columns.cell(row, "contact") for row in batch}
            )
            touched: list[Record] = []
            # What this file says, and not what was known before: that is no new reading of a meter.
            shown: dict[str, dict[str, Stored]] = {}
            for row in batch:
                try:
                    record, fresh = _record(
                        row, columns, kind, fields, known, owners, seen
                    )
                except ValueError as wrong:
                    report.rejected.append((row, str(wrong)))
                    continue
                seen.add(record.key)
                shown[record.key] = {
                    name: record.attributes[name]
                    for name in fields
                    if columns.cell(row, name) and name != "key"
                }
                if fresh:
                    touched.append(record)
                report.new += not record.id
                report.changed += bool(record.id and fresh)
                report.same += not fresh
            record_store.save_records(connection, touched, date_fields(settings, kind))
            sign_ups.make_ordinary(connection, [each.id for each in owners.values()])
            take_readings(
                connection,
                settings,
                [(kind, each.id, shown[each.key], now) for each in touched],
            )
            refresh(
                connection, settings, [(each.contact_id, each.id) for each in touched]
            )
    return report


def _record(
    row: Row,
    columns: Columns,
    kind: str,
    fields: Mapping[str, Field],
    known: Mapping[str, Record],
    owners: Mapping[str, Contact],
    seen: set[str],
) -> tuple[Record, bool]:
    key = _key(row, columns, seen)
    owner = _owner(columns.key(row, "contact"), owners)
    before = known.get(key)
    attributes: dict[str, Stored] = dict(before.attributes) if before else {}
    for name, declared in fields.items():
        text = columns.cell(row, name)
        if text and name != "key":
            attributes[name] = parse(declared, text)
    record = Record(kind, key, owner.id, attributes, before.id if before else 0)
    return record, record != before


def _owner(key: str, owners: Mapping[str, Contact]) -> Contact:
    if not key:
        raise ValueError("there is no contact")
    if key not in owners or owners[key].erased_at:
        raise ValueError(f"there is no contact `{key}`")
    return owners[key]


def import_events(
    database: Database,
    settings: Settings,
    table: RowFile,
    mapping: Mapping[str, str],
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportReport:
    """Adds events, once each by name and id. Columns: event, contact, at, id, a record's kind; others are fields."""
    columns, report = _event_columns(table, settings, mapping), ImportReport()
    for batch in _batches(table.rows, report, progress):
        with database.attempt() if dry_run else database.write() as connection:
            _take_event_rows(connection, settings, columns, batch, report)
    return report


def take_event_rows(
    connection: Connection, settings: Settings, table: RowFile, scopes: Collection[str]
) -> ImportReport:
    """As `import_events`, all in the transaction that is under way, from a program with these scopes."""
    report = ImportReport()
    _take_event_rows(
        connection,
        settings,
        _event_columns(table, settings, {}),
        list(table.rows),
        report,
        scopes,
    )
    return report


def _event_columns(
    table: RowFile, settings: Settings, mapping: Mapping[str, str]
) -> Columns:
    return match_columns(
        table.columns,
        mapping,
        [*EVENT_COLUMNS, *settings.kinds],
        ("event", "contact", "at"),
    )


def _take_event_rows(
    connection: Connection,
    settings: Settings,
    columns: Columns,
    batch: Sequence[Row],
    report: ImportReport,
    scopes: Collection[str] | None = None,
) -> None:
    """`scopes` are those of the program that says so; None for a person, who may say all."""
    owners = contacts.contacts_by_key(
        connection, {columns.cell(row, "contact") for row in batch}
    )
    records = {
        kind: record_store.record_ids(
            connection, kind, {columns.cell(row, kind) for row in batch}
        )
        for kind in settings.kinds
        if kind in columns.by_field
    }
    rows = []
    redeemed: dict[str, str] = {}
    for row in batch:
        try:
            event = _event(row, columns, settings, owners, records)
            needed = scope_of(event["name"], settings)
            if scopes is not None and needed not in (None, *scopes):
                raise ValueError(
                    f"for `{event['name']}` the scope `{needed}` is needed"
                )
            _good_code(connection, event, redeemed)
            rows.append(event)
        except ValueError as wrong:
            report.rejected.append((row, str(wrong)))
    fresh = take_events(connection, settings, rows)
    sign_ups.make_ordinary(connection, {row["contact_id"] for row in rows})
    report.new += fresh
    report.same += len(rows) - fresh


def _good_code(
    connection: Connection, event: Mapping[str, Any], redeemed: dict[str, str]
) -> None:
    """Raises ValueError for a redemption of a code that there is not, or that was redeemed before, or by another event of this
    batch (`redeemed` has their keys). The code is written as it was given out."""
    code = event["fields"].get("code")
    if event["name"] != REDEEMED or not code:
        return
    found = coupons.code(connection, code)
    if found is None:
        raise ValueError(f"there is no code `{code}`")
    own = event["fields"]["code"] = found[0].code
    before = found[0].redeemed_at and not events.has_event(
        connection, REDEEMED, event["key"]
    )
    if before or redeemed.setdefault(own, event["key"]) != event["key"]:
        raise ValueError(f"`{code}` was redeemed before, and a code is good once")


def take_events(
    connection: Connection, settings: Settings, rows: Sequence[Mapping[str, Any]]
) -> int:
    """Stores events, and what follows from them for derived dates and meters; how many were new."""
    fresh = events.add_events(connection, rows)
    for row in rows:
        if row["name"] == REDEEMED and row["fields"].get("code"):
            coupons.redeem(connection, row["fields"]["code"], row["at"])
    if fresh:
        things = record_store.records_by_id(
            connection, {row["record_id"] for row in rows if row["record_id"]}
        )
        shown = [
            (
                things[row["record_id"]].kind,
                row["record_id"],
                _numbers(row["fields"]),
                row["at"],
            )
            for row in rows
            if row["record_id"] in things
        ]
        take_readings(connection, settings, shown)
        owners = {
            (row["contact_id"], record)
            for row in rows
            for record in {0, row["record_id"]}
        }
        refresh(connection, settings, sorted(owners))
    return fresh


def _numbers(fields: Mapping[str, str]) -> dict[str, float]:
    found = {}
    for name, text in fields.items():
        with contextlib.suppress(ValueError):
            found[name] = parse_number(text)
    return found


def _event(
    row: Row,
    columns: Columns,
    settings: Settings,
    owners: Mapping[str, Contact],
    records: Mapping[str, Mapping[str, Record]],
) -> dict[str, Any]:
    if row.wrong:
        raise ValueError(row.wrong)
    name = columns.key(row, "event")
    if not EVENT_NAME.fullmatch(name):
        raise ValueError(f"`{name}` is not an event's name like order.placed")
    contact = _owner(columns.key(row, "contact"), owners)
    at = parse_instant(columns.cell(row, "at"), settings.timezone)
    record_id = 0
    for kind, known in records.items():
        key = columns.key(row, kind)
        if key and (key not in known or known[key].contact_id != contact.id):
            raise ValueError(f"this contact has no {kind} `{key}`")
        record_id = known[key].id if key else record_id
    said = {
        field_name(column): without_hidden(row.cells.get(column, "")).strip()
        for column in columns.free
    }
    fields = {name: text for name, text in said.items() if text}
    key = own_key(columns.key(row, "id")) or _digest(name, contact.key, at, fields)
    return {
        "contact_id": contact.id,
        "record_id": record_id,
        "name": name,
        "key": key,
        "at": at,
        "fields": fields,
    }


def _digest(name: str, contact: str, at: datetime, fields: Mapping[str, str]) -> str:
    """Stands for the id of an event that came without one."""
    return sha256(
        repr((name, contact, at.isoformat(), sorted(fields.items()))).encode()
    ).hexdigest()[:24]


def _batches(
    rows: Iterator[Row], report: ImportReport, progress: Callable[[int], None]
) -> Iterator[list[Row]]:
    """So many rows at once as are stored together. Raises DripError when so many are set aside that something else is wrong."""
    batch: list[Row] = []
    size = aside = seen = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) < BATCH and size < LARGEST_BATCH:
            continue
        yield batch
        progress(report.rows)
        aside += sum(row.size for row, _ in report.rejected[seen:])
        seen, batch, size = len(report.rejected), [], 0
        if seen > MOST_REJECTED or aside > LARGEST_REJECTED:
            raise _wrong_file(report)
    if batch:
        yield batch
        progress(report.rows)


def _wrong_file(report: ImportReport) -> DripError:
    row, why = report.rejected[0]
    return DripError(
        f"{len(report.rejected):,} rows cannot be taken; the first is line {row.line}: {why}.",
        help="look whether it is the right file, and whether its columns have the right names (--map)",
    )
