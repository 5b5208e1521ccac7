"""Templates with everything filled in that does not depend on the contact:
layout, this week's products, the footer.

Partial evaluation of Jinja's syntax tree, once for each occurrence; what is
left is filled in for each message, so that a message costs what is personal in
it. The result is that of the plain template, character for character: whatever
cannot be shown to be the same for everybody stays as it is. An expression is
filled in only if all its names are known and it is made of operators, filters
and tests alone, which are pure here; a loop is unrolled if what it goes through
is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any, Protocol

from jinja2 import Template, nodes

from drip.core.calendar import Birthday
from drip.rendering import limits
from drip.rendering.guarding import is_guard
from drip.rendering.limits import not_too_long
from drip.rendering.sandbox import Sandbox

# A loop is unrolled up to so many rounds, and a template up to so many nodes,
# `limits.MOST_CHARACTERS` and `limits.LONGEST_S`.
MOST_ROUNDS, MOST_NODES = 500, 20_000
# What expressions that can be filled in are made of.
PURE = (
    nodes.Name,
    nodes.Const,
    nodes.TemplateData,
    nodes.Tuple,
    nodes.List,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.Filter,
    nodes.Test,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.BinExpr,
    nodes.UnaryExpr,
)
TOO_FAR = (
    nodes.EvalContextModifier,
    nodes.ScopedEvalContextModifier,
    nodes.Extends,
    nodes.Block,
)
PLAIN = (str, int, float, bool, type(None), date, Birthday)
LOOP = ("index", "index0", "revindex", "revindex0", "first", "last", "length")
RESULT = "0result"
Env = dict[str, Any]
# A test, None for what comes if no other holds, and its statements.
Branch = tuple[nodes.Node | None, list[nodes.Node]]


class Specialised(Protocol):
    """What is left of a template."""

    def pieces(self, sandbox: Sandbox, values: dict[str, Any]) -> list[str]:
        """As those of the plain template with these values.

        Raises TooMuch past the limits, and what Jinja raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rest:
    """A template in which statements are left, and the values that it needs
    beside a message's own.
    """

    template: Template
    bound: Mapping[str, Any]

    def pieces(self, sandbox: Sandbox, values: dict[str, Any]) -> list[str]:
        return sandbox.pieces(self.template, {**values, **self.bound})


@dataclass(frozen=True, slots=True)
class Flat:
    """A template of which texts and expressions alone are left.

    A pure expression is worked out once, however often it is written.

    `parts` are the texts in their order, with an empty one in each gap; `gaps`
    says which ones each expression fills, in the order of `template`, which
    writes nothing but the expressions.
    """

    template: Template
    parts: list[str]
    gaps: tuple[tuple[int, ...], ...]
    length: int

    def pieces(self, sandbox: Sandbox, values: dict[str, Any]) -> list[str]:
        made = sandbox.pieces(self.template, values)
        parts, length = self.parts.copy(), self.length
        for piece, gaps in zip(made, self.gaps, strict=True):
            length += len(piece) * len(gaps)
            for gap in gaps:
                parts[gap] = piece
        not_too_long(length)
        return parts


def specialised(
    sandbox: Sandbox, tree: nodes.Template, known: Mapping[str, Any]
) -> Specialised | None:
    """The template for these values of some of its names; None where it cannot
    be shown to be the same.
    """
    # Filters write dates and amounts by `locale`, wherever they stand.
    if (
        "locale" not in known
        or "locale" in _assigned(tree)
        or any(tree.find_all(TOO_FAR))
    ):
        return None
    work = _Specialiser(sandbox)
    try:
        body = _without_unused(
            work.body(
                tree.body,
                {name: value for name, value in known.items() if _plain(value)},
            )
        )
    except _TooLarge:
        return None
    return _flat(sandbox, body) or Rest(_compiled(sandbox, body), work.bound)


def _compiled(sandbox: Sandbox, statements: list[nodes.Node]) -> Template:
    tree = nodes.Template(statements, lineno=1)
    tree.set_environment(sandbox)
    return Template.from_code(
        sandbox, sandbox.compile(tree), sandbox.make_globals(None)
    )


