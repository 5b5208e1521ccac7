"""Rows to contacts, records and events: each row is taken or set aside with its reason; twice is once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from sqlalchemy import Connection

from drip.core.calendar import instant, zone
from drip.core.fields import (
    Field,
    Stored,
    parse,
    parse_birthday,
    parse_date,
    parse_number,
    parse_yes_no,
    parse_zone,
    suspect_birthday,
)
from drip.core.settings import CHANNELS, Settings
from drip.engine.deriving import date_fields, guess_zone, refresh, take_readings
from drip.errors import DripError, listed, nearest
from drip.importing.rows import Row, Table
from drip.language.phrases import EVENT_NAME
from drip.storage import loyalty, people
from drip.storage.database import Database
from drip.storage.people import PLAIN, Consent, Contact, Record

BATCH = 2_000
ALIASES = {
    "e_mail": "email",
    "mail": "email",
    "email_address": "email",
    "time_zone": "timezone",
    "language": "locale",
}
# What needs no second look: words of letters, digits and a few signs, with dots between them, and not long.
PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
LONGEST_PLAIN = 64
# Says that a coupon was redeemed, with its `code`.
REDEEMED = "coupon.redeemed"
EVENT_COLUMNS = ("event", "id", "contact", "at")


@dataclass
class Report:
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


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file holds which field; the others are not looked at."""

    by_field: Mapping[str, str]
    free: tuple[str, ...] = ()

    def cell(self, row: Row, name: str) -> str:
        return row.cells.get(self.by_field.get(name, ""), "").strip()


def match_columns(table: Table, mapping: Mapping[str, str], known: Iterable[str], needed: tuple[str, ...]) -> Columns:
    """The columns by the names they have, or are given. Raises DripError for a needed one that is missing."""
    for column in mapping:
        if column not in table.columns:
            raise DripError(
                f"There is no column `{column}` to map.", help=nearest(column, table.columns, what="columns")
            )
    fields = list(known)
    by_field: dict[str, str] = {}
    free = []
    for column in table.columns:
        name = mapping.get(column) or _normal(column)
        if name in fields:
            by_field.setdefault(name, column)
        elif column in mapping:
            raise DripError(f"There is no field `{name}`.", help=nearest(name, fields, what="fields"))
        elif column:
            free.append(column)
    for name in needed:
        if name not in by_field:
            columns = listed(column for column in table.columns if column)
            raise DripError(
                f"The file has no column `{name}`; its columns are {columns}.",
                help=f"name the column that holds it: --map COLUMN={name}",
            )
    return Columns(by_field, tuple(free))


def _normal(column: str) -> str:
    name = re.sub(r"[^a-z0-9.]+", "_", column.casefold()).strip("_")
    return ALIASES.get(name, name)


def import_contacts(
    database: Database, settings: Settings, table: Table, mapping: Mapping[str, str], source: str, now: datetime,
    *, dry_run: bool = False, progress: Callable[[int], None] = lambda rows: None,
) -> Report:  # fmt: skip
    """Upserts contacts by `key`. A cell left empty changes nothing. Raises DripError for a file without `key`."""
    fields = settings.fields["contact"]
    consent = {f"{topic}.{channel}": (topic, channel) for topic in settings.topics for channel in CHANNELS}
    consent |= {topic: (topic, "email") for topic in settings.topics}
    columns = match_columns(table, mapping, [*fields, *consent], ("key",))
    report = Report(notes=_ignored(columns, fields))
    # The file's own, each of which is looked at in every row.
    fields = {name: declared for name, declared in fields.items() if name in columns.by_field and name != "key"}
    consent = {name: about for name, about in consent.items() if name in columns.by_field}
    seen: set[str] = set()
    for batch in _batches(table.rows, report, progress):
        with database.attempt() if dry_run else database.write() as connection:
            keys = [columns.cell(row, "key") for row in batch]
            known = people.contacts_by_key(connection, keys)
            touched: list[Contact] = []
            said: list[tuple[Contact, list[tuple[str, str, bool, datetime | None]]]] = []
            for row in batch:
                try:
                    contact, fresh = _contact(row, columns, fields, known, seen, report)
                    words = list(_consents(row, columns, settings, consent, now))
                except ValueError as wrong:
                    report.rejected.append((row, str(wrong)))
                    continue
                seen.add(contact.key)
                known[contact.key] = contact
                said.append((contact, words))
                if fresh:
                    touched.append(contact)
                report.new += not contact.id
                report.changed += bool(contact.id and fresh)
                report.same += not fresh
            people.save_contacts(connection, touched, date_fields(settings, "contact"))
            refresh(connection, settings, [(contact.id, 0) for contact in touched])
            spoken = [
                Consent(contact.id, topic, channel, given, at or now, dated=at is not None)
                for contact, words in said
                for topic, channel, given, at in words
            ]
            addresses = {contact.id: contact.email for contact, _ in said}
            report.consents += people.record_consents(connection, spoken, source, addresses, now)
    return report


