"""Files with people's data that drip was told to write where somebody wanted them.

Rejected rows, call lists, preview pages.

Their names are noted in `.drip/papers`, so that an erased person can be taken out of
them.
"""

from __future__ import annotations

import csv
import html
import io
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from drip import private

NAME = "papers"
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Named:
    """What a paper knows a person by."""

    key: str
    addresses: Collection[str]

    def is_in_row(self, cells: Sequence[str]) -> bool:
        """Whether a row is about the person, or quotes it."""
        quoted = f"`{self.key}`"
        # An apostrophe keeps spreadsheets from taking a key for a formula.
        for cell in cells:
            if cell.removeprefix("'") == self.key or quoted in cell:
                return True
            if self._has_address(cell):
                return True
        return False

    def is_in_page(self, text: str) -> bool:
        """Whether a page of HTML names the person."""
        plain = html.unescape(text)
        # A key of one digit stands in every price.
        word = rf"(?<!\w){re.escape(self.key)}(?!\w)"
        return re.search(word, plain) is not None or self._has_address(plain)

    def _has_address(self, text: str) -> bool:
        """Whether one of the person's addresses stands in a text."""
        folded = text.casefold()
        return any(address.casefold() in folded for address in self.addresses)


def note(own: Path, paper: Path) -> None:
    """Remembers a file that was written. `own` is the workspace's `.drip`."""
    line = str(paper.resolve())
    if line in _noted(own):
        return
    private.folder(own)
    # Two commands may write at once: what is appended in one piece stays in one piece.
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    number = os.open(own / NAME, appending, private.FILE)
    with os.fdopen(number, "wb") as file:
        file.write(os.fsencode(line) + b"\n")


def strike(own: Path, person: Named) -> list[Path]:
    """Takes a person out of all papers that are still there.

    A table loses their rows. A page goes as a whole, and is made again by the same
    command. Returns those that cannot be read or written anew.
    """
    left = []
    for paper in map(Path, _noted(own)):
        try:
            if not paper.is_file():
                continue
            if paper.suffix == ".html":
                _page(paper, person)
            else:
                _table(paper, person)
        except (OSError, csv.Error):
            left.append(paper)
    return left


def _noted(own: Path) -> list[str]:
    """The files that were written, as full paths."""
    listed = own / NAME
    return os.fsdecode(listed.read_bytes()).splitlines() if listed.is_file() else []


def _page(paper: Path, person: Named) -> None:
    """Removes a page that names the person."""
    if person.is_in_page(paper.read_text("utf-8", "replace")):
        paper.unlink()


def _table(paper: Path, person: Named) -> None:
    """Writes a table anew without the person's rows."""
    content = paper.read_bytes()
    text = content.decode("utf-8-sig", "replace")
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    kept = [row for row in rows if not person.is_in_row(row)]
    if len(kept) == len(rows):
        return
    made = io.StringIO(newline="")
    csv.writer(made, delimiter=delimiter).writerows(kept)
    making = paper.with_name(f"{paper.name}.writing")
    # As a spreadsheet had it: with the mark that says that it is UTF-8, or without.
    private.write(
        making,
        made.getvalue().encode(
            "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
        ),
    )
    making.replace(paper)
