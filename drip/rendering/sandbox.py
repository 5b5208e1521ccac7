"""The Jinja environment: an immutable sandbox with limits on time and size, and the filters of the guides."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from datetime import date, datetime
from functools import lru_cache, wraps
from itertools import islice
from typing import Any

from babel import UnknownLocaleError
from babel.core import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal
from jinja2 import (
    Environment,
    Template,
    TemplateSyntaxError,
    Undefined,
    nodes,
    pass_context,
    pass_environment,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.filters import do_batch, do_round, do_striptags, sync_do_join, sync_do_slice, sync_do_sum
from jinja2.runtime import Context, markup_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from drip.core.calendar import Birthday
from drip.core.fields import parse_date, parse_number
from drip.rendering.addresses import LEADING, guard_addresses, leading

MOST_CHARACTERS = 2_000_000
MOST_ROUNDS = 100_000
# What filters write in all need not stand in the text.
MOST_DRAFTED = 10 * MOST_CHARACTERS
# Of a text whose comments are taken out one by one.
MOST_MARKED_UP = 100_000
LONGEST_S = 2.0
# So many pieces of an output are looked at together; each of them is within the limit by itself.
AT_ONCE = 32
# Filters and globals that can make much of little, or leave what templates are for.
REMOVED_FILTERS = (
    "indent",
    "wordwrap",
    "center",
    "format",
    "pprint",
    "random",
    "xmlattr",
    "filesizeformat",
    "attr",
    "tojson",
    "urlize",
)
# Names that no template can write, and so not take away.
ROUND, JOIN = "0round", "0join"
GROWING = {"ljust", "rjust", "center", "zfill", "format", "format_map", "expandtabs", "replace", "join", "translate"}
REMOVED_GLOBALS = ("lipsum", "cycler", "joiner")
# What `{{ product.items }}` means is the method, as everywhere in Jinja.
METHODS_OF_DICT = frozenset(dir(dict))


class TooMuch(Exception):
    """A template that does not end, or writes without end."""


class Unknown(Undefined):
    """A value that is not known: it may be asked for (`{% if contact.age %}`), but nothing else."""

    __slots__ = ()
    __iter__ = __str__ = __len__ = __contains__ = Undefined._fail_with_undefined_error
    __eq__ = __ne__ = __hash__ = Undefined._fail_with_undefined_error


class Blank(Undefined):
    """A value that is not known, where a colleague reads it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "?"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class Sandbox(ImmutableSandboxedEnvironment):
    """Templates get plain data only. Every round of every loop and every call counts against a limit."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def __init__(self, *, autoescape: bool, currency: str, unknown: type[Undefined] = Unknown) -> None:
        super().__init__(autoescape=autoescape, undefined=unknown, keep_trailing_newline=True)
        for name in REMOVED_FILTERS:
            self.filters.pop(name, None)
        for name in REMOVED_GLOBALS:
            self.globals.pop(name, None)
        of_values = {"money": _money(currency), "date": _date, "number": _number}
        self.filters |= {name: _of_known(each) for name, each in of_values.items()} | {"plural": _plural}
        limited = {
            "replace": _replace,
            "join": _joined,
            "slice": _slice,
            "batch": _batch,
            "round": _rounded,
            "sum": _sum,
        }
        self.filters |= limited | {"striptags": _striptags}
        self.filters = {name: self._counted(each) for name, each in self.filters.items()} | {LEADING: leading}
        # Kept, as `self._round` is another object each time; its calls are told from others by it.
        self._guard = self._round
        self.globals |= {ROUND: self._guard, JOIN: _join}
        self._rounds = 0
        self._made = 0
        self._ends = 0.0

    def compile(self, source: Any, *arguments: Any, **options: Any) -> Any:
        """Python nests less deep than Jinja. Raises TemplateSyntaxError."""
        try:
            return super().compile(source, *arguments, **options)
        except (SyntaxError, RecursionError):
            raise TemplateSyntaxError("the template is nested too deep", 1) from None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        try:
            tree = super()._parse(source, name, filename)
            if self.autoescape:
                guard_addresses(tree)
            guarded = _Guard().visit(tree)
        except RecursionError:
            raise TemplateSyntaxError("the template is nested too deep", 1, name, filename) from None
        assert isinstance(guarded, nodes.Template)
        guarded.set_environment(self)
        return guarded

    def _round(self) -> None:
        self._rounds += 1
        if self._rounds > MOST_ROUNDS or time.monotonic() > self._ends:
            raise TooMuch(f"it takes more than {MOST_ROUNDS:,} rounds and calls, or {LONGEST_S:g} seconds")

    def _counted(self, filter_: Callable[..., Any]) -> Callable[..., Any]:
        """A filter whose every use counts, as `map` uses it for each of many, and what it writes too."""

        @wraps(filter_)
        def filtered(*arguments: Any, **named: Any) -> Any:
            self._round()
            made = filter_(*arguments, **named)
            if isinstance(made, str):
                self._made += len(made)
                not_too_long(self._made, MOST_DRAFTED)
            return made

        return filtered

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """A copy: those of a sandbox never change, and Jinja's chain of two is slow to copy for each message."""
        return {**self.globals, **(d or {})}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Jinja's, which looks for a method first and so raises an exception for each key of a dictionary."""
        if type(obj) is dict and attribute not in METHODS_OF_DICT:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Counts what a template calls: a macro can call itself. A round of a loop is such a call, and nothing else."""
        self._round()
        if obj is self._guard:
            return None
        return super().call(context, obj, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Also unsafe: methods that make gigabytes of a few characters."""
        return not (isinstance(obj, str) and attr in GROWING) and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuses `'x' * 10000000`, numbers without end and `'%99999999d' % 1`."""
        self._round()
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "**" and not (numbers and abs(left) < 1e6 and abs(right) <= 16):
            raise SecurityError("a power this large is not computed")
        if operator in ("*", "%") and not numbers:
            raise SecurityError(f"`{operator}` works on numbers only")
        if any(isinstance(each, int) and each.bit_length() > 256 for each in (left, right)):
            raise SecurityError("a number this large is not computed")
        if operator == "+" and isinstance(left, str | list | tuple):
            not_too_long(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def begin(self) -> None:
        """From here on rounds, calls and time count anew."""
        self._rounds, self._made, self._ends = 0, 0, time.monotonic() + LONGEST_S

    def render(self, template: Template, values: dict[str, Any]) -> str:
        """The template's output. Raises TooMuch past the limits, and what Jinja raises."""
        return "".join(self.pieces(template, values))

    def pieces(self, template: Template, values: dict[str, Any]) -> list[str]:
        """The output as it is made: texts of the template, each the same object every time, and what is filled in."""
        self.begin()
        parts: list[str] = []
        length = 0
        made = template.generate(values)
        while some := list(islice(made, AT_ONCE)):
            length += sum(map(len, some))
            not_too_long(length)
            # Half a character of UTF-16 is no text.
            parts += [part if part.isascii() else part.encode("utf-8", "replace").decode("utf-8") for part in some]
        return parts


