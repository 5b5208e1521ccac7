"""Writing what a test observed back into its file: the lines of `expect:` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from drip.errors import DripError, Place
from drip.language.reader import Document, parse

Timeline = Sequence[tuple[datetime, str]]
# How far the lines of `expect:` stand in from it.
INDENT = 2


def with_expectations(text: str, name: str, observed: Mapping[Place, Timeline]) -> str:
    """The file with the `expect:` of the tests at these places written anew.

    Raises DripError where a test is written in braces, so that it has no lines of its
    own.
    """
    document = parse(text, name)
    lines = text.splitlines()
    # From the last one on, so that the places of those before it stay true.
    for number in reversed(range(_count_tests(document))):
        place = document.place(("tests", number))
        if place not in observed:
            continue
        line, column = _expect_at(document, number, place, lines)
        first, indent = line - 1, column - 1
        head = lines[first][:indent] + "expect:"
        end = _end_of_block(lines, first, indent)
        lines[first:end] = _written(head, observed[place], indent + INDENT)
    return "\n".join(lines) + "\n"


def _count_tests(document: Document) -> int:
    """How many tests a file has."""
    if not isinstance(document.data, dict):
        return 0
    return len(document.data.get("tests", []))


def _expect_at(
    document: Document,
    number: int,
    place: Place,
    lines: Sequence[str],
) -> tuple[int, int]:
    """Line and column of a test's `expect:`, both from 1."""
    at = document.keys.get(("tests", number, "expect"))
    if at is None or not lines[at[0] - 1].lstrip(" -").startswith("expect:"):
        raise DripError(
            "this test is not written in lines of its own",
            help="write it without braces",
            place=place,
        )
    return at


def _end_of_block(lines: Sequence[str], first: int, indent: int) -> int:
    """The line after those that belong to the one at `first`; empty ones do not."""
    end = first + 1
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    while end > first + 1 and not lines[end - 1].strip():
        end -= 1
    return end


def _indent(line: str) -> int:
    """How far a line stands in."""
    return len(line) - len(line.lstrip(" "))


def _written(head: str, observed: Timeline, indent: int) -> list[str]:
    """`2027-02-28 8:00: send birthday/card`; several lines of one minute as a list."""
    if not observed:
        # An empty value would be a mistake: nothing has to be said.
        return [f"{head} {{}}"]
    by_minute: dict[str, list[str]] = {}
    for wall, text in observed:
        minute = f"{wall:%Y-%m-%d} {wall:%-H:%M}"
        by_minute.setdefault(minute, []).append(text)
    pad = " " * indent
    lines = [head]
    for minute, texts in by_minute.items():
        if len(texts) == 1:
            lines.append(f"{pad}{minute}: {texts[0]}")
            continue
        lines.append(f"{pad}{minute}:")
        lines += [f"{pad}  - {text}" for text in texts]
    return lines
