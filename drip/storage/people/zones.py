"""The zones that contacts live in. None stands for the workspace's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, CompoundSelect, Connection, func, or_, select

from drip.core.calendar import local, zone
from drip.core.settings import Settings
from drip.storage.base.schema import contacts
from drip.storage.base.sql import Prepared


class _HomeZone(NamedTuple):
    zone: str | None


def _zones() -> CompoundSelect[Any]:
    """From each zone to the next one by the index, rather than through everybody."""
    # There are dozens of zones and millions of contacts: DISTINCT would go
    # through them all.
    name = contacts.c.zone
    found = select(func.min(name).label("zone")).cte("found", recursive=True)
    following = select(func.min(name)).where(name > found.c.zone).scalar_subquery()
    more = select(following).where(found.c.zone.is_not(None))
    found = found.union_all(more)
    named = select(found.c.zone).where(found.c.zone.is_not(None))
    homeless = select(name).where(name.is_(None)).limit(1).subquery()
    return named.union_all(select(homeless.c.zone))


_ZONES = Prepared(_zones(), into=_HomeZone)


def zones(connection: Connection) -> list[str | None]:
    """The zones that contacts live in."""
    return [row.zone for row in _ZONES.rows(connection)]


def days_of_zones(
    settings: Settings,
    names: Iterable[str | None],
    now: datetime,
) -> dict[date, list[str | None]]:
    """The zones by the day that it is there."""
    found: dict[date, list[str | None]] = defaultdict(list)
    for name in names:
        here = zone(name or settings.timezone)
        found[local(now, here).date()].append(name)
    return found


def in_zones(names: Collection[str | None]) -> ColumnElement[bool]:
    """Contacts who live in one of these zones."""
    listed = contacts.c.zone.in_([name for name in names if name is not None])
    return or_(listed, contacts.c.zone.is_(None)) if None in names else listed
