"""Links in the text of a template: which of ours it asks for, and how those of
a mail are given to `tracked`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape

LINK = re.compile(r"\b\w+_link\b")
# A link and its address, which may have expressions in it.
HREF = re.compile(r"""(<a\b[^<>]*?\shref\s*=\s*)(?:"([^"<>]+)"|'([^'<>]+)')""", re.I)
# Without its semicolon browsers take none for what it stands for in an address:
# `?a=1&region=eu`.
CHARACTER = re.compile(r"&#?\w+;")
EXPRESSION = re.compile(r"\{\{-?\s*([^{}]+?)\s*-?\}\}")


@lru_cache(1024)
def links_in(*texts: str) -> frozenset[str]:
    """The links that texts ask for, by name."""
    return frozenset(LINK.findall("\n".join(texts)))


def tracked_links(html: str) -> str:
    """The page with its links given to `tracked`: those that are web addresses, or
    begin with an expression of a template.
    """
    return HREF.sub(_tracked, html)


def _tracked(link: re.Match[str]) -> str:
    """A link whose address leads over a page of ours."""
    address = _as_expression(link[2] or link[3])
    if address is None:
        return link[0]
    quote = '"' if link[2] else "'"
    return f"{link[1]}{quote}{{{{ tracked({address}) }}}}{quote}"


def _as_expression(address: str) -> str | None:
    """An address as one expression of Jinja's.

    None for one that is to stay as it is: no web address, or with a statement in it.
    """
    # Texts and expressions take turns.
    parts = EXPRESSION.split(address)
    texts = parts[::2]
    if any("{" in text or "}" in text or " " in text.strip() for text in texts):
        return None
    # An address that begins with a value may be a whole one.
    begins_filled_in = len(parts) > 1 and not texts[0].strip()
    if not begins_filled_in and not re.match("https?://.", texts[0], re.I):
        return None
    written = [
        f"({part})" if place % 2 else repr(_unescaped(part))
        for place, part in enumerate(parts)
        if part
    ]
    return " ~ ".join(written)


def _unescaped(text: str) -> str:
    return CHARACTER.sub(lambda found: unescape(found[0]), text)
