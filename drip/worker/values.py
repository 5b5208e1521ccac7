"""A value as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any

from drip.errors import DripError, Place, Problem


def plain(value: Any) -> Any:
    """Instants as ISO 8601 in UTC, the house's values by their fields."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Place():
            return str(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _by_fields(value)
        case _:
            return _collection(value)


def problem_row(problem: Problem | DripError) -> dict[str, str | None]:
    """A problem as pages and programs read it: `place`, `sentence`, `help`."""
    return {
        "place": str(problem.place) if problem.place else None,
        "sentence": problem.sentence,
        "help": problem.help,
    }


def _by_fields(value: Any) -> dict[str, Any]:
    return {field.name: plain(getattr(value, field.name)) for field in fields(value)}


def _collection(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(part) for part in value]
        case _:
            return value
