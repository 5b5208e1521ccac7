"""Speed over size: a tick with nothing due, a tick with one in a hundred due, a blast to everybody, a preview, an import."""

from __future__ import annotations

import csv
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
from psycopg.types.string import TextLoader
from sqlalchemy import text

from drip.cli.sample import copy_sample
from drip.engine.campaign_set import CampaignSet
from drip.engine.entry import Enroller
from drip.engine.planner import plan
from drip.preview.simulator import Nowhere, rehearsal, simulate
from drip.storage.base.database import Database
from drip.storage.base.opening import open_database
from drip.storage.base.places import server
from drip.storage.base.sqlite import SqliteDatabase
from drip.workspace import Workspace
from tests.benchmarks import crowd
from tests.benchmarks.databases import kinds, moved
from tests.cli import drip
from tests.servers import Postgres
from tests.world import World, at

SIZES = (10_000, 100_000, 1_000_000)
RUNS = 5
NOW = at("2026-11-25 14:00")
BLAST_AT = at("2026-11-26 15:30")
BLAST = {
    "blast": "name: Blast\ntopic: newsletter\ntrigger: { schedule: 2026-11-26 9:30 }\ntimezone: America/Chicago\n"
    "audience: { subscribed: newsletter }\ngrace: 12 hours\nsteps: [send: blast]\n"
}
SETTINGS = """
topics:
  newsletter: { title: Newsletter, opt_in: double }
  service: { title: Service, opt_in: implied }
frequency_caps: { all: "1 per day, 3 per week", newsletter: 8 per month }
data: { contact: { first_name: text, birthday: birthday, visits: number, joined: date } }
"""
# Twenty campaigns of every trigger, none of which has anything to do at noon of that day.
TWENTY = {
    f"c{n}": f"name: C{n}\ntopic: {'newsletter' if n % 2 else 'service'}\ntrigger: {trigger}\nsteps: [send: a, wait: 3 days, send: b]\n"
    for n, trigger in enumerate(
        [
            "{ schedule: every Thursday at 10:00 }",
            "{ schedule: every day at 9:00 }",
            "{ schedule: 0 8 1 * * }",
            "{ date: contact.birthday, repeat: yearly }",
            "{ date: 3 days before contact.birthday, repeat: yearly }",
            "{ event: order.placed }",
            "{ event: order.refunded }",
            "{ date: contact.joined }",
            "{ segment: busy }",
            "{ counter: card, reaches: [5] }",
        ]
        * 2
    )
}
MORE = "segments: { busy: { did: order.placed in the last 30 days } }\ncounters: { card: { add: order.placed } }\n"


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="drip-bench-") as made:
        yield Path(made)


def say(what: str, values: list[float], unit: str = "s") -> float:
    """Prints median and spread; returns the median."""
    middle = statistics.median(values)
    sys.stdout.write(
        f"{what}: median {middle:.3g} {unit} of {len(values)} ({min(values):.3g} to {max(values):.3g})\n"
    )
    sys.stdout.flush()
    return middle


def timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def memory() -> int:
    """The most memory that this process ever had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# --- ticks


def ticks() -> None:
    """A tick at three sizes, with twenty campaigns: nothing due, and one contact in a hundred due."""
    for where in kinds():
        quiet = [_ticks(size, where) for size in SIZES]
        sys.stdout.write(
            f"{SIZES[-1]:,} beside {SIZES[0]:,}, nothing due: {quiet[-1] / quiet[0]:.2f} times\n"
        )


def _ticks(size: int, where: Postgres | None) -> float:
    """Milliseconds of a tick with nothing due."""
    with folder() as root:
        world = World(root, TWENTY, SETTINGS + MORE)
        with world.database.write() as connection:
            crowd.people(connection, size)
            crowd.consent(connection, "newsletter", 50)
            crowd.events(connection, "order.placed", 10, NOW)
        if where:
            world.database.close()
            world = World(
                root,
                TWENTY,
                SETTINGS + MORE,
                address=moved(root / ".drip" / "drip.db", where, NOW),
            )
        tick = _ticker(world, world.workspace.campaign_set(world.database, NOW))
        # The first ones look at everything there is.
        for minutes in (0, 60, 120):
            tick(NOW + timedelta(minutes=minutes))
            _all_sent(world)
        noon = NOW + timedelta(hours=2)
        found = [
            timed(partial(tick, noon + timedelta(seconds=10 * n))) * 1000
            for n in range(1, 4 * RUNS)
        ]
        middle = say(f"tick, nothing due, {size:,} contacts", found, "ms")
        each = []
        for n in range(RUNS):
            with world.database.write() as connection:
                # One in a hundred has something happen to it.
                refunds = (
                    "INSERT INTO events (contact_id, record_id, name, key, at, fields) SELECT id, 0, 'order.refunded', "
                    f"'r{n}-' || id, {_ms(noon)}, '{{}}' FROM contacts WHERE id % 100 = {n}"
                )
                connection.execute(text(refunds))
            each.append(
                timed(partial(tick, noon + timedelta(minutes=10 + n)))
                / (size / 100)
                * 1e6
            )
            _all_sent(world)
        say(f"tick, 1 % due, {size:,} contacts: for each that is due", each, "µs")
        world.database.close()
    return middle


def _all_sent(world: World) -> None:
    """As if all that was granted had left."""
    with world.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE messages SET state = 'sent', sent_at = granted_at, settled_at = granted_at WHERE state = 'pending'"
        )


def _ticker(world: World, campaign_set: CampaignSet) -> Callable[[datetime], None]:
    enroller = Enroller()
    return lambda now: plan(
        world.database, campaign_set, world.workspace.templates, enroller, now
    )


def _ms(at_: datetime) -> int:
    return round(at_.timestamp() * 1000)


# --- blast


def blast(size: int = 1_000_000, runs: int = RUNS) -> None:
    """Everybody gets one newsletter: five earlier messages each, three caps that overlap, every batch committed."""
    with folder() as root:
        world = World(root / "world", BLAST, SETTINGS)
        with world.database.write() as connection:
            crowd.people(connection, size)
            crowd.consent(connection, "newsletter", 100)
            crowd.history(connection, 5, NOW)
        campaign_set = world.workspace.campaign_set(world.database, NOW)
        plan(world.database, campaign_set, world.workspace.templates, Enroller(), NOW)
        world.database.close()
        file = root / "world" / ".drip" / "drip.db"
        with closing(sqlite3.connect(file)) as copied:
            copied.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for where in kinds():
            rates, ratios = [], []
            blasts = (
                _in_postgresql(file, where, runs) if where else _in_sqlite(file, runs)
            )
            for database, copy in blasts:
                seconds = timed(
                    partial(
                        plan,
                        database,
                        campaign_set,
                        world.workspace.templates,
                        Enroller(),
                        BLAST_AT,
                    )
                )
                with database.read() as connection:
                    counted = connection.execute(
                        text("SELECT count(*) FROM messages WHERE campaign = 'blast'")
                    )
                    assert counted.scalar() == size
                ratios.append(seconds / copy())
                rates.append(size / seconds)
            say(f"blast to {size:,}: judgements a second", rates, "")
            say("  beside one INSERT … SELECT of the same outbox rows", ratios, "times")
        sys.stdout.write(f"  memory {memory()} MB\n")


Copy = Callable[[], float]
OUTBOX = "INSERT INTO copy_of_messages SELECT * FROM messages WHERE campaign = 'blast'"


def _in_sqlite(file: Path, runs: int) -> Iterator[tuple[Database, Copy]]:
    """Fresh copies of a file, and what takes the time of the database's own copying of the outbox in each."""
    for n in range(runs):
        path = file.with_name(f"{n}.db")
        shutil.copy(file, path)
        with (
            closing(SqliteDatabase(path)) as database,
            closing(sqlite3.connect(path)) as beside,
        ):
            yield database, partial(_copied_in_sqlite, beside)
        path.unlink()


def _copied_in_sqlite(beside: sqlite3.Connection) -> float:
    """Seconds in which SQLite writes the same rows into a table of the same kind, committed."""
    sql = "SELECT sql FROM sqlite_master WHERE tbl_name = 'messages' AND sql NOT NULL"
    for (statement,) in beside.execute(sql).fetchall():
        for name in ("due", "waiting", "open", "by_contact", "by_settling"):
            statement = statement.replace(
                f"INDEX messages_{name} ", f"INDEX copy_of_messages_{name} "
            )
        statement = statement.replace(" messages ", " copy_of_messages ")
        beside.execute(statement.replace("TABLE messages", "TABLE copy_of_messages"))
    beside.commit()

    def copy() -> None:
        beside.execute(OUTBOX)
        beside.commit()

    return timed(copy)


def _in_postgresql(
    file: Path, where: Postgres, runs: int
) -> Iterator[tuple[Database, Copy]]:
    """As `_in_sqlite`, on a server."""
    base = moved(file, where, NOW)
    for n in range(runs):
        address = where.copy(base, f"blast{n}")
        with closing(open_database(server(address, file.parent), NOW)) as database:
            yield database, partial(_copied_in_postgresql, address)
        where.drop(address)


def _copied_in_postgresql(address: str) -> float:
    with psycopg.connect(address) as beside:
        beside.execute("CREATE TABLE copy_of_messages (LIKE messages INCLUDING ALL)")
        beside.commit()

        def copy() -> None:
            beside.execute(OUTBOX)
            beside.commit()

        return timed(copy)


# --- ledger


def ledger(size: int = 5_000) -> None:
    """What the reasons of a month take in the database, for each contact and year."""
    with folder() as root:
        gallery(root, size)
        workspace = Workspace(root, {})
        with workspace.database(NOW) as database, rehearsal(database, NOW) as copy:
            campaign_set, nowhere = (
                workspace.campaign_set(copy, NOW),
                dict.fromkeys(workspace.settings.transports, Nowhere()),
            )
            simulate(
                copy,
                campaign_set,
                workspace.templates,
                nowhere,
                NOW,
                NOW + timedelta(days=30),
            )
            with copy.read() as connection:
                sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('judgements', 'reasons') OR name LIKE 'ix_judgements%'"
                taken = connection.exec_driver_sql(sql).scalar() or 0
                made = (
                    connection.exec_driver_sql(
                        "SELECT count(*) FROM judgements"
                    ).scalar()
                    or 0
                )
        each = f"{taken / made:.0f} bytes each, {taken / size * 365 / 30:.0f} bytes for each contact and year"
        sys.stdout.write(
            f"reasons of {made:,} judgements over {size:,} contacts: {each}\n"
        )


