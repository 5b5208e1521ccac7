"""Rows in batches that are stored together, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sqlalchemy import Connection

from drip.errors import DripError
from drip.importing.rows import Row
from drip.storage.base.database import Database

BATCH = 2_000
# In characters. Rows are kept in memory until they are stored, and those that are set
# aside until they are all written.
LARGEST_BATCH = 1 << 24
LARGEST_REJECTED = 1 << 26
MOST_REJECTED = 100_000


@dataclass
class ImportReport:
    """What an import did, row by row."""

    new: int = 0
    changed: int = 0
    same: int = 0
    consents: int = 0
    rejected: list[tuple[Row, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.new + self.changed + self.same + len(self.rejected)

    def count(self, *, known: bool, differs: bool) -> None:
        """One row that is good: of something that was known before, or differs from
        what was."""
        self.new += not known
        self.changed += known and differs
        self.same += not differs

    def reject(self, row: Row, reason: ValueError) -> None:
        """One row that is set aside."""
        self.rejected.append((row, str(reason)))


def _nothing(connection: Connection) -> None:
    """What is done first where nothing is."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a file is imported: as a rehearsal, to which nothing of it stays; who is
    shown how many rows are done; and what is done first, in the transaction of the
    first rows."""

    dry_run: bool = False
    progress: Callable[[int], None] = lambda rows: None
    begin: Callable[[Connection], None] = _nothing

    def transaction(self, database: Database) -> AbstractContextManager[Connection]:
        """One that is kept; in a rehearsal one that is not."""
        return database.attempt() if self.dry_run else database.write()


Take = Callable[[Connection, list[Row]], None]


def take_in_batches(
    database: Database,
    rows: Iterator[Row],
    report: ImportReport,
    options: ImportOptions,
    take: Take,
) -> ImportReport:
    """Hands rows to `take`, each batch in a transaction of its own. Raises DripError
    when so many are set aside that something else is wrong."""
    begin = options.begin
    for batch in batches(rows, report):
        with options.transaction(database) as connection:
            begin(connection)
            take(connection, batch)
        # Once: later batches would do it anew on top of the first ones.
        begin = _nothing
        options.progress(report.rows)
    return report


def batches(rows: Iterator[Row], report: ImportReport) -> Iterator[list[Row]]:
    """So many rows at once as are stored together; `report` is what has come of those
    before."""
    batch: list[Row] = []
    size = aside = seen = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) < BATCH and size < LARGEST_BATCH:
            continue
        yield batch
        # What was set aside is in memory until the end: the wrong file of a gigabyte
        # would fill it.
        aside += _size_of(report.rejected[seen:])
        seen = len(report.rejected)
        if seen > MOST_REJECTED or aside > LARGEST_REJECTED:
            raise _wrong_file(report)
        batch, size = [], 0
    if batch:
        yield batch


def _size_of(rejected: Sequence[tuple[Row, str]]) -> int:
    """In characters."""
    return sum(row.size for row, _ in rejected)


def _wrong_file(report: ImportReport) -> DripError:
    row, why = report.rejected[0]
    count = f"{len(report.rejected):,} rows cannot be taken"
    return DripError(
        f"{count}; the first is line {row.line}: {why}.",
        help="look whether it is the right file, and whether its columns have the "
        "right names (--map)",
    )
