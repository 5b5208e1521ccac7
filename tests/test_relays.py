"""Servers that take nobody, hang up, fall silent or want less: who is left in peace, who is told, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drip.core.message import MOST_REFUSED, Sent, TransportDown, Unknown
from drip.engine.dispatch_result import DispatchResult
from drip.engine.health import health
from drip.storage.operating import alarms, holds
from drip.storage.people import suppressions
from drip.storage.sending import outbox
from drip.storage.sending.outbox import OutboxMessage
from drip.transports.smtp import SmtpTransport
from tests.cli import drip, everybody
from tests.cli import shop as made_of
from tests.mail_server import CLOSE, HANG, MailServer
from tests.test_delivery import Recorder, messages
from tests.world import LETTER, SETTINGS, TEMPLATE, World, at

Worlds = Callable[..., World]
NOON = at("2026-11-26 16:00")
TRANSACTIONAL = LETTER.replace("topic: service", "transactional: yes")


class Shop:
    """A workspace whose letters go to a mail server, looked at as time goes by."""

    def __init__(
        self, world: World, server: MailServer, people: int, **options: str
    ) -> None:
        self.world, self.server = world, server
        world.contacts(
            "key,email", *(f"p{n},p{n}@d{n % 3}.example" for n in range(people))
        )
        self.connect(server, **options)
        world.tick("2026-11-26 09:00")

    def connect(self, server: MailServer, **options: str) -> None:
        given = {
            "host": "127.0.0.1",
            "port": str(server.port),
            "security": "none",
            "timeout": "5",
            **options,
        }
        self.close()
        self.world.transports = {"email": SmtpTransport(given)}  # type: ignore[dict-item]

    def close(self) -> None:
        for transport in self.world.transports.values():
            transport.close()

    def tick(self, minutes: float = 0) -> DispatchResult:
        """So long after noon."""
        return self.world.tick(NOON + timedelta(minutes=minutes))

    def messages(self) -> list[OutboxMessage]:
        with self.world.database.read() as connection:
            return outbox.of_runs(connection, range(1, 1000))

    def states(self) -> dict[str, int]:
        found = [each.state for each in self.messages()]
        return {state: found.count(state) for state in sorted(set(found))}

    def suppressed(self) -> int:
        with self.world.database.read() as connection:
            key = suppressions.suppression_key(connection)
            digests = [
                suppressions.digest(key, f"p{n}@d{n % 3}.example") for n in range(100)
            ]
            return len(suppressions.suppressed(connection, digests))


class Asked(MailServer):
    """Notes whom it was asked for, in order, and how many connections were made."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[str] = []

    def _fault(self, to: str, stage: str) -> str | None:
        if stage == "RCPT":
            self.asked.append(to)
        return super()._fault(to, stage)

    def news(self) -> list[str]:
        """Whom it was asked for since the last time."""
        found, self.asked = self.asked, []
        return found


