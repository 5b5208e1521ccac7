"""Conditions as written (`vehicle.status: active`) to the syntax tree.

They are checked against the fields there are. A line is a word that joins others
(`JOINS`), a verb with a name (`VERB_READERS`), or a field with a phrase
(`language.comparisons`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from drip.core.calendar import Duration
from drip.core.conditions import (
    All,
    Any,
    Condition,
    Did,
    HoldsCoupon,
    Member,
    Not,
    Subscribed,
    Tagged,
)
from drip.core.fields import Field, FieldKind
from drip.errors import Place
from drip.language.comparisons import RANK, compared, one_of, ranked
from drip.language.phrases import EVENT_NAME, duration
from drip.language.reader import Data, Document, Route, declare, items_at

ONLY_CONTACTS = "a segment is about contacts"


@dataclass(frozen=True, slots=True)
class Names:
    """Every name of the workspace that a condition may use.

    `fields` are by owner; `derived` gives the kind of each derived field.
    """

    fields: Mapping[str, Mapping[str, Field]]
    derived: Mapping[str, FieldKind] = field(default_factory=dict)
    topics: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    coupons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What one condition may speak of.

    `events` are the prefixes of the events whose fields are known there. `campaign` is
    None for segments. In a run, events count since it began, unless the phrase says
    otherwise.
    """

    names: Names
    record: str | None = None
    events: frozenset[str] = frozenset()
    campaign: str | None = None
    in_run: bool = False

    @property
    def owners(self) -> tuple[str | None, ...]:
        """Whose fields a condition may name."""
        return ("contact", self.record)


def condition(
    document: Document,
    route: Route,
    data: Data,
    scope: Scope,
) -> Condition | None:
    """The tree of a mapping of conditions.

    None where there is a problem, which is then in `document`.
    """
    return _ConditionReader(document, scope).mapping(route, data)


def owner_and_name(key: str) -> tuple[str, str]:
    """`vehicle.status` in two; what names no owner is the contact's."""
    owner, dot, name = key.partition(".")
    return (owner, name) if dot else ("contact", key)


def field_names(scope: Scope) -> list[str]:
    """Every key that a condition may have there."""
    names = scope.names
    full: list[str] = []
    for owner, fields in names.fields.items():
        if owner in scope.owners:
            full += [f"{owner}.{name}" for name in fields]
    for derived in names.derived:
        if owner_and_name(derived)[0] in scope.owners:
            full.append(derived)
    # The contact's own are written without their owner.
    short = [name.removeprefix("contact.") for name in full]
    return [*short, *names.counters, *VERBS]