def _flat(sandbox: Sandbox, body: list[nodes.Node]) -> Flat | None:
    """The template as texts and expressions, if it is nothing else."""
    if len(body) != 1 or not isinstance(body[0], nodes.Output):
        return None
    parts: list[str] = []
    expressions: list[nodes.Expr] = []
    gaps: dict[str, list[int]] = {}
    for each in body[0].nodes:
        if not isinstance(each, nodes.TemplateData):
            if _is_constant(each):
                # Jinja writes it together with its neighbours.
                return None
            written = repr(each) if _is_pure(each) else str(len(parts))
            if written not in gaps:
                expressions.append(each)
            gaps.setdefault(written, []).append(len(parts))
        parts.append(each.data if isinstance(each, nodes.TemplateData) else "")
    template = _compiled(sandbox, [nodes.Output(expressions, lineno=1)])
    return Flat(template, parts, tuple(map(tuple, gaps.values())), sum(map(len, parts)))


def _is_constant(node: nodes.Expr) -> bool:
    """Whether Jinja can tell what comes of it: `{{ 'a' or b }}` is such a one too."""
    try:
        node.as_const()
    except nodes.Impossible:
        return False
    return True


def _is_pure(node: nodes.Node) -> bool:
    return isinstance(node, PURE) and all(
        _is_pure(each) for each in node.iter_child_nodes()
    )


class _TooLarge(Exception):
    """Specialised it would be longer, or take longer, than it is worth."""


