"""What follows from what is stored about a contact: its zone, and the derived dates that are kept with the stored ones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256

import phonenumbers
from babel.core import get_global
from phonenumbers.timezone import time_zones_for_number
from sqlalchemy import Connection

from drip.core.calendar import ZONES_VERSION, local, zone
from drip.core.derived import (
    KEPT,
    DateField,
    Derived,
    Known,
    derive,
    events_seen,
    meters,
)
from drip.core.fields import Value, parse_zone
from drip.core.settings import Settings
from drip.storage.campaigns import audience
from drip.storage.people import contacts, date_index, events, kept_rules, records
from drip.storage.people import readings as reading_store
from drip.storage.people.contacts import Contact
from drip.storage.people.kept_rules import KEPT_DATES, KEPT_ZONES

log = logging.getLogger("drip.zones")
CHUNK = 2_000
Owner = tuple[int, int]


def guess_zone(contact: Contact) -> str | None:
    """The contact's own zone, else the one its phone number or its country has, else None."""
    if contact.timezone and _is_zone(contact.timezone):
        return contact.timezone
    if contact.phone:
        found = _single(time_zones_for_number(phonenumbers.parse(contact.phone)))
        if found:
            return found
    return _zone_of_country(contact.country) if contact.country else None


@lru_cache(maxsize=500)
def _zone_of_country(country: str) -> str | None:
    return _single(get_global("territory_zones").get(country, []))


def _single(names: Iterable[str]) -> str | None:
    """The zone, if there is one, or several whose clocks agree (Berlin and Büsingen)."""
    named = [name for name in names if name != "Etc/Unknown"]
    clocks = {
        tuple(
            datetime(2026, month, 1, tzinfo=UTC).astimezone(zone(name)).utcoffset()
            for month in (1, 7)
        )
        for name in named
    }
    preferred = [
        name
        for name in named
        if not name.startswith(("Europe/Guernsey", "Europe/Isle", "Europe/Jersey"))
    ]
    return (preferred or named)[0] if len(clocks) == 1 else None


def date_fields(settings: Settings, kind: str) -> list[str]:
    """The stored dates of a contact (`contact`) or a kind of record."""
    return [
        name for name, field in settings.fields.get(kind, {}).items() if field.is_date
    ]


def kept_of(settings: Settings, kind: str) -> dict[str, Derived]:
    """The derived dates of a kind that are kept, by full name."""
    return {
        full: each
        for full, each in settings.derived.items()
        if full.partition(".")[0] == kind and isinstance(each, KEPT)
    }


def refresh(
    connection: Connection, settings: Settings, owners: Collection[Owner]
) -> None:
    """Works out the kept dates of these contacts (record 0) and records."""
    if not any(isinstance(each, KEPT) for each in settings.derived.values()):
        return
    _refresh_contacts(connection, settings, [owner for owner in owners if not owner[1]])
    things = records.records_by_id(
        connection, {record for _, record in owners if record}
    )
    for kind in {each.kind for each in things.values()}:
        own = {
            each.id: settings.load(kind, each.attributes)
            for each in things.values()
            if each.kind == kind
        }
        pairs = [(things[number].contact_id, number) for number in own]
        _keep(
            connection,
            settings,
            kind,
            pairs,
            {(things[n].contact_id, n): values for n, values in own.items()},
        )


def _refresh_contacts(
    connection: Connection, settings: Settings, owners: list[Owner]
) -> None:
    if owners and kept_of(settings, "contact"):
        found = contacts.contacts_by_id(connection, [contact for contact, _ in owners])
        values = {
            (each.id, 0): settings.load("contact", each.attributes)
            for each in found.values()
        }
        _keep(connection, settings, "contact", owners, values)


