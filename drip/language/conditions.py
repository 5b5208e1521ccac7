"""Conditions as written (`vehicle.status: active`) to the syntax tree, checked against the fields there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from drip.core.calendar import Duration
from drip.core.conditions import (
    All,
    Any,
    Comparison,
    Condition,
    Did,
    FieldCondition,
    HoldsCoupon,
    Member,
    Not,
    Rank,
    Subscribed,
    Tagged,
)
from drip.core.fields import (
    Field,
    FieldKind,
    parse,
    parse_birthday,
    parse_date,
    parse_number,
)
from drip.errors import Place, nearest
from drip.language.phrases import EVENT_NAME, duration
from drip.language.reader import Data, Document, Route

VERBS = (
    "any",
    "all",
    "not",
    "subscribed",
    "in_segment",
    "tagged",
    "did",
    "did_not",
    "opened",
    "clicked",
    "holds coupon",
)
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
class Names:
    """Every name of the workspace that a condition may use. `derived` gives the kind of each derived field."""

    fields: Mapping[str, Mapping[str, Field]]
    derived: Mapping[str, FieldKind] = field(default_factory=dict)
    topics: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    coupons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What one condition may speak of.

    `events` are the prefixes of the events whose fields are known there. `campaign` is None for segments. In a
    run, events count since it began, unless the phrase says otherwise.
    """

    names: Names
    record: str | None = None
    events: frozenset[str] = frozenset()
    campaign: str | None = None
    in_run: bool = False


def condition(
    document: Document, route: Route, data: Data, scope: Scope
) -> Condition | None:
    """The tree of a mapping of conditions; None where there is a problem, which is then in `document`."""
    if not isinstance(data, dict):
        document.problem(
            route, "a condition is written as `field: phrase`, one on a line"
        )
        return None
    parts = [
        _line(document, (*route, key), key, value, scope) for key, value in data.items()
    ]
    whole = tuple(part for part in parts if part)
    if not data:
        document.problem(route, "there is no condition here")
    return All(whole) if whole and len(whole) == len(parts) else None


def _line(
    document: Document, route: Route, key: str, data: Data, scope: Scope
) -> Condition | None:
    place = document.place(route, key=True)
    if key == "any":
        return _any(document, route, data, scope, place)
    if key == "not":
        inner = condition(document, route, data, scope)
        return Not(inner, _words(data), place) if inner else None
    if key == "all":
        return _all(document, route, data, scope)
    if key in _VERBS:
        return _verb(document, route, key, data, scope, place)
    known = _field(document, route, key, scope)
    return _test(document, route, known, data, place) if known else None


def _all(
    document: Document, route: Route, data: Data, scope: Scope
) -> Condition | None:
    if not isinstance(data, list):
        document.problem(route, "`all:` takes a list of conditions, each after a dash")
        return None
    _not_empty(document, route, data)
    parts = [
        condition(document, (*route, n), each, scope) for n, each in enumerate(data)
    ]
    whole = tuple(part for part in parts if part)
    return All(whole) if whole and len(whole) == len(parts) else None


def _not_empty(document: Document, route: Route, data: list[Data]) -> None:
    """A list of none would hold for nobody, or for everybody."""
    if not data:
        document.problem(
            route,
            "this list is empty",
            "write at least one after a dash, or leave the line out",
        )


def _verb(
    document: Document, route: Route, key: str, data: Data, scope: Scope, place: Place
) -> Condition | None:
    """`verb: name`; a list of names means that one of them must hold."""
    if isinstance(data, list):
        _not_empty(document, route, data)
        parts = [
            _verb(document, (*route, n), key, each, scope, place)
            for n, each in enumerate(data)
        ]
        whole = tuple(part for part in parts if part)
        joined = Any(whole, f"{key}: {_words(data)}", place)
        if key == "did_not":
            return All(whole) if whole and len(whole) == len(parts) else None
        return joined if whole and len(whole) == len(parts) else None
    if not isinstance(data, str) or not data.strip():
        document.problem(route, f"`{key}:` takes a name, or a list of names")
        return None
    try:
        return _VERBS[key](key, data.strip(), scope, place)
    except _UnknownName as unknown:
        document.problem(route, str(unknown), unknown.help)
    except ValueError as wrong:
        document.problem(route, str(wrong))
    return None


class _UnknownName(ValueError):
    def __init__(
        self, what: str, name: str, known: Iterable[str], section: str
    ) -> None:
        super().__init__(f"there is no {what} `{name}`")
        self.help = (
            nearest(name, known, what=f"{what}s")
            or f"declare it under `{section}:` in _settings.yaml"
        )


def _subscribed(key: str, name: str, scope: Scope, place: Place) -> Condition:
    if name not in scope.names.topics:
        raise _UnknownName("topic", name, scope.names.topics, "topics")
    return Subscribed(name, f"subscribed: {name}", place)


