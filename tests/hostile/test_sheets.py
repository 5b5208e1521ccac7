"""What drip writes for spreadsheets holds no formula, whatever people are called, and comes back as it was."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.sheets import guarded, unguarded, write_sheet
from drip.importing.rows import Row, open_table, write_rejected

RUNS = tuple("=+-@＝＋－＠")
CELLS = st.text(st.sampled_from("=+-@\t\r\n,;|'\"ab 17.＝\\ü"), max_size=12) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)


def written(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    made = io.StringIO(newline="")
    write_sheet(made, columns, rows)
    return made.getvalue()


@given(CELLS)
def test_a_cell_comes_back_as_it_was(cell: str) -> None:
    assert unguarded(guarded(cell)) == cell


@given(st.lists(st.tuples(CELLS, CELLS), max_size=4), st.sampled_from(",;\t|"))
def test_no_cell_is_a_formula_whatever_separates_it(
    rows: list[tuple[str, str]], separator: str
) -> None:
    for row in csv.reader(
        io.StringIO(written(("=key", "@name"), rows), newline=""), delimiter=separator
    ):
        for cell in (each.lstrip("\t\r\n") for each in row):
            assert not cell.startswith(RUNS)


@given(rows=st.lists(st.tuples(CELLS.filter(str.strip), CELLS), min_size=1, max_size=4))
def test_rejected_rows_come_back_by_an_import(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sheets") / "people.csv"
    rejected = [
        (Row(number, {"=key": key, "name": name}), "=why")
        for number, (key, name) in enumerate(rows)
    ]
    found = open_table(write_rejected(path, rejected))
    assert found.columns == ("line", "reason", "=key", "name")
    assert [(row.cells["=key"], row.cells["name"]) for row in found.rows] == rows


@pytest.mark.parametrize(
    ("cell", "seen"),
    [
        ("=1+1", "'=1+1"),
        ("+447700900123", "'+447700900123"),
        ("-12.5", "'-12.5"),
        ("@ana", "'@ana"),
        ("a;=1+1", "a;'=1+1"),
        ("a\n=1+1", "a\n'=1+1"),
        ("\t=1", "'\t'=1"),
        ("'=1", "''=1"),
        ("O'Neill", "O'Neill"),
        ("1-2", "1-2"),
        ("12 Maple Street, -5", "12 Maple Street, -5"),
        ("-2+3", "'-2+3"),
        ("＝1", "'＝1"),
    ],
)
def test_what_a_spreadsheet_shows(cell: str, seen: str) -> None:
    assert guarded(cell) == seen


def test_a_telephone_number_survives_a_spreadsheet_that_somebody_saved(
    tmp_path: Path,
) -> None:
    (tmp_path / "people.csv").write_text(
        "key;phone\nana;'+447700900123\nben;+447700900124\n", "utf-8"
    )
    assert [row.cells["phone"] for row in open_table(tmp_path / "people.csv").rows] == [
        "+447700900123",
        "+447700900124",
    ]


def test_csv_is_written_by_one_module() -> None:
    for path in (Path(__file__).parent.parent.parent / "drip").rglob("*.py"):
        calls = [
            each
            for each in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(each, ast.Attribute)
        ]
        writes = any(
            ast.unparse(each) in ("csv.writer", "csv.DictWriter") for each in calls
        )
        # Papers and lists of letters are written as they were read, guards and all; a sample is to be read by drip.
        assert not writes or path.name in (
            "sheets.py",
            "sample.py",
            "papers.py",
            "pdf.py",
        ), path
