"""Templates with everything filled in that does not depend on the contact: layout,
this week's products, the footer.

Partial evaluation of Jinja's syntax tree, once for each occurrence; what is left is
filled in for each message, so that a message costs what is personal in it. The result
is that of the plain template, character for character: whatever cannot be shown to be
the same for everybody stays as it is. An expression is filled in only if all its names
are known and it is made of operators, filters and tests alone, which are pure here; a
loop is unrolled if what it goes through is known.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from jinja2 import Template, nodes

from drip.core.calendar import Birthday
from drip.rendering import limits
from drip.rendering.guarding import is_guard
from drip.rendering.limits import not_too_long
from drip.rendering.sandbox import Sandbox
from drip.rendering.syntax import (
    PURE,
    Statements,
    asks_loop_simply,
    assigned,
    is_constant,
    is_pure,
    loads,
    names_of,
    together,
    without_unused,
)

# A loop is unrolled up to so many rounds, and a template up to so many nodes,
# `limits.MOST_CHARACTERS` and `limits.LONGEST_S`.
MOST_ROUNDS = 500
MOST_NODES = 20_000
TOO_FAR = (
    nodes.EvalContextModifier,
    nodes.ScopedEvalContextModifier,
    nodes.Extends,
    nodes.Block,
)
PLAIN = (str, int, float, bool, type(None), date, Birthday)
RESULT = "0result"
Env = dict[str, Any]


class Specialised(Protocol):
    """What is left of a template."""

    def pieces(
        self,
        sandbox: Sandbox,
        values: dict[str, Any],
    ) -> list[str]:
        """As those of the plain template with these values.

        Raises TooMuch past the limits, and what Jinja raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rest:
    """A template in which statements are left, and the values that it needs beside a
    message's own.
    """

    template: Template
    bound: Mapping[str, Any]

    def pieces(
        self,
        sandbox: Sandbox,
        values: dict[str, Any],
    ) -> list[str]:
        return sandbox.pieces(self.template, {**values, **self.bound})


@dataclass(frozen=True, slots=True)
class Flat:
    """A template of which texts and expressions alone are left.

    A pure expression is worked out once, however often it is written.

    - `parts`: the texts in their order, with an empty one in each gap.
    - `gaps`: which ones each expression fills, in the order of `template`, which writes
      nothing but the expressions.
    - `length`: of all texts together, in characters.
    """

    template: Template
    parts: list[str]
    gaps: tuple[tuple[int, ...], ...]
    length: int

    def pieces(
        self,
        sandbox: Sandbox,
        values: dict[str, Any],
    ) -> list[str]:
        made = sandbox.pieces(self.template, values)
        parts, length = self.parts.copy(), self.length
        for piece, gaps in zip(made, self.gaps, strict=True):
            length += len(piece) * len(gaps)
            for gap in gaps:
                parts[gap] = piece
        not_too_long(length)
        return parts


def specialised(
    sandbox: Sandbox,
    tree: nodes.Template,
    known: Mapping[str, Any],
) -> Specialised | None:
    """The template for these values of some of its names.

    None where it cannot be shown to be the same.
    """
    # Filters write dates and amounts by `locale`, wherever they stand.
    if "locale" not in known or "locale" in assigned(tree):
        return None
    if any(tree.find_all(TOO_FAR)):
        return None
    specialiser = _Specialiser(sandbox)
    env = {name: value for name, value in known.items() if _is_plain(value)}
    try:
        body = without_unused(specialiser.body(tree.body, env))
    except _TooLarge:
        return None
    flat = _flat(sandbox, body)
    return flat or Rest(_compiled(sandbox, body), specialiser.bound)


def _compiled(
    sandbox: Sandbox,
    statements: Statements,
) -> Template:
    """Statements as a template of the same sandbox."""
    tree = nodes.Template(statements, lineno=1)
    tree.set_environment(sandbox)
    code = sandbox.compile(tree)
    return Template.from_code(sandbox, code, sandbox.make_globals(None))