# --- preview and import


def gallery(root: Path, size: int) -> None:
    """The nine campaigns of the sample over so many contacts: a quarter reads the newsletter, a tenth has a car."""
    copy_sample(root, date(2026, 11, 25))
    workspace = Workspace(root, {})
    with workspace.database(NOW) as database:
        with database.write() as connection:
            crowd.people(connection, size)
            crowd.consent(connection, "newsletter", 25)
            crowd.consent(connection, "offers", 40)
            crowd.vehicles(connection, 10, NOW)
            crowd.leases(connection, 2, NOW)
            for name, percent in (
                ("order.placed", 20),
                ("service.completed", 5),
                ("coffee.bought", 10),
            ):
                crowd.events(connection, name, percent, NOW)
        # As a workspace that is at work has it: with what follows from all this worked out.
        workspace.campaign_set(database, NOW)


def preview(size: int = 1_000_000, runs: int = RUNS) -> None:
    """`drip preview` of 30 days, as a process of its own."""
    with folder() as root:
        gallery(root, size)
        for where in kinds():
            more = (
                {"DRIP_DATABASE": moved(root / ".drip" / "drip.db", where, NOW)}
                if where
                else {}
            )
            preview = partial(drip, root, "preview", "--now", "2026-11-25 8:00", **more)
            found = [timed(preview) for _ in range(runs)]
            say(f"preview of 30 days, {size:,} contacts, the gallery", found)
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        sys.stdout.write(f"  memory {most} MB\n")


def imports(size: int = 1_000_000, runs: int = RUNS) -> None:
    """`drip import contacts` of a file, beside the bare insert of the rows that come of it."""
    with folder() as root:
        world = World(root / "world", {}, SETTINGS)
        world.database.close()
        with (root / "people.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["key", "email", "first_name", "birthday", "timezone", "newsletter"]
            )
            for n in range(size):
                born = date(1950, 1, 1) + timedelta(days=n * 31 % 18000)
                zone = ("", "America/Denver", "Europe/London")[n % 3]
                writer.writerow(
                    [
                        f"p{n}",
                        f"p{n}@example.com",
                        f"Name{n % 5000}",
                        born,
                        zone,
                        "yes" if n % 2 else "",
                    ]
                )
        path = world.root / ".drip" / "drip.db"
        for where in kinds():
            times, ratios = [], []
            for _ in range(runs):
                path.unlink(missing_ok=True)
                address = where.fresh() if where else str(path)
                do = partial(
                    drip,
                    world.root,
                    "import",
                    "contacts",
                    str(root / "people.csv"),
                    DRIP_DATABASE=address,
                )
                times.append(timed(do))
                ratios.append(
                    times[-1]
                    / (
                        _inserted_in_postgresql(address)
                        if where
                        else _inserted_in_sqlite(path)
                    )
                )
                if where:
                    where.drop(address)
            say(f"import of {size:,} contacts", times)
            say("  beside a bare insert of the same rows", ratios, "times")


IMPORTED = ("contacts", "dates", "consents", "consent_log")


def _inserted_in_sqlite(path: Path) -> float:
    """Seconds in which SQLite takes the same rows from a program's lists, in batches of 2,000, each committed."""
    with closing(sqlite3.connect(path)) as beside:
        rows = {
            name: beside.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            for name in IMPORTED
        }
        for name in IMPORTED:
            beside.execute(f"DELETE FROM {name}")
        beside.commit()

        def insert() -> None:
            for name in IMPORTED:
                marks = ",".join("?" * len(rows[name][0]))
                for n in range(0, len(rows[name]), 2_000):
                    beside.executemany(
                        f"INSERT INTO {name} VALUES ({marks})",
                        rows[name][n : n + 2_000],
                    )
                    beside.commit()

        return timed(insert)


def _inserted_in_postgresql(address: str) -> float:
    """As `_inserted_in_sqlite`, on a server."""
    with psycopg.connect(address) as beside:
        # JSON as its text: a program that inserts has it so.
        beside.adapters.register_loader("json", TextLoader)
        rows = {
            name: beside.execute(f"SELECT * FROM {name}").fetchall()
            for name in IMPORTED
        }
        for name in reversed(IMPORTED):
            beside.execute(f"DELETE FROM {name}")
        beside.commit()

        def insert() -> None:
            for name in IMPORTED:
                marks = ",".join(["%s"] * len(rows[name][0]))
                for n in range(0, len(rows[name]), 2_000):
                    with beside.cursor() as cursor:
                        cursor.executemany(
                            f"INSERT INTO {name} VALUES ({marks})",
                            rows[name][n : n + 2_000],
                        )
                    beside.commit()

        return timed(insert)
