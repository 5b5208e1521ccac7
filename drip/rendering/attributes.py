"""What of a value a template can ask for by name, beside the fields of its data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from jinja2.runtime import LoopContext
from markupsafe import Markup

from drip.core.calendar import Birthday

OF_TEXTS = (
    "capitalize",
    "casefold",
    "count",
    "endswith",
    "find",
    "index",
    "isalnum",
    "isalpha",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "istitle",
    "isupper",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "rfind",
    "rindex",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
)
# Reading alone: what changes a value would change it for the next message.
OF_DICTS = frozenset(("get", "items", "keys", "values"))
OF_DATES = ("year", "month", "day", "weekday", "isoweekday", "isoformat")
# What of a value can be asked for by name. A field of its own comes first: `{{
# order.items }}` of an order that has some.
ATTRIBUTES: Mapping[type, frozenset[str]] = {
    str: frozenset(OF_TEXTS),
    Markup: frozenset((*OF_TEXTS, "unescape")),
    dict: OF_DICTS,
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "grouper", "index", "list")),
    date: frozenset(OF_DATES),
    datetime: frozenset((*OF_DATES, "hour", "minute", "second", "date", "time")),
    timedelta: frozenset(("days", "seconds", "total_seconds")),
    Birthday: frozenset(("year", "month", "day")),
    LoopContext: frozenset(
        (
            "changed",
            "cycle",
            "depth",
            "depth0",
            "first",
            "index",
            "index0",
            "last",
            "length",
            "nextitem",
            "previtem",
            "revindex",
            "revindex0",
        )
    ),
}


def listed(value: Any) -> frozenset[str]:
    """What of a value can be asked for by name."""
    listed = ATTRIBUTES.get(type(value))
    if listed is None and isinstance(value, tuple):
        # Jinja's filters make tuples of their own kinds.
        return ATTRIBUTES[tuple]
    return listed or frozenset()
