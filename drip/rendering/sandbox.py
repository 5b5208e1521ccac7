"""The Jinja environment: an immutable sandbox with limits on time and size, and the filters of the guides."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from babel import UnknownLocaleError
from babel.core import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal
from jinja2 import Template, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from drip.core.calendar import Birthday
from drip.core.fields import parse_date, parse_number

MOST_CHARACTERS = 2_000_000
MOST_ROUNDS = 100_000
LONGEST_S = 2.0
# Filters and globals that can make much of little, or leave what templates are for.
REMOVED_FILTERS = ("center", "format", "pprint", "random", "xmlattr", "filesizeformat", "attr", "tojson", "urlize")
REMOVED_GLOBALS = ("lipsum", "cycler", "joiner")


class TooMuch(Exception):
    """A template that does not end, or writes without end."""


class Unknown(Undefined):
    """A value that is not known: it may be asked for (`{% if contact.age %}`), but nothing else."""

    __slots__ = ()
    __iter__ = __str__ = __len__ = __contains__ = Undefined._fail_with_undefined_error
    __eq__ = __ne__ = __hash__ = Undefined._fail_with_undefined_error


class Sandbox(ImmutableSandboxedEnvironment):
    """Templates get plain data only. Every round of every loop counts against a limit."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self, *, autoescape: bool, currency: str) -> None:
        super().__init__(autoescape=autoescape, undefined=Unknown, keep_trailing_newline=True)
        for name in REMOVED_FILTERS:
            self.filters.pop(name, None)
        for name in REMOVED_GLOBALS:
            self.globals.pop(name, None)
        self.filters |= {"money": _money(currency), "date": _date, "plural": _plural, "number": _number}
        self.globals["_round"] = self._round
        self._rounds = 0
        self._ends = 0.0

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            call = nodes.Call(nodes.Name("_round", "load"), [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(call, lineno=loop.lineno).set_environment(self))
            for node in call.find_all(nodes.Node):
                node.lineno = loop.lineno
            call.lineno = loop.lineno
            call.set_environment(self)
        return tree

    def _round(self) -> None:
        self._rounds += 1
        if self._rounds > MOST_ROUNDS or time.monotonic() > self._ends:
            raise TooMuch(f"the loops take more than {MOST_ROUNDS:,} rounds or {LONGEST_S:g} seconds")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuses `'x' * 10000000`, big powers and `'%99999999d' % 1`."""
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "**" and not (numbers and abs(left) < 1e6 and abs(right) <= 16):
            raise SecurityError("a power this large is not computed")
        if (operator == "*" and not numbers) or (operator == "%" and not numbers):
            raise SecurityError(f"`{operator}` works on numbers only")
        return super().call_binop(context, operator, left, right)

    def render(self, template: Template, values: dict[str, Any]) -> str:
        """The template's output. Raises TooMuch past the limits, and what Jinja raises."""
        self._rounds, self._ends = 0, time.monotonic() + LONGEST_S
        parts: list[str] = []
        length = 0
        for part in template.generate(values):
            length += len(part)
            if length > MOST_CHARACTERS:
                raise TooMuch(f"the text has more than {MOST_CHARACTERS:,} characters")
            parts.append(part)
        return "".join(parts)


def locale_of(name: object) -> Locale:
    """Babel's locale for `de`, `de-AT` or `de_AT`; English for what it does not know."""
    try:
        return Locale.parse(str(name).replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale.parse("en")


def _money(currency: str) -> Callable[..., str]:
    @pass_context
    def money(context: Context, value: Any, unit: str = currency) -> str:
        amount = parse_number(value) if isinstance(value, str) else value
        return format_currency(amount, unit, locale=locale_of(context.get("locale")))

    return money


@pass_context
def _number(context: Context, value: Any) -> str:
    amount = parse_number(value) if isinstance(value, str) else value
    return format_decimal(amount, locale=locale_of(context.get("locale")))


@pass_context
def _date(context: Context, value: Any, length: str = "long") -> str:
    locale = locale_of(context.get("locale"))
    if isinstance(value, str):
        value = parse_date(value)
    if isinstance(value, Birthday):
        return format_date(date(2000, value.month, value.day), "MMMM d" if length == "long" else "MMM d", locale=locale)
    if isinstance(value, datetime) and length == "time":
        return format_datetime(value, "short", locale=locale)
    return format_date(value, length, locale=locale)


def _plural(number: Any, one: str, many: str) -> str:
    """`{{ 3|plural("day", "days") }}` is `3 days`."""
    count = parse_number(number) if isinstance(number, str) else number
    return f"{count} {one if count == 1 else many}"
