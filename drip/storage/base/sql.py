"""SQL as storage writes it: prepared statements, typed rows, and where databases
differ.

They differ in lists, JSON, comparing text, and sums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, cast, overload

from sqlalchemy import (
    BigInteger,
    Boolean,
    ClauseElement,
    ColumnElement,
    CompoundSelect,
    Connection,
    CursorResult,
    Executable,
    Float,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from drip.storage.base.converters import (
    Converter,
    Row,
    field_names,
    from_driver,
    from_result,
)

Readable = Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]


class Prepared(Generic[Row]):
    """A statement of every tick: compiled once for each kind of database.

    What it returns is made into `into` (see `converters`) by a converter that is
    made once too. What it is given are the database's own values: instants as
    milliseconds, JSON as text.
    """

    @overload
    def __init__(self: Prepared[tuple[Any, ...]], statement: ClauseElement) -> None: ...

    @overload
    def __init__(self, statement: Readable, into: type[Row]) -> None: ...

    def __init__(self, statement: Any, into: type[Row] | None = None) -> None:
        self._statement = statement
        self._into = into
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: Any) -> list[Row]:
        """All rows."""
        cursor = self._execute(connection, values).cursor
        return [] if cursor is None else self.converter(cursor.fetchall())

    def first(self, connection: Connection, **values: Any) -> Row | None:
        """The first row; None if there is none."""
        found = self.rows(connection, **values)
        return found[0] if found else None

    def one(self, connection: Connection, **values: Any) -> Row:
        """The row of a statement that always has one, as a sum over nothing has."""
        (found,) = self.rows(connection, **values)
        return found

    def count(self, connection: Connection, **values: Any) -> int:
        """How many rows it changed."""
        return self._execute(connection, values).rowcount

    def many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Runs it for each of these rows.

        Their values are in the order in which the statement names them.
        """
        if rows:
            connection.exec_driver_sql(self._for(connection).sql, list(rows))

    @cached_property
    def converter(self) -> Converter[Row]:
        """Makes `into` of rows as the driver gives them.

        Made when it is first used: looking at what a class is annotated with takes
        as long as ten statements, and no command needs them all. Raises TypeError
        where the columns are not the fields of `into`; a test makes every one.
        """
        if self._into is None:
            return cast("Converter[Row]", list)
        return from_driver(list(self._statement.selected_columns), self._into)

    def _execute(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> CursorResult[Any]:
        compiled = self._for(connection)
        given = {**compiled.fixed, **values}
        in_order = tuple([given[name] for name in compiled.order])
        return connection.exec_driver_sql(compiled.sql, in_order)

    def _for(self, connection: Connection) -> _Compiled:
        kind = connection.dialect.name
        if kind not in self._compiled:
            self._compiled[kind] = _Compiled(self._statement, connection)
        return self._compiled[kind]


class _Compiled:
    __slots__ = ("fixed", "order", "sql")

    def __init__(self, statement: ClauseElement, connection: Connection) -> None:
        compiled: Any = statement.compile(connection.engine)
        self.sql, self.order = str(compiled), list(compiled.positiontup)
        self.fixed = {name: compiled.params.get(name) for name in self.order}


AT_ONCE = 1_000
# By the names of the columns, which are at hand: to look at a statement's columns
# takes as long as to run it.
_CONVERTERS: dict[tuple[type[Any], tuple[str, ...]], Converter[Any]] = {}


def typed_rows(
    connection: Connection, statement: Readable, into: type[Row]
) -> list[Row]:
    """The rows of a statement that is not prepared, as those of `Prepared`.

    Raises TypeError where its columns are not the fields of `into`.
    """
    result = connection.execute(statement)
    return _converter(result, statement, into)(result)


def stream_rows(
    connection: Connection, statement: Readable, into: type[Row]
) -> Iterator[Row]:
    """As `typed_rows`, some at a time: of what need not fit into memory."""
    result = connection.execute(statement)
    converter = _converter(result, statement, into)
    # A million rows as values would take some hundred megabytes at once.
    for some in result.partitions(AT_ONCE):
        yield from converter(some)


def _converter(
    result: CursorResult[Any], statement: Readable, into: type[Row]
) -> Converter[Row]:
    read_as = (into, tuple(result.keys()))
    if read_as not in _CONVERTERS:
        _CONVERTERS[read_as] = from_result(list(statement.selected_columns), into)
    converter: Converter[Row] = _CONVERTERS[read_as]
    return converter


def first_row(
    connection: Connection, statement: Readable, into: type[Row]
) -> Row | None:
    """The first of `typed_rows`; None if there is none."""
    found = typed_rows(connection, statement, into)
    return found[0] if found else None


def one_row(connection: Connection, statement: Readable, into: type[Row]) -> Row:
    """The row of a statement that always has one, as a count has."""
    (found,) = typed_rows(connection, statement, into)
    return found


def count_changed(
    connection: Connection, statement: Executable, values: Any = None
) -> int:
    """Runs it; how many rows it changed."""
    return connection.execute(statement, values).rowcount


def upsert(table: Table, *names: str) -> Insert:
    """Inserts rows; one whose primary key is there takes on these columns."""
    statement = insert_or(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: statement.excluded[name] for name in names},
    )


