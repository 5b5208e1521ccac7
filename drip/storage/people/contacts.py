"""Contacts: who they are, where they are reached, and which zone holds for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    func,
    or_,
    select,
    update,
)

from drip.core.fields import Stored
from drip.errors import DripError
from drip.storage.base.columns import from_ms
from drip.storage.base.schema import (
    PEOPLE,
    contacts,
)
from drip.storage.base.sql import Folded, Prepared, listed_in, numbers, parsed
from drip.storage.people.change_marks import (
    CHUNK,
    chunks,
    save_changed,
    touch,
    wake_runs,
)
from drip.storage.people.date_index import save_dates

# What every contact has a column for; everything else is among the attributes. (`timezone` has two.)
COLUMNS = ("key", "email", "phone", "locale", "country")
PLAIN = (*COLUMNS[1:], "timezone")
# What every beat asks, built once: building a statement costs as much as running it.
_CONTACTS = Prepared(select(contacts).where(contacts.c.id.in_(listed_in("ids"))))


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
    save_changed(connection, contacts, people)
    save_dates(
        connection,
        "contact",
        [(each.id, 0, each.attributes) for each in people],
        date_fields,
        before,
    )
    wake_runs(connection, [each.id for each in people])


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
    for chunk in chunks(ids):
        connection.execute(
            update(contacts).where(contacts.c.id.in_(chunk)).values(zone=name)
        )
    touch(connection, ids)
    wake_runs(connection, ids)
