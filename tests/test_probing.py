"""Servers that are wrong in the middle: what a probe costs, what a pause outlasts, and in which state a message is left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from drip.core.message import Sent, TransportDown
from drip.daemon.senders import SharedDispatcher
from drip.engine.dispatch_result import DispatchResult
from drip.engine.health import health
from drip.storage.operating import alarms, holds
from drip.storage.people.contacts import contacts_by_key
from drip.storage.people.erasing import erase
from drip.storage.sending import rate_limits
from drip.transports.smtp import SmtpTransport
from drip.transports.smtp.round import Round
from tests.cli import drip
from tests.mail_server import CLOSE, HANG, MailServer
from tests.test_delivery import Recorder, messages
from tests.test_feedback import bounce, sent, suppressed, take
from tests.test_relays import NOON, Asked, Everybody, Shop, Worlds, relaying, shop
from tests.world import LETTER

__all__ = ["shop"]


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "MAIL"])
def test_a_probe_on_which_the_session_dies_is_the_last_one_for_a_while(
    shop: Callable[..., Shop], stage: str
) -> None:
    with Asked(
        Everybody(stage, CLOSE) if stage != "MAIL" else {("*", "MAIL"): CLOSE}
    ) as server:
        made = shop(server, connections="1")
        result = made.tick()
        assert (
            result.trouble and "in the middle of 2 messages in a row" in result.trouble
        )
        before = server.connections
        made.tick(1.1)
        assert server.connections - before <= 2
        assert health(made.world.database, NOON + timedelta(minutes=1.2)).left_alone
        made.tick(2.1)
        assert server.connections - before <= 2


def test_a_probe_that_nobody_answers_is_the_last_one_for_a_while(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("*", "MAIL"): HANG}) as server:
        made = shop(server, people=6, connections="6", timeout="1")
        result = made.tick()
        assert result.trouble and "no answer in time" in result.trouble
        before = server.connections
        made.tick(1.1)
        assert server.connections - before <= 2
        assert health(made.world.database, NOON + timedelta(minutes=1.2)).left_alone


def test_deaths_in_a_row_are_counted_when_messages_come_one_at_a_time() -> None:
    with MailServer(Everybody("TEXT", CLOSE)) as server:
        transport = SmtpTransport(
            {"host": "127.0.0.1", "port": str(server.port), "security": "none"}
        )
        recorder = Recorder()
        transport.deliver(messages("p0"), recorder)
        with pytest.raises(TransportDown, match="in the middle of 2 messages in a row"):
            transport.deliver(messages("p1"), recorder)
        transport.close()


def test_a_message_refused_after_its_text_as_one_too_many_of_the_session_goes_once_more(
    shop: Callable[..., Shop],
) -> None:
    class Sessions(Asked):
        def _talk(self, client: Any) -> None:
            self.talking = client
            super()._talk(client)

        def _fault(self, to: str, stage: str) -> str | None:
            if stage != "TEXT":
                return super()._fault(to, stage)
            count = self.talking.count = getattr(self.talking, "count", 0) + 1
            return "452 4.5.3 too many messages in this session" if count > 3 else None

    with Sessions() as server:
        made = shop(server, people=8, connections="1")
        made.tick()
        assert set(made.states()) <= {"sent", "pending"}
        for minute in range(1, 5):
            made.tick(minute)
        with made.world.database.read() as connection:
            assert "reaped" not in {
                each.action
                for each in alarms.lately(connection, NOON - timedelta(days=1))
            }
        assert made.states() == {"sent": 8} and len(server.taken) >= 8


def test_the_probe_goes_to_somebody_else_than_whom_the_server_has_refused(
    shop: Callable[..., Shop],
) -> None:
    with Asked() as works, Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        made = shop(works)
        made.tick()
        made.world.write("campaigns/more.yaml", LETTER.replace("10:00", "11:00"))
        made.world.reload()
        made.connect(server, connections="1")
        made.tick(30)
        made.tick(60)
        first = set(server.news())
        for minute in (62, 65, 70, 80):
            made.tick(minute)
            asked = server.news()
            assert len(asked) == 1 and not set(asked) & first


def test_a_sender_beside_that_was_not_stopped_ends_no_pause(
    shop: Callable[..., Shop],
) -> None:
    with Asked() as server:
        made = shop(server, people=5)

        class Beside(SmtpTransport):
            def deliver(self, messages: Any, session: Any) -> None:
                super().deliver(messages, session)
                # Meanwhile another process has heard that the server wants less.
                with made.world.database.write() as connection:
                    rate_limits.close(
                        connection,
                        "email",
                        "",
                        NOON,
                        timedelta(seconds=30),
                        timedelta(minutes=30),
                        reason="too much mail",
                    )

        made.world.transports = {
            "email": Beside(
                {"host": "127.0.0.1", "port": str(server.port), "security": "none"}
            )  # type: ignore[dict-item]
        }
        made.tick()
        assert made.states() == {"sent": 5}
        assert health(made.world.database, NOON).left_alone


def test_what_was_said_of_the_recipient_counts_more_than_how_the_server_takes_leave(
    shop: Callable[..., Shop],
) -> None:
    faults = {("p7", "RCPT"): "550 5.1.1 no such user", ("", "DATA"): "x"}

    class Strict(Asked):
        def _say(self, client: Any, said: str) -> None:
            super()._say(
                client,
                "421 4.7.0 too many errors & close"
                if said == "503 no recipients"
                else said,
            )

    with Strict(faults) as server:
        made = shop(server, connections="1")
        result = made.tick()
        assert result.trouble is None
        assert made.states() == {"failed": 1, "sent": 19}


class Own:
    """Somebody's own transport, which keeps its connection in `server`."""

    channels = frozenset({"email"})

    def __init__(self) -> None:
        self.server = object()

    def send(self, message: Any) -> Sent:
        return Sent("ok")

    def close(self) -> None:
        """Nothing is kept open."""


