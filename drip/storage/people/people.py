"""Contacts, their records and events, their consents, and the addresses never to be written to again."""

from __future__ import annotations

import hmac
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.calendar import from_millis
from drip.core.fields import Stored
from drip.core.lifecycle import Wake
from drip.core.settings import CHANNELS
from drip.errors import DripError
from drip.storage.base.columns import from_ms
from drip.storage.base.schema import (
    PEOPLE,
    contacts,
    dates,
    events,
    meta,
    records,
    runs,
    suppressions,
)
from drip.storage.base.sql import Folded, Prepared, listed_in, numbers, parsed, texts_in

CHUNK = 5_000
# What every contact has a column for; everything else is among the attributes. (`timezone` has two.)
COLUMNS = ("key", "email", "phone", "locale", "country")
PLAIN = (*COLUMNS[1:], "timezone")
# What every beat asks, built once: building a statement costs as much as running it.
_CONTACTS = Prepared(select(contacts).where(contacts.c.id.in_(listed_in("ids"))))
_EVENTS = Prepared(select(events).where(events.c.id.in_(listed_in("ids"))))
_EVENTS_OF = Prepared(
    select(events)
    .where(
        events.c.contact_id.in_(listed_in("ids")), events.c.name.in_(texts_in("names"))
    )
    .order_by(events.c.at, events.c.id)
)
_LAST_CHANGE = Prepared(
    select(
        select(func.max(contacts.c.change)).scalar_subquery(),
        select(func.max(records.c.change)).scalar_subquery(),
    )
)
_TOUCH = Prepared(
    update(contacts)
    .where(contacts.c.id.in_(listed_in("ids")))
    .values(change=bindparam("number", type_=BigInteger))
)
# Behind `coalesce` SQLite does not go through all active runs to find those of a few contacts.
_WAKE = Prepared(
    update(runs)
    .where(
        runs.c.contact_id.in_(listed_in("ids")),
        func.coalesce(runs.c.active, false()),
        runs.c.wake != Wake.LOOKS_AGAIN.value,
    )
    .values(wake=Wake.LOOKS_AGAIN.value, due_at=null())
)
_SUPPRESSION_KEY = Prepared(
    select(meta.c.value).where(meta.c.name == "suppression-key")
)
_ANY_SUPPRESSED = Prepared(select(suppressions.c.digest).limit(1))
_SUPPRESSED = Prepared(
    select(suppressions.c.digest, suppressions.c.reason).where(
        suppressions.c.digest.in_(texts_in("digests"))
    )
)


@dataclass(slots=True)
class Contact:
    """A contact as stored. `zone` is the one that holds for it, None for the workspace's; of one that was erased nothing is left
    but the number."""

    key: str
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    country: str | None = None
    timezone: str | None = None
    zone: str | None = None
    attributes: dict[str, Stored] = field(default_factory=dict)
    id: int = 0
    erased_at: datetime | None = None


