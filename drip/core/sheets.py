"""CSV for people who open it in a spreadsheet.

What a cell holds is never taken for a formula, and comes back as it was.

A spreadsheet runs what begins with = + - @, a tab or a carriage return, or one of the
wide forms of these that Japanese keyboards write (OWASP, CSV injection). Such a cell
gets an apostrophe before it, as people do by hand, and loses it when it is read. So do
-12.5 and +447700900123, of which a spreadsheet would make 4.47701E+11. Where a text
goes on like that behind a comma, semicolon, tab, bar or line end it gets one too: a
spreadsheet of a country with another separator begins a cell there.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import TextIO

# So that Excel takes it for UTF-8.
ENCODING = "utf-8-sig"
_BEGINS, _RUNS = r"((?:^|[,;\t|\r\n])\"*)", r"[=+\-@\t\r＝＋－＠]"
_GUARDED = re.compile(f"{_BEGINS}'('*(?={_RUNS}))")
_OPEN = re.compile(f"{_BEGINS}('*(?={_RUNS}))")


def write_sheet(
    file: TextIO, columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """Writes a heading and rows.

    The file is open with `newline=""`, in `ENCODING` if it begins here.
    """
    writer = csv.writer(file)
    writer.writerow([guarded(column) for column in columns])
    writer.writerows([guarded(str(cell)) for cell in row] for row in rows)


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return _OPEN.sub(r"\1'\2", cell)


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given.

    And what somebody meant who typed the apostrophe.
    """
    return _GUARDED.sub(r"\1\2", cell) if "'" in cell else cell