class Everybody(dict[tuple[str, str], str]):
    """The same fault for every recipient but some."""

    def __init__(self, stage: str, says: str, but: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.stage, self.says, self.but = stage, says, but

    def get(self, key: tuple[str, str], default: Any = None) -> Any:
        to, stage = key
        return self.says if stage == self.stage and to not in self.but else default


@pytest.fixture
def shop(world: Worlds) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(
        server: MailServer, people: int = 20, campaign: str = LETTER, **options: str
    ) -> Shop:
        made.append(Shop(world({"letter": campaign}), server, people, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def relaying(root: Path, server: MailServer, people: int) -> None:
    """A workspace in files whose letters go to a mail server, for the program itself."""
    relay = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none"
    files = {
        "campaigns/_settings.yaml": SETTINGS.replace("use: memory", relay),
        "campaigns/letter.yaml": LETTER,
        "templates/letter.md": TEMPLATE,
    }
    made_of(root, files, everybody(people))


# --- who has taken nobody is asked about us first

NOBODY = [
    "550 Invalid recipient: <ana@example.com>",
    "550 5.1.1 no such user",
    "550 5.7.1 no",
    "553 5.1.8 bad sender",
]


@pytest.mark.parametrize("says", NOBODY)
@pytest.mark.parametrize("connections", ["1", "4", "32"])
def test_a_server_that_has_taken_nobody_gives_nobody_up_and_is_asked_for_five_at_most(
    shop: Callable[..., Shop], says: str, connections: str
) -> None:
    with Asked(Everybody("RCPT", says)) as server:
        made = shop(server, connections=connections)
        result = made.tick()
        assert len(server.news()) == MOST_REFUSED
        assert made.states() == {"pending": 20} and made.suppressed() == 0
        said = says.replace("ana@example.com", "…")
        assert (
            result.trouble and said in result.trouble and "about us" in result.trouble
        )
        assert result.help and "drip release" in result.help
        assert not control_holds(made)


def control_holds(made: Shop) -> dict[str, holds.Hold]:
    with made.world.database.read() as connection:
        return holds.held_scopes(connection)


def test_status_says_who_takes_nobody_and_until_when_it_is_left_alone(
    shop: Callable[..., Shop],
) -> None:
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        made = shop(server, connections="1")
        made.tick()
        found = health(made.world.database, NOON + timedelta(seconds=59))
        (shut,), (doubted,) = found.left_alone, found.doubted
        assert (shut.channel, shut.domain, shut.until) == (
            "email",
            "",
            NOON + timedelta(minutes=1),
        )
        assert (doubted.server, doubted.messages) == (
            f"127.0.0.1:{server.port}",
            MOST_REFUSED,
        )
        assert not health(made.world.database, NOON + timedelta(seconds=61)).left_alone
        said = drip(made.world.root, "status")
        assert (
            "has taken nobody yet, and refused 5 message(s) by email. Nobody was given up."
            in said.out
        )


def test_then_it_is_asked_for_one_other_recipient_at_a_time_and_ever_more_seldom(
    shop: Callable[..., Shop],
) -> None:
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        made = shop(server, connections="4")
        made.tick()
        first = set(server.news())
        assert len(first) == MOST_REFUSED
        asked = []
        for minute in range(1, 60):
            made.tick(minute + 0.1)
            found = server.news()
            assert len(found) <= 1
            asked += [(minute, *found)] * len(found)
        assert [minute for minute, _ in asked] == [1, 3, 7, 15, 31]
        assert not first & {name for _, name in asked}
        assert made.states() == {"pending": 20}


def test_an_address_that_once_worked_is_asked_for_first(
    shop: Callable[..., Shop],
) -> None:
    with Asked() as works, Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        made = shop(works)
        made.tick()
        made.world.contacts(
            "key,email", *(f"new{n},new{n}@example.com" for n in range(8))
        )
        made.world.write("campaigns/more.yaml", LETTER.replace("10:00", "11:00"))
        made.world.reload()
        made.connect(server)
        made.tick(30)
        made.tick(60)
        server.news()
        made.tick(61.5)
        (asked,) = server.news()
        assert not asked.startswith("new")


def test_with_the_first_that_it_takes_everything_goes_on_and_what_it_still_refuses_counts(
    shop: Callable[..., Shop],
) -> None:
    faults = Everybody("RCPT", "550 5.1.1 no such user")
    with Asked(faults) as server:
        made = shop(server, connections="1")
        made.tick()
        wrong, *_, last = server.news()
        # It was about us, and somebody has mended it; one of the addresses is dead all the same.
        server.faults = {(wrong, "RCPT"): "550 5.1.1 no such user"}
        made.tick(1.1)
        assert made.states() == {"failed": 1, "sent": 19}
        assert last in server.taken and made.suppressed() == 1


def test_one_wrong_address_in_a_run_that_works_is_one_wrong_address(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("p0", "RCPT"): "550 5.1.1 no such user"}) as server:
        made = shop(server, connections="1")
        made.tick()
        assert made.states() == {"failed": 1, "sent": 19} and made.suppressed() == 1
        assert server.asked.count("p0") <= 2


RELAYING = [
    "454 4.7.1 <ana@example.com>: Relay access denied",
    "554 5.7.1 <ana@example.com>: Relay access denied",
    "550 relay not permitted",
    "503 5.7.1 relay not allowed",
]


@pytest.mark.parametrize("says", RELAYING)
def test_who_may_not_relay_is_told_at_the_first_recipient(
    shop: Callable[..., Shop], says: str
) -> None:
    with Asked(Everybody("RCPT", says)) as server:
        made = shop(server, connections="1")
        result = made.tick()
        assert server.news() and not server.news()
        assert result.trouble and says.replace("ana@example.com", "…") in result.trouble
        assert made.states() == {"pending": 20} and made.suppressed() == 0


def test_one_recipient_of_whom_a_server_says_that_we_are_blocked_keeps_nobody_for_long(
    shop: Callable[..., Shop],
) -> None:
    with Asked(
        {("p0", "RCPT"): "554 5.7.1 Client host [192.0.2.1] blocked using zen.example"}
    ) as server:
        made = shop(server, connections="1")
        for minute in range(180):
            made.tick(minute + 0.1)
        assert (
            made.states()["sent"] == 19
            and "failed" not in made.states()
            and made.suppressed() == 0
        )
        assert server.asked.count("p0") <= 9


def test_what_nobody_proved_in_three_days_is_for_a_person(
    shop: Callable[..., Shop],
) -> None:
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server:
        made = shop(
            server,
            people=2,
            campaign=LETTER.replace("topic:", "grace: 30 days\ntopic:", 1),
        )
        made.tick()
        assert made.states() == {"pending": 2}
        for hour in range(1, 71):
            made.tick(60 * hour)
        assert "held" not in made.states() and len(server.news()) < 150
        made.tick(60 * 73)
        assert made.states() == {"held": 2} and made.suppressed() == 0
        with made.world.database.write() as connection:
            (alarm,) = [
                each
                for each in alarms.lately(connection, NOON)
                if each.action == "unproven"
            ]
            assert "2 message(s)" in alarm.sentence and "drip release" in alarm.sentence
            held = [each.id for each in outbox.held(connection)]
            outbox.release(connection, held, "deferred", NOON + timedelta(hours=74))
        server.faults = {}
        made.tick(60 * 74)
        assert made.states() == {"sent": 2}


def test_a_server_that_took_people_and_refuses_five_in_a_row_gives_nobody_up(
    shop: Callable[..., Shop],
) -> None:
    with Asked() as server:
        made = shop(server, people=40, connections="1")
        server.faults = Everybody(
            "RCPT", "550 5.1.1 no such user", but=tuple(f"p{n}" for n in range(10))
        )
        result = made.tick()
        assert (
            result.trouble
            and "has refused 5 recipients and taken nobody since" in result.trouble
        )
        assert made.suppressed() == 0
        asked = len(server.news())
        made.tick(1.1)
        assert len(server.news()) == 1 and asked < 25
        # It was about us, and is mended: four had failed by then, and nobody else does.
        server.faults = {}
        for minute in range(3, 12, 2):
            made.tick(minute)
        assert made.states() == {"failed": 4, "sent": 36} and made.suppressed() == 0


def test_five_dead_ones_among_others_are_five_dead_ones(
    shop: Callable[..., Shop],
) -> None:
    dead = [f"p{n}" for n in range(0, 40, 4)]
    with Asked({(name, "RCPT"): "550 5.1.1 no such user" for name in dead}) as server:
        made = shop(server, people=40, connections="1")
        assert made.tick().trouble is None
        assert made.states() == {"failed": 10, "sent": 30} and made.suppressed() == 10


def test_another_login_is_asked_anew_and_at_once(shop: Callable[..., Shop]) -> None:
    with Asked(Everybody("RCPT", "550 5.1.1 no such user")) as server, Asked() as other:
        made = shop(server, people=3)
        made.tick()
        assert made.states() == {"pending": 3}
        made.connect(other)
        made.tick(0.01)
        assert made.states() == {"sent": 3}


# --- answers as if we did not speak SMTP


def test_a_server_that_does_not_understand_us_three_times_in_a_row_is_down_and_nothing_is_held(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("*", "MAIL"): "503 5.5.1 Bad sequence of commands"}) as server:
        made = shop(server, connections="1")
        result = made.tick()
        assert (
            result.trouble
            and "3 times in a row" in result.trouble
            and "Bad sequence of commands" in result.trouble
        )
        assert made.states() == {"pending": 20} and not control_holds(made)
        server.faults = {}
        for minute in range(1, 5):
            made.tick(minute + 0.1)
        assert made.states() == {"sent": 20}


def test_a_server_that_does_not_understand_us_now_and_then_gets_everything(
    shop: Callable[..., Shop],
) -> None:
    class Confused(Asked):
        def _fault(self, to: str, stage: str) -> str | None:
            self.count = getattr(self, "count", 0) + (stage == "MAIL")
            return (
                "503 5.5.1 Bad sequence"
                if stage == "MAIL" and self.count % 3 == 0
                else super()._fault(to, stage)
            )

    with Confused() as server:
        made = shop(server, connections="2")
        for minute in range(12):
            made.tick(minute + 0.1)
        assert made.states() == {"sent": 20} and len(server.taken) == 20


# --- sessions that end in the middle of a message


def test_a_server_that_hangs_up_in_the_middle_of_a_message_twice_in_a_row_is_left_alone(
    shop: Callable[..., Shop],
) -> None:
    with Asked(Everybody("TEXT", CLOSE)) as server:
        made = shop(server, connections="1")
        result = made.tick()
        assert (
            result.trouble and "in the middle of 2 messages in a row" in result.trouble
        )
        assert made.states() == {"held": 2, "pending": 18}
        server.news()
        times = []
        for minute in range(1, 20):
            made.tick(minute + 0.1)
            times += [minute] * len(server.news())
        assert times == [1, 3, 7, 15]
        assert made.states()["held"] == 6


def test_by_resend_a_message_goes_three_times_more_an_hour_apart_and_is_held_then(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("p0", "TEXT"): CLOSE}) as server:
        made = shop(server, people=2, campaign=TRANSACTIONAL, connections="1")
        asked = []
        for minute in range(0, 400, 5):
            made.tick(minute)
            asked += [minute] * server.news().count("p0")
        assert asked == [0, 60, 120, 180]
        assert made.states() == {"held": 1, "sent": 1}