@dataclass(slots=True)
class Record:
    """A thing that a contact owns."""

    kind: str
    key: str
    contact_id: int
    attributes: dict[str, Stored] = field(default_factory=dict)
    id: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `record_id` is 0 where it names no record."""

    id: int
    contact_id: int
    record_id: int
    name: str
    key: str
    at: datetime
    fields: Mapping[str, str]


def address_of(contact: Contact, channel: str) -> str | None:
    """Where messages by a channel go; None if that is unknown."""
    match channel:
        case "email":
            return contact.email
        case "sms":
            return contact.phone
        case "push":
            return str(contact.attributes.get("push_token") or "") or None
        case _:
            return str(contact.attributes.get("postal_address") or "") or None


def count(connection: Connection) -> int:
    """How many people there are: neither erased ones nor sign-ups that nobody confirmed."""
    return connection.execute(
        select(func.count()).select_from(contacts).where(PEOPLE)
    ).scalar_one()


def contacts_by_key(
    connection: Connection, keys: Collection[str]
) -> dict[str, Contact]:
    """The contacts among `keys`."""
    rows = connection.execute(select(contacts).where(contacts.c.key.in_(keys)))
    return {row.key: _contact(row) for row in rows}


def contact_of_key(connection: Connection, key: str) -> Contact:
    """Raises DripError for an unknown key."""
    found = contacts_by_key(connection, [key])
    if key not in found:
        raise DripError(
            f"There is no contact `{key}`.",
            help="`drip import contacts FILE` brings contacts in",
        )
    return found[key]


def contact_by_email(connection: Connection, email: str) -> Contact | None:
    """The contact with this address, in whatever case; the first of several."""
    row = connection.execute(
        select(contacts)
        .where(func.lower(contacts.c.email) == email.lower())
        .order_by(contacts.c.id)
        .limit(1)
    ).first()
    return _contact(row) if row else None


def search(connection: Connection, text: str, most: int) -> list[Contact]:
    """The first contacts, by key, whose key, address or phone number has this in it; letters large or small."""
    c = contacts.c
    holds = or_(
        *(
            Folded(column).contains(text.casefold(), autoescape=True)
            for column in (c.key, c.email, c.phone)
        )
    )
    people = select(contacts).where(PEOPLE)
    statement = people.where(holds) if text else people
    return [
        _contact(row)
        for row in connection.execute(statement.order_by(c.key).limit(most))
    ]


def contacts_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Contact]:
    """The contacts with these ids."""
    return {
        id_: Contact(
            key,
            email,
            phone,
            locale,
            country,
            timezone,
            zone,
            parsed(attributes),
            id_,
            from_ms(erased),
        )
        for id_, key, email, phone, locale, country, timezone, zone, attributes, _, erased in _CONTACTS.rows(
            connection, ids=numbers(ids)
        )
    }


def _contact(row: Any) -> Contact:
    return Contact(
        row.key,
        row.email,
        row.phone,
        row.locale,
        row.country,
        row.timezone,
        row.zone,
        dict(row.attributes),
        row.id,
        row.erased_at,
    )


def save_contacts(
    connection: Connection, people: Sequence[Contact], date_fields: Collection[str]
) -> None:
    """Stores new contacts (id 0, which is then set) and changed ones, with their dates; wakes their runs.

    Needs the write lock, for the ids.
    """
    before = {each.id for each in people if each.id}
    _save(connection, contacts, people)
    _save_dates(
        connection,
        "contact",
        [(each.id, 0, each.attributes) for each in people],
        date_fields,
        before,
    )
    wake_runs(connection, [each.id for each in people])


def save_records(
    connection: Connection, things: Sequence[Record], date_fields: Collection[str]
) -> None:
    """As `save_contacts`, for records of one kind."""
    before = {each.contact_id for each in things if each.id}
    _save(connection, records, things)
    if things:
        owned = [(each.contact_id, each.id, each.attributes) for each in things]
        _save_dates(connection, things[0].kind, owned, date_fields, before)
    wake_runs(connection, [each.contact_id for each in things])
    about = [each.id for each in things]
    # A run of the owner before is woken too.
    connection.execute(
        update(runs)
        .where(runs.c.record_id.in_(about), runs.c.active)
        .values(wake=Wake.LOOKS_AGAIN.value, due_at=None)
    )


def _save(
    connection: Connection, table: Table, rows: Sequence[Contact] | Sequence[Record]
) -> None:
    change = last_change(connection) + 1
    fresh = [each for each in rows if not each.id]
    known = [each for each in rows if each.id]
    if fresh:
        newest = connection.execute(select(func.max(table.c.id))).scalar() or 0
        for number, each in enumerate(fresh, newest + 1):
            each.id = number
        connection.execute(
            insert(table),
            [{**_without_id(each), "id": each.id, "change": change} for each in fresh],
        )
    if known:
        statement = update(table).where(table.c.id == bindparam("number"))
        connection.execute(
            statement,
            [
                {**_without_id(each), "number": each.id, "change": change}
                for each in known
            ],
        )


def last_change(connection: Connection) -> int:
    """The number of the newest change of people."""
    return max(number or 0 for number in _LAST_CHANGE.rows(connection)[0])


def touch(connection: Connection, contact_ids: Collection[int]) -> None:
    """Marks contacts as changed, so that those who look for what is new find them."""
    if contact_ids:
        _TOUCH.count(
            connection,
            ids=numbers(sorted(contact_ids)),
            number=last_change(connection) + 1,
        )


def leave_zones(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Everybody in these zones is in the workspace's from now on; how many were in each."""
    left: dict[str, int] = {}
    for name in names:
        ids = list(
            connection.scalars(select(contacts.c.id).where(contacts.c.zone == name))
        )
        move_to_zone(connection, ids, None)
        left[name] = len(ids)
    return left