@dataclass
class _Specialiser:
    sandbox: Sandbox
    bound: Env = field(default_factory=dict)
    _nodes: int = 0
    _characters: int = 0
    _ends: float = field(default_factory=lambda: time.monotonic() + limits.LONGEST_S)

    def body(self, statements: list[nodes.Node], env: Env) -> list[nodes.Node]:
        """The statements with what is known filled in; `env` has afterwards
        what is known behind them.
        """
        return _together(
            each for statement in statements for each in self._statement(statement, env)
        )

    def _statement(self, node: nodes.Node, env: Env) -> list[nodes.Node]:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _TooLarge
        match node:
            case nodes.Output():
                shown = [self._shown(each, env) for each in node.nodes]
                self._characters += sum(
                    len(each.data)
                    for each in shown
                    if isinstance(each, nodes.TemplateData)
                )
                if self._characters > limits.MOST_CHARACTERS:
                    raise _TooLarge
                return [nodes.Output(shown, lineno=node.lineno)]
            case nodes.If():
                return self._if(node, env)
            case nodes.For():
                return self._for(node, env)
            case nodes.Assign(target=nodes.Name(name=name)):
                value = self._value(node.node, env)
                _forget(env, [name])
                if value is not _UNKNOWN and _plain(value):
                    env[name] = value
                return [node]
            case _:
                # Everything else stays; what it may assign is not known behind it.
                _forget(env, _assigned(node))
                return [node]

    def _shown(self, node: nodes.Expr, env: Env) -> nodes.Expr:
        """An expression that is written out, as the text that comes of it."""
        if isinstance(node, nodes.TemplateData) or not _is_known(node, env):
            return node
        self._look_at_the_clock()
        output = _compiled(self.sandbox, [nodes.Output([node], lineno=node.lineno)])
        try:
            text = self.sandbox.render(output, dict(env))
        except Exception:
            # It fails for everybody, and says so when it is filled in.
            return node
        return nodes.TemplateData(text, lineno=node.lineno)

    def _value(self, node: nodes.Node, env: Env) -> Any:
        if not _is_known(node, env):
            return _UNKNOWN
        self._look_at_the_clock()
        assign = nodes.Assign(
            nodes.Name(RESULT, "store", lineno=node.lineno), node, lineno=node.lineno
        )
        try:
            template = _compiled(self.sandbox, [assign])
            with self.sandbox.budget:
                return vars(template.make_module(dict(env)))[RESULT]
        except Exception:
            # It fails for everybody, and says so when it is filled in.
            return _UNKNOWN

    def _look_at_the_clock(self) -> None:
        """Every expression has a budget of its own, also where no message would
        come by.
        """
        if time.monotonic() > self._ends:
            raise _TooLarge

    # --- branches

    def _if(self, node: nodes.If, env: Env) -> list[nodes.Node]:
        """A branch that is known to be taken takes the place of all; one that
        is known not to be is left out.
        """
        branches: list[Branch] = [(node.test, node.body)]
        branches += [(each.test, each.body) for each in node.elif_]
        branches.append((None, node.else_))
        possible: list[Branch] = []
        for test, body in branches:
            value = True if test is None else self._truth(test, env)
            if value is _UNKNOWN:
                possible.append((test, body))
            elif value:
                possible.append((None, body))
                break
        if possible[0][0] is None:
            return self.body(possible[0][1], env)
        before = dict(env)
        left: list[Branch] = []
        for test, body in possible:
            left.append((test, self.body(body, dict(before))))
        for _, body in possible:
            for each in body:
                _forget(env, _assigned(each))
        (first, then), *more = left
        assert first is not None
        elifs = [
            nodes.If(test, body, [], [], lineno=node.lineno)
            for test, body in more
            if test is not None
        ]
        rest = next((body for test, body in more if test is None), [])
        return [nodes.If(first, then, elifs, rest, lineno=node.lineno)]

    def _truth(self, node: nodes.Node, env: Env) -> Any:
        value = self._value(
            nodes.CondExpr(
                node, nodes.Const(True), nodes.Const(False), lineno=node.lineno
            ),
            env,
        )
        return value if value in (True, False) else _UNKNOWN

    # --- loops

    def _for(self, node: nodes.For, env: Env) -> list[nodes.Node]:
        items = self._items(node, env)
        if items is not None:
            unrolled = self._unrolled(node, items, env)
            if unrolled is not None:
                return unrolled
        inside = dict(env)
        _forget(inside, [*_names(node.target), "loop"])
        body = self.body(node.body, inside)
        rest = self.body(node.else_, dict(env))
        return [
            nodes.For(
                node.target,
                node.iter,
                body,
                rest,
                node.test,
                node.recursive,
                lineno=node.lineno,
            )
        ]

    def _items(self, node: nodes.For, env: Env) -> list[Any] | None:
        """What the loop goes through, if that is known."""
        target = node.target
        simple = isinstance(target, nodes.Name) or (
            isinstance(target, nodes.Tuple)
            and all(isinstance(each, nodes.Name) for each in target.items)
        )
        if node.recursive or not simple:
            return None
        value = self._value(
            nodes.Filter(node.iter, "list", [], [], None, None, lineno=node.lineno), env
        )
        if value is _UNKNOWN or len(value) > MOST_ROUNDS or not all(map(_plain, value)):
            return None
        kept = []
        for item in value:
            inside = self._with(target, item, env)
            passes = (
                True if node.test is None else inside and self._truth(node.test, inside)
            )
            if inside is None or passes is _UNKNOWN:
                return None
            if passes:
                kept.append(item)
        return kept

    def _with(self, target: nodes.Node, item: Any, env: Env) -> Env | None:
        """What is known within a round; None if the item does not fit the target."""
        if isinstance(target, nodes.Name):
            return {**env, target.name: item}
        names = _names(target)
        if not isinstance(item, list | tuple) or len(item) != len(names):
            return None
        return {**env, **dict(zip(names, item, strict=True))}

    def _unrolled(
        self, node: nodes.For, items: list[Any], env: Env
    ) -> list[nodes.Node] | None:
        """Each round by itself; None if a round needs the loop."""
        loops = [each for each in _loads(node.body) if each == "loop"]
        if loops and not _asks_loop_simply(node.body):
            return None
        targets = set(_names(node.target))
        left: list[nodes.Node] = []
        for number, item in enumerate(items):
            inside = self._with(node.target, item, env)
            assert inside is not None
            inside["loop"] = _place(number, len(items))
            # The round is counted against the limits where it takes place,
            # which is here.
            body = self.body([each for each in node.body if not is_guard(each)], inside)
            used = set(_loads(body))
            if "loop" in used:
                return None
            if used & targets:
                name = f"0v{len(self.bound)}"
                self.bound[name] = item
                bind = nodes.Assign(
                    node.target,
                    nodes.Name(name, "load", lineno=node.lineno),
                    lineno=node.lineno,
                )
                body = [bind, *body]
            scoped = any(_assigned(each) for each in body)
            left += [nodes.Scope(body, lineno=node.lineno)] if scoped else body
        if not items:
            left = self.body(node.else_, dict(env))
            left = (
                [nodes.Scope(left, lineno=node.lineno)]
                if any(_assigned(each) for each in left)
                else left
            )
        return left