def test_what_caps_count_goes_once_more_only(shop: Callable[..., Shop]) -> None:
    with Asked({("p0", "TEXT"): CLOSE}) as server:
        made = shop(
            server,
            people=2,
            campaign=LETTER.replace(
                "topic:", "on_unknown: resend\ngrace: 2 days\ntopic:", 1
            ),
            connections="1",
        )
        for minute in range(0, 400, 5):
            made.tick(minute)
        assert server.news().count("p0") == 2
        assert made.states() == {"held": 1, "sent": 1}


def test_one_that_makes_the_server_hang_up_does_not_keep_the_others(
    shop: Callable[..., Shop],
) -> None:
    with Asked({("p0", "RCPT"): CLOSE}) as server:
        made = shop(server, connections="1")
        for minute in range(5):
            made.tick(minute)
        assert made.states() == {"pending": 1, "sent": 19}
        assert "p0" not in server.taken


def test_a_server_that_ends_each_session_after_some_messages_is_well() -> None:
    class Few(MailServer):
        def _take(self, client: Any, to: str) -> None:
            super()._take(client, to)
            count = client.count = getattr(client, "count", 0) + 1
            if count == 5:
                raise EOFError

    names = [f"p{n}" for n in range(60)]
    with Few() as server:
        transport, recorder = (
            SmtpTransport(
                {"host": "127.0.0.1", "port": str(server.port), "security": "none"}
            ),
            Recorder(),
        )
        transport.deliver(messages(*names), recorder)
        transport.close()
    assert sorted(server.taken) == sorted(names)
    assert {type(each) for each in recorder.ends.values()} == {Sent}


