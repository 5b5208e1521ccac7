"""Opening, migrating and locking the database; its errors in plain words."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, text

from drip.errors import DripError
from drip.storage.base.opening import (
    REVISION,
    create_database,
    migrate,
    open_database,
    revision_of,
    upgrade,
)
from drip.storage.base.schema import metadata
from drip.storage.base.sqlite import FileLock, SqliteDatabase
from tests.world import at

NOW = at("2026-11-22")


def migrated(path: Path) -> None:
    """An empty database brought up by the migrations alone."""
    database = SqliteDatabase(path)
    migrate(database)
    database.close()


def indexes(path: Path) -> dict[str, str]:
    """Each index as it was made."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        )
        return {name: " ".join(sql.replace('"', "").split()) for name, sql in rows}


def test_the_migrations_make_the_same_tables_as_the_schema(tmp_path: Path) -> None:
    migrated(tmp_path / "m.db")
    create_database(tmp_path / "c.db", NOW).close()
    assert indexes(tmp_path / "m.db") == indexes(tmp_path / "c.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'm.db'}", poolclass=NullPool)
    with engine.connect() as connection, warnings.catch_warnings():
        # It sees no index over an expression; those were looked at above.
        warnings.filterwarnings(
            "ignore",
            "Skipped unsupported reflection|autogenerate skipping metadata-specified",
        )
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            == REVISION
        )
        made = {
            row.name for row in connection.execute(text("PRAGMA table_list")) if row.wr
        }
        assert made == {
            each.name
            for each in metadata.tables.values()
            if each.dialect_options["sqlite"]["with_rowid"] is False
        }
    connection.engine.dispose()


def test_a_fresh_database_is_of_this_version_and_has_keys(tmp_path: Path) -> None:
    database = open_database(tmp_path / "sub" / "d.db", NOW)
    assert revision_of(database) == REVISION
    assert [
        path.name for path in (tmp_path / "sub").iterdir() if path.suffix == ".new"
    ] == []
    database.close()


def of_version(path: Path, revision: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


def test_an_older_and_a_newer_database_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.db"
    create_database(path, NOW).close()
    of_version(path, "9999")
    for refused in (lambda: open_database(path, NOW), lambda: upgrade(path)):
        with pytest.raises(DripError, match="newer version"):
            refused()
    of_version(path, REVISION)
    monkeypatch.setattr("drip.storage.base.opening.REVISION", "0002")
    with pytest.raises(DripError, match="older version"):
        open_database(path, NOW)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE contacts (name TEXT)")
    connection.close()
    before = path.read_bytes()
    for refused in (lambda: open_database(path, NOW), lambda: upgrade(path)):
        with pytest.raises(DripError, match="is not a database of drip"):
            refused()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_and_a_folder_are_explained(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(DripError, match="is not a database of drip"):
        open_database(tmp_path / "text.db", NOW)
    with pytest.raises(DripError, match="cannot be opened"):
        open_database(tmp_path, NOW)


def test_one_daemon_at_a_time_and_the_kernel_gives_the_lock_back(
    tmp_path: Path,
) -> None:
    first, second = FileLock(tmp_path / "d.db"), FileLock(tmp_path / "d.db")
    assert first.take()
    assert not second.take()
    first.give_back()
    assert second.take()
    second.give_back()


def test_a_write_is_all_or_nothing_and_an_attempt_is_nothing(tmp_path: Path) -> None:
    database = create_database(tmp_path / "d.db", NOW)

    def holds() -> int:
        with database.read() as connection:
            return int(
                connection.execute(text("SELECT count(*) FROM holds")).scalar_one()
            )

    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(text("INSERT INTO holds VALUES ('x', 1, NULL)"))
        raise ZeroDivisionError
    with database.attempt() as connection:
        connection.execute(text("INSERT INTO holds VALUES ('x', 1, NULL)"))
    assert holds() == 0
    database.close()
