"""Contacts of whom nothing is known but that somebody typed their address into a form.

Nobody knows whether it was they. Until they confirm, or the business hears of them in
another way, they are hidden: whatever lists, counts or chooses people asks
`schema.ordinary`. Nobody becomes a sign-up who was known before.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
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

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import contacts, runs, sign_ups
from drip.storage.base.sql import (
    Prepared,
    listed_in,
    numbers,
    one_row,
    texts_in,
    typed_rows,
)
from drip.storage.people.change_marks import touch, wake_runs

_contact = contacts.c

_run = runs.c
_sign_up = sign_ups.c


class SignUpState(StrEnum):
    """What became of a sign-up."""

    OPEN = "open"
    OVER = "over"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class SignUp:
    """`open` waits to be confirmed until an instant, `over` was not in time.

    `single` was taken at its word.
    """

    state: SignUpState
    until: datetime | None

    @property
    def hidden(self) -> bool:
        """Whether the contact is none of the people: as `schema.ordinary` says."""
        return self.state is not SignUpState.SINGLE


class _ContactsSignUp(NamedTuple):
    contact_id: int
    state: SignUpState
    until: datetime | None


class _NextEnd(NamedTuple):
    until: datetime | None


class _StateCount(NamedTuple):
    state: str
    number: int


# Written out: the index begins with the state, and a server sees that few are open.
OPEN = _sign_up.state == literal_column("'open'")
SINGLE = _sign_up.state == literal_column("'single'")
_OF_CONTACTS = Prepared(
    select(
        _sign_up.contact_id,
        _sign_up.state,
        _sign_up.until,
    ).where(_sign_up.contact_id.in_(listed_in("ids"))),
    into=_ContactsSignUp,
)
_RUN_OUT = Prepared(
    select(_sign_up.contact_id)
    .where(OPEN, _sign_up.until <= bindparam("now"))
    .order_by(_sign_up.until, _sign_up.contact_id)
    .limit(bindparam("most")),
    into=int,
)
_NEXT_END = select(func.min(_sign_up.until).label("until")).where(OPEN)
_ANY_OPEN = Prepared(select(_sign_up.contact_id).where(OPEN).limit(1), into=int)
_ANY_SINGLE = Prepared(select(_sign_up.contact_id).where(SINGLE).limit(1), into=int)
_WITH_ADDRESS = Prepared(
    select(_contact.id).where(func.lower(_contact.email).in_(texts_in("emails"))),
    into=int,
)
_HIDDEN = Prepared(
    select(_contact.key)
    .join(sign_ups, _sign_up.contact_id == _contact.id)
    .where(OPEN, _contact.key.in_(texts_in("keys"))),
    into=str,
)
_END = Prepared(
    delete(sign_ups).where(_sign_up.contact_id.in_(listed_in("ids")), or_(OPEN, SINGLE))
)


def of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, SignUp]:
    """Those of these contacts of whom nothing but a sign-up is known."""
    found = _OF_CONTACTS.rows(connection, ids=numbers(contact_ids))
    return {row.contact_id: SignUp(row.state, row.until) for row in found}


def hidden(connection: Connection, keys: Collection[str]) -> set[str]:
    """Those of these keys that are of sign-ups nobody has confirmed."""
    return set(_HIDDEN.rows(connection, keys=json.dumps(sorted(keys))))


def begin(connection: Connection, contact_id: int, until: datetime) -> None:
    """A contact was made by a form just now, and can be confirmed up to an instant."""
    row = {"contact_id": contact_id, "state": "open", "until": until}
    connection.execute(insert_or(sign_ups).values(row))


def take_at_word(connection: Connection, contact_id: int) -> None:
    """The form was one that asks nobody back.

    Of whoever is known otherwise there is nothing to change.
    """
    own = update(sign_ups).where(_sign_up.contact_id == contact_id, OPEN)
    connection.execute(own.values(state="single", until=None))


def wait_until(
    connection: Connection,
    contact_id: int,
    run_id: int,
    limit: datetime,
) -> None:
    """The run that asks for the confirmation waits for it up to an instant.

    Another one that is under way may wait longer.
    """
    # A shorter one would cut the time short that the other mail has promised.
    may_wait = or_(_sign_up.until < limit, ~_others_active(contact_id, run_id))
    own = update(sign_ups).where(_sign_up.contact_id == contact_id, OPEN, may_wait)
    connection.execute(own.values(until=limit))


def _others_active(contact_id: int, run_id: int) -> ColumnElement[bool]:
    others = select(_run.id).where(
        _run.contact_id == contact_id,
        _run.active,
        _run.id != run_id,
    )
    return others.exists()


def make_ordinary(
    connection: Connection,
    contact_ids: Collection[int],
    emails: Collection[str | None] = (),
) -> None:
    """More than a sign-up is known of these, and of whoever has one of these addresses.

    They are ordinary contacts from now on.
    """
    if not _any(connection):
        return
    # Whoever is brought in under another key is known all the same.
    addresses = json.dumps([email.lower() for email in emails if email])
    same_address = _WITH_ADDRESS.rows(connection, emails=addresses)
    found = _not_over(connection, {*contact_ids, *same_address})
    if found:
        _END.count(connection, ids=numbers(found))
        # Audiences in which they were hidden have to find them now.
        touch(connection, found)
        wake_runs(connection, found)


def _not_over(connection: Connection, contact_ids: Collection[int]) -> list[int]:
    """Those of these contacts who are sign-ups, and were not too late."""
    known = of_contacts(connection, contact_ids)
    over = SignUpState.OVER
    return [number for number, sign_up in known.items() if sign_up.state is not over]


def _any(connection: Connection) -> bool:
    """Whether there are any: mostly there are none, and nothing else is to be asked."""
    return bool(_ANY_OPEN.rows(connection) or _ANY_SINGLE.rows(connection))


def run_out(connection: Connection, now: datetime, most: int) -> list[int]:
    """Some of the contacts whose time to be confirmed is over."""
    return _RUN_OUT.rows(connection, now=to_ms(now), most=most)


def next_end(connection: Connection) -> datetime | None:
    """When the next time to be confirmed is over."""
    return one_row(connection, _NEXT_END, into=_NextEnd).until


def close(connection: Connection, contact_id: int) -> None:
    """A contact that is erased stays what it was: none of the people."""
    own = update(sign_ups).where(_sign_up.contact_id == contact_id)
    connection.execute(own.values(state="over", until=None))


def counts(connection: Connection) -> dict[str, int]:
    """How many sign-ups there are in each state."""
    columns = (_sign_up.state, func.count().label("number"))
    by_state = select(*columns).group_by(_sign_up.state)
    return dict(typed_rows(connection, by_state, into=_StateCount))
