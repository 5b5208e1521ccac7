"""`data:` of the settings.

Fields with their types, and fields that follow from others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from drip.core.calendar import Duration
from drip.core.channels import CHANNELS
from drip.core.derived import DateField, Derived, Extreme, Reaches, Seen, Total
from drip.core.fields import KINDS, Field, FieldKind, parse_number
from drip.errors import nearest
from drip.language import phrases
from drip.language.reader import Data, Document, Route

# What every contact has, declared or not.
BUILT_IN = (
    Field("key", "text"),
    *(Field(channel.address_field, "text") for channel in CHANNELS.values()),
    Field("locale", "text"),
    Field("country", "country"),
    Field("timezone", "timezone"),
)
BUILT_IN_NAMES = frozenset(known.name for known in BUILT_IN)
# Fields are read one within the other, as long as they follow from one another.
DEEPEST = 32
# A name is a key of files, of templates and of SQL's JSON paths.
NAME = re.compile(r"[a-z][a-z0-9_]*")
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

# The phrases of fields that follow from others. What none of these fits is a date,
# moved.
TOTAL = re.compile(
    r"(?:count of (?P<counted>\S+)|sum of (?P<summed>\S+))"
    r"(?: in the last (?P<span>\d+ \w+))?"
)
SEEN = re.compile(r"(latest|first)(?: of)? (\S+)")
REACHES = re.compile(
    r"(?P<meter>\w+) reaches "
    r"(?:(?P<base>\w*[a-z_]\w*)(?: \+ (?P<plus>[\d.,]+))?|(?P<number>[\d.,]+))"
)
EARLIEST = "earliest of "
EXTREME: dict[str, Literal["earliest", "latest"]] = {
    "earliest_of": "earliest",
    "latest_of": "latest",
}
# By these a text is told from a type of a field, whether it can be read or not.
DERIVED = re.compile(
    r".+ (after|before) .+|(count|sum) of .*|(latest|first|earliest) .*|.+ reaches .+"
)
HOW_DERIVED = (
    "a derived field looks like `6 months after last_service`, "
    "`count of order.placed`, `sum of order.placed.total in the last 365 days`, "
    "`latest order.placed`, `odometer reaches 60000`, "
    "or `earliest_of:` with a list of dates"
)


@dataclass
class DataSection:
    """The fields by owner, and the derived ones by full name.

    Each derived one comes after those that it follows from.
    """

    fields: dict[str, dict[str, Field]]
    derived: dict[str, Derived] = field(default_factory=dict)


def kind_of(derived: Derived) -> FieldKind:
    """What conditions compare a derived field as."""
    return "number" if isinstance(derived, Total) else "date"


def read_data(
    document: Document, declared: Mapping[str, Mapping[str, Any]]
) -> DataSection:
    """Every field under `data:`; problems are then in `document`."""
    found = DataSection({"contact": {known.name: known for known in BUILT_IN}})
    written: dict[str, Data] = {}
    for owner, own in declared.items():
        if not _may_own(document, owner):
            continue
        fields = found.fields.setdefault(owner, {"key": Field("key", "text")})
        for name, data in own.items():
            if not _may_be_called(document, fields, owner, name, data):
                continue
            if is_derived(data):
                written[f"{owner}.{name}"] = data
            elif known := _field(document, ("data", owner, name), name, data):
                fields[name] = known
    _Resolver(document, found, written).resolve()
    return found


def _may_own(document: Document, owner: str) -> bool:
    """Whether a kind of record can have this name."""
    if NAME.fullmatch(owner) and owner not in TAKEN_KINDS:
        return True
    sentence = f"`{owner}` cannot name a kind of record: small letters, digits"
    document.problem(
        ("data", owner),
        f"{sentence} and _, and no word of drip's own",
        "name it after the thing, as `vehicle` or `lease`",
        key=True,
    )
    return False


def _may_be_called(
    document: Document,
    fields: Mapping[str, Field],
    owner: str,
    name: str,
    data: Data,
) -> bool:
    """Whether a field can have this name."""
    route: Route = ("data", owner, name)
    if not NAME.fullmatch(name) or name in TAKEN:
        sentence = f"`{name}` cannot be a field's name: small letters, digits and _"
        document.problem(
            route,
            f"{sentence}, and no word of conditions",
            key=True,
        )
        return False
    built_in = name in BUILT_IN_NAMES if owner == "contact" else name == "key"
    if built_in and data != fields[name].kind:
        document.problem(
            route,
            f"`{name}` is a {fields[name].kind} that every {owner} has",
            "leave the line out",
            key=True,
        )
        return False
    return True


def is_derived(data: Data) -> bool:
    """Whether this is the phrase of a derived field."""
    if isinstance(data, dict):
        return True
    return isinstance(data, str) and DERIVED.fullmatch(data) is not None


def _field(
    document: Document,
    route: Route,
    name: str,
    data: Data,
) -> Field | None:
    """A field of a type, or with a list of choices."""
    if isinstance(data, list):
        choices = tuple(choice for choice in data if isinstance(choice, str))
        if len(choices) < len(data) or not choices:
            document.problem(route, "the choices of a field are plain words")
            return None
        return Field(name, "choice", choices)
    if data in KINDS:
        return Field(name, cast(FieldKind, data))
    types = f"types: {', '.join(KINDS)}, or a list of choices"
    document.unknown(
        route,
        "type",
        str(data),
        KINDS,
        f"{types}; {HOW_DERIVED}",
    )
    return None


# --- fields that follow from others


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
        """Reads all of them."""
        for full in self.written:
            self._one(full)

    def _one(self, full: str) -> Derived | None:
        """The field, read unless it was.

        None where it is broken, which has been said.
        """
        if full in self.found.derived or full in self._broken:
            return self.found.derived.get(full)
        if full in self._open:
            self._fail_circle(full)
            return None
        if len(self._open) > DEEPEST:
            self._fail(full, f"this field follows from more than {DEEPEST} others")
            return None
        owner = full.partition(".")[0]
        self._open.append(full)
        try:
            self.found.derived[full] = self._read(owner, self.written[full])
        except _Wrong as wrong:
            self._fail(full, str(wrong), wrong.help)
        except ValueError as wrong:
            self._fail(full, str(wrong))
        finally:
            self._open.pop()
        return self.found.derived.get(full)

    def _fail_circle(self, full: str) -> None:
        """Says by which fields a field follows from itself."""
        circle = [*self._open[self._open.index(full) :], full]
        self._broken.add(full)
        self.document.problem(
            self._route(full),
            f"these fields follow from one another in a circle: {' → '.join(circle)}",
            key=True,
        )

    def _fail(
        self,
        full: str,
        sentence: str,
        help: str | None = None,
    ) -> None:
        """Says what is wrong with a field, once."""
        # One that follows from a broken one has been marked so, and is said by that.
        if full not in self._broken:
            self.document.problem(
                self._route(full),
                sentence,
                help,
            )
        self._broken.add(full)

    def _route(self, full: str) -> Route:
        """Where a field stands in the file."""
        owner, _, name = full.partition(".")
        return ("data", owner, name)

    def _read(self, owner: str, data: Data) -> Derived:
        """A field from its phrase. Raises ValueError."""
        if isinstance(data, dict):
            return self._extreme(owner, data)
        text = str(data)
        if text.startswith(EARLIEST):
            names = text.removeprefix(EARLIEST).split(",")
            parts = [self._part(owner, name.strip()) for name in names]
            return Extreme("earliest", tuple(parts))
        if found := TOTAL.fullmatch(text):
            return _total(found)
        return self._part(owner, text)

    def _extreme(self, owner: str, data: dict[str, Data]) -> Derived:
        """`earliest_of:` or `latest_of:` with a list of dates."""
        word = next(iter(data), "")
        items = data.get(word)
        if len(data) != 1 or word not in EXTREME or not isinstance(items, list):
            raise _Wrong("this is no field", HOW_DERIVED)
        if not items:
            raise _Wrong("this is no field", HOW_DERIVED)
        texts = [item for item in items if isinstance(item, str)]
        if len(texts) < len(items):
            raise _Wrong(f"`{word}` takes a list of dates, each after a dash")
        parts = [self._part(owner, text) for text in texts]
        return Extreme(EXTREME[word], tuple(parts))

    def _part(self, owner: str, text: str) -> DateField | Seen | Reaches:
        """One date: of an event, of a meter, or another field's, moved."""
        if found := SEEN.fullmatch(text):
            event = phrases.event_name(found[2])
            return Seen(event, "latest" if found[1] == "latest" else "first")
        if found := REACHES.fullmatch(text):
            return self._reaches(owner, found)
        return self._moved(owner, text)

    def _moved(self, owner: str, text: str) -> DateField:
        """`6 months after last_service`."""
        try:
            phrase = phrases.date_phrase(text)
        except ValueError as wrong:
            raise _Wrong(str(wrong), HOW_DERIVED) from None
        name = phrase.field.removeprefix(f"{owner}.")
        steps = () if phrase.offset == Duration() else (phrase.offset,)
        full = f"{owner}.{name}"
        if full in self.written:
            return self._moved_further(owner, name, steps)
        known = self.found.fields[owner].get(name)
        if known is None or known.kind != "date":
            raise _Wrong(
                f"`{name}` is not a date of {owner}",
                nearest(name, self._dates(owner), what="dates"),
            )
        return DateField(full, steps)

    def _moved_further(
        self,
        owner: str,
        name: str,
        steps: tuple[Duration, ...],
    ) -> DateField:
        """A date that follows from one that itself follows from others."""
        full = f"{owner}.{name}"
        base = self._one(full)
        if base is None:
            self._broken.add(self._open[-1])
            raise _Wrong(f"`{name}` is broken, and this follows from it")
        if isinstance(base, Total):
            raise _Wrong(f"`{name}` is not a date of {owner}")
        # Steps are kept one by one: a month after a month clamps to a month's end
        # twice.
        if isinstance(base, DateField):
            return DateField(base.field, (*base.steps, *steps))
        return DateField(full, steps)

    def _dates(self, owner: str) -> Iterator[str]:
        """The names that a date of an owner can have, for what is misspelt."""
        for name, known in self.found.fields[owner].items():
            if known.kind == "date":
                yield name
        for full in self.written:
            if full.startswith(f"{owner}."):
                yield full.partition(".")[2]

    def _reaches(self, owner: str, found: re.Match[str]) -> Reaches:
        """`odometer reaches 60000`, `odometer reaches last_service_odometer + 8000`."""
        fields = self.found.fields[owner]
        numbers = _of_kinds(fields, "number", "money")
        meter, base = found["meter"], found["base"]
        if owner == "contact":
            sentence = "a meter that reaches something belongs to a record"
            raise _Wrong(f"{sentence}, as `vehicle`")
        if meter not in numbers:
            raise _Wrong(
                f"`{meter}` is not a number of {owner}",
                nearest(meter, numbers, what="numbers"),
            )
        if base is None:
            return Reaches(meter, None, None, parse_number(found["number"]))
        plus = parse_number(found["plus"]) if found["plus"] else 0
        if base in numbers:
            return Reaches(meter, base, None, plus)
        return Reaches(meter, None, self._read_on(owner, meter, base), plus)

    def _read_on(self, owner: str, meter: str, base: str) -> str:
        """The date on which a meter was read, by `DATE_METER`."""
        fields = self.found.fields[owner]
        dates = _of_kinds(fields, "date")
        day = base.removesuffix(f"_{meter}")
        # `last_service_odometer` is what the meter showed on the day of `last_service`.
        if day != base and day in dates:
            return day
        known = _of_kinds(fields, "number", "money")
        known += [f"{name}_{meter}" for name in dates]
        raise _Wrong(
            f"`{base}` is not a number of {owner}",
            nearest(base, known, what="numbers"),
        )


def _of_kinds(fields: Mapping[str, Field], *kinds: FieldKind) -> list[str]:
    """The names of fields of these kinds, in the order of the file."""
    return [name for name, known in fields.items() if known.kind in kinds]


def _total(found: re.Match[str]) -> Total:
    """`count of order.placed`, `sum of order.placed.total in the last 365 days`."""
    span = phrases.duration(found["span"]) if found["span"] else None
    if span is not None and (span.seconds or span.business):
        raise _Wrong(f"`{found[0]}`: count days, weeks, months or years")
    if found["counted"]:
        return Total(phrases.event_name(found["counted"]), None, span)
    event, _, summed = found["summed"].rpartition(".")
    try:
        return Total(phrases.event_name(event), summed, span)
    except ValueError:
        raise _Wrong(
            f"`{found['summed']}` is not an event with its field",
            "write it as `sum of order.placed.total`",
        ) from None