def _in_segment(key: str, name: str, scope: Scope, place: Place) -> Condition:
    if name not in scope.names.segments:
        raise _UnknownName("segment", name, scope.names.segments, "segments")
    return Member(name, None, f"in segment {name}", place)


def _tagged(key: str, name: str, scope: Scope, place: Place) -> Condition:
    return Tagged((name,), f"tagged: {name}", place)


def _holds(key: str, name: str, scope: Scope, place: Place) -> Condition:
    if name not in scope.names.coupons:
        raise _UnknownName("coupon", name, scope.names.coupons, "coupons")
    return HoldsCoupon(name, f"holds coupon {name}", place)


HOW_DID = "as `order.placed`, `order.placed in the last 30 days`, `order.placed at least 2 times since entry`"
DID = re.compile(
    r"(?P<name>\S+)(?: at least (?P<times>\d{1,4}) times?)?"
    r"(?: (?:in the last (?P<span>\d+ \w+)|(?P<since>since entry|ever)))?(?: at least (?P<times2>\d{1,4}) times?)?"
)


def _did(key: str, text: str, scope: Scope, place: Place) -> Condition:
    found = DID.fullmatch(text)
    if not found or (found["times"] and found["times2"]):
        raise ValueError(f"`{text}` is not written {HOW_DID}")
    name = found["name"]
    matching: tuple[tuple[str, str], ...] = ()
    event = name
    if key in ("opened", "clicked"):
        event = f"message.{key}"
        matching = _of_message(name, scope)
    elif not EVENT_NAME.fullmatch(name):
        raise ValueError(f"`{name}` is not an event's name like `order.placed`")
    if found["since"] == "since entry" and not scope.in_run:
        raise ValueError(
            "`since entry` belongs into a campaign's steps: here nobody has entered anything"
        )
    since_entry = scope.in_run and found["span"] is None and found["since"] != "ever"
    span = duration(found["span"]) if found["span"] else None
    if span is not None and span.business:
        raise ValueError(f"`{text}`: here days are counted as they come")
    times = int(found["times"] or found["times2"] or 1)
    if times < 1:
        raise ValueError(f"`{text}`: at least 1 time")
    did = Did(event, matching, since_entry, span, times, text, place)
    return (
        Not(did, f"{event} {text.removeprefix(name)}".strip(), place)
        if key == "did_not"
        else did
    )


def _of_message(name: str, scope: Scope) -> tuple[tuple[str, str], ...]:
    if name != "any":
        return (("template", name),)
    return (("campaign", scope.campaign),) if scope.campaign and scope.in_run else ()


_VERBS: dict[str, Callable[[str, str, Scope, Place], Condition]] = {
    "subscribed": _subscribed,
    "in_segment": _in_segment,
    "tagged": _tagged,
    "holds coupon": _holds,
    "did": _did,
    "did_not": _did,
    "opened": _did,
    "clicked": _did,
}


def _any(
    document: Document, route: Route, data: Data, scope: Scope, place: Place
) -> Condition | None:
    if not isinstance(data, list):
        document.problem(route, "`any:` takes a list of conditions, each after a dash")
        return None
    _not_empty(document, route, data)
    parts = [
        condition(document, (*route, n), each, scope) for n, each in enumerate(data)
    ]
    whole = tuple(part for part in parts if part)
    return (
        Any(whole, _words(data), place) if whole and len(whole) == len(parts) else None
    )


def _field(document: Document, route: Route, key: str, scope: Scope) -> Field | None:
    names = scope.names
    owner, dot, bare = key.partition(".")
    if not dot:
        owner, bare = "contact", key
        if key in names.counters and key not in names.fields["contact"]:
            return Field(f"counter.{key}", "number")
    if owner in scope.events and owner not in names.fields:
        return Field(f"{owner}.{bare}", "any")
    full = f"{owner}.{bare}"
    if full not in names.derived and bare not in names.fields.get(owner, {}):
        document.problem(
            route,
            f"there is no field `{key}`",
            nearest(key, field_names(scope), what="fields")
            or "declare it under `data:` in _settings.yaml",
            key=True,
        )
        return None
    if owner not in ("contact", scope.record):
        help = (
            f"add `for_each: {owner}`"
            if scope.campaign
            else "a segment is about contacts"
        )
        document.problem(route, f"this is not about one {owner}", help, key=True)
        return None
    if full in names.derived:
        return Field(full, names.derived[full])
    known = names.fields[owner][bare]
    return Field(full, known.kind, known.choices)