class _Guard(NodeTransformer):
    """Puts the limits into a template: a call in every loop, and joins that look at their length."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - jinja2's name
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call(ROUND, [], node.lineno), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(JOIN, node.nodes, node.lineno)

    def visit_Include(self, node: nodes.Include) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`{% include %}` is not built yet", node.lineno)

    def visit_Import(self, node: nodes.Import) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`{% import %}` is not built yet", node.lineno)

    def visit_FromImport(self, node: nodes.FromImport) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`{% import %}` is not built yet", node.lineno)


def _call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load", lineno=line), arguments, [], None, None, lineno=line)


def not_too_long(length: int, most: int = MOST_CHARACTERS) -> None:
    """Raises TooMuch for a text of more characters than the limit."""
    if length > most:
        raise TooMuch(f"the text has more than {most:,} characters")


def _join(*parts: Any) -> str:
    """What `~` does, within the limit."""
    texts = [part if isinstance(part, str) else str(part) for part in parts]
    not_too_long(sum(len(text) for text in texts))
    return markup_join(texts)


def _replace(text: Any, old: str, new: str) -> str:
    """Jinja's `replace`, within the limit."""
    whole: str = text if isinstance(text, str) else str(text)
    not_too_long(len(whole) + (whole.count(old) if old else len(whole)) * len(new))
    return whole.replace(old, new)