def without_zone(connection: Connection) -> Iterator[list[Contact]]:
    """Who is in the workspace's zone though something says where they live, some at a time."""
    c, after = contacts.c, 0
    said = or_(c.timezone.is_not(None), c.phone.is_not(None), c.country.is_not(None))
    while rows := connection.execute(
        select(contacts)
        .where(c.zone.is_(None), said, c.id > after)
        .order_by(c.id)
        .limit(CHUNK)
    ).all():
        yield [_contact(row) for row in rows]
        after = rows[-1].id


def move_to_zone(connection: Connection, ids: Sequence[int], name: str | None) -> None:
    """These contacts are in this zone (None: the workspace's) from now on."""
    for chunk in _chunks(ids):
        connection.execute(
            update(contacts).where(contacts.c.id.in_(chunk)).values(zone=name)
        )
    touch(connection, ids)
    wake_runs(connection, ids)


def touch_records(connection: Connection, record_ids: Collection[int]) -> None:
    """As `touch`, for records: whoever looks for late joiners looks at these."""
    change = last_change(connection) + 1 if record_ids else 0
    for chunk in _chunks(sorted(record_ids)):
        connection.execute(
            update(records).where(records.c.id.in_(chunk)).values(change=change)
        )


def _without_id(row: Contact | Record) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__ if name != "id"}


def _save_dates(
    connection: Connection,
    owner: str,
    owned: Sequence[tuple[int, int, Mapping[str, Stored]]],
    date_fields: Collection[str],
    known: Collection[int],
) -> None:
    """Stores the dates of contacts, or of their records; only the contacts in `known` can have had any before."""
    # A record's dates go whoever owned it before.
    of_record = dates.c.record_id == bindparam("record")
    stale = (
        of_record
        if owner != "contact"
        else and_(of_record, dates.c.contact_id == bindparam("contact"))
    )
    gone = [
        {"contact": who, "record": record} for who, record, _ in owned if who in known
    ]
    if gone:
        connection.execute(delete(dates).where(stale), gone)
    rows = [
        {
            "contact_id": contact,
            "record_id": record,
            "field": f"{owner}.{name}",
            "day": str(attributes[name]),
            "month_day": str(attributes[name])[-5:],
        }
        for contact, record, attributes in owned
        for name in date_fields
        if attributes.get(name) is not None
    ]
    if rows:
        connection.execute(insert(dates), rows)


def wake_runs(connection: Connection, contact_ids: Collection[int]) -> None:
    """Has the planner look again at every active run of these contacts: something about them is new."""
    if contact_ids:
        _WAKE.count(connection, ids=numbers(sorted(set(contact_ids))))


def record_ids(
    connection: Connection, kind: str, keys: Collection[str]
) -> dict[str, Record]:
    """The records of a kind among `keys`."""
    rows = connection.execute(
        select(records).where(records.c.kind == kind, records.c.key.in_(keys))
    )
    return {row.key: _record(row) for row in rows}


def records_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Record]:
    """The records with these ids."""
    rows = connection.execute(select(records).where(records.c.id.in_(ids)))
    return {row.id: _record(row) for row in rows}


def owners_of(connection: Connection, record_ids: Collection[int]) -> dict[int, int]:
    """Whose each of these records is."""
    rows = connection.execute(
        select(records.c.id, records.c.contact_id).where(records.c.id.in_(record_ids))
    )
    return {row[0]: row[1] for row in rows}


def records_of(
    connection: Connection, contact_ids: Collection[int], kind: str
) -> list[Record]:
    """The records of a kind that these contacts own."""
    where = (records.c.contact_id.in_(contact_ids), records.c.kind == kind)
    return [
        _record(row)
        for row in connection.execute(
            select(records).where(*where).order_by(records.c.id)
        )
    ]


def _record(row: Any) -> Record:
    return Record(row.kind, row.key, row.contact_id, dict(row.attributes), row.id)


