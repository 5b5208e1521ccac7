"""What a file may look like before parsers of Markdown and HTML see it.

They were not made for texts that are built to be slow: some take time that
grows with the square of what is opened and never closed, some end the process
where tags are nested by the thousand. What people write is far from these
bounds.
"""

from __future__ import annotations

import re

from drip.errors import DripError, Place

# Mail programs cut a page of a third.
LONGEST_FILE = 300_000
# Tables and lists of Markdown take a parser the longest.
LONGEST_MARKDOWN = 150_000
MOST_OPEN = 100
# Browsers nest no deeper than 512.
MOST_NESTED = 250
MOST_BRACKETS = 1_000

_BEGUN = re.compile(r"<[A-Za-z/!?]")
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
# Those that need no end: what comes next ends them (HTML section 13.1.2.4), or
# they have none.
_ENDLESS = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "source",
        "track",
        "wbr",
        "li",
        "dt",
        "dd",
        "p",
        "optgroup",
        "option",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "td",
        "th",
        "mj-image",
        "mj-divider",
        "mj-spacer",
    ]
)


def check_bounds(text: str, place: Place) -> None:
    """Raises DripError for a file that no mail needs, and that would take
    minutes to be made ready.
    """
    most = LONGEST_MARKDOWN if place.file.endswith(".md") else LONGEST_FILE
    if len(text) > most:
        help = "mail programs cut messages of more than 100 KB; put pictures into files of their own"
        raise DripError(
            f"the file has more than {most:,} characters", help=help, place=place
        )
    for end, begun in ((">", _BEGUN), ("-->", re.compile("<!--"))):
        tail = text[text.rfind(end) + 1 :]
        if len(begun.findall(tail)) > MOST_OPEN:
            help = f"end them with `{end}`, or write `&lt;` for a plain `<`"
            raise DripError(
                f"more than {MOST_OPEN} tags are begun and not ended",
                help=help,
                place=place,
            )
    _check_nesting(text, place)
    for paragraph in _PARAGRAPHS.split(text):
        if paragraph.count("[") > MOST_BRACKETS:
            help = "put an empty line between paragraphs"
            raise DripError(
                f"a paragraph has more than {MOST_BRACKETS:,} brackets",
                help=help,
                place=place,
            )


def _check_nesting(text: str, place: Place) -> None:
    depth = 0
    for found in _TAG.finditer(text):
        if found[2].lower() in _ENDLESS:
            continue
        depth = max(0, depth - 1) if found[1] else depth + 1
        if depth > MOST_NESTED:
            line = text.count("\n", 0, found.start()) + 1
            help = f"is an end (`</{found[2]}>`) missing somewhere?"
            sentence = f"tags are nested more than {MOST_NESTED} deep"
            raise DripError(sentence, help=help, place=Place(place.file, line))