@dataclass(frozen=True, slots=True)
class _ConditionReader:
    """Reads the conditions of one scope."""

    document: Document
    scope: Scope

    def mapping(self, route: Route, data: Data) -> Condition | None:
        """All lines of a mapping, joined by and."""
        if not isinstance(data, dict):
            self.document.problem(
                route, "a condition is written as `field: phrase`, one on a line"
            )
            return None
        if not data:
            self.document.problem(route, "there is no condition here")
        lines = [self._line((*route, key), key, value) for key, value in data.items()]
        parts = _complete(lines)
        return All(parts) if parts else None

    def _line(
        self,
        route: Route,
        key: str,
        data: Data,
    ) -> Condition | None:
        """A word that joins, a verb or a field, with what stands behind it."""
        place = self.document.place(route, key=True)
        if key in JOINS:
            return JOINS[key](self, route, data, place)
        if key in VERB_READERS:
            return self._verb(route, key, data, place)
        known = self._field(route, key)
        return self._test(route, known, data, place) if known else None

    # --- words that join

    def join_any(
        self,
        route: Route,
        data: Data,
        place: Place,
    ) -> Condition | None:
        """`any:` with a list of conditions."""
        parts = self._listed("any", route, data)
        return Any(parts, _words(data), place) if parts else None

    def join_all(
        self,
        route: Route,
        data: Data,
        place: Place,
    ) -> Condition | None:
        """`all:` with a list of conditions."""
        parts = self._listed("all", route, data)
        return All(parts) if parts else None

    def negated(
        self,
        route: Route,
        data: Data,
        place: Place,
    ) -> Condition | None:
        """`not:` with a mapping of conditions."""
        part = self.mapping(route, data)
        return Not(part, _words(data), place) if part else None

    def _listed(
        self,
        word: str,
        route: Route,
        data: Data,
    ) -> tuple[Condition, ...]:
        """The conditions of a list; none of them where one is broken."""
        if not isinstance(data, list):
            self.document.problem(
                route, f"`{word}:` takes a list of conditions, each after a dash"
            )
            return ()
        self._not_empty(route, data)
        read = [
            self.mapping(item_route, item) for item_route, item in items_at(route, data)
        ]
        return _complete(read)

    def _not_empty(self, route: Route, data: list[Data]) -> None:
        """That a list holds anything."""
        # A list of none would hold for nobody, or for everybody.
        if not data:
            self.document.problem(
                route,
                "this list is empty",
                "write at least one after a dash, or leave the line out",
            )

    # --- verbs

    def _verb(
        self,
        route: Route,
        verb: str,
        data: Data,
        place: Place,
    ) -> Condition | None:
        """`verb: name`; a list of names means that one of them must hold."""
        if isinstance(data, list):
            return self._verbs(route, verb, data, place)
        if not isinstance(data, str) or not data.strip():
            self.document.problem(route, f"`{verb}:` takes a name, or a list of names")
            return None
        name = data.strip()
        if not self._is_declared(route, verb, name):
            return None
        read = partial(VERB_READERS[verb], verb, name, self.scope, place)
        return self.document.attempt(route, read)

    def _is_declared(self, route: Route, verb: str, name: str) -> bool:
        """Whether the settings have what a verb names; else it is a problem."""
        if verb not in DECLARED:
            return True
        what = DECLARED[verb]
        known: frozenset[str] = getattr(self.scope.names, f"{what}s")
        if name in known:
            return True
        self.document.unknown(route, what, name, known, declare(f"{what}s"))
        return False

    def _verbs(
        self,
        route: Route,
        verb: str,
        data: list[Data],
        place: Place,
    ) -> Condition | None:
        """`verb: [one, other]`."""
        self._not_empty(route, data)
        read = [
            self._verb(item_route, verb, name, place)
            for item_route, name in items_at(route, data)
        ]
        parts = _complete(read)
        if not parts:
            return None
        # None of the events may have happened; `any` would ask that one of them has
        # not.
        if verb == "did_not":
            return All(parts)
        return Any(parts, f"{verb}: {_words(data)}", place)

    # --- fields

    def _field(self, route: Route, key: str) -> Field | None:
        """The field that a key names, under its full name."""
        names = self.scope.names
        if key in names.counters and key not in names.fields["contact"]:
            return Field(f"counter.{key}", "number")
        owner, name = owner_and_name(key)
        full = f"{owner}.{name}"
        # What an event holds is known to nobody before it comes in.
        if owner in self.scope.events and owner not in names.fields:
            return Field(full, "any")
        found = self._declared(owner, name)
        if found is None:
            known = field_names(self.scope)
            self.document.unknown(
                route,
                "field",
                key,
                known,
                declare("data"),
                key=True,
            )
            return None
        # Of several vehicles nobody could say which one is meant.
        if owner not in self.scope.owners:
            self._of_another(route, owner)
            return None
        return found

    def _declared(self, owner: str, name: str) -> Field | None:
        """The field of a contact, of a record, or a derived one."""
        names = self.scope.names
        full = f"{owner}.{name}"
        if full in names.derived:
            return Field(full, names.derived[full])
        own = names.fields.get(owner, {})
        if name not in own:
            return None
        return Field(full, own[name].kind, own[name].choices)

    def _of_another(self, route: Route, owner: str) -> None:
        """Says that a field belongs to something else than the campaign is about."""
        in_campaign = self.scope.campaign is not None
        self.document.problem(
            route,
            f"this is not about one {owner}",
            f"add `for_each: {owner}`" if in_campaign else ONLY_CONTACTS,
            key=True,
        )

    def _test(
        self,
        route: Route,
        field: Field,
        data: Data,
        place: Place,
    ) -> Condition | None:
        """A field's phrase, or a list of values."""
        if isinstance(data, list):
            return self._values(route, field, data, place)
        if not isinstance(data, str):
            self.document.problem(
                route, "a phrase is expected here, as `active`, `at least 2` or `known`"
            )
            return None
        text = data.strip()
        if rank := RANK.fullmatch(text):
            return self.document.attempt(route, lambda: ranked(field, rank, place))
        rest = text.removeprefix("not ")
        if rest and rest != text:
            part = self._test(route, field, rest, place)
            return Not(part, f"{field.name}: {rest}", place) if part else None
        return self.document.attempt(route, lambda: compared(field, text, place))

    def _values(
        self,
        route: Route,
        field: Field,
        data: list[Data],
        place: Place,
    ) -> Condition | None:
        """`status: [active, new]`: one of several values."""
        self._not_empty(route, data)
        values = tuple(value for value in data if isinstance(value, str))
        if len(values) < len(data):
            self.document.problem(route, "a list here holds plain values")
            return None
        text = f"one of {', '.join(values)}"
        return self.document.attempt(route, lambda: one_of(field, values, text, place))


Join = Callable[[_ConditionReader, Route, Data, Place], Condition | None]
JOINS: dict[str, Join] = {
    "any": _ConditionReader.join_any,
    "all": _ConditionReader.join_all,
    "not": _ConditionReader.negated,
}


def _complete(parts: list[Condition | None]) -> tuple[Condition, ...]:
    """The parts; none of them where one is broken.

    Half a condition means another one.
    """
    whole = tuple(part for part in parts if part)
    return whole if len(whole) == len(parts) else ()


