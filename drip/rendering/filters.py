"""The filters and tests of templates: those of the guides, and of Jinja's the
ones whose cost is known.

A filter that is not listed does not exist. Which of Jinja's are not: those that
leave what templates are for (`attr`, `random`, `pprint`, `tojson`, `xmlattr`,
`urlize`), and those that make much of little (`center`, `format`, `indent`,
`wordwrap`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache, wraps
from typing import Any, cast

from babel import UnknownLocaleError
from babel.core import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal
from jinja2 import (
    Environment,
    Undefined,
    nodes,
    pass_context,
    pass_environment,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.filters import (
    FILTERS,
    do_batch,
    do_round,
    do_trim,
    do_urlencode,
    sync_do_join,
    sync_do_slice,
    sync_do_sum,
)
from jinja2.runtime import Context
from jinja2.tests import TESTS

from drip.core.calendar import Birthday
from drip.core.fields import parse_date, parse_number
from drip.rendering.limits import (
    LONGEST_SOUGHT,
    MOST_FILTERED,
    MOST_VALUES,
    TooMuch,
    is_collection,
    not_too_long,
    size,
)

# Filters of one text or number.
OF_ONE = (
    "abs",
    "capitalize",
    "d",
    "default",
    "e",
    "escape",
    "float",
    "forceescape",
    "int",
    "lower",
    "replace",
    "round",
    "safe",
    "string",
    "striptags",
    "title",
    "trim",
    "truncate",
    "upper",
    "wordcount",
    "date",
    "money",
    "number",
    "plural",
)
# Jinja's filters: besides those of one value, the ones that may go through many.
LISTED_FILTERS = (
    "abs",
    "batch",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
)
LISTED_TESTS = (
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
)
# Digits of a text that becomes a number: the time that Python takes grows with
# their square.
LONGEST_NUMBER = 1_000
# A float has fewer.
MOST_PLACES = 100
LARGEST_AMOUNT = 10**15
# Of a currency, a locale, or a way to write a date: they are remembered.
LONGEST_NAME = 100


def own_filters(currency: str) -> dict[str, Callable[..., Any]]:
    """The filters of the guides, and those of Jinja's that have a limit of
    their own. `currency` is what `money` prints.
    """
    of_values = {"money": _money(currency), "date": _date, "number": _number}
    return {name: _of_known(filter_) for name, filter_ in of_values.items()} | {
        "batch": _batch,
        "float": _number_of("float"),
        "int": _number_of("int"),
        "join": _joined,
        "plural": _plural,
        "replace": _replace,
        "round": _rounded,
        "slice": _slice,
        "sum": _sum,
        "trim": _trimmed,
        "urlencode": _quoted,
    }


# --- Jinja's, within limits


def _replace(
    text: Any,
    old: str,
    new: str,
) -> str:
    whole: str = text if isinstance(text, str) else str(text)
    # An empty one stands between all characters.
    places = whole.count(old) if old else len(whole)
    not_too_long(len(whole) + places * len(new))
    return whole.replace(old, new)


@pass_eval_context
def _joined(
    context: nodes.EvalContext,
    value: Any,
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    items = [*value]
    if any(map(is_collection, (*items, d))):
        raise SecurityError(
            "`join` makes a text of texts, numbers and dates, and not of lists of lists"
        )
    characters = sum(len(item) for item in items if isinstance(item, str))
    not_too_long(characters + len(str(d)) * len(items))
    joined: str = sync_do_join(context, items, d, attribute)
    return joined


def _slice(
    value: Any,
    slices: int,
    fill_with: Any = None,
) -> Any:
    return sync_do_slice(value, _not_too_many(slices), fill_with)


def _batch(
    value: Any,
    linecount: int,
    fill_with: Any = None,
) -> Any:
    return do_batch(value, _not_too_many(linecount), fill_with)


def _not_too_many(count: int) -> int:
    if count > MOST_VALUES:
        raise TooMuch(f"it makes more than {MOST_VALUES:,} of one")
    return count


def _number_of(name: str) -> Callable[..., Any]:
    """Jinja's `int` or `float`, of a text that a number may have."""
    filter_: Callable[..., Any] = FILTERS[name]

    @wraps(filter_)
    def filtered(
        value: Any,
        *more: Any,
        **named: Any,
    ) -> Any:
        if isinstance(value, str):
            not_too_long(len(value), LONGEST_NUMBER)
        return filter_(value, *more, **named)

    return filtered


def _trimmed(value: Any, chars: str | None = None) -> str:
    not_too_long(len(chars or ""), LONGEST_SOUGHT)
    return do_trim(value, chars)


