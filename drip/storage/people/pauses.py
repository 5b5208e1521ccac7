"""Pauses: topics that are held back for a contact."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.calendar import from_millis
from drip.storage.base.schema import (
    pauses,
)
from drip.storage.base.sql import Prepared, listed_in, numbers

_PAUSES = Prepared(
    select(pauses.c.contact_id, pauses.c.topic, pauses.c.until, pauses.c.place).where(
        pauses.c.contact_id.in_(listed_in("ids"))
    )
)


def pauses_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[tuple[int, str], tuple[datetime, str]]:
    """Until when topics are held back, and the place that says so, by contact and topic."""
    rows = sorted(_PAUSES.rows(connection, ids=numbers(contact_ids)), key=itemgetter(2))
    return {
        (contact, topic): (from_millis(until), place)
        for contact, topic, until, place in rows
    }


def pause(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Holds topics back; of two pauses from one place the longer counts."""
    if rows:
        statement = insert_or(pauses)
        longer = statement.excluded.until > pauses.c.until
        key = ["contact_id", "topic", "place"]
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={"until": statement.excluded.until}, where=longer
        )
        connection.execute(statement, list(rows))


def paused_from(connection: Connection, contact_id: int, place: str) -> datetime | None:
    """Until when a contact is held back from this place, if it ever was."""
    where = (pauses.c.contact_id == contact_id, pauses.c.place == place)
    found: datetime | None = connection.execute(
        select(func.max(pauses.c.until)).where(*where)
    ).scalar()
    return found


def end_pauses(connection: Connection, contact_id: int, place: str) -> None:
    """What was held back for a contact from this place is so no more."""
    connection.execute(
        delete(pauses).where(pauses.c.contact_id == contact_id, pauses.c.place == place)
    )
