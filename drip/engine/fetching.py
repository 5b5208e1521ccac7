"""What is asked about contacts (`core.asks`), fetched at once for all of them: each
kind of it is one query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from drip.core.asks import Asks
from drip.core.conditions import first_instant
from drip.core.derived import KEPT, Known, Total
from drip.core.fields import Value
from drip.core.settings import Settings
from drip.engine.deriving import Owner, origins_of
from drip.engine.facts import ContactFacts
from drip.storage.people import (
    consents,
    counters,
    coupons,
    date_index,
    pauses,
    segments,
    sign_ups,
    suppressions,
    tags,
)
from drip.storage.people import (
    contacts as contact_store,
)
from drip.storage.people import (
    events as event_store,
)
from drip.storage.people import (
    records as record_store,
)
from drip.storage.people.contacts import Contact
from drip.storage.people.events import Event
from drip.storage.people.records import Record

NOTHING = Asks()


def facts_of(
    connection: Connection,
    settings: Settings,
    contact_ids: Collection[int],
    now: datetime,
    asks: Asks = NOTHING,
    *,
    records: Collection[int] = (),
    events: Iterable[int | None] = (),
    contacts: Mapping[int, Contact] | None = None,
) -> ContactFacts:
    """What is asked about these contacts, and these records (0 is none) and events
    (None is none).

    `contacts` are they themselves, where they are at hand already.
    """
    ids = list(contact_ids)
    if contacts is None:
        contacts = contact_store.contacts_by_id(connection, ids)
    key = suppressions.suppression_key(connection)
    things = _records(connection, records)
    happened = _happened(connection, ids, asks)
    return ContactFacts(
        settings=settings,
        now=now,
        contacts=contacts,
        consents=consents.of_contacts(connection, ids),
        sign_ups=sign_ups.of_contacts(connection, ids),
        suppression_key=key,
        suppressed=_suppressed(
            connection,
            settings,
            contacts,
            key,
        ),
        records=things,
        events=_by_number(connection, happened, events),
        names=asks.events,
        happened_by_name=happened,
        kept=_kept(
            connection,
            settings,
            asks,
            ids,
        ),
        origins=_origins(
            connection,
            settings,
            asks,
            contacts,
            things,
        ),
        totals=_totals(
            connection,
            settings,
            asks,
            ids,
            things,
            now,
        ),
        **_asked_for(
            connection,
            settings,
            asks,
            ids,
        ),
    )


def _asked_for(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    ids: list[int],
) -> dict[str, Any]:
    """What only some campaigns ask, by the names of the facts' fields."""
    found: dict[str, Any] = {}
    if asks.pauses:
        found["pauses"] = pauses.pauses_of(connection, ids)
    if asks.tags:
        found["tags_by_contact"] = tags.tags_of(connection, ids)
    if asks.sets:
        found["sets_by_contact"] = segments.sets_of(connection, ids)
    if asks.holds_coupons:
        found["held_codes"] = coupons.codes_of_contacts(connection, ids)
    if "counter" in asks.owners:
        found["balances_by_contact"] = counters.balances_of(connection, ids)
    topics = (settings.topics.get(topic) for topic in asks.topics)
    if any(topic and topic.expires for topic in topics):
        found["last_events"] = event_store.last_event(connection, ids)
    return found


def _records(connection: Connection, ids: Collection[int]) -> dict[int, Record]:
    named = {number for number in ids if number}
    return record_store.records_by_id(connection, named) if named else {}


def _suppressed(
    connection: Connection,
    settings: Settings,
    contacts: Mapping[int, Contact],
    key: bytes,
) -> dict[str, str]:
    """Which of the contacts' addresses are suppressed, and why, by their digests."""
    if not suppressions.any_suppressed(connection):
        return {}
    addresses = (
        contact_store.address_of(contact, channel)
        for contact in contacts.values()
        for channel in settings.transports
    )
    digests = [suppressions.digest(key, address) for address in addresses if address]
    return suppressions.suppressed(connection, digests)


def _happened(
    connection: Connection,
    ids: list[int],
    asks: Asks,
) -> dict[tuple[int, str], list[Event]]:
    """The events of the names that are asked for, by contact and name, oldest first."""
    happened: dict[tuple[int, str], list[Event]] = defaultdict(list)
    if not asks.events:
        return happened
    for contact, own in event_store.events_of(connection, ids, asks.events).items():
        for event in own:
            happened[contact, event.name].append(event)
    return happened


def _by_number(
    connection: Connection,
    happened: Mapping[tuple[int, str], Sequence[Event]],
    numbers: Iterable[int | None],
) -> dict[int, Event]:
    """These events, and all that happened, by their numbers."""
    known = {event.id: event for own in happened.values() for event in own}
    missing = {number for number in numbers if number and number not in known}
    if missing:
        known |= event_store.events_by_id(connection, missing)
    return known


def _kept(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    ids: list[int],
) -> Mapping[Owner, Mapping[str, date]] | None:
    """The derived dates that are kept; None where fields are asked for that can't be
    any of them."""
    names = [
        full for full, derived in settings.derived.items() if isinstance(derived, KEPT)
    ]
    owners = {full.partition(".")[0] for full in names}
    if not owners & asks.owners:
        return None
    return date_index.kept_dates(connection, names, ids)


def _origins(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    contacts: Mapping[int, Contact],
    records: Mapping[int, Record],
) -> dict[Owner, Known]:
    """What kept dates are made of, where a step can set what they follow from."""
    if not asks.sets_fields:
        return {}
    owners: dict[str, dict[Owner, dict[str, Value]]] = defaultdict(dict)
    for contact_id in contacts:
        owners["contact"][contact_id, 0] = {}
    for record in records.values():
        owners[record.kind][record.contact_id, record.id] = {}
    found: dict[Owner, Known] = {}
    for kind, own in owners.items():
        found |= origins_of(
            connection,
            settings,
            kind,
            own,
        )
    return found


def _totals(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    contact_ids: list[int],
    records: Mapping[int, Record],
    now: datetime,
) -> dict[str, Mapping[int, float]]:
    """The counts and sums that are asked for, by field, then by contact or record."""
    owners: dict[str, list[int]] = defaultdict(list)
    for record in records.values():
        owners[record.kind].append(record.id)
    owners["contact"] = contact_ids
    found: dict[str, Mapping[int, float]] = {}
    for full, derived in settings.derived.items():
        kind = full.partition(".")[0]
        if isinstance(derived, Total) and kind in asks.owners:
            own = owners[kind]
            found[full] = _total(
                connection,
                settings,
                derived,
                kind,
                own,
                now,
            )
    return found


def _since(
    total: Total,
    settings: Settings,
    now: datetime,
) -> datetime | None:
    """From when events count; None if all do."""
    if not total.span:
        return None
    return first_instant(total.span, now, settings.timezone)


def _total(
    connection: Connection,
    settings: Settings,
    total: Total,
    kind: str,
    owners: list[int],
    now: datetime,
) -> Mapping[int, float]:
    """A count or sum, by contact or record; of those that have none it is 0."""
    if not owners:
        return {}
    since = _since(total, settings, now)
    of_records = kind != "contact"
    return event_store.totals(
        connection,
        total,
        owners,
        of_records,
        since,
        now,
    )