def _flat(
    sandbox: Sandbox,
    body: Statements,
) -> Flat | None:
    """The template as texts and expressions, if it is nothing else."""
    if len(body) != 1 or not isinstance(body[0], nodes.Output):
        return None
    expressions: dict[str, nodes.Expr] = {}
    gaps: dict[str, list[int]] = {}
    for place, node in enumerate(body[0].nodes):
        if isinstance(node, nodes.TemplateData):
            continue
        if is_constant(node):
            # Jinja writes it together with its neighbours.
            return None
        key = repr(node) if is_pure(node) else str(place)
        expressions.setdefault(key, node)
        gaps.setdefault(key, []).append(place)
    output = nodes.Output(list(expressions.values()), lineno=1)
    parts = list(map(_text_in, body[0].nodes))
    return Flat(
        template=_compiled(sandbox, [output]),
        parts=parts,
        gaps=tuple(map(tuple, gaps.values())),
        length=sum(map(len, parts)),
    )


def _text_in(node: nodes.Expr) -> str:
    """What stands there; nothing for an expression, whose text comes later."""
    return node.data if isinstance(node, nodes.TemplateData) else ""


class _TooLarge(Exception):
    """Specialised it would be longer, or take longer, than it is worth."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """A test, None for what comes if no other holds, and its statements."""

    test: nodes.Node | None
    body: Statements


@dataclass
class _Specialiser:
    sandbox: Sandbox
    # What rounds of loops go through, by names that no template can write.
    bound: Env = field(default_factory=dict)
    _nodes: int = 0
    _characters: int = 0
    _ends: float = field(default_factory=lambda: time.monotonic() + limits.LONGEST_S)

    def body(
        self,
        statements: Statements,
        env: Env,
    ) -> Statements:
        """The statements with what is known filled in.

        `env` has afterwards what is known behind them. Raises _TooLarge.
        """
        left: Statements = []
        for statement in statements:
            left += self._statement(statement, env)
        return together(left)

    def _statement(
        self,
        node: nodes.Node,
        env: Env,
    ) -> Statements:
        """One statement, as those that are left of it."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _TooLarge
        match node:
            case nodes.Output():
                return [self._output(node, env)]
            case nodes.If():
                return self._if(node, env)
            case nodes.For():
                return self._for(node, env)
            case nodes.Assign(target=nodes.Name(name=name), node=value):
                self._assign(name, value, env)
                return [node]
        # Everything else stays; what it may assign is not known behind it.
        _forget(env, assigned(node))
        return [node]

    def _output(
        self,
        node: nodes.Output,
        env: Env,
    ) -> nodes.Output:
        """What is written, as far as it is the same for everybody."""
        shown = [self._shown(expression, env) for expression in node.nodes]
        for expression in shown:
            if isinstance(expression, nodes.TemplateData):
                self._characters += len(expression.data)
        if self._characters > limits.MOST_CHARACTERS:
            raise _TooLarge
        return nodes.Output(shown, lineno=node.lineno)

    def _shown(
        self,
        node: nodes.Expr,
        env: Env,
    ) -> nodes.Expr:
        """An expression that is written out, as the text that comes of it."""
        if isinstance(node, nodes.TemplateData) or not _is_known(node, env):
            return node
        self._look_at_the_clock()
        output = nodes.Output([node], lineno=node.lineno)
        template = _compiled(self.sandbox, [output])
        try:
            text = self.sandbox.render(template, dict(env))
        except Exception:
            # It fails for everybody, and says so when it is filled in.
            return node
        return nodes.TemplateData(text, lineno=node.lineno)

    def _assign(
        self,
        name: str,
        node: nodes.Node,
        env: Env,
    ) -> None:
        """Forgets what the name meant before, whatever it means now."""
        value = self._value(node, env)
        _forget(env, [name])
        if value is not _UNKNOWN and _is_plain(value):
            env[name] = value

    def _value(self, node: nodes.Node, env: Env) -> Any:
        """What comes of an expression, `_UNKNOWN` if it hangs on the contact."""
        if not _is_known(node, env):
            return _UNKNOWN
        self._look_at_the_clock()
        target = nodes.Name(RESULT, "store", lineno=node.lineno)
        assign = nodes.Assign(target, node, lineno=node.lineno)
        try:
            template = _compiled(self.sandbox, [assign])
            with self.sandbox.budget:
                return vars(template.make_module(dict(env)))[RESULT]
        except Exception:
            # It fails for everybody, and says so when it is filled in.
            return _UNKNOWN

    def _truth(self, node: nodes.Node, env: Env) -> Any:
        """True, False or `_UNKNOWN`."""
        yes, no = nodes.Const(True), nodes.Const(False)
        asked = nodes.CondExpr(node, yes, no, lineno=node.lineno)
        value = self._value(asked, env)
        return value if value in (True, False) else _UNKNOWN

    def _look_at_the_clock(self) -> None:
        """Every expression has a budget of its own, also where no message would come
        by.
        """
        if time.monotonic() > self._ends:
            raise _TooLarge

    # --- branches

    def _if(self, node: nodes.If, env: Env) -> Statements:
        """A branch that is known to be taken takes the place of all; one that is known
        not to be is left out.
        """
        possible = self._possible(node, env)
        if possible[0].test is None:
            return self.body(possible[0].body, env)
        before = dict(env)
        left = [
            _Branch(branch.test, self.body(branch.body, dict(before)))
            for branch in possible
        ]
        for branch in possible:
            for statement in branch.body:
                _forget(env, assigned(statement))
        return [_branched(left, node.lineno)]

    def _possible(
        self,
        node: nodes.If,
        env: Env,
    ) -> list[_Branch]:
        """The branches that may be taken, up to one that is, if no other was before."""
        possible = []
        for branch in _branches(node):
            value = True if branch.test is None else self._truth(branch.test, env)
            if value is _UNKNOWN:
                possible.append(branch)
            elif value:
                possible.append(_Branch(None, branch.body))
                break
        return possible

    # --- loops

    def _for(self, node: nodes.For, env: Env) -> Statements:
        """Unrolled if that can be done, else what is known within any round."""
        items = self._items(node, env)
        if items is not None:
            unrolled = self._unrolled(node, items, env)
            if unrolled is not None:
                return unrolled
        inside = dict(env)
        _forget(inside, [*names_of(node.target), "loop"])
        loop = nodes.For(
            node.target,
            node.iter,
            self.body(node.body, inside),
            self.body(node.else_, dict(env)),
            node.test,
            node.recursive,
            lineno=node.lineno,
        )
        return [loop]

    def _items(
        self,
        node: nodes.For,
        env: Env,
    ) -> list[Any] | None:
        """What the loop goes through, if that is known."""
        if node.recursive or not _is_simple(node.target):
            return None
        items = self._value(_as_list(node.iter, node.lineno), env)
        if items is _UNKNOWN or len(items) > MOST_ROUNDS:
            return None
        if not all(map(_is_plain, items)):
            return None
        kept = []
        for item in items:
            passes = self._passes(node, item, env)
            if passes is _UNKNOWN:
                return None
            if passes:
                kept.append(item)
        return kept

    def _passes(
        self,
        node: nodes.For,
        item: Any,
        env: Env,
    ) -> Any:
        """Whether the loop has a round for an item: True, False or `_UNKNOWN`."""
        inside = _with(node.target, item, env)
        if inside is None:
            # Jinja fails on it, when the message is filled in.
            return _UNKNOWN
        return True if node.test is None else self._truth(node.test, inside)

    def _unrolled(
        self,
        node: nodes.For,
        items: list[Any],
        env: Env,
    ) -> Statements | None:
        """Each round by itself; None if a round needs the loop."""
        if "loop" in loads(node.body) and not asks_loop_simply(node.body):
            return None
        if not items:
            return _scoped(self.body(node.else_, dict(env)))
        left: Statements = []
        for number, item in enumerate(items):
            inside = _with(node.target, item, env)
            assert inside is not None
            inside["loop"] = _place(number, len(items))
            body = self._round(node, item, inside)
            if body is None:
                return None
            left += _scoped(body)
        return left

    def _round(
        self,
        node: nodes.For,
        item: Any,
        inside: Env,
    ) -> Statements | None:
        """One round; None if it needs the loop."""
        # The round is counted against the limits where it takes place, which is here.
        own = [statement for statement in node.body if not is_guard(statement)]
        body = self.body(own, inside)
        used = set(loads(body))
        if "loop" in used:
            return None
        if used.isdisjoint(names_of(node.target)):
            return body
        return [self._bind(node, item), *body]

    def _bind(
        self,
        node: nodes.For,
        item: Any,
    ) -> nodes.Assign:
        """Gives the loop's names what the loop would, for what is left of a round."""
        name = f"0v{len(self.bound)}"
        self.bound[name] = item
        value = nodes.Name(name, "load", lineno=node.lineno)
        return nodes.Assign(node.target, value, lineno=node.lineno)


