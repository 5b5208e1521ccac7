"""What every table belongs to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import MetaData, text

metadata = MetaData()


def rows_where(condition: str) -> dict[str, Any]:
    """The options of an index of these rows alone: of nearly all it says nothing."""
    where = text(condition)
    return {"sqlite_where": where, "postgresql_where": where}
