"""An error is help: where it is, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

# How alike two names are that one is offered for the other (1 is the same).
CLOSE = 0.6
# Longer lists are not read.
MOST_LISTED = 12
TAB = 4


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A spot in a file of the workspace. Lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """The file and its line, as editors open it."""
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
        # Commands, pages and logs show the parts in different ways.
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
        lines = [f"{where}: {self.level}: {self.sentence}", *self._source_lines()]
        if self.help:
            lines.append(f"      help: {self.help}")
        return lines

    def _source_lines(self) -> Iterator[str]:
        """The source line, and a caret under the column."""
        line, column = self.place.line, self.place.column
        if self.source is None or line is None:
            return
        yield f"{line:>5} | {self.source.expandtabs(TAB)}"
        if column is not None:
            # What stands before it takes more places where it has tabs.
            before = self.source[: column - 1].expandtabs(TAB)
            yield f"      | {' ' * len(before)}^"


def position(problem: Problem) -> tuple[str, int, int]:
    """Where a problem stands, to sort by; what is about a whole file comes first."""
    place = problem.place
    return place.file, place.line or 0, place.column or 0


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
    meant = _close_to(name, names)
    if meant is not None:
        return f"did you mean `{meant}`?"
    if names and len(names) <= MOST_LISTED:
        return f"{what or 'known'}: {', '.join(names)}"
    return None


def _close_to(name: str, names: list[str]) -> str | None:
    """The name that was probably meant, whatever its case."""
    by_folded: dict[str, str] = {}
    for known in names:
        by_folded.setdefault(known.casefold(), known)
    close = get_close_matches(name.casefold(), by_folded, n=1, cutoff=CLOSE)
    return by_folded[close[0]] if close else None


def listed(names: Iterable[str]) -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