def _quoted(value: Any) -> str:
    if is_collection(value):
        not_too_long(size(value)[1], MOST_FILTERED)
    return do_urlencode(value)


def _rounded(
    value: float,
    precision: int = 0,
    method: Any = "common",
) -> float:
    """Within the places that a float has."""
    _number_only("round", value)
    if abs(precision) > MOST_PLACES:
        raise TooMuch(f"a number is rounded to more than {MOST_PLACES} places")
    return do_round(value, precision, method)


@pass_environment
def _sum(
    environment: Environment,
    iterable: Any,
    attribute: str | int | None = None,
    start: Any = 0,
) -> Any:
    """Of numbers alone: lists added to lists take time that grows with the square."""
    if isinstance(start, list | tuple | str):
        raise SecurityError("`sum` works on numbers only")
    return sync_do_sum(environment, iterable, attribute, start)


def _number_only(name: str, value: Any) -> None:
    """Python has other meanings of what a filter or test does with a number: of
    a text it may make a very long one.
    """
    if not isinstance(value, int | float | Undefined):
        raise SecurityError(f"`{name}` works on numbers only")


def _test_of_number(name: str) -> Callable[..., bool]:
    test = cast(Callable[..., bool], TESTS[name])

    @wraps(test)
    def tested(value: Any, *more: Any) -> bool:
        for number in (value, *more):
            _number_only(name, number)
        return test(value, *more)

    return tested


# Jinja's tests that have a limit of their own.
OWN_TESTS = {name: _test_of_number(name) for name in ("divisibleby", "even", "odd")}

# --- of the guides


def locale_of(name: object) -> Locale:
    """Babel's locale for `de`, `de-AT` or `de_AT`; English for what it does not
    know.
    """
    return _locale_of(str(name)[:LONGEST_NAME])


@lru_cache
def _locale_of(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale.parse("en")


def _of_known(filter_: Callable[..., str]) -> Callable[..., str]:
    """A filter of values that are known; one that is not says so, or is blank where a
    colleague reads it.
    """

    @pass_context
    def filtered(
        context: Context,
        value: Any,
        *more: Any,
        **named: Any,
    ) -> str:
        if isinstance(value, Undefined):
            return str(value)
        return filter_(context, value, *more, **named)

    return filtered


def _money(currency: str) -> Callable[..., str]:
    """With the currency where the template's language writes it."""

    def money(
        context: Context,
        value: Any,
        unit: str = currency,
    ) -> str:
        amount = _amount(value)
        locale = locale_of(context.get("locale"))
        if not amount:
            # Both zeros are one to a cache, and Babel writes the sign.
            return format_currency(amount, unit, locale=locale)
        return _as_money(amount, unit, locale)

    return money


def _amount(value: Any) -> Any:
    """A number, or a text that is one.

    Raises ValueError for one that nobody reads, and for what is none.
    """
    amount = parse_number(value) if isinstance(value, str) else value
    is_number = isinstance(amount, int | float | Decimal)
    # Nothing is smaller or larger than what is no number (IEEE 754).
    if not is_number or not -LARGEST_AMOUNT < amount < LARGEST_AMOUNT:
        raise ValueError(f"`{str(value)[:40]}` is no number that can be written out")
    return amount


# Many messages name few amounts, and Babel takes 50 µs for each.
@lru_cache(10_000, typed=True)
def _as_money(
    amount: Any,
    unit: str,
    locale: Locale,
) -> str:
    not_too_long(len(unit), LONGEST_NAME)
    return format_currency(amount, unit, locale=locale)


def _number(context: Context, value: Any) -> str:
    """With the separators of the template's language."""
    amount = _amount(value)
    return format_decimal(amount, locale=locale_of(context.get("locale")))


def _date(
    context: Context,
    value: Any,
    length: str = "long",
) -> str:
    """By CLDR's way for the language that the template is written in."""
    if len(length) > LONGEST_NAME:
        raise TooMuch(f"a way to write a date has more than {LONGEST_NAME} characters")
    locale = locale_of(context.get("locale"))
    if isinstance(value, str):
        value = parse_date(value)
    if isinstance(value, Birthday):
        return format_date(
            date(2000, value.month, value.day),
            "MMMM d" if length == "long" else "MMM d",
            locale=locale,
        )
    if isinstance(value, datetime) and length == "time":
        return format_datetime(value, "short", locale=locale)
    if not isinstance(value, date):
        raise ValueError(f"`{value}` is no date")
    return format_date(value, length, locale=locale)


def _plural(
    number: Any,
    one: str,
    many: str,
) -> str:
    """`{{ 3|plural("day", "days") }}` is `3 days`."""
    count = parse_number(number) if isinstance(number, str) else number
    return f"{count} {one if count == 1 else many}"
