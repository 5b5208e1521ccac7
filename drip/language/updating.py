"""Writing what a test observed back into its file: the lines of `expect:`, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from drip.errors import DripError, Place
from drip.language.reader import parse


def with_expectations(
    text: str, name: str, observed: Mapping[Place, Sequence[tuple[datetime, str]]]
) -> str:
    """The file with the `expect:` of the tests at these places written anew.

    Raises DripError where a test is written in braces, so that there are no lines of its own.
    """
    document = parse(text, name)
    tests = document.data.get("tests", []) if isinstance(document.data, dict) else []
    lines = text.splitlines()
    for n in reversed(range(len(tests))):
        place = document.place(("tests", n))
        if place not in observed:
            continue
        key = document.keys.get(("tests", n, "expect"))
        if key is None or not lines[key[0] - 1].lstrip(" -").startswith("expect:"):
            raise DripError(
                "this test is not written in lines of its own",
                help="write it without braces",
                place=place,
            )
        first, indent = key[0] - 1, key[1] - 1
        last = first + 1
        while last < len(lines) and (
            not lines[last].strip() or _indent(lines[last]) > indent
        ):
            last += 1
        while last > first + 1 and not lines[last - 1].strip():
            last -= 1
        head = lines[first][:indent] + "expect:"
        lines[first:last] = (
            [head, *_written(observed[place], indent + 2)]
            if observed[place]
            else [f"{head} {{}}"]
        )
    return "\n".join(lines) + "\n"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _written(observed: Sequence[tuple[datetime, str]], indent: int) -> list[str]:
    """`2027-02-28 8:00: send birthday/card`; several lines of one minute as a list."""
    pad = " " * indent
    by_minute: dict[str, list[str]] = {}
    for wall, text in observed:
        by_minute.setdefault(f"{wall:%Y-%m-%d} {wall:%-H:%M}", []).append(text)
    lines = []
    for minute, texts in by_minute.items():
        if len(texts) == 1:
            lines.append(f"{pad}{minute}: {texts[0]}")
        else:
            lines += [f"{pad}{minute}:", *(f"{pad}  - {text}" for text in texts)]
    return lines
