"""Readings: what the meters of records showed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, select

from drip.core.derived import Reading
from drip.storage.base.schema import readings
from drip.storage.base.sql import typed_rows, upsert

_SAVE = upsert(readings, "value")


class MeterReading(NamedTuple):
    """What a record's meter showed on a day."""

    record_id: int
    meter: str
    day: date
    value: float


def save_readings(
    connection: Connection, rows: Iterable[tuple[int, str, date, float]]
) -> None:
    """What meters of records showed; the last word of a day counts."""
    values = [
        {
            "record_id": record,
            "meter": meter,
            "day": day.isoformat(),
            "value": value,
        }
        for record, meter, day, value in rows
    ]
    if values:
        connection.execute(_SAVE, values)


def readings_of(
    connection: Connection, record_ids: Collection[int]
) -> dict[int, dict[str, list[Reading]]]:
    """The readings of these records by meter, in order of their days."""
    own = select(readings).where(readings.c.record_id.in_(record_ids))
    by_day = own.order_by(readings.c.day)
    found: dict[int, dict[str, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    for row in typed_rows(connection, by_day, into=MeterReading):
        found[row.record_id][row.meter].append(Reading(row.day, row.value))
    return found
