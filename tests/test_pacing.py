"""Rates and servers that want less: who waits, who does not, and that nobody is lost."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from drip.core.message import Message, Sent, Unsent
from drip.workspace import Workspace
from tests.cli import command, drip, environment, everybody
from tests.cli import shop as made_of
from tests.mail_server import MailServer
from tests.world import LETTER, SETTINGS, World, at

Worlds = Callable[..., World]


def shop(world: Worlds, transports: str, people: int = 12) -> World:
    made = world(
        {"letter": LETTER},
        settings=f"transports: {{ email: {{ use: memory, {transports} }} }}",
    )
    domains = ("slow.example", "other.example")
    made.contacts("key,email", *(f"p{n},p{n}@{domains[n % 2]}" for n in range(people)))
    made.tick("2026-11-26 09:00")
    return made


def whom(made: World) -> Counter[str]:
    return Counter(
        each.to.address.partition("@")[2] for each in made.transport.messages
    )


def test_a_rate_lets_so_many_leave_and_says_when_the_next_may(world: Worlds) -> None:
    made = shop(world, "rate: 2 per minute")
    result = made.tick("2026-11-26 16:00")
    assert result.sent == 1
    assert result.again_at == at("2026-11-26 16:00:30")
    assert made.tick("2026-11-26 16:00:10").sent == 0
    for n in range(1, 12):
        assert made.tick(at("2026-11-26 16:00") + timedelta(seconds=30 * n)).sent == 1
    assert sum(whom(made).values()) == 12


def test_a_domains_rate_holds_up_no_other_domain(world: Worlds) -> None:
    made = shop(world, "rate_per_domain: 'slow.example 1 per minute'", people=600)
    result = made.tick("2026-11-26 16:00")
    assert whom(made) == {"other.example": 300, "slow.example": 1}
    assert result.again_at == at("2026-11-26 16:01")
    made.tick("2026-11-26 16:01")
    assert whom(made)["slow.example"] == 2


def test_a_domain_that_wants_less_is_left_alone_for_longer_each_time(
    world: Worlds,
) -> None:
    made = shop(world, "")

    def throttled(message: Message) -> Sent | Unsent:
        slow = message.to.address.endswith("slow.example")
        return Unsent("421 4.7.28 rate limited", "domain") if slow else Sent("ok")

    made.answer = throttled
    result = made.tick("2026-11-26 16:00")
    assert whom(made) == {"other.example": 6}
    # All that had begun before it was said; the rest waits without having been tried.
    assert result.sent == 6 and result.again + len(made.transport.messages) <= 12
    asked: list[str] = []
    made.answer = lambda message: (
        asked.append(message.to.address),
        throttled(message),
    )[1]
    made.tick("2026-11-26 16:00:20")
    assert asked == []
    made.tick("2026-11-26 16:01")
    assert asked
    count = len(asked)
    made.tick("2026-11-26 16:01:40")
    assert len(asked) == count
    made.answer = None
    for minute in range(3, 60, 5):
        made.tick(at("2026-11-26 16:00") + timedelta(minutes=minute))
    assert whom(made) == {"other.example": 6, "slow.example": 6}


@pytest.mark.parametrize(
    "option", ["rate: fast", "rate: gmail.com 1 per day", "rate_per_domain: '5'"]
)
def test_what_is_no_rate_is_explained_at_its_place(world: Worlds, option: str) -> None:
    made = world(
        {"letter": LETTER},
        settings=f"transports: {{ email: {{ use: memory, {option} }} }}",
    )
    (problem,) = [
        each for each in made.workspace.loaded.problems if each.level == "error"
    ]
    assert "20 per second" in "\n".join(problem.lines())


def test_the_daemon_keeps_to_a_rate_and_does_not_wait_for_its_next_beat(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    times: list[float] = []

    class Timed(MailServer):
        def _take(self, client: object, to: str) -> None:
            times.append(time.monotonic())
            super()._take(client, to)

    with Timed() as server:
        options = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none, rate: 20 per second"
        files = {
            "campaigns/_settings.yaml": SETTINGS.replace("use: memory", options),
            "campaigns/letter.yaml": LETTER,
            "templates/letter.md": "---\nsubject: Hello\n---\nHello\n",
        }
        made_of(root, files, everybody(50))
        assert drip(root, "run", "--once", "--now", "2026-11-26 09:00").code == 0
        daemon = subprocess.Popen(
            command(root, "run", "--every", "60", "--now", "2026-11-26 10:30"),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 40
        while len(server.taken) < 50 and time.monotonic() < until:
            time.sleep(0.05)
        daemon.terminate()
        daemon.wait()
    assert len(server.taken) == 50
    # Fifty at twenty a second take two and a half, less the window that may begin at once.
    assert times[-1] - times[0] >= 2.2


def test_what_keeps_everything_from_leaving_is_said_at_every_beat_and_over_once_it_is_mended(
    world: Worlds,
) -> None:
    made = shop(world, "")
    made.answer = lambda message: Unsent("452 4.3.1 no storage", "transport")
    for second in (0, 10, 20):
        result = made.tick(f"2026-11-26 16:00:{second:02}")
        assert result.trouble and "no storage" in result.trouble
    made.answer = None
    assert made.tick("2026-11-26 16:01:01").sent == 12


def test_five_days_of_trying_count_from_the_first_attempt(world: Worlds) -> None:
    made = world({"letter": LETTER.replace("topic:", "grace: 30 days\ntopic:", 1)})
    made.contacts("key,email", "ana,ana@example.com")
    made.tick("2026-11-26 09:00")
    made.answer = lambda message: Unsent("452 4.3.1 no storage", "transport")
    made.tick("2026-11-26 16:00")
    made.answer = lambda message: Unsent("450 4.2.0 greylisted", "address")
    result = made.tick("2026-12-03 16:00")
    assert (result.again, result.failed) == (1, 0)


def test_a_secret_that_is_renewed_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "campaigns").mkdir()
    workspace = Workspace(
        tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "secrets")}
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "TOKEN").write_text("old")
    before = workspace.fingerprint()
    (tmp_path / "secrets" / "TOKEN").write_text("renewed")
    assert workspace.fingerprint() != before
