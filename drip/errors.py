"""An error is help: where it is, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A spot in a file of the workspace. Lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class DripError(Exception):
    """Something a person has to mend.

    Ends a command with exit code 2, never with a traceback.

    `sentence` says what is wrong, `help` what to do about it, `place` where.
    """

    def __init__(
        self, sentence: str, *, help: str | None = None, place: Place | None = None
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.help = help
        self.place = place


Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in one file.

    A wrong line, why it is wrong, and the remedy where there is one.
    """

    place: Place
    sentence: str
    help: str | None = None
    source: str | None = None
    level: Level = "error"
    code: str = "invalid"

    def lines(self) -> list[str]:
        """The finding as a person reads it.

        Place, source line, caret, sentence, help.
        """
        where = str(self.place)
        if self.place.column is not None:
            where += f":{self.place.column}"
        lines = [f"{where}: {self.level}: {self.sentence}"]
        if self.source is not None and self.place.line is not None:
            number = f"{self.place.line:>5}"
            lines.append(f"{number} | {self.source.expandtabs(4)}")
            if self.place.column is not None:
                before = self.source[: self.place.column - 1].expandtabs(4)
                lines.append(f"      | {' ' * len(before)}^")
        if self.help:
            lines.append(f"      help: {self.help}")
        return lines


class Problems(DripError):
    """Files that cannot be read as they stand, with every problem found in them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.sentence, help=first.help, place=first.place)


def nearest(name: str, known: Iterable[str], *, what: str = "") -> str | None:
    """`did you mean …?` for a misspelt name.

    Else the list of those that exist, where they are few, or None.
    """
    names = sorted(set(known))
    close = get_close_matches(
        name.casefold(), [each.casefold() for each in names], n=1, cutoff=0.6
    )
    if close:
        return f"did you mean `{next(each for each in names if each.casefold() == close[0])}`?"
    if names and len(names) <= 12:
        return f"{what or 'known'}: {', '.join(names)}"
    return None


def listed(names: Iterable[str]) -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return (
        "".join(quoted)
        if len(quoted) < 2
        else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    )
