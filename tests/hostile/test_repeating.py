"""Every task that a server or the daemon repeats, with errors put into it: it goes on, tells it once, and `/health` fails and
comes back. The errors are made up, the servers are real."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import httpx
import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from drip.cli.context import read_clock
from drip.core.shortage import Shortage
from drip.daemon import Daemon
from drip.daemon import daemon as daemons
from drip.daemon.alarm_notifier import AlarmNotifier
from drip.daemon.metrics import registry_of
from drip.daemon.webhook_sender import WebhookSender
from drip.storage.base import sqlite
from drip.storage.base.database import Database, add_link_key, drop_link_keys
from drip.storage.operating import alarms
from drip.web import app_state
from drip.web.app_state import AppState
from drip.web.dashboard.forecasts import Forecasts
from drip.web.figures import make_figures
from drip.web.writing import Writer
from drip.workspace import Workspace
from tests.mail_server import MailServer
from tests.servers import Postgres
from tests.test_dashboard import NOW as THEN
from tests.test_dashboard import dashboard, inside
from tests.test_metrics import figures
from tests.test_webhook import server
from tests.web import Pages, pages, serving
from tests.world import World

__all__ = ["dashboard", "inside"]
Worlds = Callable[..., World]
NOW = datetime(2026, 11, 26, 16, tzinfo=UTC)
WELCOME = """
name: Welcome
topic: news
trigger: { event: shop.joined }
steps: [send: letter]
"""


@dataclass
class Fault:
    """Has something fail while it is on. `calls` counts how often it did."""

    error: BaseException = field(default_factory=lambda: RuntimeError("boom"))
    on: bool = True
    calls: int = 0

    def put(self, patch: pytest.MonkeyPatch, where: object, name: str) -> Fault:
        real = getattr(where, name)

        def fails(*arguments: Any, **options: Any) -> Any:
            if self.on:
                self.calls += 1
                raise self.error
            return real(*arguments, **options)

        patch.setattr(where, name, fails)
        return self


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def logged(caplog: pytest.LogCaptureFixture, begin: str) -> list[str]:
    return [
        each
        for record in caplog.records
        if (each := record.getMessage()).startswith(begin)
    ]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drip.web.app_state.FRESH_S", 0.02)


@pytest.fixture
def site(world: Worlds) -> Iterator[Pages]:
    made = world({"welcome": WELCOME}, settings="public_url: http://x.example")
    made.contacts("key,email,news", "ana,ana@example.com,yes")
    with pages(made, NOW) as served:
        yield served


# --- the pages


def test_a_leaked_key_ends_within_seconds_though_an_earlier_look_failed(
    site: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = f"/preferences/{site.token('preferences')}"
    assert site.get(link).status_code == 200
    fault = Fault().put(monkeypatch, app_state, "link_keys")
    until(lambda: fault.calls > 3)
    with site.world.database.write() as connection:
        drop_link_keys(connection)
        add_link_key(connection, NOW)
    site.passed += 11
    sick = site.get("/health")
    assert sick.status_code == 503
    assert (
        sick.text
        == "Reading the keys of links from the database last went well 11 seconds ago; the log says why.\n"
    )
    fault.on = False
    until(lambda: site.get(link).status_code == 404)
    assert site.get("/health").text == "ok\n"
    assert site.get(f"/preferences/{site.token('preferences')}").status_code == 200
    (once,) = logged(caplog, "Reading the keys")
    assert "RuntimeError: boom" in once


def test_files_are_looked_at_again_after_any_error(
    site: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = f"/preferences/{site.token('preferences')}"
    fault = Fault().put(monkeypatch, Workspace, "fingerprint")
    until(lambda: fault.calls > 3)
    settings = site.world.root / "campaigns" / "_settings.yaml"
    settings.write_text(settings.read_text().replace("Maple Street,", "Oak Lane,"))
    site.passed += 91
    assert (
        site.get("/health").status_code == 503
        and "files of campaigns" in site.get("/health").text
    )
    assert "Oak Lane" not in site.get(link).text
    fault.on = False
    until(lambda: "Oak Lane" in site.get(link).text)
    until(lambda: site.get("/health").status_code == 200)
    assert len(logged(caplog, "Looking at the files")) == 1


def test_a_file_with_an_error_does_not_make_the_pages_unwell(
    site: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    site.world.write("campaigns/_settings.yaml", "business: {")
    until(lambda: logged(caplog, "The last good files stay in force"))
    site.passed += 1000
    until(lambda: site.get("/health").status_code == 200)


def says(site: Pages) -> httpx.Response:
    return site.post(
        f"/unsubscribe/{site.token('unsubscribe')}",
        data={"List-Unsubscribe": "One-Click"},
    )


def test_a_writer_whose_database_fails_answers_everybody_and_goes_on(
    site: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Fault().put(monkeypatch, Database, "write")
    assert [says(site).status_code for _ in range(3)] == [500] * 3
    site.passed += 61
    until(lambda: site.get("/health").status_code == 503)
    assert "Storing what visitors say last went well" in site.get("/health").text
    fault.on = False
    # Nobody has to come for it to be known that it goes well.
    until(lambda: site.get("/health").status_code == 200)
    assert says(site).status_code == 200
    assert len(logged(caplog, "Storing what visitors say")) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_dies_leaves_nobody_waiting_and_is_started_anew(
    site: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(SystemExit()).put(monkeypatch, Database, "write")
    answer = says(site)
    assert answer.status_code == 500, "what is not stored is not said to be"
    fault.on = False
    until(lambda: site.get("/health").status_code == 200)
    assert says(site).status_code == 200


def test_a_writer_that_cannot_be_started_is_told_by_health(
    site: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(RuntimeError("can't start new thread")).put(
        monkeypatch, threading.Thread, "start"
    )
    assert says(site).status_code == 503
    sick = site.get("/health")
    assert (
        sick.status_code == 503
        and sick.text == "The thread that stores what visitors say does not run.\n"
    )
    fault.on = False
    until(lambda: site.get("/health").status_code == 200)
    assert says(site).status_code == 200


def test_a_writer_that_could_not_be_started_can_be_closed(
    site: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(site.world.database, time.monotonic)
    fault = Fault(RuntimeError("can't start new thread")).put(
        monkeypatch, threading.Thread, "start"
    )
    with pytest.raises(Shortage):
        asyncio.run(writer.do(lambda connection: None))
    fault.on = False
    writer.close()


# --- the dashboard


def test_the_dashboards_health_fails_and_comes_back(
    inside: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inside.get("/health").status_code == 200
    fault = Fault().put(monkeypatch, Workspace, "fingerprint")
    until(lambda: fault.calls > 3)
    inside.passed += 91
    sick = inside.get("/health")
    assert (
        sick.status_code == 503
        and "Looking at the files of campaigns and templates last went well"
        in sick.text
    )
    fault.on = False
    until(lambda: inside.get("/health").status_code == 200)
    assert inside.get("/health?format=json").json()["troubles"] == []


def test_a_forecast_without_a_thread_is_made_when_somebody_looks_again(
    dashboard: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = AppState(
        dashboard.world.workspace, dashboard.world.database, lambda: THEN, lambda: 0.0
    )
    forecasts = Forecasts(site)
    with monkeypatch.context() as patched:
        Fault(RuntimeError("can't start new thread")).put(
            patched, threading.Thread, "start"
        )
        with pytest.raises(Exception, match="no more threads"):
            forecasts.look()
    assert forecasts.look()
    until(lambda: forecasts.newest or forecasts.trouble, 60)
    assert forecasts.newest, forecasts.trouble
    forecasts.close()


# --- the daemon


@dataclass
class Working:
    """A daemon in a thread, with its `/health`. `passed` is added to its stopwatch."""

    daemon: Daemon
    world: World
    url: str = ""
    passed: float = 0.0

    def health(self) -> httpx.Response:
        return httpx.get(f"{self.url}/health")

    def joins(self, key: str) -> None:
        now = datetime.now(UTC).isoformat()
        assert (
            self.world.events(
                "event,contact,id,at", f"shop.joined,{key},{key},{now}"
            ).new
            == 1
        )

    def sent(self) -> int:
        return len([each for each in self.world.ledger() if each.outcome == "sent"])

    def alarms(self) -> list[tuple[str, str, bool]]:
        with self.world.database.read() as connection:
            found = alarms.lately(connection, datetime(2026, 1, 1, tzinfo=UTC))
        return [(each.action, each.about, each.ended_at is not None) for each in found]


@contextlib.contextmanager
def daemon_of(made: World, senders: int = 1) -> Iterator[Working]:
    daemon = Daemon(
        made.workspace,
        made.database,
        read_clock,
        passed_s=lambda: time.monotonic() + working.passed,
        senders=senders,
    )
    working = Working(daemon, made)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            daemon.run(0.05)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    with serving(
        make_figures(registry_of(made.database, read_clock, daemon.tasks), daemon.tasks)
    ) as working.url:
        thread.start()
        try:
            yield working
            assert thread.is_alive(), failed
        finally:
            daemon.stop.set()
            thread.join(30)
    assert not thread.is_alive() and not failed, failed


@pytest.fixture
def shop(world: Worlds) -> Iterator[World]:
    with server(204) as taken:
        hook = f"{{ url: 'http://127.0.0.1:{taken.port}/', secret: secret:HOOK, private: yes, on: sent }}"
        target = f"{{ use: webhook, url: 'http://127.0.0.1:{taken.port}/', secret: secret:HOOK, private: yes }}"
        settings = f"""