def test_so_many_messages_go_over_one_connection_as_are_allowed() -> None:
    class Counts(MailServer):
        def _take(self, client: Any, to: str) -> None:
            super()._take(client, to)
            client.count = getattr(client, "count", 0) + 1
            self.most = max(client.count, getattr(self, "most", 0))

    with Counts() as server:
        options = {
            "host": "127.0.0.1",
            "port": str(server.port),
            "connections": "2",
            "messages_per_connection": "10",
        }
        transport, recorder = SmtpTransport(options), Recorder()
        transport.deliver(messages(*(f"p{n}" for n in range(60))), recorder)
        transport.close()
    assert len(server.taken) == 60 and server.most == 10 and server.connections <= 8


def test_a_connection_that_has_had_enough_is_followed_by_another_one(
    shop: Callable[..., Shop],
) -> None:
    class Sessions(Asked):
        def _talk(self, client: Any) -> None:
            self.talking = client
            super()._talk(client)

        def _take(self, client: Any, to: str) -> None:
            super()._take(client, to)
            client.count = getattr(client, "count", 0) + 1

        def _fault(self, to: str, stage: str) -> str | None:
            full = stage == "MAIL" and getattr(self.talking, "count", 0) >= 5
            return (
                "452 4.5.3 Too many recipients: Too many messages sent"
                if full
                else super()._fault(to, stage)
            )

    with Sessions() as server:
        made = shop(server, connections="1")
        result = made.tick()
        assert made.states() == {"sent": 20} and result.trouble is None
        assert server.connections == 4


