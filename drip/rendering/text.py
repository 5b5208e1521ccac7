"""The text part of a mail, derived once per template version from Markdown or HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

BLOCKS = {
    "p",
    "div",
    "tr",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "ul",
    "ol",
    "br",
    "hr",
    "blockquote",
    "section",
}
# An empty line follows them.
SPACED = ("p", "h1", "h2", "h3", "table", "ul", "ol")
SILENT = {"style", "script", "head", "title"}

# Each looks only so far for its end, and never goes back into what it has read:
# a text may begin thousands and end none.
_PICTURE = re.compile(r"!\[([^\]]{0,500}+)\]\([^)]{0,2000}+\)")
# A tag of Jinja may hold brackets of its own.
_LINK = re.compile(
    r"\[((?:\{\{[^{}\n]{0,500}+\}\}|[^\]]){1,500}+)\]"
    r"\([ \t\n]{0,20}+((?:\{\{[^{}\n]{0,500}+\}\}|[^)\s]){1,2000}+)[^)]{0,500}+\)"
)
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.{1,1000}?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<!\w)[*_](?=\S)([^*_\n]{1,1000}+)(?<=\S)[*_](?!\w)")


def text_of_markdown(source: str) -> str:
    """Markdown as people write it in mails: links become `text: address`, marks
    of emphasis go.
    """
    text = _PICTURE.sub(r"\1", source)
    text = _LINK.sub(r"\1: \2", text)
    text = _STRONG.sub(r"\2", text)
    text = _EMPHASIS.sub(r"\1", text)
    text = re.sub(r"(?m)^(#{1,6}|>)\s+", "", text)
    text = re.sub(r"(?m)(\\|(?<! ) {2,}+)$", "", text)
    return text.strip() + "\n"


def text_of_html(source: str) -> str:
    """What a reader sees of an HTML page, links written out. Jinja tags are kept as
    they are.
    """
    reader = _Reader()
    reader.feed(source)
    reader.close()
    lines = "".join(reader.parts).split("\n")
    text = "\n".join(re.sub(r"[ \t\xa0]+", " ", line).strip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0
        self._links: list[str | None] = []

    def handle_starttag(
        self,
        tag: str,
        attrs: list[tuple[str, str | None]],
    ) -> None:
        if tag in SILENT:
            self._silent += 1
        elif tag == "a":
            self._links.append(dict(attrs).get("href"))
        elif tag == "img":
            self.parts.append(dict(attrs).get("alt") or "")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a" and self._links:
            self._end_link(self._links.pop())
        elif tag in SPACED:
            self.parts.append("\n\n")
        elif tag in BLOCKS:
            self.parts.append("\n")

    def _end_link(self, address: str | None) -> None:
        if address and not self._silent:
            self.parts.append(f": {address}")

    def handle_data(self, data: str) -> None:
        """Blanks in a row are one, as a browser shows them."""
        if not self._silent:
            self.parts.append(re.sub(r"\s+", " ", data))