transports: {{ email: {{ use: files, folder: out }} }}
webhooks: {{ crm: {hook} }}
alarms: {target}
"""
        made = world({"welcome": WELCOME}, settings=settings)
        made.workspace.environment = {"HOOK": "s"}  # type: ignore[misc]
        made.contacts(
            "key,email,news", "ana,ana@example.com,yes", "ben,ben@example.com,yes"
        )
        yield made


@pytest.mark.parametrize(
    "error",
    [RuntimeError("boom"), OSError(28, "No space left on device"), MemoryError()],
)
def test_the_tick_goes_on_after_any_error(
    shop: World,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with daemon_of(shop) as working:
        working.joins("ana")
        until(lambda: working.sent() == 1)
        assert working.health().text == "ok\n"
        fault = Fault(error).put(monkeypatch, daemons, "tick")
        until(lambda: fault.calls > 3)
        working.joins("ben")
        assert working.health().status_code == 200, "it is not late yet"
        working.passed += 125
        until(lambda: working.health().status_code == 503)
        assert working.health().text.startswith(
            "Planning and sending last went well 2 minutes ago"
        )
        until(lambda: working.alarms() == [("trouble", "", False)])
        fault.on = False
        until(lambda: working.sent() == 2)
        until(lambda: working.health().status_code == 200)
        until(lambda: working.alarms() == [("trouble", "", True)])
        metrics = figures(httpx.get(f"{working.url}/metrics").text)
        assert (
            metrics["drip_task_age_seconds", "planning-and-sending"] < 60
            and metrics["drip_up",] == 1
        )
    assert len(logged(caplog, "Planning and sending failed")) == 1
    assert {each.outcome for each in shop.ledger() if each.step} == {"sent"}


@pytest.mark.parametrize(
    ("where", "name", "task"),
    [
        (AlarmNotifier, "notify", "Telling of alarms"),
        (WebhookSender, "deliver", "Telling other programs"),
    ],
)
def test_what_goes_on_beside_the_tick_goes_on_after_any_error(
    shop: World,
    where: type,
    name: str,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fault = Fault().put(monkeypatch, where, name)
    with daemon_of(shop) as working:
        until(lambda: fault.calls > 3)
        working.joins("ana")
        until(lambda: working.sent() == 1)
        working.passed += 125
        until(lambda: working.health().text.startswith(f"{task} last went well"))
        until(lambda: ("trouble", task, False) in working.alarms())
        fault.on = False
        until(lambda: working.health().status_code == 200)
        until(lambda: ("trouble", task, True) in working.alarms())
    assert len(logged(caplog, f"{task} failed")) == 1


def test_a_webhook_that_fails_as_nobody_foresaw_keeps_no_other_from_being_told(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(204) as taken:
        hook = f"{{ url: 'http://127.0.0.1:{taken.port}/', secret: secret:HOOK, private: yes, on: sent }}"
        made = world(
            {"welcome": WELCOME}, settings=f"webhooks: {{ one: {hook}, two: {hook} }}"
        )
        made.workspace.environment = {"HOOK": "s"}  # type: ignore[misc]
        made.contacts("key,email,news", "ana,ana@example.com,yes")
        made.workspace.campaign_set(made.database, NOW)
        courier = WebhookSender(made.database, lambda: NOW, lambda: False)
        told_one = []
        real = WebhookSender._post

        def fails(self: WebhookSender, hook: Any, *more: Any) -> None:
            if hook.key == "one":
                raise RuntimeError("boom")
            told_one.append(hook.key)
            real(self, hook, *more)

        monkeypatch.setattr(WebhookSender, "_post", fails)
        made.events("event,contact,id,at", f"shop.joined,ana,1,{NOW.isoformat()}")
        made.tick(NOW)
        with pytest.raises(RuntimeError, match="boom"):
            courier.deliver(made.workspace)
        assert told_one == ["two"] and len(taken.requests) == 1


def test_a_daemon_without_a_thread_waits_for_one(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = threading.Thread.start, []

    def start(self: threading.Thread) -> None:
        if (
            self.name in ("drip_0", "drip_3", "APScheduler")
            and refused.count(self.name) < 2
        ):
            refused.append(self.name)
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr("drip.daemon.rhythm.AGAIN_S", 0.05)
    monkeypatch.setattr(threading.Thread, "start", start)
    with daemon_of(shop) as working:
        working.joins("ana")
        until(lambda: working.sent() == 1)
    assert sorted(set(refused)) == ["APScheduler", "drip_0", "drip_3"]


def test_a_daemon_that_gets_no_thread_ends_when_it_is_told_to(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name.startswith("drip_"):
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with daemon_of(shop) as working:
        working.joins("ana")
        until(lambda: [action for action, *_ in working.alarms()] == ["trouble"])
    assert working.sent() == 0


def test_what_the_scheduler_itself_fails_at_is_told_and_it_goes_on(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = BackgroundScheduler._process_jobs, []

    def fails(self: BackgroundScheduler) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise OSError(5, "boom")
        return real(self)

    monkeypatch.setattr("drip.daemon.rhythm.AGAIN_S", 0.05)
    monkeypatch.setattr(BackgroundScheduler, "_process_jobs", fails)
    with daemon_of(shop) as working:
        working.joins("ana")
        until(lambda: working.sent() == 1)
    assert len(failed) == 2


def test_processes_that_cannot_all_be_started_are_started_anew(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started = SpawnProcess.start, []

    def start(self: SpawnProcess) -> None:
        started.append(self)
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        real(self)

    monkeypatch.setattr(SpawnProcess, "start", start)
    with MailServer() as mails:
        options = f"use: smtp, host: 127.0.0.1, port: {mails.port}, security: none"
        made = world(
            {"welcome": WELCOME}, settings=f"transports: {{ email: {{ {options} }} }}"
        )
        made.contacts(
            "key,email,news", *(f"p{n},p{n}@example.com,yes" for n in range(8))
        )
        with daemon_of(made, senders=2) as working:
            for n in range(8):
                working.joins(f"p{n}")
            until(lambda: working.sent() == 8, 60)
        assert sorted(mails.taken) == [f"p{n}" for n in range(8)]
    assert len(started) == 4, "the first of them had no other half"


# --- the database


@contextlib.contextmanager
def locked(made: World) -> Iterator[None]:
    """Another program has its one lock meanwhile."""
    with contextlib.closing(
        sqlite3.connect(made.root / ".drip" / "drip.db", isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def gone(address: str, postgresql: Postgres) -> Iterator[None]:
    """Nobody gets to it meanwhile, and whoever was connected is not any more."""
    name = address.rpartition("/")[2]
    postgresql.do(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgresql.do(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    try:
        yield
    finally:
        postgresql.do(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@pytest.mark.file
def test_a_database_that_is_locked_for_a_while_is_worked_on_afterwards(
    world: Worlds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "HOW_LONG_TO_WAIT_MS", 300)
    monkeypatch.setattr(sqlite, "DURABLE", ("busy_timeout=300", *sqlite.DURABLE[1:]))
    made = world({"welcome": WELCOME}, settings="public_url: http://x.example")
    made.contacts("key,email,news", "ana,ana@example.com,yes")
    with daemon_of(made) as working, pages(made, NOW) as site:
        working.joins("ana")
        until(lambda: working.sent() == 1)
        with locked(made):
            assert says(site).status_code == 500
            until(lambda: logged(caplog, "Planning and sending failed"))
            working.passed += 125
            site.passed += 61
            until(lambda: working.health().status_code == 503)
            until(lambda: site.get("/health").status_code == 503)
        until(lambda: working.health().status_code == 200)
        until(lambda: site.get("/health").status_code == 200)
        assert says(site).status_code == 200
        # One of another task, if that had something to write just then, is over as well.
        until(lambda: working.alarms() and all(over for *_, over in working.alarms()))
        assert ("trouble", "", True) in working.alarms()
    (once,) = logged(caplog, "Planning and sending failed")
    assert "is busy with another program" in once


def test_a_database_that_is_gone_for_a_while_is_worked_on_afterwards(
    tmp_path: Path, postgresql: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    address = postgresql.fresh()
    made = World(
        tmp_path, {"welcome": WELCOME}, "public_url: http://x.example", address=address
    )
    made.contacts(
        "key,email,news", "ana,ana@example.com,yes", "ben,ben@example.com,yes"
    )
    with daemon_of(made) as working, pages(made, NOW) as site:
        working.joins("ana")
        until(lambda: working.sent() == 1)
        with gone(address, postgresql):
            until(lambda: logged(caplog, "Planning and sending failed"))
            until(lambda: logged(caplog, "Reading the keys of links"))
            working.passed += 125
            site.passed += 11
            until(lambda: working.health().status_code == 503)
            until(lambda: site.get("/health").status_code == 503)
        until(lambda: working.health().status_code == 200)
        until(lambda: site.get("/health").status_code == 200)
        assert says(site).status_code == 200
        working.joins("ben")
        until(lambda: working.sent() == 2)
    assert {each.outcome for each in made.ledger() if each.step} == {"sent"}
    assert len(logged(caplog, "Planning and sending failed")) <= 2, (
        "the old connections broke, and there were no new ones"
    )
    made.database.close()
