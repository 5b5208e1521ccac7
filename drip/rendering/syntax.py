"""Questions about Jinja's syntax trees, and texts put together that stand side by
side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from jinja2 import nodes

# What expressions are made of that give the same for the same values, always.
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
# Literals: whatever is in them, making one raises nothing.
LITERAL = (
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.TemplateData,
)
# What a loop can be asked about where in it one is.
PLACES = ("index", "index0", "revindex", "revindex0", "first", "last", "length")
Statements = list[nodes.Node]


def is_pure(node: nodes.Node) -> bool:
    """Whether an expression hangs on nothing but its names."""
    return isinstance(node, PURE) and all(map(is_pure, node.iter_child_nodes()))


def is_constant(node: nodes.Expr) -> bool:
    """Whether Jinja can tell what comes of it: `{{ 'a' or b }}` is such a one too."""
    try:
        node.as_const()
    except nodes.Impossible:
        return False
    return True


def cannot_fail(node: nodes.Node) -> bool:
    """Whether it is a literal, through and through."""
    return isinstance(node, LITERAL) and all(map(cannot_fail, node.iter_child_nodes()))


# --- names


def names_of(target: nodes.Node) -> list[str]:
    """The names that a loop or an assignment gives a value."""
    found = [name.name for name in target.find_all(nodes.Name)]
    return [target.name, *found] if isinstance(target, nodes.Name) else found


def assigned(node: nodes.Node) -> list[str]:
    """Every name that a statement may give another meaning to."""
    found = [name.name for name in node.find_all(nodes.Name) if name.ctx != "load"]
    found += [space.name for space in node.find_all(nodes.NSRef)]
    found += [macro.name for macro in node.find_all(nodes.Macro)]
    if isinstance(node, nodes.Macro):
        found.append(node.name)
    return found


def loads(statements: Iterable[nodes.Node]) -> Iterator[str]:
    """Every name that statements ask for, as often as they do."""
    for statement in statements:
        if isinstance(statement, nodes.Name):
            yield statement.name
        for name in statement.find_all(nodes.Name):
            if name.ctx == "load":
                yield name.name
        for space in statement.find_all(nodes.NSRef):
            yield space.name


def asks_loop_simply(body: Statements) -> bool:
    """Whether `loop` is only asked where in the loop it is, and by no loop within."""
    if any(_has_loop(statement) for statement in body):
        return False
    asked = sum(name == "loop" for name in loads(body))
    places = sum(
        _asks_place(attribute)
        for statement in body
        for attribute in statement.find_all(nodes.Getattr)
    )
    return asked == places


def _has_loop(node: nodes.Node) -> bool:
    return isinstance(node, nodes.For) or any(node.find_all(nodes.For))


def _asks_place(node: nodes.Getattr) -> bool:
    of_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
    return of_loop and node.attr in PLACES


# --- putting together


def together(statements: Iterable[nodes.Node]) -> Statements:
    """What is written one after the other, as one."""
    # Each `Output` is a call when the template runs, each text an object of its own.
    left: Statements = []
    for statement in statements:
        last = left[-1] if left else None
        if isinstance(statement, nodes.Output) and isinstance(last, nodes.Output):
            last.nodes += statement.nodes
        else:
            left.append(statement)
    for statement in left:
        if isinstance(statement, nodes.Output):
            statement.nodes = _joined(statement.nodes)
    return left


def without_unused(body: Statements) -> Statements:
    """Without assignments of what is asked for nowhere any more."""
    used = set(loads(body))
    return together(statement for statement in body if not _is_unused(statement, used))


def _is_unused(
    statement: nodes.Node,
    used: set[str],
) -> bool:
    match statement:
        case nodes.Assign(target=nodes.Name(name=name), node=value):
            return name not in used and cannot_fail(value)
    return False


def _joined(written: list[nodes.Expr]) -> list[nodes.Expr]:
    """Texts beside each other as one."""
    left: list[nodes.Expr] = []
    for is_text, beside in groupby(written, _is_text):
        expressions = list(beside)
        left += [_one_text(expressions)] if is_text else expressions
    return left


def _is_text(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.TemplateData)


def _one_text(texts: list[nodes.Expr]) -> nodes.TemplateData:
    data = (text.data for text in texts if isinstance(text, nodes.TemplateData))
    return nodes.TemplateData("".join(data), lineno=texts[0].lineno)