def test_somebodys_own_transport_may_call_its_connection_server(
    shop: Callable[..., Shop],
) -> None:
    with Asked() as server:
        made = shop(server, people=2)
        made.close()
        made.world.transports = {"email": Own()}  # type: ignore[dict-item]
        made.tick()
        assert made.states() == {"sent": 2}


def test_wrong_answers_of_before_say_nothing_of_a_connection_that_idled() -> None:
    """Three connections get wrong answers in a row; another one, which had nothing to do then, is closed by the server."""

    class Confused(Asked):
        confused = False
        clients: list[Any]

        def _talk(self, client: Any) -> None:
            self.clients = [*getattr(self, "clients", []), client]
            super()._talk(client)

        def _fault(self, to: str, stage: str) -> str | None:
            return (
                "503 5.5.1 Bad sequence"
                if stage == "MAIL" and self.confused
                else super()._fault(to, stage)
            )

    with Confused() as server:
        options = {
            "host": "127.0.0.1",
            "port": str(server.port),
            "security": "none",
            "connections": "6",
        }
        transport, recorder = SmtpTransport(options), Recorder()
        transport.deliver(messages(*(f"p{n}" for n in range(30))), recorder)
        server.confused = True
        with pytest.raises(TransportDown, match="3 times in a row"):
            for n in range(3):
                transport.deliver(messages(f"wrong{n}"), recorder)
        assert transport.connections
        server.confused = False
        for client in server.clients:
            with contextlib.suppress(OSError):
                client.connection.shutdown(2)
        time.sleep(0.2)
        transport.deliver(messages("later"), recorder)
        transport.close()
    assert "later" in server.taken


@pytest.mark.parametrize(
    "faults,options,seconds",
    [
        ({("*", "CONNECT"): "554 5.7.1 your host is blocked & close"}, {}, 60),
        (Everybody("RCPT", "454 4.7.1 Relay access denied"), {}, 60),
        ({}, {"user": "ana", "password": "wrong"}, 60),
    ],
)
def test_what_says_that_nothing_may_leave_is_left_alone_for_a_minute(
    shop: Callable[..., Shop], faults: Any, options: dict[str, str], seconds: int
) -> None:
    with Asked(faults, extensions=("PIPELINING", "8BITMIME", "AUTH PLAIN")) as server:
        made = shop(server, **options)
        result = made.tick()
        (shut,) = health(made.world.database, NOON).left_alone
        assert result.trouble
        assert shut.until == NOON + timedelta(seconds=seconds), (shut, result.trouble)