# --- silence


def test_an_answer_that_takes_more_than_a_minute_is_told_and_over_when_it_comes() -> (
    None
):
    class Slow(MailServer):
        def _say(self, client: Any, said: str) -> None:
            if said == "250 slow":
                time.sleep(1.6)
            super()._say(client, said)

    with Slow({("p0", "RCPT"): "250 slow"}) as server:
        # A minute of this clock is one second.
        transport = SmtpTransport(
            {"host": "127.0.0.1", "port": str(server.port), "security": "none"},
            lambda: 60 * time.monotonic(),
        )
        recorder = Recorder()
        transport.deliver(messages("p0", "p1"), recorder)
        transport.close()
    assert {type(each) for each in recorder.ends.values()} == {Sent}
    told, over = recorder.waited
    assert told and "has not answered for more than a minute" in told and over is None


def test_slow_answers_are_an_alarm_while_they_last(shop: Callable[..., Shop]) -> None:
    with MailServer() as server:
        made = shop(server, people=1)
    seen = []

    class Waits(SmtpTransport):
        def deliver(self, messages: Any, session: Any) -> None:
            session.waits("The mail server has not answered for more than a minute.")
            with made.world.database.read() as connection:
                seen.extend(alarms.lately(connection, NOON - timedelta(days=1)))
            session.waits(None)

    made.world.transports = {"email": Waits({"host": "127.0.0.1", "security": "none"})}  # type: ignore[dict-item]
    made.tick()
    assert [(each.action, each.about, each.ended_at) for each in seen] == [
        ("slow-answer", "email", None)
    ]
    with made.world.database.read() as connection:
        (alarm,) = alarms.lately(connection, NOON - timedelta(days=1))
    assert alarm.ended_at == NOON