def _words(data: Data) -> str:
    """A condition in one line, as a person would repeat it."""
    if isinstance(data, dict):
        return ", ".join(f"{key}: {_words(value)}" for key, value in data.items())
    if isinstance(data, list):
        return " or ".join(_words(item) for item in data)
    return data


# --- verbs: what each makes of a name, or raises ValueError for


def _subscribed(verb: str, name: str, scope: Scope, place: Place) -> Condition:
    """`subscribed: newsletter`."""
    return Subscribed(
        topic=name,
        text=f"subscribed: {name}",
        place=place,
    )


def _in_segment(verb: str, name: str, scope: Scope, place: Place) -> Condition:
    """`in_segment: best_customers`."""
    return Member(
        name=name,
        rank=None,
        text=f"in segment {name}",
        place=place,
    )


def _tagged(verb: str, name: str, scope: Scope, place: Place) -> Condition:
    """`tagged: unhappy`."""
    return Tagged(
        tags=(name,),
        text=f"tagged: {name}",
        place=place,
    )


def _holds(verb: str, name: str, scope: Scope, place: Place) -> Condition:
    """`holds coupon: treat`."""
    return HoldsCoupon(
        coupon=name,
        text=f"holds coupon {name}",
        place=place,
    )


HOW_DID = (
    "as `order.placed`, `order.placed in the last 30 days`, "
    "`order.placed at least 2 times since entry`"
)
# How often may stand before or after the time, and not twice.
TIMES = r"(?: at least (?P<{}>\d{{1,4}}) times?)?"
DID = re.compile(
    r"(?P<name>\S+)"
    + TIMES.format("times")
    + r"(?: (?:in the last (?P<span>\d+ \w+)|(?P<since>since entry|ever)))?"
    + TIMES.format("times_after")
)


def _did(
    verb: str,
    text: str,
    scope: Scope,
    place: Place,
) -> Condition:
    """`did`, `opened`, `clicked`: an event, how often and since when."""
    found = DID.fullmatch(text)
    if not found or (found["times"] and found["times_after"]):
        raise ValueError(f"`{text}` is not written {HOW_DID}")
    event, matching = _event_of(verb, found["name"], scope)
    if found["since"] == "since entry" and not scope.in_run:
        sentence = "`since entry` belongs into a campaign's steps"
        raise ValueError(f"{sentence}: here nobody has entered anything")
    span = _span_of(found)
    # Whoever asks within a run means that run, unless a time is named.
    timeless = span is None and found["since"] != "ever"
    return Did(
        event=event,
        matching=matching,
        since_entry=scope.in_run and timeless,
        span=span,
        times=_times_of(found),
        text=text,
        place=place,
    )


def _span_of(found: re.Match[str]) -> Duration | None:
    """How far back an event may lie; None where the phrase does not say."""
    if found["span"] is None:
        return None
    span = duration(found["span"])
    if span.business:
        raise ValueError(f"`{found[0]}`: here days are counted as they come")
    return span


def _times_of(found: re.Match[str]) -> int:
    """How often it must have happened."""
    times = int(found["times"] or found["times_after"] or 1)
    # What has happened at least 0 times is true of everybody.
    if times < 1:
        raise ValueError(f"`{found[0]}`: at least 1 time")
    return times


def _did_not(
    verb: str,
    text: str,
    scope: Scope,
    place: Place,
) -> Condition:
    """`did_not: order.placed in the last 30 days`."""
    return Not(_did("did", text, scope, place), text, place)


def _event_of(
    verb: str, name: str, scope: Scope
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The event, and what its fields have to be."""
    if verb in ("opened", "clicked"):
        return f"message.{verb}", tuple(_of_message(name, scope))
    # A name without a point is a field's, and hardly ever an event's.
    if not EVENT_NAME.fullmatch(name):
        raise ValueError(f"`{name}` is not an event's name like `order.placed`")
    return name, ()


def _of_message(name: str, scope: Scope) -> Iterator[tuple[str, str]]:
    """`any` is any message: in a run one of its campaign, elsewhere one of all."""
    if name != "any":
        yield "template", name
    elif scope.campaign and scope.in_run:
        yield "campaign", scope.campaign


# What a verb names where the settings declare it, under a section of that name. Tags
# are declared nowhere: any word may be one, put on by a step or by a file.
DECLARED = {
    "subscribed": "topic",
    "in_segment": "segment",
    "holds coupon": "coupon",
}
VERB_READERS: dict[str, Callable[[str, str, Scope, Place], Condition]] = {
    "subscribed": _subscribed,
    "in_segment": _in_segment,
    "tagged": _tagged,
    "did": _did,
    "did_not": _did_not,
    "opened": _did,
    "clicked": _did,
    "holds coupon": _holds,
}
VERBS = (*JOINS, *VERB_READERS)
