"""What may be asked of a field: `active`, `at least 2`, `before 2026-05-01`, `known`.

A new phrase is a row of `PHRASES`; its meaning is in `core.conditions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from drip.core.calendar import Duration
from drip.core.conditions import Comparison, FieldCondition, Member, Rank
from drip.core.fields import (
    Field,
    FieldKind,
    parse,
    parse_birthday,
    parse_date,
    parse_number,
)
from drip.errors import Place
from drip.language.phrases import duration


class Reads(NamedTuple):
    """What a phrase does with a field, and of which kinds the field can be.

    `any` is the kind of an event's fields: what they hold is known only once it comes
    in.
    """

    does: str
    kinds: frozenset[FieldKind]


ANYTHING = Reads("", frozenset())
NUMBERS = Reads("compares numbers", frozenset(("number", "money", "any")))
DATES = Reads("compares dates", frozenset(("date", "any")))
TEXTS = Reads(
    "looks into a text", frozenset(("text", "country", "timezone", "choice", "any"))
)


class Phrase(NamedTuple):
    """A way to write a condition. `spans` where what it takes is a length of time."""

    pattern: str
    comparison: Comparison
    reads: Reads
    spans: bool = False


# The first pattern that fits is the phrase; what no pattern fits is a plain value.
# `more than 3 days ago` stands before `more than 3`, which would take a part of it.
PHRASES = (
    Phrase(r"known", "known", ANYTHING),
    Phrase(r"unknown", "unknown", ANYTHING),
    Phrase(r"between (\S+) and (\S+)", "between", NUMBERS),
    Phrase(r"more than (\d+ \w+) ago", "ago more", DATES, spans=True),
    Phrase(r"less than (\d+ \w+) ago", "ago less", DATES, spans=True),
    Phrase(r"in the last (\d+ [\w ]+)", "in the last", DATES, spans=True),
    Phrase(r"in the next (\d+ [\w ]+)", "in the next", DATES, spans=True),
    Phrase(r"at least (\S+)", "at least", NUMBERS),
    Phrase(r"at most (\S+)", "at most", NUMBERS),
    Phrase(r"more than (\S+)", "more than", NUMBERS),
    Phrase(r"less than (\S+)", "less than", NUMBERS),
    Phrase(r"before (\S+)", "before", DATES),
    Phrase(r"after (\S+)", "after", DATES),
    Phrase(r"includes (.+)", "includes", TEXTS),
    Phrase(r"starts with (.+)", "starts with", TEXTS),
)
RANK = re.compile(r"(top|makes) (\d{1,3})%( of total)?")


def compared(field: Field, text: str, place: Place) -> FieldCondition:
    """The condition of a phrase or a plain value.

    Raises ValueError with a sentence where it does not fit the kind of the field.
    """
    for phrase in PHRASES:
        found = re.fullmatch(phrase.pattern, text)
        if found:
            return _of_phrase(field, phrase, found, place)
    return one_of(field, (text,), text, place)


def one_of(
    field: Field,
    values: tuple[str, ...],
    text: str,
    place: Place,
) -> FieldCondition:
    """That a field has one of these values.

    Raises ValueError for one it cannot have.
    """
    read = VALUE_READERS.get(field.kind, parse)
    for value in values:
        read(field, value)
    return FieldCondition(field.name, field.kind, "is", values, text, place)


def _free(field: Field, value: str) -> str:
    return value


def _any_birthday(field: Field, value: str) -> object:
    """`12-24`: a condition may name the day alone."""
    return parse_birthday(value)


# How a plain value is checked; of the kinds that are not here, as one of a file is.
VALUE_READERS: dict[FieldKind, Callable[[Field, str], object]] = {
    "text": _free,
    "any": _free,
    "birthday": _any_birthday,
}


def _of_phrase(
    field: Field,
    phrase: Phrase,
    found: re.Match[str],
    place: Place,
) -> FieldCondition:
    """The condition that a phrase says of a field."""
    text = found[0]
    span = _days(found[1]) if phrase.spans else Duration()
    values = () if phrase.spans else found.groups()
    _check_values(field, phrase.reads, values, text)
    return FieldCondition(
        field=field.name,
        kind=field.kind,
        comparison=phrase.comparison,
        values=values,
        text=text,
        place=place,
        span=span,
    )


def _check_values(
    field: Field,
    reads: Reads,
    values: tuple[str, ...],
    text: str,
) -> None:
    """That a phrase fits the kind of the field, and its values the phrase."""
    if reads.kinds and field.kind not in reads.kinds:
        sentence = f"`{text}` {reads.does}"
        raise ValueError(f"{sentence}, and {field.name} is a {field.kind}")
    if reads is NUMBERS:
        _check_numbers(values, text)
    if reads is DATES:
        for value in values:
            parse_date(value)


def _check_numbers(values: tuple[str, ...], text: str) -> None:
    """That limits are numbers, and in their order."""
    numbers = [parse_number(value) for value in values]
    # `between 5 and 2` would hold for nobody, and nobody would know why.
    if numbers != sorted(numbers):
        raise ValueError(f"`{text}` begins above its end, so no number lies in it")


def _days(text: str) -> Duration:
    """A length in whole days, weeks, months or years."""
    length = duration(text)
    # A date has no hours, so hours before it would depend on when one looks.
    if length.seconds or length.business:
        sentence = f"`{text}` is no number of whole days"
        raise ValueError(f"{sentence}; conditions count days, weeks, months or years")
    return length


def ranked(field: Field, found: re.Match[str], place: Place) -> Member:
    """The best of all contacts by a number: `top 20%`, `makes 80% of total`.

    Raises ValueError where the field is no number of a contact, or it is no rank.
    """
    _check_rank(field, found)
    rank = Rank(
        field=field.name,
        kind="top" if found[1] == "top" else "makes",
        percent=int(found[2]),
    )
    return Member(
        name=rank.name,
        rank=rank,
        text=found[0],
        place=place,
    )


def _check_rank(field: Field, found: re.Match[str]) -> None:
    """That a rank is one, of a number that contacts have."""
    text, percent = found[0], int(found[2])
    of_contact = field.name.startswith(("contact.", "counter."))
    if not of_contact or field.kind not in ("number", "money"):
        sentence = f"`{text}` ranks contacts by a number of theirs"
        raise ValueError(f"{sentence}, and {field.name} is a {field.kind}")
    # `top 20% of total` mixes up heads and sums: each may mean quite other people.
    mixed_up = (found[1] == "makes") != bool(found[3])
    if mixed_up or not 0 < percent <= 100:
        raise ValueError(
            f"`{text}` is not a rank like `top 20%` or `makes 80% of total`"
        )
