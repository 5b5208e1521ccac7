"""Files of people that were made to fill memory or take for ever are refused at once, and say what to do."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drip.errors import DripError
from drip.importing import batches, importer, rows
from drip.importing.rows import open_table
from tests.world import World, at

Worlds = Callable[..., World]
MEGABYTE = 1 << 20
LONGEST_S, MOST_MB = 1.0, 64
# Opens a file and reads all its rows; prints seconds, megabytes and what was said.
READ = """
import resource, sys, time
from pathlib import Path
from drip.errors import DripError
from drip.importing.rows import open_table
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, began = peak(), time.perf_counter()
try:
    said = f"{sum(1 for _ in open_table(Path(sys.argv[1])).rows)} rows"
except DripError as error:
    said = f"{error.sentence} {error.help}"
print(time.perf_counter() - began, peak() - before, said)
"""


def packed(path: Path, *parts: tuple[bytes, int]) -> Path:
    """A packed file of parts, each so many times: packed once and repeated, as RFC 1952 section 2.2 allows."""
    path.write_bytes(b"".join(gzip.compress(part) * count for part, count in parts))
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


MADE: dict[str, Callable[[Path], Path]] = {
    "a line of 300 MB": lambda at: packed(
        at / "a.csv.gz", (b"key,email\n", 1), (b"x" * MEGABYTE, 300)
    ),
    "a heading of 300 MB": lambda at: packed(
        at / "a.csv.gz", (b"key,email", 1), (b"x" * MEGABYTE, 300)
    ),
    "a line of JSON of 300 MB": lambda at: packed(
        at / "a.jsonl.gz", (b'{"key":"', 1), (b"x" * MEGABYTE, 300), (b'"}\n', 1)
    ),
    "a cell of 300 MB over many lines": lambda at: packed(
        at / "a.csv.gz", (b'key,email\n"', 1), (b"x\n" * (MEGABYTE // 2), 300)
    ),
    "150 million empty rows": lambda at: packed(
        at / "a.csv.gz", (b"key,email\n", 1), (b",\n" * (MEGABYTE // 2), 300)
    ),
    "300 million empty lines of JSON": lambda at: packed(
        at / "a.jsonl.gz", (b"\n" * MEGABYTE, 300)
    ),
    "50,000 columns": lambda at: written(
        at / "a.csv", "key,email," + ",".join(f"c{n}" for n in range(50_000)) + "\n"
    ),
    "50,000 columns in one object": lambda at: written(
        at / "a.jsonl", json.dumps({f"c{n}": n for n in range(50_000)}) + "\n"
    ),
    "20 new columns in each of 5,000 objects": lambda at: written(
        at / "a.jsonl",
        "".join(
            json.dumps({f"c{n}-{m}": m for m in range(20)}) + "\n" for n in range(5_000)
        ),
    ),
    "a packed file in a packed file": lambda at: packed(
        at / "a.csv.gz", (gzip.compress(b"key\nana\n"), 1)
    ),
    "a packed file by another name": lambda at: packed(
        at / "a.csv", (b"key\nana\n", 1)
    ),
    "a spreadsheet": lambda at: written(at / "people.xlsx", "PK\x03\x04 and so on"),
}
REMEDIES = (
    "line of its own",
    "look at what is in it",
    "leave out those",
    "unpack it first",
    "save it as CSV",
)


@pytest.mark.parametrize("what", MADE)
def test_it_is_refused_within_a_second_and_little_memory(
    what: str, tmp_path: Path
) -> None:
    path = MADE[what](tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    seconds, megabytes, said = run.stdout.split(maxsplit=2)
    assert any(remedy in said for remedy in REMEDIES), said
    assert float(seconds) < LONGEST_S * 2 and float(megabytes) < MOST_MB


def test_a_row_that_never_ends_is_set_aside_with_what_follows(tmp_path: Path) -> None:
    text = 'key,email\nana,a@example.com\n"' + '","\n'.join(["x" * 1_000] * 3_000)
    good, bad = open_table(written(tmp_path / "a.csv", text)).rows
    assert good.wrong is None and "never closed" in str(bad.wrong)


def test_many_cells_of_a_row_are_one_reason(tmp_path: Path) -> None:
    (row,) = open_table(
        written(tmp_path / "a.csv", "key,email\nana" + "," * 500_000 + "\n")
    ).rows
    assert (
        row.wrong == "the row has 500001 cells and the header 2"
        and len(row.cells) <= rows.MOST_COLUMNS
    )


@pytest.mark.parametrize(
    "text",
    ['"key"x,email\nana,x\n', 'sep=,\n"key\nana,x\n', '"key\n' + "x\n" * 900_000],
)
def test_a_heading_that_cannot_be_read_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(DripError, match="first line"):
        open_table(written(tmp_path / "a.csv", text))


def test_what_people_really_pack_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(
        gzip.compress(
            b"key,email\n"
            + b"".join(b"k%d,k%d@example.com\n" % (n, n) for n in range(50_000))
        )
    )
    assert sum(1 for _ in open_table(path).rows) == 50_000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252", "utf-8-sig"])
def test_long_lines_are_found_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        ("key\nü" + "x" * (2 * MEGABYTE) + "\n").encode(encoding)
    )
    with pytest.raises(DripError, match="a line of more than 1,048,576 bytes"):
        open_table(tmp_path / "a.csv")


def test_an_import_of_the_wrong_file_ends(
    world: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REJECTED", 3_000)
    made, table = (
        world({}),
        open_table(written(tmp_path / "a.csv", "key,email\n" + ",x\n" * 10_000)),
    )
    with pytest.raises(
        DripError,
        match="4,000 rows cannot be taken; the first is line 2: there is no key",
    ):
        importer.import_contacts(
            made.database, made.workspace.settings, table, {}, "a.csv", at("2026-01-01")
        )


def test_rows_that_are_large_are_stored_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batches, "LARGEST_BATCH", 1_000)
    path = written(
        tmp_path / "a.csv", "key\n" + "".join(f"{'x' * 300}{n}\n" for n in range(10))
    )
    report = batches.ImportReport()
    stored = list(batches.batches(open_table(path).rows, report))
    assert [len(batch) for batch in stored] == [4, 4, 2]


def test_unknown_columns_are_named_as_far_as_somebody_reads(world: Worlds) -> None:
    names = ",".join(f"unknown_{number}" for number in range(1_900))
    report = world({}).contacts(f"key,{names}", "ana" + "," * 1_900)
    assert (
        report.new == 1
        and report.notes[-1] == "1,850 more columns are no fields and are left out"
    )
