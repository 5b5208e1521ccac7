"""What tests share."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from drip.process import own_zones
from drip.storage.base import sqlite
from drip.storage.base.opening import open_database
from drip.storage.base.places import server
from tests.browser import browser
from tests.imap_server import ImapServer, imap_server, program
from tests.servers import Postgres, binaries, missing, postgres, skipped_because
from tests.world import MADE, World

# In CI the same examples each time, so that a failure is the change's; at home new ones with every run.
settings.register_profile(
    "drip",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("drip")
own_zones()
# Nobody cuts the power while tests run; those that kill drip run it as it is, in processes of its own.
sqlite.SYNCHRONOUS = "OFF"
# A job in the background ignores Ctrl-C, and so would every program that the tests start and stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CORPORA = Path(__file__).parent.parent.parent / "shared" / "corpora"


# The tests that run on both databases each time: of what storage is asked, judged and planned.
ON_BOTH = (
    "test_api",
    "test_audiences",
    "test_clicks",
    "test_conditions",
    "test_converters",
    "test_erasure",
    "test_feedback",
    "test_importer",
    "test_intake",
    "test_lateness",
    "test_own_data",
    "test_planning",
    "test_pressure",
    "test_probing",
    "test_readers",
    "test_relays",
    "test_sign_ups",
    "test_webhook_sender",
    "test_sampled_dispatcher",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "the databases of the tests that make a workspace: sqlite, postgresql"
    parser.addoption(
        "--database", action="append", choices=["sqlite", "postgresql"], help=help
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind_of_database" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--database")
        usual = (
            ["sqlite", "postgresql"]
            if metafunc.module.__name__.rpartition(".")[2] in ON_BOTH
            else ["sqlite"]
        )
        if metafunc.definition.get_closest_marker("file"):
            asked = ["sqlite"]
        metafunc.parametrize("kind_of_database", asked or usual, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Above the closing line: what was not tested here, and why not."""
    reasons = []
    for report in terminalreporter.getreports("skipped"):
        _path, _line, reason = report.longrepr
        reasons.append(reason.removeprefix("Skipped: "))
    if reasons:
        terminalreporter.write_line(skipped_because(reasons))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    """A PostgreSQL server of this run's own."""
    if binaries() is None:
        missing("no PostgreSQL")
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def filled(
    postgresql: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Gives addresses of databases with drip's tables: copies of one, which is made once."""
    template = postgresql.fresh()
    place = server(template, tmp_path_factory.mktemp("template"))
    open_database(place, MADE).close()
    numbers = itertools.count(1)
    return lambda: postgresql.copy(template, f"world{os.getpid()}_{next(numbers)}")


@pytest.fixture
def imap() -> Iterator[ImapServer]:
    """An IMAP server of this test's own."""
    if program() is None:
        missing("no Dovecot")
    with imap_server() as server:
        yield server


@pytest.fixture
def world(
    tmp_path: Path, kind_of_database: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., World]]:
    """Makes workspaces, each in a folder of its own."""
    made: list[World] = []

    def make(campaigns: dict[str, str] | None = None, **options: str) -> World:
        if kind_of_database == "postgresql":
            options["address"] = request.getfixturevalue("filled")()
        made.append(World(tmp_path / f"world{len(made)}", campaigns or {}, **options))
        return made[-1]

    yield make
    for each in made:
        each.database.close()


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder with real data. It lies beside the project where there is one."""
    if not CORPORA.is_dir():
        missing("no corpora")
    return CORPORA


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A real browser; each test opens pages of its own."""
    with browser() as started:
        yield started