def _keep(
    connection: Connection,
    settings: Settings,
    kind: str,
    owners: list[Owner],
    values: Mapping[Owner, Mapping[str, Value]],
) -> None:
    wanted = kept_of(settings, kind)
    if not wanted:
        return
    numbers = [record or contact for contact, record in owners]
    seen = _days_seen(
        connection, settings, events_seen(wanted.values()), numbers, kind != "contact"
    )
    readings = (
        reading_store.readings_of(connection, numbers)
        if meters(wanted.values())
        else {}
    )
    found: dict[Owner, dict[str, date]] = {}
    for owner, number in zip(owners, numbers, strict=True):
        own = dict(values.get(owner, {}))
        known = Known(own, readings.get(number, {}), seen.get(number, {}))
        found[owner] = {}
        for full, each in settings.derived.items():
            if full.partition(".")[0] != kind or not isinstance(
                each, (DateField, *KEPT)
            ):
                continue
            day = derive(each, known)
            if day is not None:
                own[full.partition(".")[2]] = day
                found[owner] |= {full: day} if full in wanted else {}
    date_index.keep_dates(connection, list(wanted), owners, found)


def _days_seen(
    connection: Connection,
    settings: Settings,
    names: set[str],
    numbers: Collection[int],
    of_records: bool,
) -> dict[int, dict[tuple[str, str], date]]:
    """The days, on the workspace's calendar, of the first and latest events."""
    if not names:
        return {}
    home = zone(settings.timezone)
    found = events.seen_days(connection, names, numbers, of_records)
    return {
        number: {key: local(at, home).date() for key, at in own.items()}
        for number, own in found.items()
    }


def refresh_all(connection: Connection, settings: Settings) -> None:
    """Works everything out anew where the settings define other dates than those that are kept."""
    definitions = {
        full: each
        for full, each in settings.derived.items()
        if isinstance(each, (DateField, *KEPT))
    }
    rules = sha256(
        repr(
            (sorted(definitions.items(), key=lambda each: each[0]), settings.timezone)
        ).encode()
    ).hexdigest()
    if kept_rules.kept_rules(connection, KEPT_DATES) == rules:
        return
    for kind in {
        full.partition(".")[0]
        for full, each in definitions.items()
        if isinstance(each, KEPT)
    }:
        owners = date_index.everyone(connection, kind)
        for n in range(0, len(owners), CHUNK):
            refresh(connection, settings, owners[n : n + CHUNK])
    kept_rules.set_kept_rules(connection, KEPT_DATES, rules)


def settle_zones(connection: Connection) -> None:
    """Where the tz database is another one than before: has nobody live in a zone that it lacks.

    Such people count by the workspace's zone until it knows theirs again.
    """
    if kept_rules.kept_rules(connection, KEPT_ZONES) == ZONES_VERSION:
        return
    lacking = [
        name for name in audience.zones(connection) if name and not _is_zone(name)
    ]
    for name, count in contacts.leave_zones(connection, lacking).items():
        log.warning(
            "The time zone %s of %d contact(s) is not among those of %s, which are in use here. They count by the "
            "workspace's.",
            name,
            count,
            ZONES_VERSION,
            extra={"action": "unknown-zone"},
        )
    for some in contacts.without_zone(connection):
        known: dict[str, list[int]] = defaultdict(list)
        for contact in some:
            if found := guess_zone(contact):
                known[found].append(contact.id)
        for name, ids in known.items():
            contacts.move_to_zone(connection, ids, name)
    kept_rules.set_kept_rules(connection, KEPT_ZONES, ZONES_VERSION)


@lru_cache(maxsize=1_000)
def _is_zone(name: str) -> bool:
    try:
        parse_zone(name)
    except ValueError:
        return False
    return True


def take_readings(
    connection: Connection,
    settings: Settings,
    rows: Iterable[tuple[str, int, Mapping[str, object], datetime]],
) -> None:
    """Keeps what meters showed: kind, record, its values by name, and when."""
    home = zone(settings.timezone)
    found = []
    for kind, record_id, values, at in rows:
        for meter in meters(kept_of(settings, kind).values()):
            value = values.get(meter)
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.append((record_id, meter, local(at, home).date(), float(value)))
    reading_store.save_readings(connection, found)
