"""A value as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any

from drip.errors import Place


def plain(value: Any) -> Any:
    """Instants as ISO 8601 in UTC, the house's values by their fields."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
        case Place():
            return str(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {
                each.name: plain(getattr(value, each.name)) for each in fields(value)
            }
        case _:
            return value
