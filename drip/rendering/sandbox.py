"""The Jinja environment of templates: plain data, what is listed here and no
more, and every operation counted.

`limits` says what may be spent; `guarding` puts the counting into a template's
syntax tree, where Jinja has no hook for it.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterator,
    KeysView,
    MutableMapping,
    ValuesView,
)
from functools import wraps
from itertools import islice
from typing import Any, cast

from jinja2 import Template, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, markup_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace

from drip.core.characters import whole
from drip.rendering.addresses import LEADING, guard_addresses, leading
from drip.rendering.attributes import OF_DICTS, listed
from drip.rendering.filters import (
    LISTED_FILTERS,
    LISTED_TESTS,
    OF_ONE,
    OWN_TESTS,
    own_filters,
)
from drip.rendering.guarding import (
    BUILT,
    COMPARED,
    JOINED,
    LOOPED,
    ROUND,
    SHOWN,
    SLICED,
    OperationGuard,
)
from drip.rendering.limits import (
    LONGEST_SOUGHT,
    MADE,
    MOST_BITS,
    MOST_CHARACTERS,
    MOST_FILTERED,
    PRINTED,
    READ,
    SHORT,
    SMALL,
    TEXTS,
    USE,
    Budget,
    gathered,
    is_collection,
    not_too_long,
    size,
)

# Of a syntax tree, whose compiling takes 50 µs and 8 KB for each at best.
MOST_NODES = 20_000
# So many pieces of an output are looked at together; each of them is within the
# limit by itself.
AT_ONCE = 32
GLOBALS = ("dict", "namespace", "range")
GUARDS = (ROUND, LOOPED, BUILT, JOINED, SLICED, COMPARED, SHOWN, LEADING)
# Filters that compare what is in a list, or put it into lower case.
SORTING = frozenset(("dictsort", "groupby", "max", "min", "sort", "unique"))


class UnknownValue(Undefined):
    """A value that is not known: it may be asked for (`{% if contact.age %}`),
    but nothing else.
    """

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
    """Fills in templates, each within a budget of its own. Threads may share one."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(
        self,
        *,
        autoescape: bool,
        currency: str,
        unknown: type[Undefined] = UnknownValue,
    ) -> None:
        super().__init__(
            autoescape=autoescape, undefined=unknown, keep_trailing_newline=True
        )
        self.budget = Budget()
        listed = {name: FILTERS[name] for name in LISTED_FILTERS}
        listed |= own_filters(currency)
        self.filters = {name: self._counted(name, listed[name]) for name in listed}
        self.filters |= self._guards()
        tests = {name: cast(Callable[..., bool], TESTS[name]) for name in LISTED_TESTS}
        tests |= OWN_TESTS
        self.tests = {name: self._looked_into(tests[name]) for name in tests}
        self.globals = {name: self.globals[name] for name in GLOBALS}

    def _guards(self) -> dict[str, Callable[..., Any]]:
        """What `guarding` puts in, by names that no template can write."""
        return {
            ROUND: self.budget.spend,
            LOOPED: self._looped,
            BUILT: self._built,
            JOINED: self._joined,
            SLICED: self._sliced,
            COMPARED: self._compared,
            SHOWN: self._shown,
            LEADING: leading,
        }

    # --- making ready

    def compile(
        self,
        source: Any,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        """Python nests less deep than Jinja. Raises TemplateSyntaxError."""
        try:
            return super().compile(source, *arguments, **options)
        except (SyntaxError, RecursionError):
            raise TemplateSyntaxError("the template is nested too deep", 1) from None

    def _parse(
        self,
        source: str,
        name: str | None,
        filename: str | None,
    ) -> nodes.Template:
        if len(source) > MOST_CHARACTERS:
            sentence = f"the template has more than {MOST_CHARACTERS:,} characters"
            raise TemplateSyntaxError(sentence, 1, name, filename)
        try:
            tree = super()._parse(source, name, filename)
            if _has_too_many_nodes(tree):
                sentence = (
                    f"the template is made of more than {MOST_NODES:,} tags, values and"
                    " texts"
                )
                raise TemplateSyntaxError(sentence, 1, name, filename)
            if self.autoescape:
                guard_addresses(tree)
            guarded = OperationGuard().visit(tree)
        except RecursionError:
            sentence = "the template is nested too deep"
            raise TemplateSyntaxError(sentence, 1, name, filename) from None
        assert isinstance(guarded, nodes.Template)
        guarded.set_environment(self)
        return guarded

    def make_globals(
        self, d: MutableMapping[str, Any] | None
    ) -> MutableMapping[str, Any]:
        """A copy: those of a sandbox never change, and Jinja's chain of two is
        slow to copy for each message.
        """
        return {**self.globals, **(d or {})}

    # --- filling in

    def render(
        self,
        template: Template,
        values: dict[str, Any],
    ) -> str:
        """The template's output.

        Raises TooMuch past the limits, and what Jinja raises.
        """
        return "".join(self.pieces(template, values))

    def pieces(
        self,
        template: Template,
        values: dict[str, Any],
    ) -> list[str]:
        """The output as it is made: texts of the template, each the same object
        every time, and what is filled in.
        """
        parts: list[str] = []
        length = 0
        with self.budget:
            made = template.generate(values)
            while some := list(islice(made, AT_ONCE)):
                length += sum(map(len, some))
                not_too_long(length)
                parts += [part if part.isascii() else whole(part) for part in some]
        return parts

    def concat(self, pieces: Any) -> str:
        """What a macro, a block or `{% set %}` wrote, within the limit."""
        parts = list(pieces)
        length = sum(map(len, parts))
        not_too_long(length)
        self.budget.spend(length // MADE)
        return "".join(parts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A value of a dictionary, or what is listed of another kind of value."""
        kind = type(obj)
        if kind is dict:
            if attribute in obj:
                return obj[attribute]
            if attribute not in OF_DICTS:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, Undefined) or attribute in listed(obj):
            if kind in TEXTS:
                not_too_long(len(obj), MOST_FILTERED)
            return super().getattr(obj, attribute)
        if kind is Namespace and not attribute.startswith("_"):
            return super().getattr(obj, attribute)
        if hasattr(kind, attribute):
            return self.unsafe_undefined(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A value by its place or name; else as `getattr`.

        Raises SecurityError for a key that is no text or number.
        """
        if not isinstance(argument, str | int | Undefined):
            raise SecurityError(
                "what stands between [ and ] is a text or a whole number"
            )
        if is_collection(obj) or isinstance(obj, str):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return self.undefined(obj=obj, name=str(argument))

    def call(
        self,
        context: Context,
        obj: Any,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Counts what a template calls, with what, and what it gives: a macro can call
        itself.
        """
        steps = USE + len(args) + len(kwargs)
        if kwargs:
            # Jinja tells functions that take its context what is set around them; none
            # of ours does.
            kwargs.pop("_loop_vars", None)
            kwargs.pop("_block_vars", None)
            steps += self._read(*kwargs.values())
        if args:
            steps += self._read(*args)
        steps += self._steps_of_owner(getattr(obj, "__self__", None), args)
        self.budget.spend(steps)
        return self._made(super().call(context, obj, *args, **kwargs))

    def _steps_of_owner(
        self,
        owner: Any,
        args: tuple[Any, ...],
    ) -> int:
        """What it takes to look through the text or list whose method is called.

        Raises TooMuch where a text is sought in it that is too long: that can take the
        product of both.
        """
        if isinstance(owner, str):
            for sought in args:
                if isinstance(sought, str):
                    not_too_long(len(sought), LONGEST_SOUGHT)
            return len(owner) // READ
        return self._read(owner) if isinstance(owner, list | tuple) else 0

    def call_filter(
        self,
        name: str,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        """A filter by its name, as `map` has it.

        Raises SecurityError for one of those that count.
        """
        if name in GUARDS:
            raise SecurityError(f"there is no filter `{name}`")
        return super().call_filter(name, *arguments, **options)

    def call_binop(
        self,
        context: Context,
        operator: str,
        left: Any,
        right: Any,
    ) -> Any:
        """Counts what is computed. Raises SecurityError for what would cost too
        much."""
        _refuse_costly(operator, left, right)
        if operator == "+" and (isinstance(left, str) or is_collection(left)):
            not_too_long(len(left) + len(right))
        self.budget.spend()
        return self._made(super().call_binop(context, operator, left, right))

    # --- counting

    def _counted(
        self,
        name: str,
        filter_: Callable[..., Any],
    ) -> Callable[..., Any]:
        """A filter whose every use counts, as `map` uses it for each of many, and what
        it takes and makes.
        """
        # Jinja puts its context before the value for some.
        first = int(hasattr(filter_, "jinja_pass_arg"))
        of_many = name not in OF_ONE
        spend = self.budget.spend

        @wraps(filter_)
        def filtered(*arguments: Any, **named: Any) -> Any:
            value = arguments[first]
            if type(value) in TEXTS:
                if len(value) > SHORT:
                    not_too_long(len(value), MOST_FILTERED)
                    spend(len(value) // READ)
                if of_many:
                    names = _looked_up(arguments[first + 1 :], named)
                    if names > 1:
                        spend(len(value) * names)
                spend()
            elif _costs_one_use(name, value):
                spend()
            elif not of_many or not is_collection(value):
                raise SecurityError(f"`{name}` cannot be used on {_called(value)}")
            else:
                length = self._read(value) if name in SORTING else len(value)
                names = _looked_up(arguments[first + 1 :], named)
                spend(USE + length * names)
            made = filter_(*arguments, **named)
            if type(made) in TEXTS and len(made) <= SHORT:
                return made
            return self._made(made)

        return filtered

    def _looked_into(self, test: Callable[..., bool]) -> Callable[..., bool]:
        """A test whose every use counts, with what it looks at."""
        first = int(hasattr(test, "jinja_pass_arg"))

        @wraps(test)
        def tested(*arguments: Any, **named: Any) -> bool:
            self.budget.spend(USE + self._read(*arguments[first:], *named.values()))
            return test(*arguments, **named)

        return tested

    def _made(self, value: Any) -> Any:
        """What an operation gave, counted; what would be made later is made now."""
        kind = type(value)
        if kind in TEXTS:
            if len(value) > SHORT:
                self.budget.spend(len(value) // MADE)
                not_too_long(len(value))
            return value
        if kind in SMALL:
            return value
        if isinstance(value, Iterator | KeysView | ItemsView | ValuesView):
            value = gathered(iter(value), self.budget)
        return self._built(value) if is_collection(value) else value

    def _read(self, *values: Any) -> int:
        """How many steps it takes to look at all of some values."""
        steps = 0
        for value in values:
            if type(value) in TEXTS:
                steps += len(value) // READ
            elif is_collection(value):
                count, characters = size(value)
                steps += count + characters // READ
        return steps

    # --- what `guarding` puts in

    def _looped(self, value: Any) -> Any:
        """What a loop goes through, by how much it is."""
        if isinstance(value, str):
            not_too_long(len(value), MOST_FILTERED)
        elif not is_collection(value):
            if not isinstance(value, Undefined) and type(value) not in SMALL:
                raise SecurityError(f"a loop cannot go through {_called(value)}")
            return value
        self.budget.spend(len(value))
        return value

    def _built(self, value: Any) -> Any:
        """A list, by all that is in it."""
        self.budget.spend(size(value)[0])
        return value

    def _joined(self, *parts: Any) -> str:
        """Parts of a text put together (`~`)."""
        texts = [
            part if isinstance(part, str) else str(self._shown(part)) for part in parts
        ]
        not_too_long(sum(map(len, texts)))
        self.budget.spend()
        made: str = self._made(markup_join(texts))
        return made

    def _sliced(
        self,
        value: Any,
        start: int | None,
        stop: int | None,
        step: int | None,
    ) -> Any:
        """A part of a text or list, by what it is cut from."""
        steps = len(value) if is_collection(value) else self._read(value)
        self.budget.spend(USE + steps)
        return self._made(value[start:stop:step])

    def _compared(self, value: Any) -> Any:
        """What is compared, by how long that takes."""
        if type(value) not in SMALL and (steps := self._read(value)):
            self.budget.spend(steps)
        return value

    def _shown(self, value: Any) -> Any:
        """Only what reads as a text is written out; a list would show its brackets."""
        kind = type(value)
        if kind in TEXTS:
            if len(value) > SHORT:
                self.budget.spend(len(value) // PRINTED)
        elif kind not in SMALL and not isinstance(value, Undefined):
            raise SecurityError(
                f"{_called(value)} cannot be written out: name what of it is to stand there"
            )
        return value


def _called(value: Any) -> str:
    """What a marketer calls it."""
    if isinstance(value, dict):
        return "a record (a value with fields of its own)"
    if is_collection(value):
        return "a list (`|join(', ')` makes a text of it)"
    return (
        "a function (it lacks its brackets)"
        if callable(value)
        else f"a {type(value).__name__}"
    )


def _costs_one_use(name: str, value: Any) -> bool:
    """Whether a filter looks at no more than one value, whatever is in it."""
    if name in ("d", "default") or isinstance(value, Undefined):
        return True
    return type(value) in SMALL


def _looked_up(
    more: tuple[Any, ...],
    named: dict[str, Any],
) -> int:
    """How many names are looked up in each value, by what a filter is given besides."""
    most = 1
    for argument in (*more, *named.values()):
        if isinstance(argument, str):
            most = max(most, _names_in(argument))
    return most


def _is_large(number: Any) -> bool:
    return isinstance(number, int) and number.bit_length() > MOST_BITS


def _refuse_costly(
    operator: str,
    left: Any,
    right: Any,
) -> None:
    """Raises SecurityError for what takes long, or makes much of little, however short
    it is written: `'x' * 10000000`, numbers without end, `'%99999999d' % 1`.
    """
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if operator in ("*", "%") and not numbers:
        raise SecurityError(f"`{operator}` works on numbers only")
    if operator == "**" and not (numbers and abs(left) < 1e6 and abs(right) <= 16):
        raise SecurityError("a power this large is not computed")
    if _is_large(left) or _is_large(right):
        raise SecurityError("a number this large is not computed")


def _has_too_many_nodes(tree: nodes.Template) -> bool:
    beyond = islice(tree.find_all(nodes.Node), MOST_NODES, None)
    return next(beyond, None) is not None


def _names_in(attribute: str) -> int:
    """How many names are looked up for each value: `attribute="vehicle.model,
    year"`.
    """
    return attribute.count(".") + attribute.count(",") + 1
