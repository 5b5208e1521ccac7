"""Keeps Jinja's tags safe while a Markdown or HTML tool works on the text
around them.

An HTML5 parser moves `{% for %}` out of a `<table>`, and an inliner breaks the
syntax. So each tag is exchanged for a token that such tools leave alone, and
put back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_OPENING = re.compile(r"\{[{%#]")
_CLOSING = {"{{": "}}", "{%": "%}", "{#": "#}"}
WORD = re.compile(r"dripq(\d+)qpird")
COMMENT = re.compile(r"<!--dripq(\d+)qpird-->")
_RAW = re.compile("<(/?)(style|title|textarea|script)", re.I)


def tags_in(source: str) -> Iterator[tuple[int, int]]:
    """Where Jinja's tags begin and end, each up to the first end of its kind."""
    at = 0
    endless: set[str] = set()
    while opening := _OPENING.search(source, at):
        end = (
            -1
            if opening[0] in endless
            else source.find(_CLOSING[opening[0]], opening.end())
        )
        if end < 0:
            # Looked for once: a text may begin thousands.
            endless.add(opening[0])
            at = opening.start() + 1
        else:
            at = end + 2
            yield opening.start(), at


def replace_tags(source: str, instead: Callable[[str], str]) -> str:
    """The text with something else in the place of each of Jinja's tags."""
    parts, last = [], 0
    for start, end in tags_in(source):
        parts += [source[last:start], instead(source[start:end])]
        last = end
    return "".join([*parts, source[last:]])


def shielded(source: str, work: Callable[[str], str]) -> str:
    """`work` done on a Markdown text whose tags are words meanwhile."""
    tags: list[str] = []

    def hide(tag: str) -> str:
        tags.append(tag)
        return f"dripq{len(tags) - 1}qpird"

    done = work(replace_tags(source, hide))
    # A block tag on a line of its own is no paragraph.
    alone = re.compile(r"<p>\s*((?:dripq\d+qpird\s*)+)</p>")

    def bare(found: re.Match[str]) -> str:
        inside = [tags[int(n)] for n in WORD.findall(found[1])]
        return found[1] if all(tag.startswith("{%") for tag in inside) else found[0]

    return WORD.sub(lambda found: tags[int(found[1])], alone.sub(bare, done))


def shielded_html(source: str, work: Callable[[str], str]) -> str:
    """`work` done on an HTML text whose tags are comments, or words inside of
    tags and raw text.
    """
    tags: list[str] = []
    parts: list[str] = []
    where, last = _Where(), 0
    for start, end in tags_in(source):
        where.go_on(source[last:start])
        word = f"dripq{len(tags)}qpird"
        parts += [
            source[last:start],
            word if where.in_tag or where.raw else f"<!--{word}-->",
        ]
        tags.append(source[start:end])
        last = end
    parts.append(source[last:])
    done = work("".join(parts))
    done = COMMENT.sub(lambda found: tags[int(found[1])], done)
    return WORD.sub(lambda found: tags[int(found[1])], done)


class _Where:
    """Whether a text that is read piece by piece is inside of a tag, or of an
    element of raw text.
    """

    def __init__(self) -> None:
        self.in_tag = False
        self.raw: set[str] = set()

    def go_on(self, text: str) -> None:
        if (at := max(text.rfind("<"), text.rfind(">"))) >= 0:
            self.in_tag = text[at] == "<"
        for found in _RAW.finditer(text):
            (self.raw.discard if found[1] else self.raw.add)(found[2].lower())