def field_names(scope: Scope) -> list[str]:
    """Every key that a condition may have there."""
    names = scope.names
    owners = [owner for owner in names.fields if owner in ("contact", scope.record)]
    found = [
        f"{owner}.{bare}".removeprefix("contact.")
        for owner in owners
        for bare in names.fields[owner]
    ]
    found += [
        full.removeprefix("contact.")
        for full in names.derived
        if full.partition(".")[0] in owners
    ]
    return [*found, *names.counters, *VERBS]


def _test(
    document: Document, route: Route, field: Field, data: Data, place: Place
) -> Condition | None:
    if isinstance(data, list):
        _not_empty(document, route, data)
        if not all(isinstance(each, str) for each in data):
            document.problem(route, "a list here holds plain values")
            return None
        values = [str(each) for each in data]
        return _checked(
            document,
            route,
            FieldCondition(
                field.name,
                field.kind,
                "is",
                tuple(values),
                f"one of {', '.join(values)}",
                place,
            ),
            field,
        )
    if not isinstance(data, str):
        document.problem(
            route, "a phrase is expected here, as `active`, `at least 2` or `known`"
        )
        return None
    text = data.strip()
    if ranked := re.fullmatch(r"(top|makes) (\d{1,3})%( of total)?", text):
        return _ranked(document, route, field, text, ranked, place)
    if text.startswith("not ") and text != "not ":
        inner = _test(document, route, field, text[4:], place)
        return Not(inner, f"{field.name}: {text[4:]}", place) if inner else None
    try:
        return _checked(document, route, _phrase(field, text, place), field)
    except ValueError as wrong:
        document.problem(route, str(wrong))
    return None


def _ranked(
    document: Document,
    route: Route,
    field: Field,
    text: str,
    found: re.Match[str],
    place: Place,
) -> Condition | None:
    percent, kind = int(found[2]), found[1]
    of_contact = field.name.startswith(("contact.", "counter.")) and field.kind in (
        "number",
        "money",
    )
    if not of_contact:
        document.problem(
            route,
            f"`{text}` ranks contacts by a number of theirs, and {field.name} is a {field.kind}",
        )
        return None
    if not 0 < percent <= 100 or (kind == "makes") != bool(found[3]):
        document.problem(
            route, f"`{text}` is not a rank like `top 20%` or `makes 80% of total`"
        )
        return None
    rank = Rank(field.name, "top" if kind == "top" else "makes", percent)
    return Member(rank.name, rank, text, place)


def _phrase(field: Field, text: str, place: Place) -> FieldCondition:
    for pattern, comparison in PHRASES:
        found = re.fullmatch(pattern, text)
        if not found:
            continue
        if comparison in ("ago more", "ago less", "in the last", "in the next"):
            return FieldCondition(
                field.name, field.kind, comparison, (), text, place, _days(found[1])
            )
        return FieldCondition(
            field.name, field.kind, comparison, found.groups(), text, place
        )
    return FieldCondition(field.name, field.kind, "is", (text,), text, place)


def _days(text: str) -> Duration:
    long = duration(text)
    if long.seconds or long.business:
        raise ValueError(
            f"`{text}` is no number of whole days; conditions count days, weeks, months or years"
        )
    return long


def _checked(
    document: Document, route: Route, line: FieldCondition, field: Field
) -> FieldCondition | None:
    """The line, if its phrase fits the kind of the field."""
    try:
        _fits(line, field)
    except ValueError as wrong:
        document.problem(route, str(wrong))
        return None
    return line


def _fits(line: FieldCondition, field: Field) -> None:
    event = field.kind == "any"
    if line.comparison in NUMERIC:
        if field.kind not in ("number", "money") and not event:
            raise ValueError(
                f"`{line.text}` compares numbers, and {field.name} is a {field.kind}"
            )
        numbers = [parse_number(value) for value in line.values]
        if line.comparison == "between" and numbers[0] > numbers[1]:
            raise ValueError(
                f"`{line.text}` begins above its end, so no number lies in it"
            )
    elif line.comparison in DATED:
        if field.kind != "date" and not event:
            raise ValueError(
                f"`{line.text}` compares dates, and {field.name} is a {field.kind}"
            )
        for value in line.values:
            parse_date(value)
    elif line.comparison in ("includes", "starts with"):
        if field.kind not in ("text", "country", "timezone", "choice", "any"):
            raise ValueError(
                f"`{line.text}` looks into a text, and {field.name} is a {field.kind}"
            )
    elif line.comparison == "is" and field.kind == "birthday":
        for value in line.values:
            parse_birthday(value)
    elif line.comparison == "is" and field.kind not in ("text", "birthday", "any"):
        for value in line.values:
            parse(field, value)


def _words(data: Data) -> str:
    if isinstance(data, dict):
        return ", ".join(f"{key}: {_words(value)}" for key, value in data.items())
    if isinstance(data, list):
        return " or ".join(_words(each) for each in data)
    return data
