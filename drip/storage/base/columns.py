"""What columns hold.

Instants are UTC milliseconds, floating dates are ISO text, attributes are JSON.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, Text, TypeDecorator
from sqlalchemy.dialects import postgresql

from drip.core.calendar import from_millis, millis


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as whole milliseconds since 1970 in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return to_ms(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return from_ms(value)


def to_ms(at: datetime | None) -> int | None:
    """An instant as it is kept; None for none."""
    return None if at is None else millis(at)


def from_ms(milliseconds: int | None) -> datetime | None:
    """A kept instant as the program knows it; None for none."""
    return None if milliseconds is None else from_millis(milliseconds)


# By code point everywhere, as SQLite and Python compare it, whatever the language of a
# PostgreSQL database.
Words = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
# SQLite counts a primary key up only under the word INTEGER; its integers have 64 bits
# all the same.
Number = BigInteger().with_variant(Integer(), "sqlite")

# Of rows that are little more than their key SQLite keeps the key alone, and each index
# ends with it: what is asked of an index needs no second look at the row.
KEY_ALONE: dict[str, Any] = {"sqlite_with_rowid": False}
