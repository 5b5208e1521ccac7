"""`data:` of the settings: fields with their types, and fields that follow from others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from drip.core.calendar import Duration
from drip.core.channels import CHANNELS
from drip.core.derived import DateField, Derived, Extreme, Reaches, Seen, Total
from drip.core.fields import KINDS, Field, FieldKind, parse_number
from drip.errors import nearest
from drip.language import phrases
from drip.language.reader import Data, Document, Route

BUILT_IN = (
    Field("key", "text"),
    *(Field(channel.address_field, "text") for channel in CHANNELS.values()),
    Field("locale", "text"),
    Field("country", "country"),
    Field("timezone", "timezone"),
)
BUILT_IN_NAMES = {True: {each.name for each in BUILT_IN}, False: {"key"}}
DEEPEST = 32
NAME = re.compile(r"[a-z][a-z0-9_]*")
TOTAL = re.compile(
    r"(?:count of (?P<counted>\S+)|sum of (?P<summed>\S+))(?: in the last (?P<span>\d+ \w+))?"
)
SEEN = re.compile(r"(latest|first)(?: of)? (\S+)")
REACHES = re.compile(r"(\w+) reaches (?:(\w*[a-z_]\w*)(?: \+ ([\d.,]+))?|([\d.,]+))")
EXTREME: dict[str, Literal["earliest", "latest"]] = {
    "earliest_of": "earliest",
    "latest_of": "latest",
}
HOW_DERIVED = (
    "a derived field looks like `6 months after last_service`, `count of order.placed`, `sum of order.placed.total in "
    "the last 365 days`, `latest order.placed`, `odometer reaches 60000`, or `earliest_of:` with a list of dates"
)
# The names that conditions and templates use otherwise.
TAKEN = {
    "any",
    "all",
    "not",
    "did",
    "did_not",
    "tagged",
    "age",
    "opened",
    "clicked",
    "in_segment",
    "subscribed",
}
# What conditions, templates and commands mean by these already.
TAKEN_KINDS = {
    "event",
    "events",
    "contacts",
    "coupon",
    "counter",
    "business",
    "issue",
    "survey",
    "topic",
    "message",
}


@dataclass
class DataSection:
    """The fields by owner, and the derived ones by full name, each after those that it follows from."""

    fields: dict[str, dict[str, Field]]
    derived: dict[str, Derived] = field(default_factory=dict)


def kind_of(derived: Derived) -> FieldKind:
    """What conditions compare a derived field as."""
    return "number" if isinstance(derived, Total) else "date"


def read_data(
    document: Document, declared: Mapping[str, Mapping[str, Any]]
) -> DataSection:
    """Every field under `data:`; problems are then in `document`."""
    found = DataSection({"contact": {each.name: each for each in BUILT_IN}})
    written: dict[str, Data] = {}
    for owner, own in declared.items():
        if not NAME.fullmatch(owner) or owner in TAKEN_KINDS:
            sentence = f"`{owner}` cannot name a kind of record: small letters, digits and _, and no word of drip's own"
            document.problem(
                ("data", owner),
                sentence,
                "name it after the thing, as `vehicle` or `lease`",
                key=True,
            )
            continue
        fields = found.fields.setdefault(
            owner, {} if owner == "contact" else {"key": Field("key", "text")}
        )
        for name, data in own.items():
            route: Route = ("data", owner, name)
            if not NAME.fullmatch(name) or name in TAKEN:
                sentence = f"`{name}` cannot be a field's name: small letters, digits and _, and no word of conditions"
                document.problem(route, sentence, key=True)
            elif (
                name in BUILT_IN_NAMES[owner == "contact"] and data != fields[name].kind
            ):
                document.problem(
                    route,
                    f"`{name}` is a {fields[name].kind} that every {owner} has",
                    "leave the line out",
                    key=True,
                )
            elif is_derived(data):
                written[f"{owner}.{name}"] = data
            elif known := _field(document, route, name, data):
                fields[name] = known
    _Resolver(document, found, written).resolve()
    return found


def is_derived(data: Data) -> bool:
    """Whether this is the phrase of a derived field."""
    if isinstance(data, dict):
        return True
    words = r".+ (after|before) .+|(count|sum) of .*|(latest|first|earliest) .*|.+ reaches .+"
    return isinstance(data, str) and re.fullmatch(words, data) is not None


def _field(document: Document, route: Route, name: str, data: Data) -> Field | None:
    if isinstance(data, list):
        choices = tuple(each for each in data if isinstance(each, str))
        if len(choices) < len(data) or not choices:
            document.problem(route, "the choices of a field are plain words")
            return None
        return Field(name, "choice", choices)
    if data in get_args(FieldKind) and data not in ("choice", "any"):
        return Field(name, cast(FieldKind, data))
    help = (
        nearest(str(data), KINDS, what="types")
        or f"types: {', '.join(KINDS)}, or a list of choices; {HOW_DERIVED}"
    )
    document.problem(route, f"there is no type `{data}`", help)
    return None


class _Wrong(ValueError):
    """A part of a derived field that cannot be; `help` the remedy."""

    def __init__(self, sentence: str, help: str | None = None) -> None:
        super().__init__(sentence)
        self.help = help


@dataclass
class _Resolver:
    """Reads derived fields in the order in which they follow from one another."""

    document: Document
    found: DataSection
    written: Mapping[str, Data]
    _open: list[str] = field(default_factory=list)
    _broken: set[str] = field(default_factory=set)

    def resolve(self) -> None:
        for full in self.written:
            self._one(full)

    def _one(self, full: str) -> Derived | None:
        if full in self.found.derived or full in self._broken:
            return self.found.derived.get(full)
        owner, _, name = full.partition(".")
        route: Route = ("data", owner, name)
        if full in self._open:
            chain = " → ".join([*self._open[self._open.index(full) :], full])
            self._broken.add(full)
            self.document.problem(
                route,
                f"these fields follow from one another in a circle: {chain}",
                key=True,
            )
            return None
        if len(self._open) > DEEPEST:
            self._fail(
                full, route, f"this field follows from more than {DEEPEST} others", None
            )
            return None
        self._open.append(full)
        try:
            self.found.derived[full] = self._read(owner, self.written[full])
        except _Wrong as wrong:
            self._fail(full, route, str(wrong), wrong.help)
        except ValueError as wrong:
            self._fail(full, route, str(wrong), None)
        finally:
            self._open.pop()
        return self.found.derived.get(full)

    def _fail(self, full: str, route: Route, sentence: str, help: str | None) -> None:
        if full not in self._broken:
            self.document.problem(route, sentence, help)
        self._broken.add(full)

    def _read(self, owner: str, data: Data) -> Derived:
        if isinstance(data, dict):
            return self._extreme(owner, data)
        text = str(data)
        if text.startswith("earliest of "):
            parts = [
                self._part(owner, each.strip())
                for each in text.removeprefix("earliest of ").split(",")
            ]
            return Extreme("earliest", tuple(parts))
        if found := TOTAL.fullmatch(text):
            return _total(found, text)
        return self._part(owner, text)

    def _extreme(self, owner: str, data: dict[str, Data]) -> Derived:
        word = next(iter(data), "")
        items = data.get(word)
        if (
            len(data) != 1
            or word not in EXTREME
            or not isinstance(items, list)
            or not items
        ):
            raise _Wrong("this is no field", HOW_DERIVED)
        if not all(isinstance(each, str) for each in items):
            raise _Wrong(f"`{word}` takes a list of dates, each after a dash")
        return Extreme(
            EXTREME[word], tuple(self._part(owner, str(each)) for each in items)
        )

    def _part(self, owner: str, text: str) -> DateField | Seen | Reaches:
        if found := SEEN.fullmatch(text):
            return Seen(
                phrases.event_name(found[2]),
                "latest" if found[1] == "latest" else "first",
            )
        if found := REACHES.fullmatch(text):
            return self._reaches(owner, found)
        return self._moved(owner, text)

    def _moved(self, owner: str, text: str) -> DateField:
        try:
            phrase = phrases.date_phrase(text)
        except ValueError as wrong:
            raise _Wrong(str(wrong), HOW_DERIVED) from None
        source = phrase.field.removeprefix(f"{owner}.")
        steps = () if phrase.offset == Duration() else (phrase.offset,)
        full = f"{owner}.{source}"
        if full in self.written:
            base = self._one(full)
            if base is None:
                self._broken.add(self._open[-1])
                raise _Wrong(f"`{source}` is broken, and this follows from it")
            if isinstance(base, DateField):
                return DateField(base.field, (*base.steps, *steps))
            if isinstance(base, Total):
                raise _Wrong(f"`{source}` is not a date of {owner}")
            return DateField(full, steps)
        known = self.found.fields[owner].get(source)
        if known is None or known.kind != "date":
            raise _Wrong(
                f"`{source}` is not a date of {owner}",
                nearest(source, self._dates(owner), what="dates"),
            )
        return DateField(full, steps)

    def _dates(self, owner: str) -> Iterator[str]:
        yield from (
            name
            for name, each in self.found.fields[owner].items()
            if each.kind == "date"
        )
        yield from (
            full.partition(".")[2]
            for full in self.written
            if full.startswith(f"{owner}.")
        )

    def _reaches(self, owner: str, found: re.Match[str]) -> Reaches:
        meter, named, plus, number = found[1], found[2], found[3], found[4]
        fields = self.found.fields[owner]
        numbers = [
            name for name, each in fields.items() if each.kind in ("number", "money")
        ]
        if owner == "contact":
            raise _Wrong(
                "a meter that reaches something belongs to a record, as `vehicle`"
            )
        if meter not in numbers:
            raise _Wrong(
                f"`{meter}` is not a number of {owner}",
                nearest(meter, numbers, what="numbers"),
            )
        if number is not None:
            return Reaches(meter, None, None, parse_number(number))
        more = parse_number(plus) if plus else 0
        if named in numbers:
            return Reaches(meter, named, None, more)
        day = named.removesuffix(f"_{meter}")
        if day != named and day in fields and fields[day].kind == "date":
            return Reaches(meter, None, day, more)
        known = [
            *numbers,
            *(
                f"{name}_{meter}"
                for name, each in fields.items()
                if each.kind == "date"
            ),
        ]
        raise _Wrong(
            f"`{named}` is not a number of {owner}",
            nearest(named, known, what="numbers"),
        )


def _total(found: re.Match[str], text: str) -> Total:
    span = phrases.duration(found["span"]) if found["span"] else None
    if span is not None and (span.seconds or span.business):
        raise _Wrong(f"`{text}`: count days, weeks, months or years")
    if found["counted"]:
        return Total(phrases.event_name(found["counted"]), None, span)
    event, _, summed = found["summed"].rpartition(".")
    try:
        return Total(phrases.event_name(event), summed, span)
    except ValueError:
        sentence = f"`{found['summed']}` is not an event with its field"
        raise _Wrong(sentence, "write it as `sum of order.placed.total`") from None
