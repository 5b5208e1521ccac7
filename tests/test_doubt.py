"""A clock that jumps and a database that was put back: the daemon ends before it sends, and says what to do."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from drip.core.clock import jump
from drip.daemon import ClockOrRestoreSuspected, Daemon, Trust
from drip.storage.operating import daemons
from tests.cli import drip
from tests.world import World, at

Worlds = Callable[..., World]
LETTER = "name: Letter\ntopic: service\ntrigger: { schedule: every day at 10:00 }\ngrace: 3 days\nsteps: [send: a]\n"
NOON = at("2026-11-25 18:00")


class Clock:
    """A clock, and a stopwatch that is not set with it."""

    def __init__(self, now: datetime) -> None:
        self.now, self.passed = now, 0.0

    def on(self, **length: float) -> None:
        """Time passes."""
        self.now += timedelta(**length)
        self.passed += timedelta(**length).total_seconds()


NO_TRUST = Trust()


def started(made: World, clock: Clock, trust: Trust = NO_TRUST) -> Daemon:
    return Daemon(
        made.workspace, made.database, lambda: clock.now, trust, lambda: clock.passed
    )


@pytest.fixture
def made(world: Worlds) -> World:
    made = world(
        {"letter": LETTER},
        settings="transports: { email: { use: files, folder: out } }",
    )
    made.contacts("key,email", "ana,ana@example.com")
    return made


def left(made: World) -> int:
    return len(list((made.root / "out").glob("*.eml")))


def put_back(made: World, backup: Path) -> None:
    """The database is that of the backup again."""
    made.database.close()
    for old in made.database.path.parent.glob("drip.db*"):
        if not old.name.endswith(".daemon"):
            old.unlink()
    shutil.copy(backup, made.database.path)


def died(made: World) -> None:
    """As if the last daemon had been killed."""
    with closing(sqlite3.connect(made.database.path)) as plain:
        plain.execute("UPDATE daemons SET ended_at = NULL")
        plain.commit()


@pytest.mark.parametrize(
    ("hours", "passed", "found"),
    [
        (1, 1, None),
        (23, 0, None),
        (25, 0, "forward"),
        (-23, 0, None),
        (-25, 0, "back"),
        (400, 400, None),
        (0, 25, "back"),
    ],
)
def test_a_jump_is_what_the_stopwatch_does_not_know_of(
    hours: int, passed: int, found: str | None
) -> None:
    assert jump(NOON, NOON + timedelta(hours=hours), timedelta(hours=passed)) == found


def test_a_clock_that_jumps_ahead_stops_a_running_daemon_before_it_sends(
    made: World,
) -> None:
    clock = Clock(NOON)
    daemon = started(made, clock)
    daemon._lock.take()
    daemon._start()
    daemon._tick()
    clock.now += timedelta(days=3)
    with pytest.raises(ClockOrRestoreSuspected, match="jumped ahead"):
        daemon._tick()
    daemon._end(in_order=False)
    assert left(made) == 0
    # The next one asks again, until the clock is right or somebody says that it is.
    with pytest.raises(ClockOrRestoreSuspected, match="--after-clock-jump") as doubt:
        raise _suspicion_of(made, clock)
    assert "drip preview" in str(doubt.value.help)
    assert started(made, clock, Trust(clock=True)).run_once().sent == 1


def _suspicion_of(made: World, clock: Clock) -> ClockOrRestoreSuspected:
    try:
        started(made, clock).run_once()
    except ClockOrRestoreSuspected as doubt:
        return ClockOrRestoreSuspected(
            f"{doubt.sentence} {doubt.help}", help=doubt.help
        )
    raise AssertionError("no doubt")


def test_one_that_ended_in_order_was_away_on_purpose(made: World) -> None:
    clock = Clock(NOON)
    started(made, clock).run_once()
    clock.on(days=9)
    assert started(made, clock).run_once().sent == 1


@pytest.mark.file
def test_one_that_died_and_comes_back_after_days_asks(made: World) -> None:
    clock = Clock(NOON)
    started(made, clock).run_once()
    died(made)
    clock.on(hours=20)
    started(made, clock).run_once()
    died(made)
    clock.on(days=2)
    with pytest.raises(ClockOrRestoreSuspected):
        started(made, clock).run_once()


def test_a_clock_set_back_a_year_neither_repeats_nor_waits_for_a_year(
    made: World,
) -> None:
    clock = Clock(NOON)
    started(made, clock).run_once()
    clock.on(days=1)
    assert started(made, clock).run_once().sent == 1
    clock.now -= timedelta(days=365)
    with pytest.raises(ClockOrRestoreSuspected, match="was set back"):
        started(made, clock).run_once()
    assert started(made, clock, Trust(clock=True)).run_once().sent == 0
    clock.on(days=1)
    assert started(made, clock).run_once().sent == 1, (
        "it looks from the clock that is right on"
    )


@pytest.mark.file
def test_one_that_dies_before_its_first_tick_by_a_clock_set_back_a_little_is_no_restore(
    made: World,
) -> None:
    clock = Clock(NOON)
    started(made, clock).run_once()
    died(made)
    with made.database.write() as connection:
        daemons.start_daemon(connection, 1, NOON - timedelta(seconds=5))
    clock.now = NOON - timedelta(seconds=3)
    started(made, clock).run_once()


def test_a_database_put_back_from_yesterday_holds_what_may_have_left(
    made: World,
) -> None:
    clock = Clock(NOON)
    started(made, clock).run_once()
    backup = made.root / "backup.db"
    with (
        closing(sqlite3.connect(made.database.path)) as plain,
        closing(sqlite3.connect(backup)) as copy,
    ):
        plain.backup(copy)
    clock.on(days=1)
    assert started(made, clock).run_once().sent == 1
    put_back(made, backup)
    clock.on(hours=1)
    with pytest.raises(ClockOrRestoreSuspected, match="was put back"):
        started(made, clock).run_once()
    result = started(made, clock, Trust(database=True)).run_once()
    assert (result.sent, left(made)) == (0, 1), "it may have left, and it has"
    (held,) = [each for each in made.ledger() if each.outcome == "held"]
    assert (held.code, held.occurrence) == ("unknown", "2026-11-26")
    clock.on(days=1)
    assert started(made, clock).run_once().sent == 1, "what came after goes out"


@pytest.mark.file
def test_what_is_held_after_a_restore_counts_at_once(world: Worlds) -> None:
    other = LETTER.replace("10:00", "10:30")
    transport = "transports: { email: { use: files, folder: out } }\nfrequency_caps: { all: 1 per week }\nwhen_capped: skip"
    made = world({"letter": LETTER, "other": other}, settings=transport)
    made.contacts("key,email", "ana,ana@example.com")
    clock = Clock(NOON)
    started(made, clock).run_once()
    backup = made.root / "backup.db"
    with (
        closing(sqlite3.connect(made.database.path)) as plain,
        closing(sqlite3.connect(backup)) as copy,
    ):
        plain.backup(copy)
    clock.on(days=1)
    started(made, clock).run_once()
    put_back(made, backup)
    clock.on(hours=1)
    started(made, clock, Trust(database=True)).run_once()
    ends = [
        (each.campaign, each.outcome, each.code)
        for each in made.ledger()
        if each.step and each.occurrence == "2026-11-26"
    ]
    assert ends == [("letter", "held", "unknown"), ("other", "skipped", "cap")]


@pytest.mark.file
def test_the_command_says_it_in_a_sentence(made: World) -> None:
    drip(made.root, "run", "--once", "--now", "2026-11-25 12:00")
    died(made)
    done = drip(made.root, "run", "--once", "--now", "2026-11-29 12:00")
    assert done.code == 2
    assert "help: set the clock right" in done.err
    assert (
        drip(
            made.root,
            "run",
            "--once",
            "--now",
            "2026-11-29 12:00",
            "--after-clock-jump",
        ).code
        == 0
    )
