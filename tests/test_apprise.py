"""Apprise, by its own plug-in for JSON, against real HTTP servers."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import replace

import pytest

from drip.core.message import Mailbox, Receipt, Refused, Sent, TransportDown, Unknown, Unsent
from drip.transports.apprise import AppriseTransport
from tests.test_delivery import MESSAGE
from tests.test_webhook import server

SMS = replace(MESSAGE, channel="sms", to=Mailbox("Ana", "+15550100"), html=None, text="Your car is ready\n", subject="")


def transport(port: int, more: str = "?rto=1&cto=1") -> AppriseTransport:
    return AppriseTransport({"url": f"json://127.0.0.1:{port}/send/{{to}}{more}"})


def test_a_message_goes_to_its_recipient() -> None:
    with server(200) as taken:
        for url in (f"json://127.0.0.1:{taken.port}/send/{{to}}?rto=1", f"json://127.0.0.1:{taken.port}/send?rto=1"):
            assert isinstance(AppriseTransport({"url": url}).send(SMS), Sent)
    for _, body in taken.requests:
        assert json.loads(body)["message"] == "Your car is ready"
    assert {line.split()[1] for line in taken.lines} == {"/send/+15550100"}


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (404, Refused), (429, Unsent), (500, Unknown), (504, Unknown), (503, Unsent)]
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
        ({}, "one option, `url`"),
        ({"url": "nothing://x"}, "none that Apprise knows"),
        ({"url": "x", "to": "y"}, "one option"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AppriseTransport(options)
