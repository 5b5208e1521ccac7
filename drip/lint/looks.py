"""Rules over one template: how it looks to an inbox, a phone and a screen reader.

Each takes a `Source` and yields what it finds; nothing here knows who gets the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from drip.errors import Place, Problem, nearest
from drip.lint.contrast import low_contrasts
from drip.lint.rules import finding
from drip.rendering.addresses import is_for_programs
from drip.rendering.shield import replace_tags
from drip.rendering.sources import Source

FRONT_KEYS = ("subject", "preheader", "from", "layout")
LONGEST_SUBJECT = 70
# Shorter ones in capitals are names: `IKEA`, `OK`.
FEW_LETTERS = 8
# What only advertising says, in plain English.
SELLING = re.compile(
    r"\b(\d+ ?% (off|discount)|discounts?|on sale|special offers?"
    r"|promo(tion)? codes?|coupon|buy now|shop now"
    r"|limited time|best price|save \$?\d+)\b",
    re.I,
)
# Links that say nothing when they are read out one by one (WCAG 2.2, 2.4.4).
VAGUE = {
    "here",
    "click here",
    "click",
    "this",
    "link",
    "this link",
    "more",
    "read more",
    "hier",
    "ici",
    "aquí",
}
# Lengths are bounded: an unbounded one takes time with the square of a line's length.
PICTURE = re.compile(r"!\[\s*\]\(")
LINK = re.compile(r"(?<!!)\[([^\]]{0,200}+)\]\(([^)\s]*)")
PAGE_LANGUAGE = re.compile(r"<html[^<>]*\slang\s*=", re.I)
# Attributes by which HTML leads somewhere.
LEADING = ("href", "action", "formaction")


def front_keys(source: Source) -> Iterator[Problem]:
    """Front matter has four keys; a misspelt one would be silently without effect."""
    for name in source.front:
        if name not in FRONT_KEYS:
            yield Problem(
                place=Place(source.name, source.front_line(name)),
                sentence=f"there is no key `{name}` in the front matter",
                help=nearest(name, FRONT_KEYS, what="keys"),
                level="warning",
            )


def looks(source: Source) -> Iterator[Problem]:
    """Everything about a text that does not depend on who sends it."""
    yield from _subject(source)
    if source.name.endswith(".md"):
        yield from _markdown(source)
    elif source.name.endswith((".html", ".mjml")):
        yield from _html(source)


def _subject(source: Source) -> Iterator[Problem]:
    """The subject without what is filled in."""
    written = source.front.get("subject", "")
    bare = replace_tags(written, lambda _: "").strip()
    place = Place(source.name, source.front_line("subject"))
    if len(bare) > LONGEST_SUBJECT:
        yield finding(
            "long-subject",
            place,
            f"the subject has {len(bare)} characters and what is filled in",
        )
    if _shouts(bare):
        yield finding(
            "loud-subject",
            place,
            "the subject shouts",
        )


def _shouts(subject: str) -> bool:
    """Whether it is written as nobody speaks."""
    letters = [char for char in subject if char.isalpha()]
    in_capitals = all(char.isupper() for char in letters)
    return "!!" in subject or (len(letters) > FEW_LETTERS and in_capitals)


def selling(source: Source) -> Iterator[Problem]:
    """The first line that advertises, for a text that is sent as transactional."""
    # The file itself, so that front matter counts and its lines are those of the
    # editor.
    lines = source.path.read_text("utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        found = SELLING.search(line)
        if found:
            yield finding(
                "transactional-sells",
                Place(source.name, number, found.start() + 1),
                f"“{found[0]}” advertises, and this message is transactional",
                source=line,
            )
            return


# --- Markdown


def _markdown(source: Source) -> Iterator[Problem]:
    """Pictures and links of Markdown, line by line."""
    for number, line in enumerate(source.body.splitlines(), source.first_line):
        yield from _pictures(source, number, line)
        yield from _links(source, number, line)


def _pictures(source: Source, number: int, line: str) -> Iterator[Problem]:
    """Pictures without a text."""
    for found in PICTURE.finditer(line):
        yield finding(
            "no-alt",
            Place(source.name, number, found.start() + 1),
            "this picture has no text",
            source=line,
        )


def _links(source: Source, number: int, line: str) -> Iterator[Problem]:
    """Links that say nothing, and links that run."""
    for found in LINK.finditer(line):
        text, address = found[1], found[2]
        place = Place(source.name, number, found.start() + 1)
        if is_vague(text.strip("*_ ")):
            yield finding(
                "vague-link",
                place,
                f"the link says “{text}”",
                source=line,
            )
        if is_for_programs(address):
            yield finding(
                "link-runs",
                place,
                f"the link leads to `{address}`",
                source=line,
            )


def is_vague(text: str) -> bool:
    """Whether a link says nothing about where it leads."""
    return not text or text.casefold() in VAGUE


# --- HTML


def _html(source: Source) -> Iterator[Problem]:
    """Pictures, links, language and colours of HTML."""
    yield from _tags(source)
    yield from _language(source)
    for number, sentence in low_contrasts(source.body):
        line = source.first_line + number - 1
        yield finding("low-contrast", Place(source.name, line), sentence)


def _tags(source: Source) -> list[Problem]:
    """What is wrong with pictures and links."""
    reader = _Page(source)
    # What stands in a tag of Jinja is no HTML; its lines still count.
    reader.feed(replace_tags(source.body, lambda tag: "x" + "\n" * tag.count("\n")))
    reader.close()
    return reader.problems


def _language(source: Source) -> Iterator[Problem]:
    """A page that does not say its language (WCAG 2.2, 3.1.1)."""
    # A part of a page takes its language from the layout.
    is_whole = "<html" in source.body.lower()
    if is_whole and not PAGE_LANGUAGE.search(source.body):
        yield finding(
            "no-lang",
            Place(source.name, source.first_line),
            "the page does not say its language",
        )


class _Page(HTMLParser):
    """Pictures without text, links that say nothing, and links that run."""

    def __init__(self, source: Source) -> None:
        super().__init__(convert_charrefs=True)
        self._source = source
        self.problems: list[Problem] = []
        # Where the open link stands, and the texts in it.
        self._link: tuple[Place, list[str]] | None = None

    def _place(self) -> Place:
        line, column = self.getpos()
        return Place(self._source.name, self._source.first_line + line - 1, column + 1)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        # An empty `alt` is right: it says that the picture is decoration (WCAG 2.2,
        # 1.1.1).
        if tag in ("img", "mj-image") and "alt" not in values:
            self._find("no-alt", self._place(), "this picture has no text")
        if tag == "img" and self._link:
            # What a picture shows is what its link says.
            self._link[1].append(values.get("alt") or "")
        if tag == "a":
            self._link = (self._place(), [])
        for name in LEADING:
            address = values.get(name) or ""
            if is_for_programs(address):
                self._find("link-runs", self._place(), f"the link leads to `{address}`")

    def handle_endtag(self, tag: str) -> None:
        if tag != "a" or self._link is None:
            return
        place, texts = self._link
        self._link = None
        text = " ".join("".join(texts).split())
        if is_vague(text):
            self._find("vague-link", place, f"the link says “{text}”")

    def handle_data(self, data: str) -> None:
        if self._link:
            self._link[1].append(data)

    def _find(
        self,
        code: str,
        place: Place,
        sentence: str,
    ) -> None:
        self.problems.append(
            finding(
                code,
                place,
                sentence,
            )
        )
