"""Files of people as rows of texts: CSV of any dialect and encoding, JSON lines, plain or gzipped."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from drip.core.shortage import shortage
from drip.errors import DripError, Place

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DELIMITERS = (",", ";", "\t", "|")
LONGEST_CELL = 1_000_000
csv.field_size_limit(LONGEST_CELL)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it begins in, its cells by column, or the reason why it cannot be read."""

    line: int
    cells: dict[str, str]
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rows. `columns` are as written, for JSON lines all that occur."""

    columns: tuple[str, ...]
    rows: Iterator[Row]
    encoding: str


def open_table(path: Path) -> Table:
    """The rows of a file. Raises DripError if it is no file of rows at all."""
    try:
        encoding = _encoding(path)
        if re.search(r"\.(jsonl|ndjson|json)(\.gz)?$", path.name.casefold()):
            columns = tuple(dict.fromkeys(name for row in _json_rows(path, encoding) for name in row.cells))
            return Table(columns, _json_rows(path, encoding), encoding)
        return _csv(path, encoding)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise shortage(error) or DripError(f"The file {path} cannot be read: {reason}.") from None


def _open(path: Path) -> BinaryIO:
    if path.name.casefold().endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _encoding(path: Path) -> str:
    """By its byte order mark; else UTF-8 if the whole file is that; else Windows-1252, as Excel writes."""
    with _open(path) as file:
        head = file.read(4)
        for mark, name in BOMS:
            if head.startswith(mark):
                return name
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(head)
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open(path), encoding=encoding, errors="replace", newline="")


def _csv(path: Path, encoding: str) -> Table:
    with _text(path, encoding) as file:
        first = file.readline()
        skip = 0
        if found := re.match(r"sep=(.)\r?\n", first):
            delimiter, skip = found[1], 1
        else:
            delimiter = _delimiter(first)
        header = next(csv.reader([first] if not skip else file, delimiter=delimiter), [])
    columns = tuple(cell.strip() for cell in header)
    if not any(columns):
        help = "the first line names the columns, as `key,email,first_name`"
        raise DripError(f"The file {path} is empty.", help=help)
    double = {column for column in columns if columns.count(column) > 1 and column}
    if double:
        raise DripError(f"The file {path} has two columns named `{min(double)}`.", help="rename one of them")
    return Table(columns, _csv_rows(path, encoding, delimiter, skip, columns), encoding)


def _delimiter(header: str) -> str:
    """The one that occurs most often outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _csv_rows(path: Path, encoding: str, delimiter: str, skip: int, columns: tuple[str, ...]) -> Iterator[Row]:
    with _text(path, encoding) as file:
        for _ in range(skip):
            file.readline()
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        next(reader)
        while True:
            line = reader.line_num + skip + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                why = f"the row cannot be read ({error})"
                if "unexpected end" in str(error):
                    why = "a quote is opened in this row and never closed, so all that follows was read as part of it"
                yield Row(line, {}, why)
                continue
            if not any(cell.strip() for cell in cells):
                continue
            named = dict(zip(columns, cells, strict=False))
            named |= {f"cell {n}": cell for n, cell in enumerate(cells, 1) if n > len(columns)}
            wrong = "a cell holds a character that text cannot have" if "\0" in "".join(cells) else None
            if len(cells) != len(columns):
                wrong = f"the row has {len(cells)} cells and the header {len(columns)}"
            yield Row(line, named, wrong)


def _json_rows(path: Path, encoding: str) -> Iterator[Row]:
    with _text(path, encoding) as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                data = json.loads(text)
            except (ValueError, RecursionError):
                yield Row(line, {"row": text.strip()[:500]}, "the line is not JSON")
                continue
            if not isinstance(data, dict):
                yield Row(line, {"row": text.strip()[:500]}, "the line is not a JSON object")
                continue
            yield _json_row(line, data)


def table_of(items: Sequence[Any]) -> Table:
    """JSON objects as rows, which count from 0."""
    rows = [
        _json_row(number, each) if isinstance(each, dict) else Row(number, {}, "it is not a JSON object")
        for number, each in enumerate(items)
    ]
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    return Table(columns, iter(rows), "utf-8")


def _json_row(line: int, data: dict[str, Any]) -> Row:
    inside = data["fields"] if isinstance(data.get("fields"), dict) else {}
    twice = sorted(set(inside) & set(data))
    flat = {**inside, **data} if inside else data
    cells = {name: _cell(value) for name, value in flat.items() if not isinstance(value, dict | list)}
    if any(_no_text(name + cell) for name, cell in cells.items()):
        clean = {_clean(name): _clean(cell) for name, cell in cells.items()}
        return Row(line, clean, "a value holds a character that text cannot have")
    nested = [name for name, value in flat.items() if isinstance(value, dict | list) and name != "fields"]
    if twice:
        return Row(line, cells, f"`{twice[0]}` stands in `fields` and beside it")
    return Row(line, cells, f"`{nested[0]}` is not a plain value" if nested else None)


def _no_text(text: str) -> bool:
    """Half a character of UTF-16, or NUL."""
    return "\0" in text or any("\ud800" <= char <= "\udfff" for char in text)


def _clean(text: str) -> str:
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def write_rejected(path: Path, rejected: list[tuple[Row, str]]) -> Path:
    """Writes the rows that were set aside beside their file, with line and reason, whole or not at all."""
    target = path.with_name(f"{path.name}.rejected.csv")
    columns = list(dict.fromkeys(name for row, _ in rejected for name in row.cells))
    making = target.with_name(f"{target.name}.writing")
    try:
        with making.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["line", "reason", *columns])
            writer.writerows([row.line, why, *(row.cells.get(name, "") for name in columns)] for row, why in rejected)
        making.replace(target)
    except OSError as error:
        help = "make its folder writable to have them in a file"
        raise shortage(error, str(target)) or DripError(f"The rejected rows cannot be written: {error.strerror}.", help=help,
                        place=Place(str(target))) from None  # fmt: skip
    return target
