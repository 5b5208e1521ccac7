"""Ranks: the best contacts by a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, literal_column, select

from drip.core.conditions import Rank, first_instant
from drip.core.derived import Total
from drip.core.settings import Settings
from drip.storage.base.schema import PEOPLE, contacts, counters, events, ordinary
from drip.storage.base.sql import first_row, json_number, typed_rows
from drip.storage.people.events import amount

_event = events.c


class RankedContact(NamedTuple):
    """A contact, and the number that it is ranked by."""

    contact_id: int
    number: float


def standings(
    connection: Connection,
    settings: Settings,
    field: str,
    now: datetime,
) -> Sequence[tuple[int, float]]:
    """All contacts and their number where that is above zero, the highest first.

    Of equals the one known longer comes first.
    """
    by_number = _numbers(settings, field, now)
    return typed_rows(connection, by_number, into=RankedContact)


def stands_still(
    connection: Connection,
    settings: Settings,
    rank: Rank,
    before: datetime,
    now: datetime,
) -> bool:
    """Whether a rank is as it was `before`, if no event has come in since.

    That of a total is, unless events have grown too old for it, or happened only now.
    """
    total = settings.derived.get(rank.field)
    if not isinstance(total, Total):
        return False
    if _any_between(connection, total, before, now):
        return False
    if not total.span:
        return True
    timezone = settings.timezone
    first = first_instant(total.span, before, timezone)
    first_now = first_instant(total.span, now, timezone)
    # Asked one by one, so that each is a look-up in the index.
    return not _any_between(connection, total, first, first_now)


def _any_between(
    connection: Connection,
    total: Total,
    first: datetime,
    last: datetime,
) -> bool:
    such = (
        _event.name == total.event,
        _event.at.between(first, last),
    )
    asked = select(_event.id).where(*such).limit(1)
    return first_row(connection, asked, into=int) is not None


def ranked(rank: Rank, rows: Sequence[tuple[int, float]]) -> set[int]:
    """The best of these `standings`.

    They are so many heads, or as many as make that share of the sum.
    """
    if rank.kind == "top":
        # Half a head counts as one, and somebody is always best.
        heads = max(1, int(len(rows) * rank.percent / 100 + 0.5)) if rows else 0
        return {contact_id for contact_id, _ in rows[:heads]}
    wanted = sum(number for _, number in rows) * rank.percent / 100
    return _making(wanted, rows)


def _making(wanted: float, rows: Iterable[tuple[int, float]]) -> set[int]:
    """As many of the first as make this sum, with the one who completes it."""
    found: set[int] = set()
    reached = 0.0
    for contact_id, number in rows:
        if reached >= wanted:
            break
        found.add(contact_id)
        reached += number
    return found


def _numbers(settings: Settings, field: str, now: datetime) -> Select[Any]:
    """Contacts and their number, the highest first; of equals the one known longer."""
    owner, _, name = field.partition(".")
    if owner == "counter":
        return _balances(name)
    derived = settings.derived.get(field)
    if isinstance(derived, Total):
        return _totals(settings, derived, now)
    return _attributes(name)


def _attributes(name: str) -> Select[Any]:
    number = json_number(contacts.c.attributes, name)
    columns = (contacts.c.id.label("contact_id"), number.label("number"))
    found = select(*columns).where(number > 0, PEOPLE)
    return found.order_by(number.desc(), contacts.c.id)


def _balances(counter: str) -> Select[Any]:
    contact, balance = counters.c.contact_id, counters.c.balance
    positive = (
        counters.c.counter == counter,
        balance > 0,
    )
    found = select(contact, balance.label("number")).where(*positive)
    return found.where(ordinary(contact)).order_by(balance.desc(), contact)


def _totals(settings: Settings, total: Total, now: datetime) -> Select[Any]:
    contact, number = _event.contact_id, amount(total)
    counted = [_event.name == total.event, _event.at <= now]
    if total.span:
        first = first_instant(total.span, now, settings.timezone)
        counted.append(_event.at >= first)
    by_contact = select(contact, number.label("number")).where(*counted)
    # Whether it is one of the people is asked of each contact once, and not of each
    # event.
    people = by_contact.group_by(contact).having(
        number > 0,
        ordinary(contact),
    )
    return people.order_by(literal_column("number").desc(), contact)
