"""Who is in an audience: the people for whom a condition holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from drip.core.calendar import local, zone
from drip.core.conditions import Condition
from drip.core.settings import Settings
from drip.storage.base.schema import PEOPLE, contacts
from drip.storage.base.sql import numbers, typed_rows
from drip.storage.people.condition_sql import Reader, hangs_on_today, listed
from drip.storage.people.zones import days_of_zones, zones


def where(
    settings: Settings,
    condition: Condition | None,
    now: datetime,
) -> ColumnElement[bool]:
    """The people for whom a condition holds (None: all), over `contacts`.

    It is one that hangs on nobody's day.
    """
    if condition is None:
        return PEOPLE
    today = local(now, zone(settings.timezone)).date()
    return and_(PEOPLE, Reader(settings, now, today).where(condition))


def matching(
    connection: Connection,
    settings: Settings,
    condition: Condition,
    now: datetime,
    among: Collection[int] | None = None,
) -> set[int]:
    """The contacts for whom a condition holds, of all or `among` some."""
    some = numbers(among) if among is not None else None
    found: set[int] = set()
    for statement in statements(connection, settings, condition, now, some):
        found.update(typed_rows(connection, statement, into=int))
    return found


def statements(
    connection: Connection,
    settings: Settings,
    condition: Condition,
    now: datetime,
    among: str | None = None,
) -> Iterator[Select[Any]]:
    """What asks for the contacts for whom a condition holds.

    It is one question, or one for each day that it is somewhere.
    """
    people = _people(among)
    if not hangs_on_today(condition):
        today = local(now, zone(settings.timezone)).date()
        reader = Reader(settings, now, today, among=among)
        yield people.where(reader.where(condition))
        return
    days = days_of_zones(settings, zones(connection), now)
    for today, names in sorted(days.items()):
        reader = Reader(settings, now, today, among=among)
        found = people.where(reader.where(condition))
        # Where it is the same day everywhere, nobody is asked where they live.
        yield found if len(days) == 1 else found.where(_lives_in(settings, names))


def _people(among: str | None) -> Select[Any]:
    people = select(contacts.c.id).where(PEOPLE)
    if among is None:
        return people
    return people.where(contacts.c.id.in_(listed(among)))


def _lives_in(settings: Settings, names: Collection[str | None]) -> ColumnElement[bool]:
    # A day is that of most contacts, so the index of zones is kept out of the way of
    # better ones.
    home = func.coalesce(contacts.c.zone, settings.timezone)
    return home.in_([name or settings.timezone for name in names])