def select_as(table: Table, into: type[Any]) -> Select[Any]:
    """Asks all rows of a table for the columns that are fields of `into`."""
    return select(*(table.c[name] for name in field_names(into)))


class _Listed(FunctionElement[Any]):
    """The values of a JSON list, one in each row."""

    name = "listed"
    inherit_cache = True


class _ListedNumber(FunctionElement[int]):
    """The value of a row of `_Listed`."""

    name = "listed_number"
    type = BigInteger()
    inherit_cache = True


class _ListedText(FunctionElement[str]):
    """The value of a row of `_Listed`."""

    name = "listed_text"
    type = Text()
    inherit_cache = True


@compiles(_Listed)
def _listed(element: _Listed, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Listed, "postgresql")
def _listed_there(element: _Listed, compiler: Any, **options: Any) -> str:
    given = compiler.process(element.clauses, **options)
    return f"json_array_elements_text(CAST({given} AS JSON))"


@compiles(_ListedNumber)
@compiles(_ListedText)
def _listed_value(element: Any, compiler: Any, **options: Any) -> str:
    return "value"


@compiles(_ListedNumber, "postgresql")
def _listed_number_there(element: Any, compiler: Any, **options: Any) -> str:
    return "CAST(value AS BIGINT)"


def listed_in(name: str) -> Select[Any]:
    """Numbers given as one parameter, as `numbers` writes them.

    For `column.in_(…)` of a prepared statement.
    """
    given = _Listed(bindparam(name, type_=Text))
    return select(_ListedNumber()).select_from(given)


def texts_in(name: str) -> Select[Any]:
    """As `listed_in`, for texts, as `json.dumps` writes a list of them."""
    given = _Listed(bindparam(name, type_=Text))
    return select(_ListedText()).select_from(given)


# One parameter, however many there are: SQLite takes 32,766 of them, and a statement
# with another number of them would be compiled anew.
def numbers(ids: Iterable[int]) -> str:
    """What `listed_in` takes."""
    return json.dumps(list(ids))


class _JsonText(FunctionElement[str]):
    """A value of a JSON column by its name."""

    name = "json_text"
    type = Text()
    inherit_cache = True


class _JsonNumber(FunctionElement[float]):
    """The same, where it is a number; of text and everything else NULL."""

    name = "json_number"
    type = Float()
    inherit_cache = True


class _JsonFlag(FunctionElement[int]):
    """The same, 1 for true and 0 for false."""

    name = "json_flag"
    type = Integer()
    inherit_cache = True


def _extracted(element: Any, compiler: Any, options: dict[str, Any]) -> str:
    column, name = element.clauses
    return f"json_extract({compiler.process(column, **options)}, '$.\"{name.name}\"')"


