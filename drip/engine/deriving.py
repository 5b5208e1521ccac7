"""What follows from what is stored about a contact: its zone, and the derived dates
that are kept with the stored ones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter

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
from drip.storage.people import (
    contacts,
    date_index,
    events,
    kept_rules,
    readings,
    records,
)
from drip.storage.people.contacts import Contact
from drip.storage.people.kept_rules import KEPT_DATES, KEPT_ZONES

log = logging.getLogger("drip.zones")
CHUNK = 2_000
# A contact's own (record 0), or a record of a contact.
Owner = tuple[int, int]
# Whose country has a zone of its own name as well.
ISLANDS = ("Europe/Guernsey", "Europe/Isle", "Europe/Jersey")
DATED = (DateField, *KEPT)
# A day of winter and one of summer: zones that agree in January may differ in July.
SEASONS = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))


def guess_zone(contact: Contact) -> str | None:
    """The contact's own zone, else the one its phone number or its country has, else
    None."""
    if contact.timezone and _is_zone(contact.timezone):
        return contact.timezone
    found = _zone_of_phone(contact.phone) if contact.phone else None
    if found:
        return found
    return _zone_of_country(contact.country) if contact.country else None


def _zone_of_phone(phone: str) -> str | None:
    return _single(time_zones_for_number(phonenumbers.parse(phone)))


@lru_cache(maxsize=500)
def _zone_of_country(country: str) -> str | None:
    return _single(get_global("territory_zones").get(country, []))


def _single(names: Iterable[str]) -> str | None:
    """The zone, if there is one, or several whose clocks agree (Berlin and
    Büsingen)."""
    named = [name for name in names if name != "Etc/Unknown"]
    if len({_clock(name) for name in named}) != 1:
        return None
    on_the_mainland = [name for name in named if not name.startswith(ISLANDS)]
    return (on_the_mainland or named)[0]


def _clock(name: str) -> tuple[timedelta | None, ...]:
    """How far the zone is from UTC in winter and in summer."""
    return tuple(day.astimezone(zone(name)).utcoffset() for day in SEASONS)


def date_fields(settings: Settings, kind: str) -> list[str]:
    """The stored dates of a contact (`contact`) or a kind of record."""
    return [
        name for name, field in settings.fields.get(kind, {}).items() if field.is_date
    ]


def kept_of(settings: Settings, kind: str) -> dict[str, Derived]:
    """The derived dates of a kind that are kept, by full name."""
    return {
        full: derived
        for full, derived in settings.derived.items()
        if _kind(full) == kind and isinstance(derived, KEPT)
    }


def _kind(full: str) -> str:
    return full.partition(".")[0]


def kept_dates(
    settings: Settings,
    kind: str,
    known: Known,
) -> dict[str, date]:
    """The kept dates of one contact or record, by full name, as they follow from what
    is known of it."""
    values, kept = dict(known.values), {}
    known, wanted = replace(known, values=values), kept_of(settings, kind)
    for full, derived in settings.derived.items():
        if _kind(full) != kind or not isinstance(derived, DATED):
            continue
        day = derive(derived, known)
        if day is not None:
            # Those that come later in the settings can be made of it.
            values[full.partition(".")[2]] = day
            if full in wanted:
                kept[full] = day
    return kept


def origins_of(
    connection: Connection,
    settings: Settings,
    kind: str,
    values: Mapping[Owner, Mapping[str, Value]],
) -> dict[Owner, Known]:
    """What the kept dates of these contacts, or records of a kind, are made of; nothing
    where none are kept."""
    wanted = kept_of(settings, kind).values()
    if not wanted:
        return {}
    numbers = [record or contact for contact, record in values]
    seen = _days_seen(
        connection,
        settings,
        events_seen(wanted),
        numbers,
        kind != "contact",
    )
    read = readings.readings_of(connection, numbers) if meters(wanted) else {}
    return {
        owner: Known(own, read.get(number, {}), seen.get(number, {}))
        for number, (owner, own) in zip(numbers, values.items(), strict=True)
    }


def refresh(
    connection: Connection,
    settings: Settings,
    owners: Collection[Owner],
) -> None:
    """Works out the kept dates of these contacts (record 0) and records."""
    if not any(isinstance(derived, KEPT) for derived in settings.derived.values()):
        return
    contacts = {contact for contact, record in owners if not record}
    if contacts and kept_of(settings, "contact"):
        _refresh_contacts(connection, settings, contacts)
    records = {record for _, record in owners if record}
    if records:
        _refresh_records(connection, settings, records)


def _refresh_contacts(
    connection: Connection,
    settings: Settings,
    ids: Collection[int],
) -> None:
    found = contacts.contacts_by_id(connection, ids)
    values: dict[Owner, Mapping[str, Value]] = {
        (contact.id, 0): settings.load("contact", contact.attributes)
        for contact in found.values()
    }
    _keep(
        connection,
        settings,
        "contact",
        values,
    )


def _refresh_records(
    connection: Connection,
    settings: Settings,
    ids: Collection[int],
) -> None:
    values: dict[str, dict[Owner, Mapping[str, Value]]] = defaultdict(dict)
    for record in records.records_by_id(connection, ids).values():
        own = settings.load(record.kind, record.attributes)
        values[record.kind][record.contact_id, record.id] = own
    for kind, of_kind in values.items():
        _keep(
            connection,
            settings,
            kind,
            of_kind,
        )


def _keep(
    connection: Connection,
    settings: Settings,
    kind: str,
    values: Mapping[Owner, Mapping[str, Value]],
) -> None:
    wanted = kept_of(settings, kind)
    if not wanted:
        return
    origins = origins_of(
        connection,
        settings,
        kind,
        values,
    )
    found = {
        owner: kept_dates(settings, kind, known) for owner, known in origins.items()
    }
    date_index.keep_dates(
        connection,
        list(wanted),
        list(values),
        found,
    )


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
    found = events.seen_days(
        connection,
        names,
        numbers,
        of_records,
    )
    return {
        number: {key: local(at, home).date() for key, at in own.items()}
        for number, own in found.items()
    }


def refresh_all(connection: Connection, settings: Settings) -> None:
    """Works everything out anew where the settings define other dates than those that
    are kept."""
    rules = _rules(settings)
    if kept_rules.kept_rules(connection, KEPT_DATES) == rules:
        return
    for kind in {_kind(full) for full in settings.derived}:
        if not kept_of(settings, kind):
            continue
        owners = date_index.everyone(connection, kind)
        for n in range(0, len(owners), CHUNK):
            refresh(connection, settings, owners[n : n + CHUNK])
    kept_rules.set_kept_rules(connection, KEPT_DATES, rules)


def _rules(settings: Settings) -> str:
    """What kept dates hang on, in short."""
    # In order of the names: moving a definition within its file is no other rule.
    in_order = sorted(_dated_definitions(settings), key=itemgetter(0))
    return sha256(repr((in_order, settings.timezone)).encode()).hexdigest()


def _dated_definitions(settings: Settings) -> Iterator[tuple[str, Derived]]:
    for full, derived in settings.derived.items():
        if isinstance(derived, DATED):
            yield full, derived


def settle_zones(connection: Connection) -> None:
    """Where the tz database is another one than before: has nobody live in a zone that
    it lacks.

    Such people count by the workspace's zone until it knows theirs again.
    """
    if kept_rules.kept_rules(connection, KEPT_ZONES) == ZONES_VERSION:
        return
    zones = audience.zones(connection)
    lacking = [name for name in zones if name and not _is_zone(name)]
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
        _guess_zones(connection, some)
    kept_rules.set_kept_rules(connection, KEPT_ZONES, ZONES_VERSION)


def _guess_zones(connection: Connection, some: Iterable[Contact]) -> None:
    """Has these contacts live in the zones that are known by what else is said of
    them."""
    for name, ids in _by_zone(some).items():
        contacts.move_to_zone(connection, ids, name)


def _by_zone(some: Iterable[Contact]) -> dict[str, list[int]]:
    """The numbers of these contacts by zone; without those of whom nothing tells it."""
    known: dict[str, list[int]] = defaultdict(list)
    for contact in some:
        name = guess_zone(contact)
        if name:
            known[name].append(contact.id)
    return known


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
    readings.save_readings(connection, found)
