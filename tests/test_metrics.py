"""Figures for Prometheus, read by Prometheus' own parser."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families

from drip.cli.run import FIGURES_CONNECTIONS
from drip.core.message import TransportDown
from drip.daemon.metrics import exposition, registry_of
from drip.web.figures import make_figures
from drip.web.server import listen, serving
from tests.cli import command, drip, environment
from tests.test_alarms import NOW, letters
from tests.test_senders import shop
from tests.world import World

__all__ = ["shop"]
Worlds = Callable[..., World]


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_waits_what_left_and_what_is_wrong_is_told(world: Worlds) -> None:
    made = letters(world, people=5)

    def down(message: object) -> None:
        raise TransportDown("There is no connection.", "mend it")

    made.answer = down  # type: ignore[assignment]
    made.tick(NOW)
    found = figures(exposition(made.database, lambda: NOW.replace(minute=2)))
    assert found["drip_up",] == 1 and found["drip_daemon_running",] == 0
    assert (
        found["drip_queue_messages", "email"] == 5
        and found["drip_queue_age_seconds", "email"] == 120
    )
    assert found["drip_messages", "letter", "pending"] == 5
    assert found["drip_heartbeat_timestamp_seconds",] == NOW.timestamp()


def test_a_daemon_answers_prometheus(shop: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = subprocess.Popen(
        command(shop, "run", "--metrics", str(port), "--now", "2026-11-26 10:30"),
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        found: dict[tuple[str, ...], float] = {}
        until = time.monotonic() + 30
        while (
            found.get(("drip_messages", "letter", "sent")) != 400
            and time.monotonic() < until
        ):
            time.sleep(0.2)
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/metrics", timeout=5
                ) as answer:
                    found = figures(answer.read().decode())
            except urllib.error.URLError:
                assert daemon.poll() is None
        assert found["drip_messages", "letter", "sent"] == 400
        assert found["drip_daemon_running",] == 1 and found["drip_trouble",] == 0
    finally:
        daemon.terminate()
        assert daemon.wait() == 0
    printed = figures(drip(shop, "metrics").out)
    assert (
        printed["drip_messages", "letter", "sent"] == 400
        and printed["drip_daemon_running",] == 0
    )


class Slow:
    """Figures that are not read before they may be."""

    def __init__(self) -> None:
        self.may_go, self.at_once, self.most = threading.Event(), 0, 0

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.may_go.wait(20)
        self.at_once -= 1
        yield from ()


def test_health_is_answered_while_figures_are_read_and_these_are_read_one_at_a_time() -> (
    None
):
    registry, slow, listening = CollectorRegistry(), Slow(), listen("127.0.0.1", 0)
    registry.register(slow)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    found: list[int] = []
    scrapes = [
        threading.Thread(target=lambda: found.append(httpx.get(url).status_code))
        for _ in range(3)
    ]
    with serving(make_figures(registry, []), listening):
        for each in scrapes:
            each.start()
        assert httpx.get(f"{url}/health", timeout=10).text == "ok\n"
        slow.may_go.set()
        for each in scrapes:
            each.join(20)
    assert found == [200, 200, 200] and slow.most == 1


def test_a_crowd_takes_neither_threads_nor_more_places_than_there_are(
    world: Worlds,
) -> None:
    made, listening = world({}), listen("127.0.0.1", 0)
    at, before = listening.getsockname(), threading.active_count()
    with serving(
        make_figures(registry_of(made.database, lambda: NOW), []),
        listening,
        most=FIGURES_CONNECTIONS,
    ):
        crowd = [socket.create_connection(at) for _ in range(4 * FIGURES_CONNECTIONS)]
        for each in crowd:
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        found = httpx.get(f"http://127.0.0.1:{at[1]}/metrics", timeout=10)
        assert (
            figures(found.text)["drip_up",] == 1
            and "text/plain" in found.headers["content-type"]
        )
        assert threading.active_count() <= before + 2
    for each in crowd:
        each.close()


@pytest.mark.parametrize("port", ["web", "0", "70000", "host:"])
def test_what_is_no_port_is_said(shop: Path, port: str) -> None:
    done = drip(shop, "run", "--metrics", port)
    assert done.code == 2 and "is no port" in done.err


def test_a_port_that_is_taken_is_said(shop: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = drip(shop, "run", "--metrics", str(taken.getsockname()[1]))
    assert (
        done.code == 2
        and "Nothing can be served" in done.err
        and "another port" in done.err
    )
