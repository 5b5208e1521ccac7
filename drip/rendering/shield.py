"""Keeps Jinja's tags safe while a Markdown or HTML tool works on the text around
them.

An HTML5 parser moves `{% for %}` out of a `<table>`, and an inliner breaks the syntax.
So each tag is exchanged for a token that such tools leave alone, and put back
afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_OPENING = re.compile(r"\{[{%#]")
_CLOSING = {"{{": "}}", "{%": "%}", "{#": "#}"}
# No word of any language, and nothing that Markdown or HTML marks up.
WORD = re.compile(r"dripq(\d+)qpird")
COMMENT = re.compile(r"<!--dripq(\d+)qpird-->")
# A paragraph of nothing but tokens.
_ALONE = re.compile(r"<p>\s*((?:dripq\d+qpird\s*)+)</p>")
# Elements in which a comment is text (HTML section 13.1.2).
_RAW = re.compile("<(/?)(style|title|textarea|script)", re.I)


def tags_in(source: str) -> Iterator[tuple[int, int]]:
    """Where Jinja's tags begin and end, each up to the first end of its kind."""
    at = 0
    endless: set[str] = set()
    while opening := _OPENING.search(source, at):
        kind = opening[0]
        end = -1
        if kind not in endless:
            end = source.find(_CLOSING[kind], opening.end())
        if end < 0:
            # Looked for once: a text may begin thousands.
            endless.add(kind)
            at = opening.start() + 1
        else:
            at = end + len(kind)
            yield opening.start(), at


def replace_tags(
    source: str,
    instead: Callable[[str], str],
) -> str:
    """The text with something else in the place of each of Jinja's tags."""
    parts: list[str] = []
    last = 0
    for start, end in tags_in(source):
        parts.append(source[last:start])
        parts.append(instead(source[start:end]))
        last = end
    parts.append(source[last:])
    return "".join(parts)


def shielded(
    source: str,
    work: Callable[[str], str],
) -> str:
    """`work` done on a Markdown text whose tags are words meanwhile."""
    hidden = _Hidden()
    done = work(replace_tags(source, hidden.hide))
    # A block tag on a line of its own is no paragraph.
    return hidden.shown(_ALONE.sub(hidden.without_paragraph, done))


def shielded_html(
    source: str,
    work: Callable[[str], str],
) -> str:
    """`work` done on an HTML text whose tags are comments, or words inside of tags and
    raw text.
    """
    hidden, where = _Hidden(), _Where()
    parts: list[str] = []
    last = 0
    for start, end in tags_in(source):
        before = source[last:start]
        where.go_on(before)
        word = hidden.hide(source[start:end])
        parts.append(before)
        parts.append(word if where.in_tag or where.raw else f"<!--{word}-->")
        last = end
    parts.append(source[last:])
    done = work("".join(parts))
    return hidden.shown(COMMENT.sub(hidden.tag, done))


class _Hidden:
    """Tags that are words meanwhile, by their numbers."""

    def __init__(self) -> None:
        self._tags: list[str] = []

    def hide(self, tag: str) -> str:
        """The word that stands for a tag."""
        self._tags.append(tag)
        return f"dripq{len(self._tags) - 1}qpird"

    def tag(self, found: re.Match[str]) -> str:
        """The tag that a word, or a comment of one, stands for."""
        return self._tags[int(found[1])]

    def shown(self, text: str) -> str:
        """The text with its tags again."""
        return WORD.sub(self.tag, text)

    def without_paragraph(self, found: re.Match[str]) -> str:
        """What is in a paragraph, if that is block tags alone."""
        words = WORD.finditer(found[1])
        blocks = all(self.tag(word).startswith("{%") for word in words)
        return found[1] if blocks else found[0]


class _Where:
    """Whether a text that is read piece by piece is inside of a tag, or of an element
    of raw text.
    """

    def __init__(self) -> None:
        self.in_tag = False
        self.raw: set[str] = set()

    def go_on(self, text: str) -> None:
        at = max(text.rfind("<"), text.rfind(">"))
        if at >= 0:
            self.in_tag = text[at] == "<"
        for found in _RAW.finditer(text):
            name = found[2].lower()
            if found[1]:
                self.raw.discard(name)
            else:
                self.raw.add(name)
