"""Apprise, by its own plug-in for JSON, against real HTTP servers."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import replace

import apprise
import pytest

from drip.core.message import (
    Mailbox,
    Receipt,
    Refused,
    Sent,
    TransportDown,
    Unknown,
    Unsent,
)
from drip.transports.apprise import AppriseTransport, _hosts
from tests.test_delivery import MESSAGE
from tests.test_webhook import server

SMS = replace(
    MESSAGE,
    channel="sms",
    to=Mailbox("Ana", "+15550100"),
    html=None,
    text="Your car is ready\n",
    subject="",
)


def transport(port: int, more: str = "?rto=1&cto=1") -> AppriseTransport:
    return AppriseTransport(
        {"url": f"json://127.0.0.1:{port}/send/{{to}}{more}", "private": "yes"}
    )


def test_a_message_goes_to_its_recipient() -> None:
    with server(200) as taken:
        for url in (
            f"json://127.0.0.1:{taken.port}/send/{{to}}?rto=1",
            f"json://127.0.0.1:{taken.port}/send?rto=1",
        ):
            assert isinstance(
                AppriseTransport({"url": url, "private": "yes"}).send(SMS), Sent
            )
    for _, body in taken.requests:
        assert json.loads(body)["message"] == "Your car is ready"
    assert {line.split()[1] for line in taken.lines} == {"/send/+15550100"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (404, Refused),
        (429, Unsent),
        (500, Unknown),
        (504, Unknown),
        (503, Unsent),
    ],
)
def test_what_an_answer_means(status: int, kind: type[Receipt]) -> None:
    with server(status) as taken:
        assert isinstance(transport(taken.port).send(SMS), kind)


def test_a_service_that_falls_silent_may_have_taken_it() -> None:
    with server(does="hang") as taken:
        assert isinstance(transport(taken.port).send(SMS), Unknown)
    with server(does="close") as taken:
        assert isinstance(transport(taken.port).send(SMS), Unknown)


def test_a_service_that_does_not_know_us_or_is_not_there_closes_the_way() -> None:
    with server(401) as taken, pytest.raises(TransportDown, match="does not know us"):
        transport(taken.port).send(SMS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(TransportDown, match="does not answer"):
            transport(probe.getsockname()[1]).send(SMS)


def test_nobodys_number_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "apprise")
    with server(500) as taken:
        transport(taken.port).send(SMS)
    assert "15550100" not in caplog.text and "car is ready" not in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs a `url`"),
        ({"url": "nothing://x"}, "none that Apprise knows"),
        ({"url": "x", "to": "y"}, "no option `to`; it has private, url"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AppriseTransport(options)


INSIDE = (
    "127.0.0.1",
    "localhost",
    "10.0.0.7",
    "192.168.1.1",
    "169.254.169.254",
    "[::1]",
    "[fe80::1]",
    "[fc00::1]",
    "2130706433",
)


@pytest.mark.parametrize("host", INSIDE)
def test_nothing_is_sent_into_a_private_network_unless_the_settings_say_so(
    host: str,
) -> None:
    with (
        server(200) as taken,
        pytest.raises(
            TransportDown, match=r"private network .*nothing is sent"
        ) as down,
    ):
        AppriseTransport({"url": f"json://{host}:{taken.port}/send"}).send(SMS)
    assert "private: yes" in (down.value.help or "") and not taken.requests


@pytest.mark.parametrize(
    "url",
    [
        "mailto://ana:secret@example.com?smtp=127.0.0.1",
        "ntfy://127.0.0.1/topic",
        "gotify://10.0.0.1/Ab.cdefghijklm",
        "xml://127.0.0.1/x",
        "matrix://u:p@192.168.0.1/#room",
        "rocket://u:p@127.0.0.1/#room",
    ],
)
def test_services_of_every_kind_say_where_they_connect_to(url: str) -> None:
    with pytest.raises(TransportDown, match="private network"):
        AppriseTransport({"url": url}).send(SMS)


def test_a_host_that_the_recipient_names_refuses_that_one_message() -> None:
    refused = AppriseTransport({"url": "json://{to}:8080/send"}).send(
        replace(SMS, to=Mailbox("Ana", "127.0.0.1"))
    )
    assert isinstance(refused, Refused) and "private network" in refused.answer


def test_the_token_of_a_service_with_a_place_of_its_own_is_no_host() -> None:
    """`2130706433` would be an address of this machine."""
    for url in (
        "tgram://2130706433:abcdefg_hijklmnop-abcdefghijklmnop/12345",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    ):
        assert not _hosts(apprise.Apprise.instantiate(url))


def test_a_redirect_leads_nowhere() -> None:
    service = apprise.Apprise.instantiate("json://192.0.2.1/?redirect=yes")
    transport = AppriseTransport({"url": "json://203.0.113.1/"})
    with pytest.raises(TransportDown):
        transport._kept_outside(service)
    assert service.redirects is False
