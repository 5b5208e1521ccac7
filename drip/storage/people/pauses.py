"""Pauses: topics that are held back for a contact."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import pauses
from drip.storage.base.sql import Prepared, listed_in, numbers, one_row, select_as

_pause = pauses.c


class Pause(NamedTuple):
    """Until when a topic is held back for a contact, and the place that says so."""

    contact_id: int
    topic: str
    until: datetime
    place: str


class _LastPause(NamedTuple):
    until: datetime | None


_PAUSES = Prepared(
    select_as(pauses, Pause).where(_pause.contact_id.in_(listed_in("ids"))),
    into=Pause,
)


def pauses_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[tuple[int, str], tuple[datetime, str]]:
    """By contact and topic: until when it is held back, and the place that says so."""
    found = _PAUSES.rows(connection, ids=numbers(contact_ids))
    # Of several places the one that holds back longest counts.
    return {
        (pause.contact_id, pause.topic): (pause.until, pause.place)
        for pause in sorted(found, key=attrgetter("until"))
    }


def pause(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Holds topics back; of two pauses from one place the longer counts."""
    if not rows:
        return
    statement = insert_or(pauses)
    until = statement.excluded.until
    statement = statement.on_conflict_do_update(
        index_elements=["contact_id", "topic", "place"],
        set_={"until": until},
        where=until > _pause.until,
    )
    connection.execute(statement, list(rows))


def paused_from(connection: Connection, contact_id: int, place: str) -> datetime | None:
    """Until when a contact is held back from this place, if it ever was."""
    same = (
        _pause.contact_id == contact_id,
        _pause.place == place,
    )
    last = select(func.max(_pause.until).label("until")).where(*same)
    return one_row(connection, last, into=_LastPause).until


def end_pauses(connection: Connection, contact_id: int, place: str) -> None:
    """What was held back for a contact from this place is so no more."""
    same = (
        _pause.contact_id == contact_id,
        _pause.place == place,
    )
    connection.execute(delete(pauses).where(*same))
