"""Conditions as written (`vehicle.status: active`) to the syntax tree, checked against the fields there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drip.core.calendar import Duration
from drip.core.conditions import All, Any, Comparison, Condition, Line, Not, Subscribed
from drip.core.fields import Field, parse, parse_date, parse_number
from drip.errors import Place, nearest
from drip.language.phrases import NotBuilt, duration
from drip.language.reader import Data, Document, Route

NOT_YET = {"in_segment", "tagged", "did", "did_not", "opened", "clicked", "holds"}
NUMERIC = {"at least", "at most", "more than", "less than", "between"}
DATED = {"before", "after", "ago more", "ago less", "in the last", "in the next"}

# The first pattern that fits is the phrase; what no pattern fits is a plain value.
PHRASES: tuple[tuple[str, Comparison], ...] = (
    (r"known", "known"),
    (r"unknown", "unknown"),
    (r"between (\S+) and (\S+)", "between"),
    (r"more than (\d+ \w+) ago", "ago more"),
    (r"less than (\d+ \w+) ago", "ago less"),
    (r"in the last (\d+ [\w ]+)", "in the last"),
    (r"in the next (\d+ [\w ]+)", "in the next"),
    (r"at least (\S+)", "at least"),
    (r"at most (\S+)", "at most"),
    (r"more than (\S+)", "more than"),
    (r"less than (\S+)", "less than"),
    (r"before (\S+)", "before"),
    (r"after (\S+)", "after"),
    (r"includes (.+)", "includes"),
    (r"starts with (.+)", "starts with"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What conditions of a campaign may speak of. `event` is the prefix of its event's fields, if any."""

    fields: Mapping[str, Mapping[str, Field]]
    derived: frozenset[str]
    topics: frozenset[str]
    record: str | None
    event: str | None


def condition(document: Document, route: Route, data: Data, scope: Scope) -> Condition | None:
    """The tree of a mapping of conditions; None where there is a problem, which is then in `document`."""
    if not isinstance(data, dict):
        document.problem(route, "a condition is written as `field: phrase`, one on a line")
        return None
    parts = [_line(document, (*route, key), key, value, scope) for key, value in data.items()]
    whole = tuple(part for part in parts if part)
    if not data:
        document.problem(route, "there is no condition here")
    return All(whole) if whole and len(whole) == len(parts) else None


def _line(document: Document, route: Route, key: str, data: Data, scope: Scope) -> Condition | None:
    place = document.place(route, key=True)
    if key == "any":
        return _any(document, route, data, scope, place)
    if key == "not":
        inner = condition(document, route, data, scope)
        return Not(inner, _words(data), place) if inner else None
    if key == "subscribed":
        return _subscribed(document, route, data, scope, place)
    if key.split(" ")[0] in NOT_YET:
        document.problem(route, f"the condition `{key}` is not built yet", "leave it out for now", key=True)
        return None
    field = _field(document, route, key, scope)
    if field is None:
        return None
    return _test(document, route, field, data, place)


def _any(document: Document, route: Route, data: Data, scope: Scope, place: Place) -> Condition | None:
    if not isinstance(data, list):
        document.problem(route, "`any:` takes a list of conditions, each after a dash")
        return None
    parts = [condition(document, (*route, n), each, scope) for n, each in enumerate(data)]
    whole = tuple(part for part in parts if part)
    return Any(whole, _words(data), place) if whole and len(whole) == len(parts) else None


def _subscribed(document: Document, route: Route, data: Data, scope: Scope, place: Place) -> Condition | None:
    if not isinstance(data, str) or data not in scope.topics:
        document.problem(route, f"there is no topic `{data}`", nearest(str(data), scope.topics, what="topics"))
        return None
    return Subscribed(data, f"subscribed: {data}", place)


def _field(document: Document, route: Route, key: str, scope: Scope) -> Field | None:
    owner, dot, bare = key.partition(".")
    if not dot:
        owner, bare = "contact", key
    if scope.event and owner in ("event", scope.event) and owner not in scope.fields:
        return Field(f"event.{bare}", "text")
    full = f"{owner}.{bare}"
    if full in scope.derived:
        return Field(full, "date")
    if owner not in scope.fields or bare not in scope.fields[owner]:
        names = [
            f"{kind}.{name}" if kind != "contact" else name for kind in scope.fields for name in scope.fields[kind]
        ]
        document.problem(route, f"there is no field `{key}`", nearest(key, names, what="fields")
                         or "declare it under `data:` in _settings.yaml", key=True)  # fmt: skip
        return None
    if owner not in ("contact", scope.record):
        document.problem(route, f"this campaign is not about one {owner}", f"add `for_each: {owner}`", key=True)
        return None
    known = scope.fields[owner][bare]
    return Field(full, known.kind, known.choices)


def _test(document: Document, route: Route, field: Field, data: Data, place: Place) -> Line | Not | None:
    if isinstance(data, list):
        if not all(isinstance(each, str) for each in data):
            document.problem(route, "a list here holds plain values")
            return None
        values = [str(each) for each in data]
        return _checked(
            document, route, Line(field.name, "is", tuple(values), f"one of {', '.join(values)}", place), field
        )
    if not isinstance(data, str):
        document.problem(route, "a phrase is expected here, as `active`, `at least 2` or `known`")
        return None
    text = data.strip()
    if text.startswith("not ") and text != "not ":
        inner = _test(document, route, field, text[4:], place)
        return Not(inner, f"{field.name}: {text[4:]}", place) if inner else None
    try:
        return _checked(document, route, _phrase(field, text, place), field)
    except NotBuilt as missing:
        document.problem(route, f"{missing} is not built yet", "leave it out for now")
    except ValueError as wrong:
        document.problem(route, str(wrong))
    return None


def _phrase(field: Field, text: str, place: Place) -> Line:
    if re.fullmatch(r"top \d+%|makes \d+% of total", text):
        raise NotBuilt(f"the condition `{text}`")
    for pattern, comparison in PHRASES:
        found = re.fullmatch(pattern, text)
        if not found:
            continue
        if comparison in ("ago more", "ago less", "in the last", "in the next"):
            return Line(field.name, comparison, (), text, place, _days(found[1]))
        return Line(field.name, comparison, found.groups(), text, place)
    return Line(field.name, "is", (text,), text, place)


def _days(text: str) -> Duration:
    long = duration(text)
    if long.seconds:
        raise ValueError(f"`{text}` is shorter than a day; conditions count days, weeks, months or years")
    return long


def _checked(document: Document, route: Route, line: Line, field: Field) -> Line | None:
    """The line, if its phrase fits the kind of the field."""
    try:
        _fits(line, field)
    except ValueError as wrong:
        document.problem(route, str(wrong))
        return None
    return line


def _fits(line: Line, field: Field) -> None:
    event = field.name.startswith("event.")
    if line.comparison in NUMERIC:
        if field.kind not in ("number", "money") and not event:
            raise ValueError(f"`{line.text}` compares numbers, and {field.name} is a {field.kind}")
        for value in line.values:
            parse_number(value)
    elif line.comparison in DATED:
        if field.kind != "date" and not event:
            raise ValueError(f"`{line.text}` compares dates, and {field.name} is a {field.kind}")
        for value in line.values:
            parse_date(value)
    elif line.comparison == "is" and field.kind not in ("text", "birthday"):
        for value in line.values:
            parse(field, value)


def _words(data: Data) -> str:
    if isinstance(data, dict):
        return ", ".join(f"{key}: {_words(value)}" for key, value in data.items())
    if isinstance(data, list):
        return " or ".join(_words(each) for each in data)
    return data