_UNKNOWN = object()


def _is_known(node: nodes.Node, env: Env) -> bool:
    """Whether an expression is the same for everybody."""
    if not isinstance(node, PURE):
        return False
    if isinstance(node, nodes.Name):
        return node.name in env
    return all(_is_known(child, env) for child in node.iter_child_nodes())


def _is_plain(value: Any) -> bool:
    """Whether a value is data, through and through."""
    if isinstance(value, dict):
        keys = all(isinstance(key, str) for key in value)
        return keys and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def _forget(env: Env, names: list[str]) -> None:
    for name in names:
        env.pop(name, None)


def _branches(node: nodes.If) -> list[_Branch]:
    """All of an `if`, the one for when no other holds too."""
    tested = (node, *node.elif_)
    branches = [_Branch(branch.test, branch.body) for branch in tested]
    return [*branches, _Branch(None, node.else_)]


def _branched(
    branches: list[_Branch],
    line: int,
) -> nodes.If:
    """The same as a statement. The first has a test."""
    tested = [
        nodes.If(branch.test, branch.body, [], [], lineno=line)
        for branch in branches
        if branch.test is not None
    ]
    rest = (branch.body for branch in branches if branch.test is None)
    first, *more = tested
    first.elif_ = more
    first.else_ = next(rest, [])
    return first


