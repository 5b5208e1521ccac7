"""Delivery over SMTP by real sockets: faults at every stage, what is recorded of them, and that the others go out."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from drip.core.message import (
    DeliverySession,
    Mailbox,
    Message,
    Receipt,
    Refused,
    Sent,
    TransportDown,
    Unknown,
    Unsent,
)
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.planner import plan
from drip.storage.operating import daemons
from drip.storage.operating.holds import held_scopes
from drip.transports.smtp import SmtpTransport
from tests.mail_server import CLOSE, HANG, MailServer
from tests.world import LETTER, World, at

MESSAGE = Message(
    channel="email",
    to=Mailbox("Ana Morales", "ana@example.com"),
    sender=Mailbox("Maple", "hello@maple.example"),
    subject="Hello",
    text="Dear Ana,\n.dot\n",
    html="<p>Dear Ana</p>",
    message_id="abc@maple.example",
    date=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    headers={"List-Id": "<news.maple.example>"},
)
OTHERS = 12
Worlds = Callable[..., World]


def smtp(server: MailServer, **options: str) -> SmtpTransport:
    given = {
        "host": "127.0.0.1",
        "port": str(server.port),
        "security": "none",
        "timeout": "2",
        **options,
    }
    return SmtpTransport(given)


class Recorder:
    """A session that writes everything down, and permits what it is not told to refuse."""

    accepts = True

    def __init__(self, refuse: Sequence[str] = ()) -> None:
        self.ends: dict[str, Receipt] = {}
        self.begun: list[str] = []
        self.unwanted: set[str] = set()
        self.waited: list[str | None] = []
        self._refuse = refuse

    def turn(
        self, ended: Sequence[tuple[Message, Receipt]], ready: Sequence[Message]
    ) -> list[bool]:
        for message, receipt in ended:
            assert message.message_id not in self.ends, "two ends"
            self.ends[message.message_id] = receipt
        self.begun += [each.message_id for each in ready]
        return [each.message_id not in self._refuse for each in ready]

    def wants(self, message: Message) -> bool:
        return message.message_id not in self.unwanted

    def waits(self, sentence: str | None) -> None:
        self.waited.append(sentence)


def messages(*names: str) -> Iterator[Message]:
    """One of them is larger than what a connection holds, so that an answer can come too early."""
    for name in names:
        text = "line\n" * 1_000_000 if name == "large" else MESSAGE.text
        yield replace(
            MESSAGE, to=Mailbox("", f"{name}@example.com"), message_id=name, text=text
        )


@pytest.mark.parametrize("extensions", [("PIPELINING", "8BITMIME"), ()])
def test_many_messages_go_over_few_connections(extensions: tuple[str, ...]) -> None:
    names = [f"p{n}" for n in range(200)]
    with MailServer(extensions=extensions) as server:
        transport, recorder = smtp(server, connections="3"), Recorder()
        transport.deliver(messages(*names), recorder)
        transport.deliver(messages("later"), recorder)
        transport.close()
        transport.close()
        assert {type(each) for each in recorder.ends.values()} == {Sent}
        assert sorted(server.taken) == sorted([*names, "later"])
        assert server.connections == 3
        assert server.texts[0].endswith(b"\r\n")


class Dotted(SmtpTransport):
    """One whose messages have lines that begin with dots."""

    def written(self, message: Message) -> bytes:
        return b"Subject: Dots\r\n\r\n.\r\n.dot\r\n..\r\n"


def test_a_line_that_begins_with_a_dot_ends_no_message() -> None:
    with MailServer() as server:
        transport, recorder = (
            Dotted({"host": "127.0.0.1", "port": str(server.port), "security": "none"}),
            Recorder(),
        )
        transport.deliver(messages("p1", "p2"), recorder)
        transport.close()
        assert server.texts == [b"Subject: Dots\r\n\r\n.\r\n.dot\r\n..\r\n"] * 2


def test_one_message_needs_one_connection() -> None:
    with MailServer() as server:
        transport = smtp(server)
        assert isinstance(transport.send(MESSAGE), Sent)
        transport.close()
        assert server.connections == 1


def test_what_the_session_does_not_permit_never_leaves() -> None:
    names = [f"p{n}" for n in range(30)]
    with MailServer() as server:
        transport, recorder = (
            smtp(server, connections="2"),
            Recorder(refuse=["p3", "p7", "p29"]),
        )
        transport.deliver(messages(*names), recorder)
        transport.close()
        assert sorted(server.taken) == sorted(set(names) - {"p3", "p7", "p29"})
        assert set(recorder.ends) == set(server.taken)


def test_an_idle_connection_that_the_server_has_closed_costs_nobody_anything() -> None:
    with MailServer() as server:
        transport = smtp(server)
        assert isinstance(transport.send(MESSAGE), Sent)
        for link in transport.connections:
            assert link.socket
            link.socket.shutdown(2)
        assert isinstance(transport.send(MESSAGE), Sent)
        transport.close()
        assert server.connections == 2


# --- the fault table: what a server does to one message, what is recorded of it; the others go out in any case

FAULTS = [
    ("RCPT", "550 5.1.1 no such user", Refused, "no such user"),
    ("RCPT", "450 4.2.0 greylisted", Unsent, "greylisted"),
    ("RCPT", CLOSE, Unsent, "closed the connection"),
    ("RCPT", HANG, Unsent, "in time"),
    ("RCPT", "421 4.3.2 going down & close", Unsent, "going down"),
    ("RCPT", "what? & close", Unsent, "makes no sense"),
    ("RCPT", "250-a\r\n550 b & close", Unsent, "makes no sense"),
    ("RCPT", "299 fine? & close", Unsent, "makes no sense"),
    ("DATA", "554 5.7.1 no", Refused, "no"),
    ("DATA", "451 4.3.0 later", Unsent, "later"),
    ("DATA", CLOSE, Unsent, "closed the connection"),
    ("DATA", HANG, Unsent, "in time"),
    ("DATA", "250 thanks & close", Unsent, "makes no sense"),
    ("EARLY", "552 5.3.4 too much & close", Refused, "too much"),
    ("EARLY", "421 4.3.2 going down & close", Unsent, "going down"),
    ("EARLY", "250 thanks & close", Unsent, "before it had the message"),
    ("TEXT", "550 5.6.0 bad content", Refused, "bad content"),
    ("TEXT", "451 4.3.0 later", Unsent, "later"),
    ("TEXT", "250-one\r\n250-two\r\n250 three", Sent, "one two three"),
    ("TEXT", "250", Sent, "250"),
    ("TEXT", "slowly 250 ok\r\n", Sent, "250 ok"),
    ("TEXT", CLOSE, Unknown, "closed the connection"),
    ("TEXT", HANG, Unknown, "in time"),
    ("TEXT", "taken what? & close", Unknown, "makes no sense"),
    ("TEXT", "354 go on & close", Unknown, "makes no sense"),
    ("TEXT", "taken \udc80\udcff & close", Unknown, "makes no sense"),
    ("TEXT", "x" * 20_000 + " & close", Unknown, "makes no sense"),
]


@pytest.mark.parametrize(
    "extensions", [("PIPELINING", "8BITMIME"), ()], ids=["pipelining", "plain"]
)
@pytest.mark.parametrize(("stage", "does", "kind", "said"), FAULTS)
def test_a_fault_is_about_one_message(
    stage: str, does: str, kind: type[Receipt], said: str, extensions: tuple[str, ...]
) -> None:
    names, name = (
        [f"p{n}" for n in range(OTHERS)],
        "large" if stage == "EARLY" else "victim",
    )
    with MailServer({(name, stage): does}, extensions) as server:
        transport, recorder = smtp(server, connections="2", timeout="1"), Recorder()
        transport.deliver(messages(*names[:4], name, *names[4:]), recorder)
        transport.close()
    victim = recorder.ends.pop(name)
    assert isinstance(victim, kind)
    assert said in victim.answer
    assert {
        name: type(receipt) for name, receipt in recorder.ends.items()
    } == dict.fromkeys(names, Sent)
    assert sorted(set(server.taken) - {"victim"}) == sorted(names)


DOWNS = [
    ({("*", "CONNECT"): "554 not you"}, {}, "does not talk to this machine"),
    ({("*", "CONNECT"): HANG}, {"timeout": "1"}, "in time"),
    ({("*", "CONNECT"): CLOSE}, {}, "closed the connection"),
    ({("*", "EHLO"): "421 busy & close"}, {}, "is not available"),
    ({("*", "EHLO"): "\udc80 & close"}, {}, "makes no sense"),
    ({}, {"security": "starttls"}, "STARTTLS"),
    ({}, {"security": "tls", "timeout": "2"}, "cannot be encrypted"),
    ({}, {"user": "user", "password": "right"}, "offers no way to log in"),
    ({("*", "MAIL"): CLOSE}, {}, "middle of 2 messages in a row"),
]


@pytest.mark.parametrize(("faults", "options", "said"), DOWNS)
def test_a_server_that_cannot_be_used_fails_nobody(
    faults: dict[tuple[str, str], str], options: dict[str, str], said: str
) -> None:
    with MailServer(faults) as server:
        transport, recorder = smtp(server, **options), Recorder()
        with pytest.raises(TransportDown, match=said) as down:
            transport.deliver(messages("ana", "bo", "cy", "di", "ed", "flo"), recorder)
        transport.close()
    assert down.value.help
    assert not any(
        isinstance(each, Refused | Sent | Unknown) for each in recorder.ends.values()
    )
    assert server.taken == []


def test_names_that_cannot_be_looked_up_are_explained() -> None:
    for host in ("smtp..example.net", "nowhere.invalid"):
        with pytest.raises(TransportDown, match="There is no connection"):
            SmtpTransport({"host": host, "security": "none"}).send(MESSAGE)


def test_fewer_connections_do_where_the_server_takes_no_more() -> None:
    class OneAtATime(MailServer):
        def _talk(self, client: object) -> None:
            if self.connections > 1 and not self.ended.is_set():
                self._say(client, "421 too many connections & close")
            super()._talk(client)

    names = [f"p{n}" for n in range(40)]
    with OneAtATime() as server:
        transport, recorder = smtp(server), Recorder()
        transport.deliver(messages(*names), recorder)
        transport.close()
    assert sorted(server.taken) == sorted(names)


# --- encryption


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


@pytest.fixture
def trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_messages_go_encrypted_and_with_a_login(
    security: str, context: ssl.SSLContext
) -> None:
    extensions = ("PIPELINING", "AUTH PLAIN")
    names = [f"p{n}" for n in range(50)]
    with MailServer({}, extensions, context, encrypted=security == "tls") as server:
        transport, recorder = (
            smtp(
                server, security=security, user="user", password="right", timeout="20"
            ),
            Recorder(),
        )
        big = replace(
            MESSAGE, text="x" * 900 + "\n" + "line\n" * 100_000, message_id="big"
        )
        transport.deliver(iter([*messages(*names), big]), recorder)
        transport.close()
    assert {type(each) for each in recorder.ends.values()} == {Sent}
    assert len(server.taken) == 51
    assert max(map(len, server.texts)) > 500_000


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_explained(context: ssl.SSLContext) -> None:
    with MailServer({}, ("AUTH PLAIN",), context, encrypted=True) as server:
        with pytest.raises(TransportDown, match="The login .* was refused") as down:
            smtp(server, security="tls", user="user", password="wrong").send(MESSAGE)
        assert "password" in down.value.help


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    security: str, context: ssl.SSLContext
) -> None:
    with MailServer({}, (), context, encrypted=security == "tls") as server:
        with pytest.raises(
            TransportDown, match="certificate .* cannot be trusted"
        ) as down:
            smtp(server, security=security).send(MESSAGE)
        assert "SSL_CERT_FILE" in down.value.help and "`host`" not in down.value.help
        assert server.taken == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_of_another_machine_is_not_trusted(authority: trustme.CA) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.other.example").configure_cert(other)
    with MailServer({}, (), other, encrypted=True) as server:
        with pytest.raises(
            TransportDown, match="certificate .* cannot be trusted"
        ) as down:
            smtp(server, security="tls").send(MESSAGE)
        assert "host" in down.value.help


# --- what is recorded


def shop(world: Worlds, server: MailServer, **options: str) -> World:
    made = world({"letter": LETTER})
    rows = [f"p{n},p{n}@example.com" for n in range(OTHERS)]
    made.contacts("key,email", *rows, "victim,victim@example.com")
    made.transports = {"email": smtp(server, **options)}
    made.tick("2026-11-26 09:00")
    return made


RECORDED = [
    ("RCPT", "550 5.1.1 no such user", "failed", "refused"),
    ("RCPT", "550 5.7.1 policy", "failed", "refused"),
    ("RCPT", "450 4.2.0 greylisted", None, None),
    ("TEXT", "554 5.6.0 bad content", "failed", "refused"),
    ("TEXT", CLOSE, "held", "unknown"),
]


@pytest.mark.parametrize(("stage", "does", "outcome", "code"), RECORDED)
def test_an_end_is_recorded_and_the_others_are_sent(
    world: Worlds, stage: str, does: str, outcome: str | None, code: str | None
) -> None:
    with MailServer({("victim", stage): does}) as server:
        made = shop(world, server)
        result = made.tick("2026-11-26 16:00")
        assert result.sent == OTHERS
        ends = {
            each.contact: (each.outcome, each.code)
            for each in made.ledger()
            if each.step
        }
        assert ends.get("victim") == ((outcome, code) if outcome else None)
        assert result.again == (0 if outcome else 1)
        for transport in made.transports.values():
            transport.close()


class Timed(MailServer):
    """Notes when it took what for whom, in seconds of its own clock."""

    def _take(self, client: Any, to: str) -> None:
        self.times[to] = time.monotonic()
        super()._take(client, to)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.times: dict[str, float] = {}


@pytest.mark.parametrize("count", [6, 150])
def test_a_domain_that_hangs_does_not_hold_up_the_others(
    world: Worlds, count: int
) -> None:
    slow = [f"s{n}" for n in range(count)]
    server = Timed({(name, "RCPT"): HANG for name in slow})
    with server:
        made = world({"letter": LETTER})
        rows = [f"{name},{name}@slow.example" for name in slow]
        made.contacts(
            "key,email", *rows, *[f"p{n},p{n}@example.com" for n in range(OTHERS)]
        )
        made.transports = {"email": smtp(server, timeout="8")}
        made.tick("2026-11-26 09:00")
        began = time.monotonic()
        result = made.tick("2026-11-26 16:00")
        made.transports["email"].close()
    assert (result.sent, result.failed, result.held) == (OTHERS, 0, 0)
    # One connection is left for the others; what waits for a slow domain is left after five seconds.
    assert max(server.times.values()) - began < 7


def test_the_others_go_on_while_one_is_waited_for(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email", *[f"p{n},p{n}@example.com" for n in range(OTHERS)])
    made.tick("2026-11-26 09:00")
    passed = [at("2026-11-26 16:00")]

    class Hangs:
        """The first message ends after all others; each of them takes two seconds."""

        channels = frozenset({"email"})

        def send(self, message: Message) -> Receipt:
            raise NotImplementedError

        def close(self) -> None:
            pass

        def deliver(
            self, messages: Iterator[Message], session: DeliverySession
        ) -> None:
            first = next(messages)
            session.turn([], [first])
            for message in messages:
                session.turn([], [message])
                passed[0] += timedelta(seconds=2)
                session.turn([(message, Sent("taken"))], [])
            session.turn([(first, Sent("taken"))], [])

    with made.database.write() as connection:
        number = daemons.start_daemon(connection, 1, passed[0])
    campaign_set = made.workspace.campaign_set(made.database, passed[0])
    plan(made.database, campaign_set, made.workspace.templates, Enroller(), passed[0])
    dispatcher = Dispatcher(
        made.database,
        made.workspace.templates,
        {"email": Hangs()},
        lambda: passed[0],
        number,
    )
    assert dispatcher.hand_over(campaign_set).sent == OTHERS


def test_a_dead_address_is_never_written_to_again(world: Worlds) -> None:
    with MailServer(
        {
            ("victim", "RCPT"): "550 5.1.1 no such user",
            ("p0", "RCPT"): "550 5.7.1 policy",
        }
    ) as server:
        made = shop(world, server)
        made.tick("2026-11-26 16:00")
        made.transports["email"].close()
        made.write("campaigns/again.yaml", LETTER.replace("10:00", "11:00"))
        made.reload()
        made.transports = {"email": smtp(server)}
        made.tick("2026-11-26 16:30")
        made.tick("2026-11-26 17:00")
        made.transports["email"].close()
    codes = {
        each.contact: each.code for each in made.ledger() if each.campaign == "again"
    }
    assert codes["victim"] == "suppressed"
    assert codes["p0"] == "refused"


def test_a_refused_sender_holds_the_campaign_and_fails_nobody(world: Worlds) -> None:
    with MailServer({("*", "MAIL"): "553 5.7.1 sender not owned by user"}) as server:
        made = shop(world, server)
        made.tick("2026-11-26 16:00")
        made.transports["email"].close()
        assert not [
            each for each in made.ledger() if each.outcome in ("sent", "failed")
        ]
        with made.database.read() as connection:
            (reason,) = [each.reason for each in held_scopes(connection).values()]
        assert (
            reason and "sender is refused" in reason and "not owned by user" in reason
        )


def test_nothing_is_tried_in_vain_where_a_login_is_missing(world: Worlds) -> None:
    with MailServer({("*", "MAIL"): "530 5.7.0 Authentication required"}) as server:
        made = shop(world, server)
        result = made.tick("2026-11-26 16:00")
        made.transports["email"].close()
        assert result.trouble and "Authentication required" in result.trouble
        assert not made.ledger() or all(
            each.outcome == "entered" for each in made.ledger()
        )


def test_a_server_that_hangs_holds_up_nobody_but_its_own(world: Worlds) -> None:
    with MailServer({("victim", "TEXT"): HANG}) as server:
        made = shop(world, server, timeout="3", connections="2")
        began = time.monotonic()
        waiting = threading.Timer(1.5, lambda: seen.append(len(server.taken)))
        seen: list[int] = []
        waiting.start()
        made.tick("2026-11-26 16:00")
        made.transports["email"].close()
        assert time.monotonic() - began < 20
        assert seen == [OTHERS]


ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(90000) %}" + "x" * 2500 + "{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]


@pytest.mark.parametrize("body", ENDLESS, ids=["loops", "200 MB", "calls itself"])
def test_a_text_without_end_holds_one_message_and_nobody_else(
    world: Worlds, body: str
) -> None:
    made = world({"letter": LETTER})
    made.contacts(
        "key,email",
        *(f"p{n},p{n}@example.com" for n in range(OTHERS)),
        "victim,victim@example.com",
    )
    text = f"---\nsubject: Hello\n---\n{{% if contact.key == 'victim' %}}{body}{{% endif %}}Hello\n"
    made.write("templates/letter.md", text)
    made.reload()
    made.tick("2026-11-26 09:00")
    began = time.monotonic()
    result = made.tick("2026-11-26 16:00")
    assert time.monotonic() - began < 15
    assert (result.sent, result.held) == (OTHERS, 1)
    (held,) = [each for each in made.ledger() if each.outcome == "held"]
    assert (held.contact, held.code) == ("victim", "render-error")


def test_a_message_that_cannot_be_written_is_refused_alone() -> None:
    names = [f"p{n}" for n in range(OTHERS)]
    odd = replace(MESSAGE, message_id="odd", date=None)  # type: ignore[arg-type]
    with MailServer() as server:
        transport, recorder = smtp(server, connections="2"), Recorder()
        transport.deliver(
            iter([*messages(*names[:4]), odd, *messages(*names[4:])]), recorder
        )
        transport.close()
    refused = recorder.ends.pop("odd")
    assert isinstance(refused, Refused) and "cannot be written" in refused.answer
    assert sorted(server.taken) == sorted(names)
