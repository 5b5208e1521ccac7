"""A name that leads to several addresses: whoever listens at one of them is found.

The servers are real, and so are addresses at which nobody listens or answers; only
what the name leads to is this test's own.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from drip.core.message import Sent, TransportDown
from drip.inbound.sources import mails_by_imap
from drip.network import Address, addresses_of, connect
from drip.transports.posting import address_of, get
from drip.transports.smtp import SmtpTransport
from drip.transports.webhook import WebhookTransport
from tests.imap_server import PASSWORD, ImapServer
from tests.mail_server import MailServer
from tests.test_delivery import MESSAGE
from tests.test_webhook import server

NAME = "two.example"
HERE, SIX, SILENT = "127.0.0.1", "::1", "127.0.0.2"
Leads = Callable[..., None]


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> Leads:
    """Has the name lead to these addresses, in this order."""

    def to(*addresses: str) -> None:
        def looked_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            assert host == NAME
            return [
                (family_of(address), socket.SOCK_STREAM, 6, "", (address, port))
                for address in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)

    return to


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def silence(port: int) -> Iterator[None]:
    """Nobody answers at `SILENT` meanwhile: its queue of connections is full."""
    with contextlib.ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((SILENT, port))
        listening.listen(0)
        for _ in range(4):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((SILENT, port))
        probe = open_sockets.enter_context(socket.socket())
        probe.settimeout(0.2)
        with pytest.raises(TimeoutError):
            probe.connect((SILENT, port))
        yield


# --- one address after the other

ORDERS = [(SIX, HERE), (HERE, SIX), (SIX, SIX, HERE)]


@pytest.mark.parametrize("order", ORDERS)
def test_a_webhook_is_posted_to_the_address_at_which_somebody_listens(
    leads: Leads, order: tuple[str, ...]
) -> None:
    leads(*order)
    with server(204) as taken:
        assert isinstance(webhook(taken.port).send(MESSAGE), Sent)
    assert taken.requests[0][0]["Host"] == f"{NAME}:{taken.port}"


@pytest.mark.parametrize("order", ORDERS)
def test_mail_goes_to_the_address_at_which_the_server_listens(
    leads: Leads, order: tuple[str, ...]
) -> None:
    leads(*order)
    with MailServer() as mails:
        assert isinstance(send_by_smtp(mails.port), Sent)


@pytest.mark.parametrize("order", ORDERS)
def test_a_mailbox_is_read_at_the_address_at_which_its_server_listens(
    leads: Leads, imap: ImapServer, order: tuple[str, ...]
) -> None:
    leads(*order)
    (imap.mailbox / "new" / "1.mail").write_bytes(b"Subject: x\n\nback\n")
    assert len(list(mails_by_imap(mailbox(imap.port)))) == 1


# --- one that never answers


def test_an_address_that_never_answers_leaves_time_for_the_next(leads: Leads) -> None:
    leads(SILENT, HERE)
    with server(204) as taken, silence(taken.port):
        began = time.monotonic()
        assert isinstance(webhook(taken.port, timeout="2").send(MESSAGE), Sent)
        # Half of the time limit went by.
        assert 0.9 < time.monotonic() - began < 1.9


def test_mail_goes_on_to_the_next_address_where_one_never_answers(
    leads: Leads,
) -> None:
    leads(SILENT, SIX, HERE)
    with MailServer() as mails, silence(mails.port):
        assert isinstance(send_by_smtp(mails.port, timeout="3"), Sent)


def test_the_time_limit_is_for_all_addresses_together(leads: Leads) -> None:
    leads(SILENT, SILENT, SILENT)
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    with silence(port):
        for send in (
            lambda: webhook(port, timeout="1").send(MESSAGE),
            lambda: send_by_smtp(port, timeout="1"),
        ):
            began = time.monotonic()
            with pytest.raises(TransportDown, match="does not answer"):
                send()
            assert time.monotonic() - began < 1.9


def test_what_a_refusal_leaves_goes_to_the_others() -> None:
    with socket.socket() as listening:
        listening.bind((HERE, 0))
        port = listening.getsockname()[1]
        # Bound, and not listening: it refuses.
        refuses: Address = (socket.AF_INET, (HERE, port))
        with silence(port):
            silent: Address = (socket.AF_INET, (SILENT, port))
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                connect([refuses, refuses, silent], 1.0)
            assert 0.9 < time.monotonic() - began < 1.5


def test_without_an_address_there_is_no_connection() -> None:
    with pytest.raises(ValueError, match="no address"):
        connect([], 1.0)


# --- the guard


def test_one_address_inside_closes_a_name_whatever_the_others_are(
    leads: Leads,
) -> None:
    leads("8.8.8.8", "2001:4860:4860::8888", "10.0.0.1")
    with pytest.raises(TransportDown, match=r"private network \(10\.0\.0\.1\)"):
        get(address_of(f"https://{NAME}/", private=False), 1)
    with pytest.raises(TransportDown, match="private network"):
        WebhookTransport({"url": f"https://{NAME}/", "secret": "s"}).send(MESSAGE)


def test_a_name_under_invalid_leads_nowhere() -> None:
    # RFC 6761 section 6.4.
    with pytest.raises(OSError, match="."):
        addresses_of("nowhere.invalid", 25)


def webhook(port: int, **more: str) -> WebhookTransport:
    options = {"url": f"http://{NAME}:{port}/in", "secret": "s", "private": "yes"}
    return WebhookTransport(options | more)


def send_by_smtp(port: int, **more: str) -> object:
    options = {
        "host": NAME,
        "port": str(port),
        "security": "none",
        "hello": "a.example",
    }
    transport = SmtpTransport(options | more)
    try:
        return transport.send(MESSAGE)
    finally:
        transport.close()


def mailbox(port: int) -> dict[str, str]:
    own = {"user": "ana", "password": PASSWORD}
    return {"host": NAME, "port": str(port), "security": "none", **own}
