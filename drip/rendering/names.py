"""Which names a template uses, and where: found in its syntax tree, before
anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import TemplateSyntaxError, meta, nodes

from drip.errors import DripError, Place
from drip.rendering.sources import Source
from drip.rendering.templates import Templates


@dataclass(frozen=True, slots=True)
class Used:
    """`contact.first_name` is root `contact`, name `first_name`; a bare name
    has no root's name.

    `guarded` is whether the template does without the value: it has a default,
    or asks first.
    """

    root: str
    name: str | None
    place: Place
    source: str
    guarded: bool = False


def names_in(templates: Templates, source: Source) -> list[Used]:
    """Every name that a file uses and does not define itself.

    Raises DripError for wrong Jinja.
    """
    found: list[Used] = []
    for text, first in [
        (source.body, source.first_line),
        *((text, source.front_line(name)) for name, text in source.front.items()),
    ]:
        try:
            found += _in_tree(templates.tree(text), text, first, source)
        except TemplateSyntaxError as error:
            raise DripError(
                str(error.message), place=Place(source.name, first + error.lineno - 1)
            ) from None
    return found


def names_in_text(templates: Templates, text: str, place: Place) -> list[Used]:
    """Every name that a line of a campaign uses. Raises DripError for wrong Jinja."""
    try:
        found = _in_tree(
            templates.tree(text),
            text,
            1,
            Source(Path(place.file), place.file, {}, text, 1),
        )
        return [replace(used, place=place, source=text) for used in found]
    except TemplateSyntaxError as error:
        raise DripError(f"`{text}`: {error.message}", place=place) from None


def _in_tree(
    tree: nodes.Template, text: str, first: int, source: Source
) -> Iterator[Used]:
    free = meta.find_undeclared_variables(tree)
    lines = text.splitlines()
    guarded = _Guarded()
    guarded.look(tree, frozenset())
    rooted = set()
    reads: list[nodes.Getattr | nodes.Getitem] = [
        *tree.find_all(nodes.Getattr),
        *tree.find_all(nodes.Getitem),
    ]
    for node in reads:
        attr = node.attr if isinstance(node, nodes.Getattr) else _constant(node)
        if (
            isinstance(node.node, nodes.Name)
            and node.node.name in free
            and attr is not None
        ):
            rooted.add(id(node.node))
            place = Place(source.name, first + node.lineno - 1)
            yield Used(
                node.node.name,
                attr,
                place,
                _line(lines, node.lineno),
                id(node) in guarded.nodes,
            )
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load" and name.name in free and id(name) not in rooted:
            place = Place(source.name, first + name.lineno - 1)
            yield Used(
                name.name,
                None,
                place,
                _line(lines, name.lineno),
                id(name) in guarded.nodes,
            )


class _Guarded:
    """Finds the reads that do without their value: `x|default(…)`, `x is
    defined`, and `{% if x %}{{ x }}{% endif %}`.
    """

    def __init__(self) -> None:
        self.nodes: set[int] = set()

    def look(self, node: nodes.Node, known: frozenset[tuple[str, str | None]]) -> None:
        """Walks a part of the tree in which the names in `known` have been
        asked for.
        """
        read = _read(node)
        if read in known:
            self.nodes.add(id(node))
        if (
            isinstance(node, nodes.Filter)
            and node.name in ("default", "d")
            and node.node is not None
        ):
            self._all(node.node)
        if isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
            self._all(node.node)
        if isinstance(node, nodes.If | nodes.CondExpr):
            self._branch(node, known)
            return
        for child in node.iter_child_nodes():
            self.look(child, known)

    def _branch(
        self, node: nodes.If | nodes.CondExpr, known: frozenset[tuple[str, str | None]]
    ) -> None:
        self._all(node.test)
        asked = known | {read for each in _inside(node.test) if (read := _read(each))}
        if isinstance(node, nodes.CondExpr):
            self.look(node.expr1, asked)
            if node.expr2 is not None:
                self.look(node.expr2, known)
            return
        for child in node.body:
            self.look(child, asked)
        for child in [*node.elif_, *node.else_]:
            self.look(child, known)

    def _all(self, node: nodes.Node) -> None:
        self.nodes |= {id(each) for each in _inside(node)}


def _inside(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    yield from node.find_all(nodes.Node)


def _read(node: nodes.Node) -> tuple[str, str | None] | None:
    """What a node reads, if it reads a name or a field of one."""
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return node.node.name, node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name):
        return node.node.name, _constant(node)
    return (node.name, None) if isinstance(node, nodes.Name) else None


def _constant(node: nodes.Getitem) -> str | None:
    arg = node.arg
    return (
        arg.value
        if isinstance(arg, nodes.Const) and isinstance(arg.value, str)
        else None
    )


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1] if number <= len(lines) else ""
