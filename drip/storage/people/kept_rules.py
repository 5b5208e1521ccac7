"""Under which rules derived dates and zones were worked out, so that they are again under others."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import (
    meta,
)

# Under which definitions the derived dates were kept, and under which version of the tz database the zones.
KEPT_DATES, KEPT_ZONES = "kept-dates", "kept-zones"


def kept_rules(connection: Connection, what: str) -> str:
    """Under which rules something was kept; empty if never."""
    found = connection.execute(select(meta.c.value).where(meta.c.name == what)).scalar()
    return bytes(found).decode() if found else ""


def set_kept_rules(connection: Connection, what: str, rules: str) -> None:
    """Remembers it."""
    statement = insert_or(meta).values(name=what, value=rules.encode())
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"value": rules.encode()}
        )
    )