@compiles(_JsonText)
@compiles(_JsonFlag)
def _json(element: Any, compiler: Any, **options: Any) -> str:
    return _extracted(element, compiler, options)


@compiles(_JsonNumber)
def _json_number(element: Any, compiler: Any, **options: Any) -> str:
    value = _extracted(element, compiler, options)
    return f"(CASE WHEN typeof({value}) IN ('integer', 'real') THEN {value} END)"


@compiles(_JsonText, "postgresql")
def _json_text_there(element: Any, compiler: Any, **options: Any) -> str:
    column, name = element.clauses
    return f"(({compiler.process(column, **options)} ->> '{name.name}') COLLATE \"C\")"


@compiles(_JsonNumber, "postgresql")
def _json_number_there(element: Any, compiler: Any, **options: Any) -> str:
    column, name = element.clauses
    held = compiler.process(column, **options)
    is_number = f"json_typeof({held} -> '{name.name}') = 'number'"
    number = f"CAST({held} ->> '{name.name}' AS DOUBLE PRECISION)"
    return f"(CASE WHEN {is_number} THEN {number} END)"


@compiles(_JsonFlag, "postgresql")
def _json_flag_there(element: Any, compiler: Any, **options: Any) -> str:
    column, name = element.clauses
    flag = f"{compiler.process(column, **options)} ->> '{name.name}'"
    return f"(CASE {flag} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END)"


def json_text(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """The text of a JSON column by its name.

    It is written out, so that an index over the same words serves.
    """
    return _JsonText(column, literal_column(name))


def json_number(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """As `json_text`, for a number: NULL for whatever is none."""
    return _JsonNumber(column, literal_column(name))


def json_flag(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """As `json_text`, for yes (1) and no (0)."""
    return _JsonFlag(column, literal_column(name))


def folded(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Text as conditions compare it.

    Both databases are given this function when they are opened or made.
    """
    return Folded(value)


class Folded(FunctionElement[str]):
    """Text as conditions compare it."""

    name = "folded"
    type = Text()
    inherit_cache = True


@compiles(Folded)
def _folded(element: Any, compiler: Any, **options: Any) -> str:
    return f"drip_fold({compiler.process(element.clauses, **options)})"


@compiles(Folded, "postgresql")
def _folded_there(element: Any, compiler: Any, **options: Any) -> str:
    return f'(drip_fold({compiler.process(element.clauses, **options)}) COLLATE "C")'


# Not LIKE: in it `%` and `_` of a text that somebody wrote would stand for others.
class _Position(FunctionElement[int]):
    name = "position"
    type = Integer()
    inherit_cache = True


@compiles(_Position)
def _position(element: Any, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(_Position, "postgresql")
def _position_there(element: Any, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


def includes(value: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether a text has `part` in it."""
    return _Position(value, part) > 0


# In doubles a sum hangs on the order of its rows, and the two readers of conditions
# would disagree about who has spent 100.
def exact_sum(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of a group, exact in whatever order."""
    return func.drip_sum(value, type_=Float)


def later(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """The greater one of two values."""
    return case((one > other, one), else_=other)


class _OffIndexes(FunctionElement[bool]):
    """A flag of which no index of a server is to serve."""

    name = "off_indexes"
    type = Boolean()
    inherit_cache = True


def off_indexes(flag: ColumnElement[bool]) -> ColumnElement[bool]:
    """The flag of a column, of which no index of a server is to serve.

    What a server knows of a table can be of before it was filled, when next to no row
    had the flag.
    """
    return _OffIndexes(flag)


@compiles(_OffIndexes)
def _off_indexes(element: _OffIndexes, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(_OffIndexes, "postgresql")
def _off_indexes_there(element: _OffIndexes, compiler: Any, **options: Any) -> str:
    return f"coalesce({compiler.process(element.clauses, **options)}, false)"
