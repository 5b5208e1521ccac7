"""Which names a template uses, and where: found in its syntax tree, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import TemplateSyntaxError, meta, nodes

from drip.errors import DripError, Place
from drip.rendering.templates import Source, Templates


@dataclass(frozen=True, slots=True)
class Used:
    """`contact.first_name` is root `contact`, name `first_name`; a bare name has no root's name."""

    root: str
    name: str | None
    place: Place
    source: str


def names_in(templates: Templates, source: Source) -> list[Used]:
    """Every name that a file uses and does not define itself. Raises DripError for wrong Jinja."""
    found: list[Used] = []
    for text, first in [(source.body, source.first_line), *_front(source)]:
        try:
            found += _in_tree(templates.tree(text), text, first, source)
        except TemplateSyntaxError as error:
            raise DripError(str(error.message), place=Place(source.name, first + error.lineno - 1)) from None
    return found


def _front(source: Source) -> Iterator[tuple[str, int]]:
    lines = source.path.read_text("utf-8-sig").splitlines()[: source.first_line]
    for name, text in source.front.items():
        line = next((n for n, each in enumerate(lines, 1) if each.startswith(f"{name}:")), 1)
        yield text, line


def _in_tree(tree: nodes.Template, text: str, first: int, source: Source) -> Iterator[Used]:
    free = meta.find_undeclared_variables(tree)
    lines = text.splitlines()
    rooted = set()
    reads: list[nodes.Getattr | nodes.Getitem] = [*tree.find_all(nodes.Getattr), *tree.find_all(nodes.Getitem)]
    for node in reads:
        attr = node.attr if isinstance(node, nodes.Getattr) else _constant(node)
        if isinstance(node.node, nodes.Name) and node.node.name in free and attr is not None:
            rooted.add(id(node.node))
            yield Used(node.node.name, attr, Place(source.name, first + node.lineno - 1), _line(lines, node.lineno))
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load" and name.name in free and id(name) not in rooted:
            yield Used(name.name, None, Place(source.name, first + name.lineno - 1), _line(lines, name.lineno))


def _constant(node: nodes.Getitem) -> str | None:
    arg = node.arg
    return arg.value if isinstance(arg, nodes.Const) and isinstance(arg.value, str) else None


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1] if number <= len(lines) else ""
