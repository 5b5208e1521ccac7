"""Keeps Jinja's tags safe while a Markdown or HTML tool works on the text around them.

An HTML5 parser moves `{% for %}` out of a `<table>`, and an inliner breaks the syntax. So each tag is
exchanged for a token that such tools leave alone, and put back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable

TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.S)
WORD = re.compile(r"dripq(\d+)qpird")
COMMENT = re.compile(r"<!--dripq(\d+)qpird-->")
RAW = ("style", "title", "textarea", "script")


def shielded(source: str, work: Callable[[str], str]) -> str:
    """`work` done on a Markdown text whose tags are words meanwhile."""
    tags: list[str] = []

    def hide(found: re.Match[str]) -> str:
        tags.append(found[0])
        return f"dripq{len(tags) - 1}qpird"

    done = work(TAG.sub(hide, source))
    # A block tag on a line of its own is no paragraph.
    alone = re.compile(r"<p>\s*((?:dripq\d+qpird\s*)+)</p>")

    def bare(found: re.Match[str]) -> str:
        inside = [tags[int(n)] for n in WORD.findall(found[1])]
        return found[1] if all(tag.startswith("{%") for tag in inside) else found[0]

    return WORD.sub(lambda found: tags[int(found[1])], alone.sub(bare, done))


def shielded_html(source: str, work: Callable[[str], str]) -> str:
    """`work` done on an HTML text whose tags are comments, or words inside of tags and raw text."""
    tags: list[str] = []
    parts: list[str] = []
    seen, last = "", 0
    for found in TAG.finditer(source):
        text = source[last : found.start()]
        seen += text.lower()
        parts += [text, _token(seen, len(tags))]
        tags.append(found[0])
        last = found.end()
    parts.append(source[last:])
    done = work("".join(parts))
    done = COMMENT.sub(lambda found: tags[int(found[1])], done)
    return WORD.sub(lambda found: tags[int(found[1])], done)


def _token(seen: str, number: int) -> str:
    word = f"dripq{number}qpird"
    in_tag = seen.rfind("<") > seen.rfind(">")
    in_raw = any(seen.rfind(f"<{name}") > seen.rfind(f"</{name}") for name in RAW)
    return word if in_tag or in_raw else f"<!--{word}-->"