def _contact(
    row: Row,
    columns: Columns,
    fields: Mapping[str, Field],
    known: Mapping[str, Contact],
    seen: set[str],
    report: Report,
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
            setattr(contact, name, _plain(name, text, columns.cell(row, "country") or (contact.country or "")))
        else:
            contact.attributes[name] = parse(declared, text)
            _suspect(declared, text, row, report)
    contact.zone = guess_zone(contact)
    return contact, contact != before


def _key(row: Row, columns: Columns, seen: set[str]) -> str:
    if row.wrong:
        raise ValueError(row.wrong)
    key = columns.cell(row, "key")
    if not key:
        raise ValueError("there is no key")
    if key in seen:
        raise ValueError(f"the key `{key}` stands in an earlier row")
    return key


def _suspect(declared: Field, text: str, row: Row, report: Report) -> None:
    if declared.kind == "birthday" and suspect_birthday(parse_birthday(text)):
        report.notes.append(f"line {row.line}: the birthday {text} looks like a placeholder for an unknown one")


def _plain(name: str, text: str, country: str) -> str:
    if name == "email":
        return parse_email(text)
    if name == "phone":
        return parse_phone(text, country)
    if name == "country":
        return str(parse(Field("country", "country"), text))
    if name == "timezone":
        return parse_zone(text)
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", text):
        raise ValueError(f"`{text}` is not a language like en or de-AT")
    return text.replace("_", "-")


def parse_email(text: str) -> str:
    """The address in its normal form. Raises ValueError with a sentence."""
    local_part, _, domain = text.rpartition("@")
    if PLAIN_LOCAL_PART.fullmatch(local_part) and len(text) < LONGEST_PLAIN and (known := _domain(domain)):
        return f"{local_part}@{known}"
    try:
        found = validate_email(text, check_deliverability=False)
        # A domain of other letters has an ASCII form that every server takes (RFC 5891).
        return found.ascii_email or found.normalized
    except EmailNotValidError as error:
        raise ValueError(f"`{text}` is not an e-mail address: {error}") from None


@lru_cache(maxsize=10_000)
def _domain(domain: str) -> str | None:
    """A domain in its normal form, looked at once however many people have it; None if it is none."""
    try:
        return validate_email(f"a@{domain}", check_deliverability=False).ascii_domain
    except EmailNotValidError:
        return None


def parse_phone(text: str, country: str) -> str:
    """The number as +15551234567. Raises ValueError with a sentence."""
    try:
        number = phonenumbers.parse(text, country.upper() or None)
    except phonenumbers.NumberParseException:
        raise ValueError(f"`{text}` is not a phone number like +15551234567") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError(f"`{text}` cannot be a phone number: it is too short or too long")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _consents(
    row: Row, columns: Columns, settings: Settings, consent: Mapping[str, tuple[str, str]], now: datetime
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
                at = instant(datetime.combine(parse_date(text), time()), zone(settings.timezone))
            except ValueError:
                raise ValueError(f"`{text}` in {name} is neither yes, no nor a date") from None
            if at > now:
                # It would outlive every no that is said until then.
                raise ValueError(f"`{text}` in {name} is in the future, and nobody has said yes then") from None
            given = True
        yield topic, channel, given, at


def import_records(
    database: Database, settings: Settings, kind: str, table: Table, mapping: Mapping[str, str], now: datetime,
    *, dry_run: bool = False, progress: Callable[[int], None] = lambda rows: None,
) -> Report:  # fmt: skip
    """Upserts records of a kind by `key`. Raises DripError for an unknown kind or a missing column."""
    if kind not in settings.kinds:
        help = nearest(kind, ["contacts", "events", *settings.kinds], what="you can import")
        raise DripError(
            f"There is no kind of record `{kind}`.", help=help or "declare it under `data:` in _settings.yaml"
        )
    fields = settings.fields[kind]
    columns = match_columns(table, mapping, [*fields, "contact"], ("key", "contact"))
    report = Report(notes=_ignored(columns, fields))
    seen: set[str] = set()
    for batch in _batches(table.rows, report, progress):
        with database.attempt() if dry_run else database.write() as connection:
            known = people.record_ids(connection, kind, [columns.cell(row, "key") for row in batch])
            owners = people.contacts_by_key(connection, {columns.cell(row, "contact") for row in batch})
            touched: list[Record] = []
            # What this file says, and not what was known before: that is no new reading of a meter.
            shown: dict[str, dict[str, Stored]] = {}
            for row in batch:
                try:
                    record, fresh = _record(row, columns, kind, fields, known, owners, seen)
                except ValueError as wrong:
                    report.rejected.append((row, str(wrong)))
                    continue
                seen.add(record.key)
                shown[record.key] = {
                    name: record.attributes[name] for name in fields if columns.cell(row, name) and name != "key"
                }
                if fresh:
                    touched.append(record)
                report.new += not record.id
                report.changed += bool(record.id and fresh)
                report.same += not fresh
            people.save_records(connection, touched, date_fields(settings, kind))
            take_readings(connection, settings, [(kind, each.id, shown[each.key], now) for each in touched])
            refresh(connection, settings, [(each.contact_id, each.id) for each in touched])
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
    owner = _owner(columns.cell(row, "contact"), owners)
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
    if key not in owners:
        raise ValueError(f"there is no contact `{key}`")
    return owners[key]


def import_events(
    database: Database, settings: Settings, table: Table, mapping: Mapping[str, str],
    *, dry_run: bool = False, progress: Callable[[int], None] = lambda rows: None,
) -> Report:  # fmt: skip
    """Adds events, once each by name and id. Columns: event, contact, at, id, a record's kind; others are fields."""
    columns = match_columns(table, mapping, [*EVENT_COLUMNS, *settings.kinds], ("event", "contact", "at"))
    report = Report()
    for batch in _batches(table.rows, report, progress):
        with database.attempt() if dry_run else database.write() as connection:
            owners = people.contacts_by_key(connection, {columns.cell(row, "contact") for row in batch})
            records = {
                kind: people.record_ids(connection, kind, {columns.cell(row, kind) for row in batch})
                for kind in settings.kinds
                if kind in columns.by_field
            }
            rows = []
            for row in batch:
                try:
                    event = _event(row, columns, settings, owners, records)
                    _good_code(connection, event)
                    rows.append(event)
                except ValueError as wrong:
                    report.rejected.append((row, str(wrong)))
            fresh = take_events(connection, settings, rows)
            report.new += fresh
            report.same += len(rows) - fresh
    return report


def _good_code(connection: Connection, event: Mapping[str, Any]) -> None:
    """Raises ValueError for a redemption of a code that there is not, or that was redeemed before."""
    code = event["fields"].get("code")
    if event["name"] != REDEEMED or not code:
        return
    found = loyalty.code(connection, code)
    if found is None:
        raise ValueError(f"there is no code `{code}`")
    if found[0].redeemed_at and not people.has_event(connection, REDEEMED, event["key"]):
        raise ValueError(f"`{code}` was redeemed before, and a code is good once")


def take_events(connection: Connection, settings: Settings, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores events, and what follows from them for derived dates and meters; how many were new."""
    fresh = people.add_events(connection, rows)
    for row in rows:
        if row["name"] == REDEEMED and row["fields"].get("code"):
            loyalty.redeem(connection, row["fields"]["code"], row["at"])
    if fresh:
        things = people.records_by_id(connection, {row["record_id"] for row in rows if row["record_id"]})
        shown = [
            (things[row["record_id"]].kind, row["record_id"], _numbers(row["fields"]), row["at"])
            for row in rows
            if row["record_id"] in things
        ]
        take_readings(connection, settings, shown)
        owners = {(row["contact_id"], record) for row in rows for record in {0, row["record_id"]}}
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
    name = columns.cell(row, "event")
    if not EVENT_NAME.fullmatch(name):
        raise ValueError(f"`{name}` is not an event's name like order.placed")
    contact = _owner(columns.cell(row, "contact"), owners)
    at = parse_instant(columns.cell(row, "at"), settings.timezone)
    record_id = 0
    for kind, known in records.items():
        key = columns.cell(row, kind)
        if key and (key not in known or known[key].contact_id != contact.id):
            raise ValueError(f"this contact has no {kind} `{key}`")
        record_id = known[key].id if key else record_id
    fields = {
        _normal(column): row.cells[column].strip() for column in columns.free if row.cells.get(column, "").strip()
    }
    key = columns.cell(row, "id") or _digest(name, contact.key, at, fields)
    return {"contact_id": contact.id, "record_id": record_id, "name": name, "key": key, "at": at, "fields": fields}


def parse_instant(text: str, timezone: str) -> datetime:
    """An ISO date-time; without an offset it is the wall clock of `timezone`. Raises ValueError."""
    try:
        # 9:00 as people write it, 09:00 as ISO does.
        at = datetime.fromisoformat(re.sub(r"(?<=[ T])(\d):", r"0\1:", text))
        at = instant(at, zone(timezone)) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"`{text}` is not a time like 2026-11-22 14:30") from None
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _digest(name: str, contact: str, at: datetime, fields: Mapping[str, str]) -> str:
    """Stands for the id of an event that came without one."""
    return sha256(repr((name, contact, at.isoformat(), sorted(fields.items()))).encode()).hexdigest()[:24]


def _ignored(columns: Columns, fields: Iterable[str]) -> list[str]:
    notes = []
    for column in columns.free:
        help = nearest(_normal(column), fields) or "declare it under `data:` in _settings.yaml to keep it"
        notes.append(f"the column `{column}` is no field and is left out ({help})")
    return notes


def _batches(rows: Iterator[Row], report: Report, progress: Callable[[int], None]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH)):
        yield batch
        progress(report.rows)
