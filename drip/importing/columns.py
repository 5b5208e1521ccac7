"""Which column of a file holds which field."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from drip.core.characters import plain_key, without_hidden
from drip.core.fields import own_key
from drip.errors import DripError, listed, nearest
from drip.importing.rows import Row
from drip.storage.people.contacts import Contact

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
        """What a cell says. People paste more than they see: a phone number from an
        address book is wrapped in marks of direction."""
        return without_hidden(self._written(row, name)).strip()

    def key(self, row: Row, name: str) -> str:
        """A cell by which something is known. Raises ValueError for one that cannot be
        a key."""
        key = plain_key(self._written(row, name).strip(), name)
        if len(key) > LONGEST_KEY:
            raise _too_long(name, key)
        return key

    def _written(self, row: Row, name: str) -> str:
        return row.cells.get(self.by_field.get(name, ""), "")


def _too_long(name: str, key: str) -> ValueError:
    length = f"{len(key):,} characters"
    return ValueError(f"the {name} has {length}, and {LONGEST_KEY} may be")


def fresh_key(
    row: Row,
    columns: Columns,
    seen: Collection[str],
) -> str:
    """The key of a row, which no row before it has. Raises ValueError with the
    reason."""
    if row.wrong:
        raise ValueError(row.wrong)
    key = columns.key(row, "key")
    if not key:
        raise ValueError("there is no key")
    # Which of the two is right only a person knows; the later one would win silently.
    if key in seen:
        raise ValueError(f"the key `{key}` stands in an earlier row")
    return own_key(key)


def owner_of(key: str, owners: Mapping[str, Contact]) -> Contact:
    """The contact that a row names. Raises ValueError where there is none."""
    if not key:
        raise ValueError("there is no contact")
    owner = owners.get(key)
    # Nothing is kept any more of a person who was erased (GDPR art. 17).
    if owner is None or owner.erased_at:
        raise ValueError(f"there is no contact `{key}`")
    return owner


def match_columns(
    written: Sequence[str],
    mapping: Mapping[str, str],
    known: Iterable[str],
    needed: tuple[str, ...],
) -> Columns:
    """The columns by the names they have, or are given. Raises DripError for a needed
    one that is missing."""
    _refuse_unwritten(mapping, written)
    fields = list(known)
    by_field: dict[str, str] = {}
    free = []
    for column in written:
        name = mapping.get(column) or field_name(column)
        # Of two columns for one field the first one counts, as whoever reads the header
        # would have it.
        if name in fields:
            by_field.setdefault(name, column)
        elif column in mapping:
            help = nearest(name, fields, what="fields")
            raise DripError(f"There is no field `{name}`.", help=help)
        elif column:
            free.append(column)
    _refuse_missing(needed, by_field, written)
    return Columns(by_field, tuple(free))


def _refuse_unwritten(mapping: Iterable[str], written: Sequence[str]) -> None:
    """Raises DripError for a column that is mapped and does not stand in the file."""
    for column in mapping:
        if column not in written:
            help = nearest(
                column,
                written,
                what="columns",
            )
            raise DripError(f"There is no column `{column}` to map.", help=help)


def _refuse_missing(
    needed: Iterable[str],
    by_field: Collection[str],
    written: Sequence[str],
) -> None:
    for name in needed:
        if name not in by_field:
            raise _missing(name, written)


def _missing(name: str, written: Sequence[str]) -> DripError:
    columns = listed(column for column in written if column)
    return DripError(
        f"The file has no column `{name}`; its columns are {columns}.",
        help=f"name the column that holds it: --map COLUMN={name}",
    )


def field_name(column: str) -> str:
    """What a column is called as a field: `E-Mail` is `email`."""
    name = re.sub(
        r"[^a-z0-9.]+",
        "_",
        column.casefold(),
    ).strip("_")
    return ALIASES.get(name, name)


def ignored(columns: Columns, fields: Iterable[str]) -> list[str]:
    """Notes about the columns that are no fields."""
    known = list(fields)
    notes = [_note(column, known) for column in columns.free[:MOST_NOTES]]
    if len(columns.free) > MOST_NOTES:
        count = len(columns.free) - MOST_NOTES
        notes.append(f"{count:,} more columns are no fields and are left out")
    return notes


def _note(column: str, fields: Sequence[str]) -> str:
    declare = "declare it under `data:` in _settings.yaml to keep it"
    help = nearest(field_name(column), fields) or declare
    return f"the column `{column}` is no field and is left out ({help})"
