"""Puts the counting into a template's syntax tree: filters of the sandbox,
whose names no template can write.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from drip.rendering.filters import OF_ONE
from drip.rendering.limits import MOST_BITS, USE

ROUND, LOOPED, BUILT, JOINED, SLICED, COMPARED, SHOWN = (
    "0round",
    "0looped",
    "0built",
    "0joined",
    "0sliced",
    "0compared",
    "0shown",
)
# Filters that give a text or a number, whatever they take.
GIVE_TEXT = {*OF_ONE, "join", "count", "length", "urlencode"} - {
    "d",
    "default",
    "float",
    "int",
}


class OperationGuard(NodeTransformer):
    """Puts the counting into a template: into its loops and macros, where lists
    are made, compared, joined and printed.
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - jinja2's name
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _guarded(LOOPED, node.iter)
        if node.test is not None:
            # Counting gives nothing, so that the test alone decides.
            counted = _counted([node.test], node.lineno)
            node.test = nodes.Or(counted, node.test, lineno=node.lineno)
        return _with_round(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _with_round(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _with_round(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _with_round(node)

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [
            shown if _is_text(shown) else _guarded(SHOWN, shown) for shown in node.nodes
        ]
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _built(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _built(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _built(node) if node.ctx == "load" else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _compared(node.expr)
        return node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _compared(node.expr)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:  # noqa: N802
        if isinstance(node.value, int) and node.value.bit_length() > MOST_BITS:
            raise TemplateSyntaxError(
                "a number this large is not computed", node.lineno
            )
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _guarded(JOINED, *node.nodes)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        nothing = nodes.Const(None, lineno=node.lineno)
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        return _guarded(SLICED, node.node, *(bound or nothing for bound in bounds))

    def visit_Include(self, node: nodes.Include) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`{% include %}` is not built yet", node.lineno)

    def visit_Import(self, node: nodes.Import) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`{% import %}` is not built yet", node.lineno)

    def visit_FromImport(self, node: nodes.FromImport) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("`{% import %}` is not built yet", node.lineno)


def is_guard(node: nodes.Node) -> bool:
    """Whether it counts a round of a loop."""
    return (
        isinstance(node, nodes.ExprStmt)
        and isinstance(node.node, nodes.Filter)
        and node.node.name == ROUND
    )


def _guarded(
    name: str,
    value: nodes.Expr,
    *more: nodes.Expr,
) -> nodes.Filter:
    """The value, given to a filter that counts it."""
    return nodes.Filter(value, name, list(more), [], None, None, lineno=value.lineno)


def _built(node: nodes.Literal) -> nodes.Expr:
    """A list that stands there as a whole is as long as it is written, and made
    once.
    """
    return node if _is_written(node) else _guarded(BUILT, node)


def _is_written(node: nodes.Node) -> bool:
    """Whether a list stands in the template with all that is in it."""
    if isinstance(node, nodes.List | nodes.Tuple | nodes.Dict | nodes.Pair):
        return all(map(_is_written, node.iter_child_nodes()))
    return isinstance(node, nodes.Const)


def _compared(operand: nodes.Expr) -> nodes.Expr:
    return operand if isinstance(operand, nodes.Const) else _guarded(COMPARED, operand)


def _is_text(node: nodes.Expr) -> bool:
    """Whether it is a text that stands there, or one that was counted as it was
    made.
    """
    made = isinstance(node, nodes.Filter) and node.name in GIVE_TEXT
    return made or isinstance(node, nodes.TemplateData | nodes.Const)


Body = nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block


def _with_round(node: Body) -> Body:
    """Each time that the body is run counts, by what stands in it, and in the values
    of a macro that are not given.
    """
    given = node.defaults if isinstance(node, nodes.Macro | nodes.CallBlock) else []
    counted = _counted([*given, *node.body], node.lineno)
    node.body.insert(0, nodes.ExprStmt(counted, lineno=node.lineno))
    return node


def _counted(
    body: Sequence[nodes.Node],
    line: int,
) -> nodes.Filter:
    """What counts a round in which so much is run."""
    return _guarded(ROUND, nodes.Const(USE + _steps_of(body), lineno=line))


def _steps_of(body: Sequence[nodes.Node]) -> int:
    """How many nodes are run in one round; the bodies of loops and macros within count
    by themselves.
    """
    steps = 0
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        steps += 1
        apart = ("body",) if isinstance(node, Body) else None
        waiting += node.iter_child_nodes(exclude=apart)
    return steps
