"""JSON of anybody's: whatever is not as it is expected reads as nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LONGEST_TEXT = 1_000
DEEPEST = 8


def parsed(body: bytes) -> Any:
    """The value that a body holds. Raises ValueError for what is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is no JSON") from None


def mapping(value: Any) -> Mapping[str, Any]:
    """The same if it is one, else an empty one."""
    return value if isinstance(value, dict) else {}


def mappings_in(
    value: Mapping[str, Any],
    name: str,
) -> list[Mapping[str, Any]]:
    """Those in the list that goes by a name."""
    found = value.get(name)
    if not isinstance(found, list):
        return []
    return [entry for entry in found if isinstance(entry, dict)]


def text_at(value: Mapping[str, Any], *names: str) -> str:
    """The text or whole number at the end of these names; empty for none."""
    found: Any = value
    for name in names:
        found = mapping(found).get(name)
    if not isinstance(found, str | int):
        return ""
    return str(found).replace("\0", "").encode("utf-8", "replace").decode()


def texts_in(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts of an event, down to a depth that no provider's events have."""
    if isinstance(value, str):
        yield value[:LONGEST_TEXT]
    # JSON can be nested as deep as it is long, and Python's stack cannot.
    elif depth < DEEPEST:
        for inner in _values_in(value):
            yield from texts_in(inner, depth + 1)


def _values_in(value: Any) -> Iterable[Any]:
    """What an object or a list holds; nothing for anything else."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
