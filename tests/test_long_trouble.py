"""Servers that do wrong to everybody for a long time, as an operator would meet them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drip.core.message import MOST_REFUSED
from drip.storage.operating import alarms
from tests import cli as command_line
from tests.mail_server import CLOSE, HANG
from tests.test_relays import (
    NOON,
    Asked,
    Everybody,
    Shop,
    control_holds,
    relaying,
    shop,
)
from tests.world import LETTER

__all__ = ["shop"]


@pytest.mark.parametrize("stage", ["RCPT", "DATA"])
def test_a_server_that_hangs_up_before_every_text_is_tried_with_one_message_at_a_time_and_stays_told(
    shop: Callable[..., Shop], stage: str
) -> None:
    with Asked(Everybody(stage, CLOSE)) as server:
        made = shop(server, people=60, connections="1")
        assert made.tick().trouble
        before = server.connections
        for minute in range(1, 5):
            for second in (1, 2, 3):
                assert made.tick(minute + second / 60).trouble
        # Left alone for one minute, then for two: one try at 10:01, one at 10:03, over two connections each at most.
        assert server.connections - before <= 4


def test_a_server_that_took_some_and_refuses_to_relay_for_all_others_loses_nobody(
    shop: Callable[..., Shop],
) -> None:
    class Forgets(Asked):
        def _fault(self, to: str, stage: str) -> str | None:
            if stage == "RCPT" and len(self.taken) >= 5:
                return "554 5.7.1 <someone@example.com>: Relay access denied"
            return super()._fault(to, stage)

    with Forgets() as server:
        made = shop(server, people=40, connections="1")
        result = made.tick()
        # The guide: what it says of relaying, a login or a block is a pause of a minute, and nothing is lost.
        assert made.states() == {"pending": 35, "sent": 5}
        assert result.trouble and "Relay access denied" in result.trouble


def test_once_a_sender_is_refused_the_rest_of_its_campaign_is_not_offered(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("*", "MAIL"): "550 5.7.1 sender not allowed"}) as server:
        made = shop(server, people=100, connections="4")
        made.tick()
        assert set(control_holds(made)) == {"letter"} and made.states() == {
            "deferred": 100
        }
        # What had been offered by then, over each connection one, and one that was on its way.
        assert len(server.senders) <= 2 * 4


@pytest.mark.parametrize("stage", ["DATA", "TEXT"])
def test_a_server_that_has_taken_no_message_gives_nobody_up_whatever_it_says_later_than_at_the_recipient(
    shop: Callable[..., Shop], stage: str
) -> None:
    with Asked(Everybody(stage, "550 5.1.1 no such user")) as server:
        made = shop(server, people=40, connections="1")
        result = made.tick()
        assert made.suppressed() == 0
        assert result.trouble


def test_a_server_that_is_left_alone_stays_so_for_the_next_process(
    tmp_path: Path,
) -> None:
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        relaying(tmp_path, server, 40)
        command_line.drip(tmp_path, "run", "--once", "--now", "2026-11-26 9:50")
        command_line.drip(tmp_path, "run", "--once", "--now", "2026-11-26 10:00")
        first = len(server.news())
        assert first < MOST_REFUSED + 4
        for minute in range(1, 6):
            command_line.drip(
                tmp_path, "run", "--once", "--now", f"2026-11-26 10:0{minute}:30"
            )
        # As from cron, each minute: one at 10:01, one at 10:03.
        assert len(server.news()) <= 2


def test_what_is_held_as_unproven_names_the_answer_in_status(
    shop: Callable[..., Shop],
) -> None:
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        made = shop(
            server,
            people=2,
            campaign=LETTER.replace("topic:", "grace: 30 days\ntopic:", 1),
        )
        for hour in range(74):
            made.tick(60 * hour)
        assert made.states() == {"held": 2}
        said = command_line.drip(made.world.root, "status").out
        assert "None" not in said and "no such user" in said


def test_a_server_that_puts_everybody_off_for_hours_is_told_of(
    shop: Callable[..., Shop],
) -> None:
    campaign = LETTER.replace("topic:", "grace: 30 days\ntopic:", 1)
    with Asked(Everybody("RCPT", "451 4.3.0 temporary lookup failure")) as server:
        made = shop(server, people=10, campaign=campaign)
        for hour in range(72):
            made.tick(60 * hour)
        with made.world.database.read() as connection:
            (alarm,) = [
                each
                for each in alarms.lately(connection, NOON)
                if each.action == "put-off"
            ][:1]
        assert alarm.about == "email" and "temporary lookup failure" in alarm.sentence


def test_one_recipient_at_whom_the_server_hangs_up_is_asked_for_twice_a_turn(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("p7", "RCPT"): CLOSE}) as server:
        made = shop(server, people=100, connections="4")
        made.tick()
        assert server.asked.count("p7") <= 2


def test_a_server_that_answers_at_no_recipient_is_left_alone_as_a_whole(
    shop: Callable[..., Shop],
) -> None:
    # Over four connections to recipients of three domains, so that no turn has five silences.
    with Asked(Everybody("RCPT", HANG)) as server:
        made = shop(server, people=20, timeout="1", connections="4")
        assert any(made.tick(minute).trouble for minute in (0, 1, 3, 7, 15, 31))


def test_silence_at_the_one_message_that_is_tried_again_is_no_end_of_the_trouble(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("*", "MAIL"): HANG}) as server:
        made = shop(server, people=20, timeout="1", connections="4")
        assert made.tick().trouble
        assert made.tick(1.1).trouble


@pytest.mark.parametrize(
    "says",
    [
        "550 Invalid recipient",
        "550 5.1.1 no such user",
        "550 I cannot deliver mail for you",
    ],
)
def test_one_recipient_of_the_servers_own_does_not_prove_all_the_others_dead(
    shop: Callable[..., Shop], says: str
) -> None:
    # A server that takes mail for its own domain and has no leave to relay for us.
    with Asked(Everybody("RCPT", says, but=("p3",))) as server:
        made = shop(server, people=40, connections="1")
        result = made.tick()
        assert (
            made.states().get("failed", 0) <= MOST_REFUSED
            and made.suppressed() <= MOST_REFUSED
        )
        assert result.trouble


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "RCPT"])
def test_a_stop_waits_for_no_answer_of_a_server_that_has_no_text_of_ours(
    tmp_path: Path, stage: str
) -> None:
    with Asked(
        Everybody("RCPT", HANG) if stage == "RCPT" else {("*", stage): HANG}
    ) as server:
        relaying(tmp_path, server, 10)
        command_line.drip(tmp_path, "run", "--once", "--now", "2026-11-26 9:50")
        started = command_line.command(
            tmp_path, "run", "--every", "1", "--now", "2026-11-26 10:00"
        )
        with subprocess.Popen(
            started, env=command_line.environment(), stderr=subprocess.DEVNULL
        ) as daemon:
            until = time.monotonic() + 20
            while not server.connections and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(1)
            asked = time.monotonic()
            daemon.terminate()
            daemon.wait(60)
            assert time.monotonic() - asked < 10
