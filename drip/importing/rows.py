"""Files of people as rows of texts: CSV of any dialect and encoding, JSON lines, plain
or gzipped."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from drip import private
from drip.core.sheets import ENCODING, unguarded, write_sheet
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
# The CRMs that people export from allow 900 to 1,000 fields of one's own.
MOST_COLUMNS = 2_000
# Of a row, in characters, and of a line, in bytes.
LONGEST_ROW = BLOCK = 1 << 20
# Lists of people are packed to a tenth or a fiftieth; what unfolds a hundredfold was
# made for it. Smaller files do no harm.
MOST_UNFOLDED, ALWAYS_UNFOLDED = 100, 1 << 26
JSON_LINES = re.compile(r"\.(jsonl|ndjson|json)(\.gz)?$")
ENDS = (b"\n", b"\r")
A_LINE_EACH = (
    "each row is a line of its own: have the program that wrote the file write it so"
)
# In characters, of a row that cannot be read.
SHOWN_OF_ROW = 500
# How gzip (RFC 1952 section 2.3.1) and zip begin; .xlsx and .ods are zip.
PACKED, ZIPPED = b"\x1f\x8b", b"PK\x03\x04"
csv.field_size_limit(LONGEST_ROW)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it begins in, its cells by column, or the reason why it cannot
    be read; how many characters it has."""

    line: int
    cells: dict[str, str]
    wrong: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows. `columns` are as written, for JSON lines all that occur."""

    columns: tuple[str, ...]
    rows: Iterator[Row]
    encoding: str


def open_table(path: Path) -> RowFile:
    """The rows of a file. Raises DripError if it is no file of rows at all."""
    try:
        encoding = _encoding(path)
        if JSON_LINES.search(path.name.casefold()):
            columns = _columns(_json_rows(path, encoding), f"The file {path}")
            return RowFile(
                columns,
                _json_rows(path, encoding),
                encoding,
            )
        return _csv(path, encoding)
    except (OSError, EOFError, zlib.error) as error:
        raise shortage(error) or _unreadable_file(path, error) from None


def _unreadable_file(path: Path, error: Exception) -> DripError:
    # A gzip file that was cut off ends in EOFError, a damaged one in zlib.error.
    reason = (
        getattr(
            error,
            "strerror",
            None,
        )
        or "it is damaged"
    )
    return DripError(f"The file {path} cannot be read: {reason}.")


def _open(path: Path) -> BinaryIO:
    if _is_packed(path):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _encoding(path: Path) -> str:
    """By its byte order mark; else UTF-8 if the whole file is that; else Windows-1252,
    as Excel writes.

    The whole file is looked through, so that one which cannot be read within bounds is
    refused before anything of it is stored. Raises DripError."""
    with _open(path) as file:
        # The longest of the marks, and of what shows that a file is packed.
        first = file.read(4)
        _refuse_packed(path, first)
        rest = iter(partial(file.read, BLOCK), b"")
        blocks = _bounded(path, chain([first], rest))
        marked = _marked(first)
        if marked is None:
            return "utf-8" if _is_utf8(blocks) else "cp1252"
        # Looked through all the same, for what is too long.
        for _ in blocks:
            pass
        return marked


def _marked(first: bytes) -> str | None:
    """The encoding that a byte order mark says, if there is one."""
    return next((name for mark, name in BOMS if first.startswith(mark)), None)


def _bounded(path: Path, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks of a file. Raises DripError for a line that is too long, and for a
    packed file that unfolds to too much."""
    size = line = 0
    for block in blocks:
        size += len(block)
        line = _unended(path, line, block)
        _refuse_bomb(path, size)
        yield block


def _is_utf8(blocks: Iterable[bytes]) -> bool:
    """Whether these bytes are UTF-8. All of them are looked at, whatever the first ones
    are."""
    # A character may begin in one block and end in the next.
    decoder = codecs.getincrementaldecoder("utf-8")()
    good = True
    for block in blocks:
        good = good and _decodes(decoder, block)
    return good and _decodes(decoder, b"", final=True)


def _decodes(
    decoder: codecs.IncrementalDecoder,
    block: bytes,
    final: bool = False,
) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _unended(
    path: Path,
    before: int,
    block: bytes,
) -> int:
    """How many bytes there are since the last line end. Raises DripError for a line
    that is too long."""
    found = [at for at in map(block.find, ENDS) if at >= 0]
    first = min(found, default=len(block))
    if before + first > LONGEST_ROW:
        raise _long_line(path)
    if not found:
        return before + len(block)
    last = max(map(block.rfind, ENDS))
    return len(block) - last - 1


def _long_line(path: Path) -> DripError:
    sentence = f"The file {path} has a line of more than {LONGEST_ROW:,} bytes."
    return DripError(sentence, help=A_LINE_EACH)