@pass_eval_context
def _joined(context: nodes.EvalContext, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's `join`, within the limit."""
    items = [*value]
    not_too_long(len(str(d)) * len(items) + sum(len(each) for each in items if isinstance(each, str)))
    joined: str = sync_do_join(context, items, d, attribute)
    return joined


def _slice(value: Any, slices: int, fill_with: Any = None) -> Any:
    """Jinja's `slice`, into no more lists than a loop has rounds."""
    return sync_do_slice(value, _not_too_many(slices), fill_with)


def _batch(value: Any, linecount: int, fill_with: Any = None) -> Any:
    """Jinja's `batch`, in lines of no more than a loop has rounds."""
    return do_batch(value, _not_too_many(linecount), fill_with)


def _not_too_many(count: int) -> int:
    if count > MOST_ROUNDS:
        raise TooMuch(f"it makes more than {MOST_ROUNDS:,} of one")
    return count


def _rounded(value: float, precision: int = 0, method: Any = "common") -> float:
    """Jinja's `round`, to no more places than a number has."""
    if abs(precision) > 100:
        raise TooMuch("a number is rounded to more than 100 places")
    return do_round(value, precision, method)


@pass_environment
def _sum(environment: Environment, iterable: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    """Jinja's `sum`, of numbers alone: lists added to lists take time that grows with the square."""
    if isinstance(start, list | tuple | str):
        raise SecurityError("`sum` works on numbers only")
    return sync_do_sum(environment, iterable, attribute, start)


def _striptags(value: Any) -> str:
    """Jinja's `striptags`, whose time grows with the square of the comments."""
    text = str(value)
    not_too_long(len(text), MOST_MARKED_UP)
    return do_striptags(text)


def locale_of(name: object) -> Locale:
    """Babel's locale for `de`, `de-AT` or `de_AT`; English for what it does not know."""
    return _locale_of(str(name))


@lru_cache
def _locale_of(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale.parse("en")


def _of_known(filter_: Callable[..., str]) -> Callable[..., str]:
    """A filter of values that are known; one that is not says so, or is blank where a colleague reads it."""

    @pass_context
    def filtered(context: Context, value: Any, *more: Any, **named: Any) -> str:
        return str(value) if isinstance(value, Undefined) else filter_(context, value, *more, **named)

    return filtered


def _money(currency: str) -> Callable[..., str]:
    def money(context: Context, value: Any, unit: str = currency) -> str:
        amount = parse_number(value) if isinstance(value, str) else value
        locale = locale_of(context.get("locale"))
        # Both zeros are one to a cache.
        return _as_money(amount, unit, locale) if amount else format_currency(amount, unit, locale=locale)

    return money


# Many messages name few amounts, and Babel takes 50 µs for each.
@lru_cache(10_000, typed=True)
def _as_money(amount: Any, unit: str, locale: Locale) -> str:
    return format_currency(amount, unit, locale=locale)


def _number(context: Context, value: Any) -> str:
    amount = parse_number(value) if isinstance(value, str) else value
    return format_decimal(amount, locale=locale_of(context.get("locale")))


def _date(context: Context, value: Any, length: str = "long") -> str:
    locale = locale_of(context.get("locale"))
    if isinstance(value, str):
        value = parse_date(value)
    if isinstance(value, Birthday):
        return format_date(date(2000, value.month, value.day), "MMMM d" if length == "long" else "MMM d", locale=locale)
    if isinstance(value, datetime) and length == "time":
        return format_datetime(value, "short", locale=locale)
    if not isinstance(value, date):
        raise ValueError(f"`{value}` is no date")
    return format_date(value, length, locale=locale)


def _plural(number: Any, one: str, many: str) -> str:
    """`{{ 3|plural("day", "days") }}` is `3 days`."""
    count = parse_number(number) if isinstance(number, str) else number
    return f"{count} {one if count == 1 else many}"