@pytest.mark.parametrize(
    "says",
    ["554 5.7.1 <ana@example.com>: Relay access denied", "550 relay not permitted"],
)
def test_a_server_that_takes_its_leave_to_relay_back_fails_nobody(
    shop: Callable[..., Shop], says: str
) -> None:
    with Asked() as server:
        made = shop(server, people=5, connections="1")
        made.tick()
        assert made.states() == {"sent": 5}
        made.world.write("campaigns/more.yaml", LETTER.replace("10:00", "11:00"))
        made.world.reload()
        # The same program; the address that may relay is another one now.
        for link in made.world.transports["email"]._connections:  # type: ignore[attr-defined]
            link.close()
        server.faults = Everybody("RCPT", says)
        made.tick(30)
        result = made.tick(60)
        assert "failed" not in made.states()
        assert result.trouble and "takes nothing" in result.trouble


def test_what_is_said_of_an_erased_person_does_not_stay_with_its_domain(
    shop: Callable[..., Shop],
) -> None:
    with Asked(
        {
            (
                "p0",
                "RCPT",
            ): "450 4.7.1 <p0@d0.example>: rate limit of this domain exceeded"
        }
    ) as server:
        made = shop(server, people=3)
        made.tick()
        with made.world.database.write() as connection:
            (person,) = contacts_by_key(connection, ["p0"]).values()
            assert erase(connection, person.id, NOON)
        with made.world.database.read() as connection:
            reasons = [
                row[0] or ""
                for row in connection.execute(text("SELECT reason FROM rate_limits"))
            ]
        assert not [each for each in reasons if "p0@" in each]


def test_a_new_server_is_asked_at_once_by_several_processes_too(
    shop: Callable[..., Shop],
) -> None:
    class Senders:
        asked = 0

        def hand_over(self, number: int, stop: Any) -> DispatchResult:
            self.asked += 1
            return DispatchResult()

    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server, Asked() as other:
        made = shop(server, people=3)
        made.tick()
        assert made.states() == {"pending": 3}
        made.connect(other)
        senders = Senders()
        campaign_set = made.world.workspace.campaign_set(made.world.database, NOON)
        shared = SharedDispatcher(
            made.world.database,
            made.world.workspace.templates,
            made.world.transports,  # type: ignore[arg-type]
            lambda: NOON,
            1,
            senders=senders,  # type: ignore[arg-type]
        )
        shared.hand_over(campaign_set)
        assert senders.asked == 1


def test_two_reports_about_one_message_do_not_prove_that_a_domain_is_gone(
    world: Worlds,
) -> None:
    made = sent(world)
    (message,) = made.transport.messages
    take(made, bounce(message, "550 5.1.2 nxdomain", 1))
    take(made, bounce(message, "550 5.1.2 nxdomain", 2), now="2026-11-26 19:00")
    assert suppressed(made) == []


def test_a_hold_is_noticed_while_every_recipient_is_refused(
    shop: Callable[..., Shop],
) -> None:
    class Holds(Asked):
        def _fault(self, to: str, stage: str) -> str | None:
            found = super()._fault(to, stage)
            if stage == "RCPT" and len(self.asked) == 10:
                with made.world.database.write() as connection:
                    holds.hold(connection, "letter", NOON)
            return found

    with Holds(
        Everybody(
            "RCPT", "550 5.7.1 this recipient takes nothing from you", but=("p0",)
        )
    ) as server:
        made = shop(server, people=60, connections="1")
        made.tick()
        assert len(server.asked) <= 15


def test_a_program_that_is_started_anew_leaves_alone_whom_the_one_before_did(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        relaying(root, server, 50)
        drip(root, "run", "--once", "--now", "2026-11-26 09:00")
        drip(root, "run", "--once", "--now", "2026-11-26 10:30")
        assert server.news()
        said = drip(root, "run", "--once", "--now", "2026-11-26 10:30:05")
        assert server.news() == []
        assert (
            "has refused 5 recipients" in said.err
            and "`drip stop --off` tries at once" in said.err
        )
        drip(root, "stop", "--off")
        drip(root, "run", "--once", "--now", "2026-11-26 10:30:10")
        assert server.news()
        drip(root, "run", "--once", "--now", "2026-11-26 10:31:05")
        assert len(server.news()) <= 1


def test_a_connection_that_is_lost_while_the_others_are_waited_for_makes_no_busy_loop() -> (
    None
):
    """It was ready and the only one: nobody is to be asked about now, so that the next look is not in the past."""
    with MailServer() as server:
        transport = SmtpTransport(
            {"host": "127.0.0.1", "port": str(server.port), "security": "none"}
        )
        lap = Round(transport, iter(()), Recorder())
        lap._ready_at = transport.passed_s() - 1
        lap._ask()
        assert lap._wake_at() > transport.passed_s()
