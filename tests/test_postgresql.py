"""What is PostgreSQL's own: its functions, its locks, its errors in plain words, a backup put back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from drip.core.shortage import Shortage
from drip.daemon import ClockOrRestoreSuspected, Daemon, Trust
from drip.errors import DripError
from drip.storage.base.database import Database
from drip.storage.base.opening import create_database, open_database, upgrade
from drip.storage.base.places import server
from drip.storage.base.postgresql import WRITER
from tests.servers import Postgres
from tests.world import World, at

NOW = at("2026-11-22")
FRESH = Trust()
LETTER = """
name: Letter
topic: service
trigger: { schedule: every day at 9:00 }
timezone: UTC
grace: 12 hours
steps: [send: letter]
"""


@pytest.fixture
def address(postgresql: Postgres) -> str:
    return postgresql.fresh()


@pytest.fixture
def database(address: str, tmp_path: Path) -> Iterator[Database]:
    made = open_database(server(address, tmp_path), NOW)
    yield made
    made.close()


def test_every_character_is_folded_as_python_folds_it(database: Database) -> None:
    # Not what text cannot have: the halves of pairs, and the character 0.
    chars = [chr(n) for n in range(1, sys.maxunicode + 1) if not 0xD800 <= n <= 0xDFFF]
    statement = text(
        "SELECT drip_fold(each) FROM unnest(CAST(:chars AS TEXT[])) AS one(each)"
    )
    with database.read() as connection:
        folded = list(connection.scalars(statement, {"chars": chars}))
    assert [
        char for char, to in zip(chars, folded, strict=True) if to != char.casefold()
    ] == []


@pytest.mark.parametrize(
    "written",
    [
        ["0.1"] * 10,
        ["1,234.50", "$2", "x", "3 €", ".5", "-1."],
        ["9007199254740993", "1"],
        [],
        ["1e5", "1,23"],
    ],
)
def test_both_databases_know_the_same_sum(
    database: Database, tmp_path: Path, written: list[str]
) -> None:
    file = create_database(tmp_path / "d.db", NOW)
    rows = (
        " UNION ALL ".join(f"SELECT '{each}' AS v" for each in written)
        or "SELECT NULL AS v"
    )
    found = []
    for each in (database, file):
        with each.read() as connection:
            found.append(
                connection.execute(
                    text(f"SELECT drip_sum(v) FROM ({rows}) AS one")
                ).scalar()
            )
    file.close()
    assert found[0] == found[1]


def test_a_write_is_all_or_nothing_and_an_attempt_is_nothing_and_a_read_is_of_one_moment(
    database: Database,
) -> None:
    hold = text("INSERT INTO holds VALUES ('x', 1, NULL)")
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(hold)
        raise ZeroDivisionError
    with database.attempt() as connection:
        connection.execute(hold)
    count = text("SELECT count(*) FROM holds")
    with database.read() as reading:
        assert reading.execute(count).scalar() == 0
        with database.write() as connection:
            connection.execute(hold)
        assert reading.execute(count).scalar() == 0
    with database.read() as reading:
        assert reading.execute(count).scalar() == 1


def test_a_writer_sees_all_that_the_one_before_it_stored(database: Database) -> None:
    def add() -> None:
        for _ in range(20):
            with database.write() as connection:
                held = connection.execute(
                    text("SELECT count(*) FROM holds")
                ).scalar_one()
                connection.execute(
                    text("INSERT INTO holds VALUES (:scope, 1, NULL)"),
                    {"scope": str(held)},
                )

    writers = [threading.Thread(target=add) for _ in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM holds")).scalar() == 80


def test_one_daemon_at_a_time_and_the_server_gives_the_lock_back(
    database: Database, postgresql: Postgres
) -> None:
    first, second = database.lock(), database.lock()
    assert first.take()
    assert not second.take()
    assert not second.is_free()
    postgresql.do(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    assert not first.is_ours()
    assert second.take()
    second.give_back()
    assert first.is_free()


def test_one_whose_connection_broke_takes_the_lock_again_unless_another_has_it(
    tmp_path: Path, address: str, postgresql: Postgres
) -> None:
    made = World(
        tmp_path,
        {"letter": LETTER},
        "transports: { email: { use: files, folder: out } }",
        address=address,
    )
    daemon = Daemon(made.workspace, made.database, lambda: NOW, Trust())
    assert daemon._lock.take()
    daemon._start()
    broken = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    postgresql.do(broken)
    daemon._tick()
    assert daemon._lock.is_ours()
    postgresql.do(broken)
    other = made.database.lock()
    assert other.take()
    with pytest.raises(DripError, match="Another daemon has taken this database over"):
        daemon._tick()
    told: list[int] = []
    daemon._works[daemon._notifying] = lambda: told.append(1)
    daemon._attempt(daemon._notifying)
    assert not told, "the other one does"
    other.give_back()
    daemon._tick()
    daemon._attempt(daemon._notifying)
    assert told
    daemon._end(in_order=True)
    made.database.close()


def test_a_backup_put_back_is_noticed_and_holds_what_may_have_left(
    tmp_path: Path, address: str, postgresql: Postgres
) -> None:
    made = World(
        tmp_path,
        {"letter": LETTER},
        "transports: { email: { use: files, folder: out } }",
        address=address,
    )
    made.contacts("key,email", "ana,ana@example.com")
    clock = [at("2026-11-22 12:00")]

    def once(trust: Trust = FRESH) -> int:
        return (
            Daemon(made.workspace, made.database, lambda: clock[0], trust)
            .run_once()
            .sent
        )

    once()
    made.database.close()
    backup = postgresql.copy(address)
    clock[0] += timedelta(days=1)
    assert once() == 1
    made.database.close()
    postgresql.put_back(address, backup)
    clock[0] += timedelta(hours=1)
    with pytest.raises(ClockOrRestoreSuspected, match="put back"):
        once()
    assert once(Trust(database=True)) == 0
    assert len(list((tmp_path / "out").glob("*.eml"))) == 1
    made.database.close()


def test_a_database_that_cannot_hold_every_text_is_refused_before_it_is_filled(
    postgresql: Postgres, tmp_path: Path
) -> None:
    latin = postgresql.fresh(options="ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(DripError, match="its encoding is LATIN1") as refused:
        open_database(server(latin, tmp_path), NOW)
    assert "ENCODING 'UTF8'" in str(refused.value.help)


def test_another_programs_database_is_left_alone(address: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE contacts (name TEXT)")
    place = server(address, tmp_path)
    for refused in (lambda: open_database(place, NOW), lambda: upgrade(place)):
        with pytest.raises(DripError, match="is not a database of drip"):
            refused()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda address: f"{address}_not_there", "does not exist"),
        (lambda address: "postgresql://drip:secret@127.0.0.1:1/x", "does not answer"),
        (lambda address: "postgresql://drip:secret@127.0.0.1:port/x", "cannot be read"),
    ],
)
def test_a_server_that_does_not_answer_is_explained_without_the_password(
    address: str, tmp_path: Path, wrong: object, said: str
) -> None:
    assert callable(wrong)
    with pytest.raises(DripError, match=said) as refused:
        open_database(server(wrong(address), tmp_path), NOW)
    assert "secret" not in f"{refused.value.sentence} {refused.value.help}"


def test_one_that_waits_too_long_for_another_writer_says_so(database: Database) -> None:
    with (
        database.write(),
        pytest.raises(DripError, match="busy with another program"),
        database.translated_errors(),
        database._engine.begin() as connection,
    ):
        connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")
        raise AssertionError("two writers at once")


@pytest.mark.parametrize("code", ["53100", "53200", "53300", "53400", "58030"])
def test_what_the_server_lacks_is_about_its_machine(
    database: Database, code: str
) -> None:
    failing = f"DO $$ BEGIN RAISE EXCEPTION 'no more' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(Shortage) as lack, database.write() as connection:
        connection.execute(text(failing))
    assert lack.value.help


def test_a_server_without_a_connection_left_is_about_its_machine(
    address: str, postgresql: Postgres
) -> None:
    postgresql.do("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    try:
        full = address.replace("drip@", "few@")
        with pytest.raises(Shortage, match="takes no more connections"):
            open_database(server(full, Path("unused")), NOW)
    finally:
        postgresql.do("DROP ROLE few")