_UNKNOWN = object()


def _is_known(node: nodes.Node, env: Env) -> bool:
    """Whether an expression is the same for everybody."""
    if not isinstance(node, PURE):
        return False
    if isinstance(node, nodes.Name):
        return node.name in env
    return all(_is_known(each, env) for each in node.iter_child_nodes())


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return isinstance(value, PLAIN)


def _names(target: nodes.Node) -> list[str]:
    found = [each.name for each in target.find_all(nodes.Name)]
    return [target.name, *found] if isinstance(target, nodes.Name) else found


def _assigned(node: nodes.Node) -> list[str]:
    """Every name that a statement may give another meaning to."""
    found = [each.name for each in node.find_all(nodes.Name) if each.ctx != "load"]
    found += [each.name for each in node.find_all(nodes.NSRef)]
    found += [each.name for each in node.find_all(nodes.Macro)]
    return [*found, node.name] if isinstance(node, nodes.Macro) else found


def _forget(env: Env, names: list[str]) -> None:
    for name in names:
        env.pop(name, None)


def _loads(statements: list[nodes.Node]) -> Iterator[str]:
    for node in statements:
        if isinstance(node, nodes.Name):
            yield node.name
        yield from (
            each.name for each in node.find_all(nodes.Name) if each.ctx == "load"
        )
        yield from (each.name for each in node.find_all(nodes.NSRef))


def _asks_loop_simply(body: list[nodes.Node]) -> bool:
    """Whether `loop` is only asked where in the loop it is, and by no loop within."""
    asked = sum(1 for name in _loads(body) if name == "loop")
    simple = 0
    for node in body:
        if isinstance(node, nodes.For) or any(node.find_all(nodes.For)):
            return False
        for each in node.find_all(nodes.Getattr):
            simple += (
                isinstance(each.node, nodes.Name)
                and each.node.name == "loop"
                and each.attr in LOOP
            )
    return asked == simple


def _place(number: int, length: int) -> dict[str, Any]:
    return {
        "index": number + 1,
        "index0": number,
        "revindex": length - number,
        "revindex0": length - number - 1,
        "first": number == 0,
        "last": number == length - 1,
        "length": length,
    }


def _together(statements: Iterable[nodes.Node]) -> list[nodes.Node]:
    """What is written one after the other, as one."""
    left: list[nodes.Node] = []
    for each in statements:
        if (
            isinstance(each, nodes.Output)
            and left
            and isinstance(left[-1], nodes.Output)
        ):
            left[-1].nodes += each.nodes
        else:
            left.append(each)
    for each in left:
        if isinstance(each, nodes.Output):
            each.nodes = _joined(each.nodes)
    return left


def _joined(written: list[nodes.Expr]) -> list[nodes.Expr]:
    """Texts beside each other as one."""
    left: list[nodes.Expr] = []
    for are_texts, beside in groupby(
        written, lambda each: isinstance(each, nodes.TemplateData)
    ):
        together = list(beside)
        if are_texts:
            whole = "".join(
                each.data for each in together if isinstance(each, nodes.TemplateData)
            )
            together = [nodes.TemplateData(whole, lineno=together[0].lineno)]
        left += together
    return left


def _without_unused(body: list[nodes.Node]) -> list[nodes.Node]:
    """Without assignments of what is asked for nowhere any more."""
    used = set(_loads(body))
    return _together(
        each
        for each in body
        if not (
            isinstance(each, nodes.Assign)
            and isinstance(each.target, nodes.Name)
            and each.target.name not in used
            and _cannot_fail(each.node)
        )
    )


def _cannot_fail(node: nodes.Node) -> bool:
    kinds = (
        nodes.Const,
        nodes.List,
        nodes.Tuple,
        nodes.Dict,
        nodes.Pair,
        nodes.TemplateData,
    )
    return isinstance(node, kinds) and all(
        _cannot_fail(each) for each in node.iter_child_nodes()
    )