def test_a_server_that_never_answers_in_time_is_left_alone() -> None:
    with MailServer({("*", "MAIL"): HANG}) as server:
        transport, recorder = (
            SmtpTransport(
                {
                    "host": "127.0.0.1",
                    "port": str(server.port),
                    "security": "none",
                    "timeout": "1",
                }
            ),
            Recorder(),
        )
        with pytest.raises(
            TransportDown, match="gave no answer in time, 5 times in a row"
        ) as down:
            transport.deliver(messages(*(f"p{n}" for n in range(20))), recorder)
        transport.close()
    assert down.value.costly
    assert not any(isinstance(each, Sent | Unknown) for each in recorder.ends.values())


# --- not so fast


def test_a_server_that_wants_fewer_messages_is_heeded_at_once(
    shop: Callable[..., Shop],
) -> None:
    class Limited(Asked):
        limit = 7

        def _fault(self, to: str, stage: str) -> str | None:
            if stage == "MAIL" and len(self.taken) >= self.limit:
                self.refused = getattr(self, "refused", 0) + 1
                return "450 4.7.1 Error: too much mail from 127.0.0.1"
            return super()._fault(to, stage)

    with Limited() as server:
        made = shop(server, connections="2")
        result = made.tick()
        assert (
            result.trouble
            and "wants fewer messages" in result.trouble
            and "too much mail" in result.trouble
        )
        assert result.help and "rate:" in result.help
        assert server.refused <= 2 and made.states() == {
            "pending": 20 - len(server.taken),
            "sent": len(server.taken),
        }
        made.tick(0.4)
        assert server.refused <= 2
        server.limit = 100
        made.tick(0.6)
        assert made.states() == {"sent": 20}


def test_a_domain_that_wants_fewer_messages_is_heeded_at_once(
    shop: Callable[..., Shop],
) -> None:
    with Asked() as server:
        made = shop(server, people=99, connections="3")
        slow = [f"p{n}" for n in range(99) if n % 3 == 0]
        server.faults = {
            (name, "RCPT"): "450 4.7.1 rate limit of this domain exceeded"
            for name in slow
        }
        made.tick()
        asked = server.news()
        assert len([name for name in asked if name in slow]) <= 3
        assert made.states() == {"pending": 33, "sent": 66}
        (shut,) = health(made.world.database, NOON).left_alone
        assert (shut.domain, shut.until) == ("d0.example", NOON + timedelta(seconds=30))
        assert "rate limit" in shut.reason
        server.faults = {}
        made.tick(0.6)
        assert made.states() == {"sent": 99}


# --- after a stop


@pytest.mark.parametrize("scope", ["*", "letter"])
def test_after_a_stop_or_a_hold_nothing_more_is_offered_and_no_connection_made(
    shop: Callable[..., Shop], scope: str
) -> None:
    class Stops(Asked):
        stopped = threading.Event()

        def _take(self, client: Any, to: str) -> None:
            super()._take(client, to)
            if len(self.taken) >= 10 and not self.stopped.is_set():
                self.stopped.set()
                with made.world.database.write() as connection:
                    holds.hold(connection, scope, NOON)
                self.asked.clear()

    with Stops() as server:
        made = shop(server, people=100, connections="3")
        made.tick()
        # What had been offered by then, over each connection one.
        assert len(server.asked) <= 2 * 3 and len(server.taken) <= 10 + 2 * 3
        assert server.connections <= 3
        states = made.states()
        assert states["sent"] == len(server.taken) and set(states) <= {
            "sent",
            "deferred",
        }
        before = server.connections
        made.tick(1)
        assert server.connections == before


def test_unwanted_messages_are_not_offered_and_make_no_connection() -> None:
    with Asked() as server:
        transport, recorder = (
            SmtpTransport(
                {"host": "127.0.0.1", "port": str(server.port), "security": "none"}
            ),
            Recorder(),
        )
        recorder.unwanted = {"p1", "p3"}
        transport.deliver(messages("p1", "p3"), recorder)
        assert server.connections == 0
        transport.deliver(messages("p0", "p1", "p2", "p3"), recorder)
        transport.close()
    assert sorted(server.taken) == ["p0", "p2"] and sorted(server.asked) == ["p0", "p2"]
    assert set(recorder.ends) == {"p0", "p2"}
