"""Rows become values of the program; a column in the wrong place is seen."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    LargeBinary,
    MetaData,
    Select,
    Table,
    func,
    insert,
    null,
    select,
)

from drip import storage
from drip.storage.base.columns import Instant, Number, Words
from drip.storage.base.converters import from_driver
from drip.storage.base.database import Database
from drip.storage.base.sql import Prepared, select_as, typed_rows
from tests.world import World

parcels = Table(
    "parcels",
    MetaData(),
    Column("id", Number, primary_key=True),
    Column("size", Words, nullable=False),
    Column("fragile", Boolean, nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("came_at", Instant),
    Column("day", Words),
    Column("contents", JSON, nullable=False),
    Column("seal", LargeBinary),
)


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Parcel:
    id: int
    size: Size
    fragile: bool
    sent_at: datetime
    came_at: datetime | None
    day: date | None
    contents: dict[str, int]
    seal: bytes | None = None


class Label(NamedTuple):
    id: int
    size: str


class SealedLabel(NamedTuple):
    id: int
    seal: bytes


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
SENT = Parcel(1, Size.SMALL, True, NOON, None, date(2026, 7, 3), {"cups": 6}, b"wax")
CAME = Parcel(2, Size.LARGE, False, NOON, NOON, None, {}, None)
EVERYTHING = select(parcels).order_by(parcels.c.id)


@pytest.fixture
def filled(world: Callable[..., World]) -> Database:
    database: Database = world().database
    with database.write() as connection:
        parcels.create(connection)
        for parcel in (SENT, CAME):
            values = vars(parcel) | {"day": parcel.day and parcel.day.isoformat()}
            connection.execute(insert(parcels).values(values))
    return database


def test_a_prepared_statement_gives_values_of_the_program(filled: Database) -> None:
    with filled.read() as connection:
        assert Prepared(EVERYTHING, into=Parcel).rows(connection) == [SENT, CAME]


def test_any_other_statement_gives_the_same(filled: Database) -> None:
    with filled.read() as connection:
        assert typed_rows(connection, EVERYTHING, into=Parcel) == [SENT, CAME]


def test_a_single_column_gives_its_values(filled: Database) -> None:
    sent = select(parcels.c.sent_at).order_by(parcels.c.id)
    with filled.read() as connection:
        assert Prepared(sent, into=datetime).rows(connection) == [NOON, NOON]
        assert typed_rows(connection, sent, into=datetime) == [NOON, NOON]


def test_the_first_row_may_be_none_and_the_one_row_may_not(filled: Database) -> None:
    nothing = select(parcels.c.id).where(parcels.c.id > 2)
    count = select(func.count()).select_from(parcels)
    with filled.read() as connection:
        assert Prepared(nothing, into=int).first(connection) is None
        assert Prepared(count, into=int).one(connection) == 2


@pytest.mark.parametrize(
    ("statement", "into", "why"),
    [
        (select(parcels.c.size, parcels.c.id), Label, "has the fields"),
        (select(parcels.c.id), Label, "has the fields"),
        (select(parcels.c.id, parcels.c.day.label("size")), int, "has the fields"),
        (
            select(parcels.c.id, parcels.c.sent_at.label("size")),
            Label,
            "Label.size is <class 'str'>, not Instant",
        ),
        (select_as(parcels, SealedLabel), SealedLabel, "seal can be None"),
        (select(null().label("id"), parcels.c.size), Label, "Nothing is known"),
    ],
)
def test_what_is_not_the_fields_is_refused(
    statement: Select[Any], into: type[Any], why: str
) -> None:
    with pytest.raises(TypeError, match=why):
        from_driver(list(statement.selected_columns), into)


def test_every_prepared_statement_has_the_fields_it_is_read_into() -> None:
    modules = pkgutil.walk_packages(storage.__path__, "drip.storage.")
    found = [
        value
        for module in modules
        if "migrations" not in module.name
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, Prepared)
    ]
    assert found
    for prepared in found:
        assert prepared.converter
