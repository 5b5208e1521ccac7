"""Facts about the database itself, each kept under its name."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from drip.storage.base.schema import meta
from drip.storage.base.sql import Prepared, upsert

# The name of the key that hashes suppressed addresses.
SUPPRESSION_KEY = "suppression-key"
_FACT = Prepared(
    select(meta.c.value).where(meta.c.name == bindparam("of_name")), into=bytes
)
_SET = upsert(meta, "value")


def fact(connection: Connection, name: str) -> bytes | None:
    """What is kept under a name; None for nothing."""
    return _FACT.first(connection, of_name=name)


def set_fact(connection: Connection, name: str, value: bytes) -> None:
    """Keeps it under a name, in place of what was there."""
    connection.execute(_SET, {"name": name, "value": value})