def add_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores events that are not known yet (by name and key), wakes their contacts' runs; how many were new."""
    if not rows:
        return 0
    last = (
        connection.execute(
            select(events.c.id).order_by(events.c.id.desc()).limit(1)
        ).scalar()
        or 0
    )
    connection.execute(
        insert_or(events).on_conflict_do_nothing(index_elements=["name", "key"]),
        list(rows),
    )
    fresh = (
        connection.execute(select(events.c.contact_id).where(events.c.id > last))
        .scalars()
        .all()
    )
    wake_runs(connection, fresh)
    return len(fresh)


def fields_of(connection: Connection, name: str, key: str) -> dict[str, str]:
    """What a known event says; nothing for one that is not known."""
    where = (events.c.name == name, events.c.key == key)
    return dict(
        connection.execute(select(events.c.fields).where(*where)).scalar() or {}
    )


def say_anew(
    connection: Connection, name: str, key: str, fields: Mapping[str, str]
) -> None:
    """A known event says this now; wakes its contact's runs."""
    where = (events.c.name == name, events.c.key == key)
    connection.execute(update(events).where(*where).values(fields=dict(fields)))
    wake_runs(
        connection, list(connection.scalars(select(events.c.contact_id).where(*where)))
    )


def has_event(connection: Connection, name: str, key: str) -> bool:
    """Whether an event is known, by name and key."""
    return (
        connection.execute(
            select(events.c.id).where(events.c.name == name, events.c.key == key)
        ).first()
        is not None
    )


def events_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Event]:
    """The events with these ids."""
    return {row[0]: _event(row) for row in _EVENTS.rows(connection, ids=numbers(ids))}


def events_of(
    connection: Connection, contact_ids: Collection[int], names: Collection[str]
) -> dict[int, list[Event]]:
    """The events of these names, by contact, oldest first."""
    found: dict[int, list[Event]] = defaultdict(list)
    if names:
        for row in _EVENTS_OF.rows(
            connection, ids=numbers(contact_ids), names=json.dumps(sorted(names))
        ):
            found[row[1]].append(_event(row))
    return found


def _event(row: Sequence[Any]) -> Event:
    id_, contact, record, name, key, at, fields = row
    return Event(id_, contact, record, name, key, from_millis(at), parsed(fields))


def suppress(connection: Connection, address: str, reason: str, now: datetime) -> None:
    """Never again to this address. The first reason stays."""
    row = {
        "digest": digest(suppression_key(connection), address),
        "reason": reason,
        "at": now,
    }
    connection.execute(insert_or(suppressions).on_conflict_do_nothing(), row)


def take_back(connection: Connection, address: str, reason: str) -> None:
    """An address that was given up for a reason that begins so is not."""
    own = suppressions.c.digest == digest(suppression_key(connection), address)
    connection.execute(
        delete(suppressions).where(
            own, suppressions.c.reason.startswith(reason, autoescape=True)
        )
    )


def any_suppressed(connection: Connection) -> bool:
    """Whether any address is: if none is, nobody's has to be hashed to see."""
    return bool(_ANY_SUPPRESSED.rows(connection))


def suppressed(connection: Connection, digests: Collection[str]) -> dict[str, str]:
    """Those of these hashes of addresses that are suppressed, with the reason."""
    return dict(_SUPPRESSED.rows(connection, digests=json.dumps(list(digests))))


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Since when an address is never written to again, and what for."""

    channel: str
    address: str
    reason: str
    at: datetime


def given_up(connection: Connection, contact: Contact) -> list[GivenUp]:
    """Those of a contact's addresses that are suppressed."""
    key, found = suppression_key(connection), []
    for channel in CHANNELS:
        address = address_of(contact, channel)
        of_address = select(suppressions.c.reason, suppressions.c.at)
        row = (
            connection.execute(
                of_address.where(suppressions.c.digest == digest(key, address))
            ).first()
            if address
            else None
        )
        if address and row:
            found.append(GivenUp(channel, address, row.reason, row.at))
    return found


def digest(key: bytes, address: str) -> str:
    """The keyed hash under which an address is suppressed, whatever its case."""
    return hmac.digest(key, address.strip().casefold().encode(), "sha256").hex()


def suppression_key(connection: Connection) -> bytes:
    """The key of this database's hashes."""
    return bytes(_SUPPRESSION_KEY.rows(connection)[0][0])


def _chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[n : n + CHUNK] for n in range(0, len(ids), CHUNK))