def _is_simple(target: nodes.Node) -> bool:
    """Whether a loop's target is a name, or several: `{% for name, price in … %}`."""
    if isinstance(target, nodes.Tuple):
        return all(isinstance(item, nodes.Name) for item in target.items)
    return isinstance(target, nodes.Name)


def _as_list(node: nodes.Node, line: int) -> nodes.Filter:
    return nodes.Filter(node, "list", [], [], None, None, lineno=line)


def _with(
    target: nodes.Node,
    item: Any,
    env: Env,
) -> Env | None:
    """What is known within a round; None if the item does not fit the target."""
    if isinstance(target, nodes.Name):
        return {**env, target.name: item}
    names = names_of(target)
    if not isinstance(item, list | tuple) or len(item) != len(names):
        return None
    return {**env, **dict(zip(names, item, strict=True))}


def _scoped(body: Statements) -> Statements:
    """What is assigned within is not known behind it, as in a loop."""
    if any(assigned(statement) for statement in body):
        return [nodes.Scope(body, lineno=body[0].lineno)]
    return body


def _place(number: int, length: int) -> dict[str, Any]:
    """What `loop` says of a round."""
    return {
        "index": number + 1,
        "index0": number,
        "revindex": length - number,
        "revindex0": length - number - 1,
        "first": number == 0,
        "last": number == length - 1,
        "length": length,
    }
