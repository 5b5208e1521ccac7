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
_COMMENT = re.compile("<!--")
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
    """Raises DripError for a file that no mail needs, and that would take minutes to
    be made ready.
    """
    most = LONGEST_MARKDOWN if place.file.endswith(".md") else LONGEST_FILE
    if len(text) > most:
        raise DripError(
            f"the file has more than {most:,} characters",
            help="mail programs cut messages of more than 100 KB; put pictures into"
            " files of their own",
            place=place,
        )
    # What is begun and not ended is looked for again from each beginning.
    _check_ends(text, _BEGUN, ">", place)
    _check_ends(text, _COMMENT, "-->", place)
    _check_nesting(text, place)
    for paragraph in _PARAGRAPHS.split(text):
        if paragraph.count("[") > MOST_BRACKETS:
            raise DripError(
                f"a paragraph has more than {MOST_BRACKETS:,} brackets",
                help="put an empty line between paragraphs",
                place=place,
            )


def _check_ends(
    text: str,
    begun: re.Pattern[str],
    end: str,
    place: Place,
) -> None:
    """What is begun behind the last end has none."""
    tail = text[text.rfind(end) + 1 :]
    if len(begun.findall(tail)) > MOST_OPEN:
        raise DripError(
            f"more than {MOST_OPEN} tags are begun and not ended",
            help=f"end them with `{end}`, or write `&lt;` for a plain `<`",
            place=place,
        )


def _check_nesting(text: str, place: Place) -> None:
    depth = 0
    for tag in _TAG.finditer(text):
        ends, name = tag.groups()
        if name.lower() in _ENDLESS:
            continue
        depth = max(0, depth - 1) if ends else depth + 1
        if depth > MOST_NESTED:
            line = text.count("\n", 0, tag.start()) + 1
            raise DripError(
                f"tags are nested more than {MOST_NESTED} deep",
                help=f"is an end (`</{name}>`) missing somewhere?",
                place=Place(place.file, line),
            )