def _refuse_packed(path: Path, head: bytes) -> None:
    if head.startswith(ZIPPED):
        raise DripError(
            f"The file {path} is a spreadsheet or an archive.",
            help="open it in your spreadsheet program and save it as CSV; unpack an "
            "archive first",
        )
    if head.startswith(PACKED):
        raise DripError(
            f"What is in the file {path} is packed.",
            help="unpack it first; a name that ends in `.gz` says that a file is "
            "packed once",
        )


def _refuse_bomb(path: Path, size: int) -> None:
    """What a packed file unfolds to is bounded by its own size, since a small one can
    stand for hundreds of gigabytes."""
    if size <= ALWAYS_UNFOLDED or not _is_packed(path):
        return
    if size > MOST_UNFOLDED * path.stat().st_size:
        raise DripError(
            f"The file {path} unfolds to more than {MOST_UNFOLDED} times its size.",
            help="unpack it, look at what is in it, and import that",
        )


def _is_packed(path: Path) -> bool:
    return path.name.casefold().endswith(".gz")


def _columns(rows: Iterable[Row], name: str) -> tuple[str, ...]:
    """All columns that occur. Raises DripError for too many."""
    found: dict[str, None] = {}
    for row in rows:
        found |= dict.fromkeys(row.cells)
        # At each row: values as names would fill the memory before the end of a file.
        _refuse_columns(len(found), name)
    return tuple(found)


def _refuse_columns(count: int, name: str) -> None:
    if count > MOST_COLUMNS:
        help = "leave out those that are no fields of your people"
        raise DripError(f"{name} has more than {MOST_COLUMNS:,} columns.", help=help)


def _text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        _open(path),
        encoding=encoding,
        errors="replace",
        newline="",
    )


def _csv(path: Path, encoding: str) -> RowFile:
    with _text(path, encoding) as file:
        first = file.readline()
        # As Excel writes it, which no RFC knows.
        said = re.match(r"sep=(.)\r?\n", first)
        shape = _Shape(said[1], 1) if said else _Shape(_delimiter(first), 0)
        lines = file if said else chain([first], file)
        columns = _header(path, lines, shape.delimiter)
    rows = _csv_rows(
        path,
        encoding,
        shape,
        columns,
    )
    return RowFile(columns, rows, encoding)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a CSV is written: what is between its cells, and how many lines there are
    before its header."""

    delimiter: str
    skip: int


def _header(
    path: Path,
    lines: Iterable[str],
    delimiter: str,
) -> tuple[str, ...]:
    """The names of the columns. Raises DripError for a header that cannot be one."""
    cells = _header_cells(path, lines, delimiter)
    columns = tuple(unguarded(cell).strip() for cell in cells)
    if not any(columns):
        raise DripError(
            f"The file {path} is empty.",
            help="the first line names the columns, as `key,email,first_name`",
        )
    _refuse_columns(len(columns), f"The file {path}")
    _refuse_doubles(path, columns)
    return columns


def _header_cells(
    path: Path,
    lines: Iterable[str],
    delimiter: str,
) -> list[str]:
    reader = csv.reader(
        _CountedLines(lines),
        delimiter=delimiter,
        strict=True,
    )
    try:
        return next(reader, [])
    except (csv.Error, _TooLong):
        raise DripError(
            f"The first line of the file {path} cannot be read.",
            # RFC 4180 section 2, rule 7.
            help="a quote that is part of a name is written twice",
        ) from None


def _refuse_doubles(path: Path, columns: Sequence[str]) -> None:
    counts = Counter(filter(None, columns))
    double = sorted(column for column, count in counts.items() if count > 1)
    # The second one would silently take the place of the first.
    if double:
        sentence = f"The file {path} has two columns named `{double[0]}`."
        raise DripError(sentence, help="rename one of them")


def _delimiter(header: str) -> str:
    """The one that occurs most often outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


NEVER_CLOSED = (
    "a quote is opened in this row and never closed, so all that follows was read as "
    "part of it"
)


class _TooLong(Exception):
    """A row goes on and on."""


