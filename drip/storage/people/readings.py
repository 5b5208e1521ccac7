"""Readings: what the meters of records showed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.derived import Reading
from drip.storage.base.schema import (
    readings,
)


def save_readings(
    connection: Connection, rows: Iterable[tuple[int, str, date, float]]
) -> None:
    """What meters of records showed; the last word of a day counts."""
    values = [
        {"record_id": record, "meter": meter, "day": day.isoformat(), "value": value}
        for record, meter, day, value in rows
    ]
    if values:
        statement = insert_or(readings)
        key = ["record_id", "meter", "day"]
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={"value": statement.excluded.value}
        )
        connection.execute(statement, values)


def readings_of(
    connection: Connection, record_ids: Collection[int]
) -> dict[int, dict[str, list[Reading]]]:
    """The readings of these records by meter, in order of their days."""
    found: dict[int, dict[str, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    statement = (
        select(readings)
        .where(readings.c.record_id.in_(record_ids))
        .order_by(readings.c.day)
    )
    for record, meter, day, value in connection.execute(statement):
        found[record][meter].append(Reading(date.fromisoformat(day), value))
    return found
