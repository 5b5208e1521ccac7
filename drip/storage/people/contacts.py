"""Contacts: who they are, where they are reached, and which zone holds for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from drip.core.channels import CHANNELS
from drip.core.fields import Stored
from drip.errors import DripError
from drip.storage.base.schema import PEOPLE, contacts
from drip.storage.base.sql import (
    Folded,
    Prepared,
    first_row,
    listed_in,
    numbers,
    one_row,
    select_as,
    typed_rows,
)
from drip.storage.people.change_marks import (
    CHUNK,
    chunks,
    save_changed,
    touch,
    wake_runs,
)
from drip.storage.people.date_index import Owned, save_dates

_contact = contacts.c

# What every contact has a column for; everything else is among the attributes.
# `timezone` has two: what a file said, and the zone that holds.
COLUMNS = ("key", "email", "phone", "locale", "country")
PLAIN = (*COLUMNS[1:], "timezone")


@dataclass(slots=True)
class Contact:
    """A contact as stored.

    `zone` is the one that holds for it, None for the workspace's. Of one that was
    erased nothing is left but the number.
    """

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


_EVERYBODY = select_as(contacts, Contact)
# Of whom something says where they live.
_PLACED = or_(
    _contact.timezone.is_not(None),
    _contact.phone.is_not(None),
    _contact.country.is_not(None),
)
_HOMELESS = (
    _EVERYBODY.where(_contact.zone.is_(None), _PLACED)
    .order_by(_contact.id)
    .limit(CHUNK)
)
_BY_ID = Prepared(_EVERYBODY.where(_contact.id.in_(listed_in("ids"))), into=Contact)


def address_of(contact: Contact, channel: str) -> str | None:
    """Where messages by a channel go; None if that is unknown."""
    field = CHANNELS[channel].address_field
    own = field in COLUMNS
    address = getattr(contact, field) if own else contact.attributes.get(field)
    return str(address) if address else None


def count(connection: Connection) -> int:
    """How many people there are: neither erased ones nor unconfirmed sign-ups."""
    people = select(func.count()).select_from(contacts).where(PEOPLE)
    return one_row(connection, people, into=int)


def contacts_by_key(
    connection: Connection, keys: Collection[str]
) -> dict[str, Contact]:
    """The contacts among `keys`."""
    named = _EVERYBODY.where(_contact.key.in_(keys))
    found = typed_rows(connection, named, into=Contact)
    return {contact.key: contact for contact in found}


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
    # As the index over `lower(email)` has it: any other way goes
    # through everybody.
    same = func.lower(_contact.email) == email.lower()
    first = _EVERYBODY.where(same).order_by(_contact.id).limit(1)
    return first_row(connection, first, into=Contact)


def search(connection: Connection, text: str, most: int) -> list[Contact]:
    """The first contacts, by key, whose key, address or phone number has this in it.

    Letters may be large or small.
    """
    people = _EVERYBODY.where(PEOPLE)
    if text:
        people = people.where(_includes(text.casefold()))
    first = people.order_by(_contact.key).limit(most)
    return typed_rows(connection, first, into=Contact)


def _includes(text: str) -> ColumnElement[bool]:
    searched = (
        _contact.key,
        _contact.email,
        _contact.phone,
    )
    return or_(*(Folded(column).contains(text, autoescape=True) for column in searched))


def contacts_by_id(connection: Connection, ids: Collection[int]) -> dict[int, Contact]:
    """The contacts with these ids."""
    found = _BY_ID.rows(connection, ids=numbers(ids))
    return {contact.id: contact for contact in found}


def save_contacts(
    connection: Connection,
    people: Sequence[Contact],
    date_fields: Collection[str],
) -> None:
    """Stores contacts with their dates, and wakes their runs.

    New ones have id 0, which is then set: that needs the write lock.
    """
    before = {contact.id for contact in people if contact.id}
    save_changed(connection, contacts, people)
    owned = [
        Owned(
            contact.id,
            0,
            contact.attributes,
        )
        for contact in people
    ]
    save_dates(connection, "contact", owned, date_fields, before)
    wake_runs(connection, [contact.id for contact in people])


def leave_zones(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Everybody in these zones is in the workspace's now; how many were in each."""
    left: dict[str, int] = {}
    for name in names:
        inside = select(_contact.id).where(_contact.zone == name)
        ids = typed_rows(connection, inside, into=int)
        move_to_zone(connection, ids, None)
        left[name] = len(ids)
    return left


def without_zone(connection: Connection) -> Iterator[list[Contact]]:
    """Who is in the workspace's zone though something says where they live.

    They come some at a time.
    """
    after = 0
    # From the last one on, and not by OFFSET: those who got a zone meanwhile are no
    # longer among them.
    while found := typed_rows(
        connection, _HOMELESS.where(_contact.id > after), Contact
    ):
        yield found
        after = found[-1].id


def move_to_zone(connection: Connection, ids: Sequence[int], name: str | None) -> None:
    """These contacts are in this zone (None: the workspace's) from now on."""
    for chunk in chunks(ids):
        of_chunk = update(contacts).where(_contact.id.in_(chunk))
        connection.execute(of_chunk.values(zone=name))
    touch(connection, ids)
    wake_runs(connection, ids)
