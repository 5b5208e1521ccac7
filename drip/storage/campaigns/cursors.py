"""How far each campaign has looked at what is new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from drip.storage.base.schema import contacts, cursors, events, records
from drip.storage.base.sql import one_row, typed_rows, upsert


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a campaign has looked.

    An instant, the newest event, the newest change of people. `rules` names the
    version of campaign and settings under which it looked.
    """

    at: datetime
    event_id: int
    change: int
    rules: str = ""


class _CampaignCursor(NamedTuple):
    name: str
    at: datetime
    event_id: int
    change: int
    rules: str


class _NewestOfAll(NamedTuple):
    event: int | None
    contact: int | None
    record: int | None


# Built once: building such a statement costs as much as running it.
_CURSORS = select(cursors)
_MOVE = upsert(cursors, "at", "event_id", "change", "rules")
_NEWEST = select(
    select(func.max(events.c.id)).scalar_subquery().label("event"),
    select(func.max(contacts.c.change)).scalar_subquery().label("contact"),
    select(func.max(records.c.change)).scalar_subquery().label("record"),
)


def cursors_of(connection: Connection) -> dict[str, Cursor]:
    """The cursors by campaign; one that was never looked at has none."""
    found = typed_rows(connection, _CURSORS, into=_CampaignCursor)
    return {
        row.name: Cursor(
            row.at,
            row.event_id,
            row.change,
            row.rules,
        )
        for row in found
    }


def move_cursors(connection: Connection, moved: Mapping[str, Cursor]) -> None:
    """Remembers how far these campaigns have looked."""
    rows = [{"name": name, **asdict(cursor)} for name, cursor in moved.items()]
    if rows:
        connection.execute(_MOVE, rows)


def newest(connection: Connection, now: datetime) -> Cursor:
    """The cursor of a look at everything there is now."""
    found = one_row(connection, _NEWEST, into=_NewestOfAll)
    # Contacts and records count up together (`people.change_marks`).
    change = max(found.contact or 0, found.record or 0)
    return Cursor(now, found.event or 0, change)
