"""Which names a template uses, and where: found in its syntax tree, before anything is
sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from jinja2 import TemplateSyntaxError, meta, nodes

from drip.errors import DripError, Place
from drip.rendering.sources import Source
from drip.rendering.templates import Templates

# A name and the field of it that is read, None for the name by itself.
Reading = tuple[str, str | None]
Readings = frozenset[Reading]


@dataclass(frozen=True, slots=True)
class Used:
    """`contact.first_name` is root `contact`, name `first_name`; a bare name has no
    root's name.

    `guarded` is whether the template does without the value: it has a default, or asks
    first.
    """

    root: str
    name: str | None
    place: Place
    source: str
    guarded: bool = False


def names_in(
    templates: Templates,
    source: Source,
) -> list[Used]:
    """Every name that a file uses and does not define itself.

    Raises DripError for wrong Jinja.
    """
    texts = [(source.body, source.first_line)]
    for key, text in source.front.items():
        texts.append((text, source.front_line(key)))
    found: list[Used] = []
    for text, first_line in texts:
        try:
            found += _in_text(templates, text, source.name, first_line)
        except TemplateSyntaxError as error:
            line = first_line + error.lineno - 1
            place = Place(source.name, line)
            raise DripError(str(error.message), place=place) from None
    return found


def names_in_text(
    templates: Templates,
    text: str,
    place: Place,
) -> list[Used]:
    """Every name that a line of a campaign uses. Raises DripError for wrong Jinja."""
    try:
        found = _in_text(templates, text, place.file, first_line=1)
    except TemplateSyntaxError as error:
        raise DripError(f"`{text}`: {error.message}", place=place) from None
    return [replace(used, place=place, source=text) for used in found]


def _in_text(
    templates: Templates,
    text: str,
    file: str,
    first_line: int,
) -> list[Used]:
    """The names that a text does not define itself. Raises TemplateSyntaxError."""
    tree = templates.tree(text)
    free = meta.find_undeclared_variables(tree)
    # A name that is asked for first, or has a default, fails nobody's message.
    guarded = _Guarded()
    guarded.look(tree, frozenset())
    lines = text.splitlines()
    return [
        Used(
            root,
            name,
            Place(file, first_line + node.lineno - 1),
            _line(lines, node.lineno),
            guarded=id(node) in guarded.nodes,
        )
        for node, (root, name) in _readings(tree)
        if root in free
    ]


def _line(lines: list[str], number: int) -> str:
    """By its number; empty for one behind the last, where a tag ends with the text."""
    return lines[number - 1] if number <= len(lines) else ""


def _readings(tree: nodes.Template) -> Iterator[tuple[nodes.Node, Reading]]:
    """What is read: first fields of names, then names by themselves."""
    rooted = set()
    for field in _fields(tree):
        reading = _reading(field)
        if reading is not None and reading[1] is not None:
            rooted.add(id(field.node))
            yield field, reading
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load" and id(name) not in rooted:
            yield name, (name.name, None)


def _fields(tree: nodes.Template) -> Iterator[nodes.Getattr | nodes.Getitem]:
    yield from tree.find_all(nodes.Getattr)
    yield from tree.find_all(nodes.Getitem)


class _Guarded:
    """The nodes that the template does without: there is a default, or it is asked
    first.
    """

    def __init__(self) -> None:
        self.nodes: set[int] = set()

    def look(self, node: nodes.Node, known: Readings) -> None:
        """Walks a part of the tree in which the names in `known` have been asked
        for."""
        if _reading(node) in known:
            self.nodes.add(id(node))
        match node:
            case nodes.If():
                self._if(node, known)
                return
            case nodes.CondExpr():
                self._choice(node, known)
                return
            case nodes.Filter(name="default" | "d", node=nodes.Node() as value):
                self._all(value)
            case nodes.Test(name="defined" | "undefined", node=value):
                self._all(value)
        for child in node.iter_child_nodes():
            self.look(child, known)

    def _if(self, node: nodes.If, known: Readings) -> None:
        """What a branch asks for first is there within it."""
        asked = known | self._asked(node.test)
        for child in node.body:
            self.look(child, asked)
        for child in (*node.elif_, *node.else_):
            self.look(child, known)

    def _choice(
        self,
        node: nodes.CondExpr,
        known: Readings,
    ) -> None:
        """The same for `{{ a if b else c }}`."""
        self.look(node.expr1, known | self._asked(node.test))
        if node.expr2 is not None:
            self.look(node.expr2, known)

    def _asked(self, test: nodes.Node) -> Readings:
        """What a test asks for; asking does no harm."""
        self._all(test)
        readings = map(_reading, _inside(test))
        return frozenset(reading for reading in readings if reading)

    def _all(self, node: nodes.Node) -> None:
        self.nodes |= {id(inner) for inner in _inside(node)}


def _inside(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and all within."""
    yield node
    yield from node.find_all(nodes.Node)


def _reading(node: nodes.Node) -> Reading | None:
    """What a node reads, if it reads a name or a field of one."""
    match node:
        case nodes.Name(name=name):
            return name, None
        case nodes.Getattr(node=nodes.Name(name=name), attr=field):
            return name, field
        case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value=str(key))):
            return name, key
        case nodes.Getitem(node=nodes.Name(name=name)):
            return name, None
    return None