class _CountedLines:
    """The lines of a file. `size` counts their characters since somebody set it to
    zero: a row of CSV can be many lines."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.size += len(line)
        if self.size > LONGEST_ROW:
            raise _TooLong
        return line


def _csv_rows(
    path: Path,
    encoding: str,
    shape: _Shape,
    columns: tuple[str, ...],
) -> Iterator[Row]:
    with _text(path, encoding) as file:
        for _ in range(shape.skip):
            file.readline()
        lines = _CountedLines(file)
        reader = csv.reader(
            lines,
            delimiter=shape.delimiter,
            strict=True,
        )
        next(reader)
        while True:
            line = reader.line_num + shape.skip + 1
            lines.size = 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _TooLong:
                yield Row(line, {}, NEVER_CLOSED)
                return
            except csv.Error as error:
                # The reader goes on with the next line: one row is lost, not the file.
                yield Row(line, {}, _unreadable(error))
                continue
            if any(cell.strip() for cell in cells):
                yield _csv_row(
                    line,
                    cells,
                    columns,
                    lines.size,
                )


def _unreadable(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return NEVER_CLOSED
    return f"the row cannot be read ({error})"


def _csv_row(
    line: int,
    cells: Sequence[str],
    columns: Sequence[str],
    size: int,
) -> Row:
    """A row by its columns; cells that have none are kept by their number, for whoever
    looks what is wrong."""
    plain = [unguarded(cell) for cell in cells]
    named = dict(zip(columns, plain, strict=False))
    first = len(columns) + 1
    extra = plain[len(columns) : MOST_COLUMNS]
    named |= {f"cell {number}": cell for number, cell in enumerate(extra, first)}
    return Row(
        line,
        named,
        _wrong_with(plain, columns),
        size,
    )


def _wrong_with(cells: Sequence[str], columns: Sequence[str]) -> str | None:
    # A cell too few or too many: those after it would be taken for other fields.
    if len(cells) != len(columns):
        return f"the row has {len(cells)} cells and the header {len(columns)}"
    # PostgreSQL takes no NUL in a text, and the whole batch would fail.
    if any("\0" in cell for cell in cells):
        return "a cell holds a character that text cannot have"
    return None


def _json_rows(path: Path, encoding: str) -> Iterator[Row]:
    with _text(path, encoding) as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                yield _json_line(line, text)


def _json_line(line: int, text: str) -> Row:
    shown = {"row": text.strip()[:SHOWN_OF_ROW]}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return Row(line, shown, "the line is not JSON")
    if not isinstance(data, dict):
        return Row(
            line,
            shown,
            "the line is not a JSON object",
        )
    row = _json_row(line, data)
    return replace(row, size=len(text))


def table_of(items: Sequence[Any]) -> RowFile:
    """JSON objects as rows, which count from 0."""
    rows = [_item_row(number, item) for number, item in enumerate(items)]
    columns = _columns(rows, "What was sent")
    return RowFile(columns, iter(rows), "utf-8")


def _item_row(number: int, item: Any) -> Row:
    if isinstance(item, dict):
        return _json_row(number, item)
    return Row(number, {}, "it is not a JSON object")


def _json_row(line: int, data: dict[str, Any]) -> Row:
    """An object's plain values by their names; those of `fields` stand beside the
    others."""
    inside = data["fields"] if isinstance(data.get("fields"), dict) else {}
    flat = {**inside, **data}
    nested = [name for name, value in flat.items() if _is_nested(value)]
    cells = {name: _cell(value) for name, value in flat.items() if name not in nested}
    if any(_no_text(name + cell) for name, cell in cells.items()):
        clean = {_clean(name): _clean(cell) for name, cell in cells.items()}
        return Row(
            line,
            clean,
            "a value holds a character that text cannot have",
        )
    for name in sorted(inside.keys() & data.keys()):
        return Row(
            line,
            cells,
            f"`{name}` stands in `fields` and beside it",
        )
    for name in nested:
        if name != "fields":
            return Row(
                line,
                cells,
                f"`{name}` is not a plain value",
            )
    return Row(line, cells)


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _no_text(text: str) -> bool:
    """Half a character of UTF-16, or NUL."""
    # RFC 8259 section 8.2: JSON can say both, and no database takes them.
    return "\0" in text or any("\ud800" <= char <= "\udfff" for char in text)


def _clean(text: str) -> str:
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # Before it is taken for a number, which a bool is too: `True` is no yes in a cell.
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _rejected_sheet(
    rejected: list[tuple[Row, str]],
) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
    """The header and the lines of a sheet."""
    names = dict.fromkeys(name for row, _ in rejected for name in row.cells)
    lines = (
        (row.line, why, *(row.cells.get(name, "") for name in names))
        for row, why in rejected
    )
    return ("line", "reason", *names), lines


def write_rejected(path: Path, rejected: list[tuple[Row, str]]) -> Path:
    """Writes the rows that were set aside beside their file, with line and reason,
    whole or not at all."""
    target = path.with_name(f"{path.name}.rejected.csv")
    making = target.with_name(f"{target.name}.writing")
    try:
        with open(
            making,
            "w",
            newline="",
            encoding=ENCODING,
            # It holds people's data, as their file does.
            opener=private.opener,
        ) as file:
            write_sheet(file, *_rejected_sheet(rejected))
        making.replace(target)
    except OSError as error:
        raise shortage(error, str(target)) or _unwritable(target, error) from None
    return target


def _unwritable(target: Path, error: OSError) -> DripError:
    return DripError(
        f"The rejected rows cannot be written: {error.strerror}.",
        help="make its folder writable to have them in a file",
        place=Place(str(target)),
    )
