"""Contacts of whom nothing is known but that somebody typed their address into a form.

Nobody knows whether it was they. Until they confirm, or the business hears of them in another way, they are hidden:
whatever lists, counts or chooses people asks `schema.ordinary`. Nobody becomes a sign-up who was known before.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import from_ms, to_ms
from drip.storage.base.schema import contacts, runs, sign_ups
from drip.storage.base.sql import Prepared, listed_in, numbers, texts_in
from drip.storage.people.people import touch, wake_runs

State = Literal["open", "over", "single"]
OPEN, SINGLE = (
    sign_ups.c.state == literal_column(f"'{each}'") for each in ("open", "single")
)
_OF = Prepared(
    select(sign_ups.c.contact_id, sign_ups.c.state, sign_ups.c.until).where(
        sign_ups.c.contact_id.in_(listed_in("ids"))
    )
)
_RUN_OUT = Prepared(
    select(sign_ups.c.contact_id)
    .where(OPEN, sign_ups.c.until <= bindparam("now"))
    .order_by(sign_ups.c.until, sign_ups.c.contact_id)
    .limit(bindparam("most"))
)
_NEXT_END = select(func.min(sign_ups.c.until)).where(OPEN)
_ANY = [
    Prepared(select(sign_ups.c.contact_id).where(each).limit(1))
    for each in (OPEN, SINGLE)
]
_WITH_ADDRESS = Prepared(
    select(contacts.c.id).where(func.lower(contacts.c.email).in_(texts_in("emails")))
)
_HIDDEN = Prepared(
    select(contacts.c.key)
    .join(sign_ups, sign_ups.c.contact_id == contacts.c.id)
    .where(OPEN, contacts.c.key.in_(texts_in("keys")))
)
_END = Prepared(
    delete(sign_ups).where(
        sign_ups.c.contact_id.in_(listed_in("ids")), or_(OPEN, SINGLE)
    )
)


@dataclass(frozen=True, slots=True)
class SignUp:
    """`open` waits to be confirmed until an instant, `over` was not, `single` was taken at its word."""

    state: State
    until: datetime | None

    @property
    def hidden(self) -> bool:
        """Whether the contact is none of the people: `schema.ordinary` says the same."""
        return self.state != "single"


def of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, SignUp]:
    """Those of these contacts of whom nothing but a sign-up is known."""
    return {
        contact: SignUp(state, from_ms(until))
        for contact, state, until in _OF.rows(connection, ids=numbers(contact_ids))
    }


def hidden(connection: Connection, keys: Collection[str]) -> set[str]:
    """Those of these keys that are of sign-ups nobody has confirmed."""
    return {row[0] for row in _HIDDEN.rows(connection, keys=json.dumps(sorted(keys)))}


def begin(connection: Connection, contact_id: int, until: datetime) -> None:
    """A contact was made by a form just now, and can be confirmed up to an instant."""
    connection.execute(
        insert_or(sign_ups).values(contact_id=contact_id, state="open", until=until)
    )


def take_at_word(connection: Connection, contact_id: int) -> None:
    """The form was one that asks nobody back. Of whoever is known otherwise there is nothing to change."""
    own = (sign_ups.c.contact_id == contact_id, OPEN)
    connection.execute(update(sign_ups).where(*own).values(state="single", until=None))


def wait_until(
    connection: Connection, contact_id: int, run_id: int, limit: datetime
) -> None:
    """The run that asks for the confirmation waits for it up to an instant; another one that is under way may wait longer."""
    others = select(runs.c.id).where(
        runs.c.contact_id == contact_id, runs.c.active, runs.c.id != run_id
    )
    own = (sign_ups.c.contact_id == contact_id, OPEN)
    statement = update(sign_ups).where(
        *own, or_(sign_ups.c.until < limit, ~others.exists())
    )
    connection.execute(statement.values(until=limit))


def make_ordinary(
    connection: Connection,
    contact_ids: Collection[int],
    emails: Collection[str | None] = (),
) -> None:
    """These contacts, and whoever has one of these addresses, are ordinary ones from now on: more than a sign-up is known."""
    if not any(each.rows(connection) for each in _ANY):
        return
    # Whoever is brought in under another key is known all the same.
    addresses = json.dumps([email.lower() for email in emails if email])
    ids = {
        *contact_ids,
        *(row[0] for row in _WITH_ADDRESS.rows(connection, emails=addresses)),
    }
    found = [
        number
        for number, each in of_contacts(connection, ids).items()
        if each.state != "over"
    ]
    if found:
        _END.count(connection, ids=numbers(found))
        touch(connection, found)
        wake_runs(connection, found)


def run_out(connection: Connection, now: datetime, most: int) -> list[int]:
    """Some of the contacts whose time to be confirmed is over."""
    return [row[0] for row in _RUN_OUT.rows(connection, now=to_ms(now), most=most)]


def next_end(connection: Connection) -> datetime | None:
    """When the next time to be confirmed is over."""
    found: datetime | None = connection.execute(_NEXT_END).scalar()
    return found


def close(connection: Connection, contact_id: int) -> None:
    """A contact that is erased stays what it was: none of the people."""
    connection.execute(
        update(sign_ups)
        .where(sign_ups.c.contact_id == contact_id)
        .values(state="over", until=None)
    )


def counts(connection: Connection) -> dict[str, int]:
    """How many sign-ups there are in each state."""
    rows = connection.execute(
        select(sign_ups.c.state, func.count()).group_by(sign_ups.c.state)
    )
    return {row[0]: row[1] for row in rows}
