"""Which column of a file holds which field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drip.core.characters import plain_key, without_hidden
from drip.errors import DripError, listed, nearest
from drip.importing.rows import Row

# In characters. An index of PostgreSQL takes 2,704 bytes.
LONGEST_KEY = 200
MOST_NOTES = 50
ALIASES = {
    "e_mail": "email",
    "mail": "email",
    "email_address": "email",
    "time_zone": "timezone",
    "language": "locale",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file holds which field; the others are not looked at."""

    by_field: Mapping[str, str]
    free: tuple[str, ...] = ()

    def cell(self, row: Row, name: str) -> str:
        """What a cell says. People paste more than they see: a phone number from an address book is wrapped in marks of direction."""
        return without_hidden(self._written(row, name)).strip()

    def key(self, row: Row, name: str) -> str:
        """A cell by which something is known. Raises ValueError for one that cannot be a key."""
        key = plain_key(self._written(row, name).strip(), name)
        if len(key) > LONGEST_KEY:
            raise ValueError(
                f"the {name} has {len(key):,} characters, and {LONGEST_KEY} may be"
            )
        return key

    def _written(self, row: Row, name: str) -> str:
        return row.cells.get(self.by_field.get(name, ""), "")


def match_columns(
    written: Sequence[str],
    mapping: Mapping[str, str],
    known: Iterable[str],
    needed: tuple[str, ...],
) -> Columns:
    """The columns by the names they have, or are given. Raises DripError for a needed one that is missing."""
    for column in mapping:
        if column not in written:
            raise DripError(
                f"There is no column `{column}` to map.",
                help=nearest(column, written, what="columns"),
            )
    fields = list(known)
    by_field: dict[str, str] = {}
    free = []
    for column in written:
        name = mapping.get(column) or field_name(column)
        if name in fields:
            by_field.setdefault(name, column)
        elif column in mapping:
            raise DripError(
                f"There is no field `{name}`.",
                help=nearest(name, fields, what="fields"),
            )
        elif column:
            free.append(column)
    for name in needed:
        if name not in by_field:
            columns = listed(column for column in written if column)
            raise DripError(
                f"The file has no column `{name}`; its columns are {columns}.",
                help=f"name the column that holds it: --map COLUMN={name}",
            )
    return Columns(by_field, tuple(free))


def field_name(column: str) -> str:
    """What a column is called as a field: `E-Mail` is `email`."""
    name = re.sub(r"[^a-z0-9.]+", "_", column.casefold()).strip("_")
    return ALIASES.get(name, name)


def ignored(columns: Columns, fields: Iterable[str]) -> list[str]:
    """Notes about the columns that are no fields."""
    notes, known = [], list(fields)
    for column in columns.free[:MOST_NOTES]:
        help = (
            nearest(field_name(column), known)
            or "declare it under `data:` in _settings.yaml to keep it"
        )
        notes.append(f"the column `{column}` is no field and is left out ({help})")
    if len(columns.free) > MOST_NOTES:
        notes.append(
            f"{len(columns.free) - MOST_NOTES:,} more columns are no fields and are left out"
        )
    return notes
