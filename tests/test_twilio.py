"""Twilio's interface against real HTTP servers."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import parse_qs

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
from drip.transports.twilio import TwilioTransport
from tests.test_delivery import MESSAGE
from tests.test_webhook import server

SMS = replace(
    MESSAGE,
    channel="sms",
    to=Mailbox("Ana", "+15550100"),
    html=None,
    text="Your car is ready & clean\n",
)
OPTIONS = {
    "account": "AC1",
    "token": "right",
    "from": "+15550199",
    "private": "yes",
    "timeout": "1",
}


def twilio(port: int, **more: str) -> TwilioTransport:
    return TwilioTransport({**OPTIONS, "url": f"http://127.0.0.1:{port}", **more})


def test_a_message_is_posted_as_twilio_has_it() -> None:
    with server(201, body=b'{"sid": "SM1"}') as taken:
        receipt = twilio(taken.port).send(SMS)
    assert receipt == Sent("SM1, 1 segment")
    ((head, body),) = taken.requests
    assert taken.lines[0].startswith("POST /2010-04-01/Accounts/AC1/Messages.json")
    assert head["Authorization"] == "Basic " + base64.b64encode(b"AC1:right").decode()
    assert parse_qs(body.decode()) == {
        "To": ["+15550100"],
        "From": ["+15550199"],
        "Body": ["Your car is ready & clean"],
    }


@pytest.mark.parametrize(
    ("status", "code", "kind", "scope"),
    [
        (400, 21211, Refused, "address"),
        (400, 21610, Refused, "address"),
        (400, 21614, Refused, "address"),
        (400, 21606, Refused, "sender"),
        (400, 21617, Refused, "message"),
        (400, 99999, Refused, "message"),
        (429, 20429, Unsent, "transport"),
        (503, 0, Unsent, "message"),
    ],
)
def test_what_a_code_means(
    status: int, code: int, kind: type[Refused | Unsent], scope: str
) -> None:
    with server(status, body=b'{"code": %d, "message": "because"}' % code) as taken:
        receipt = twilio(taken.port).send(SMS)
    assert isinstance(receipt, kind)
    assert (receipt.scope, receipt.answer) == (scope, f"{status} because")


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_service_that_fails_may_have_taken_it(status: int) -> None:
    with server(status) as taken:
        assert isinstance(twilio(taken.port).send(SMS), Unknown)


@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b'{"code": "x"}', b"\xff"])
def test_an_answer_that_makes_no_sense_is_an_answer_all_the_same(answer: bytes) -> None:
    with server(400, body=answer) as taken:
        assert isinstance(twilio(taken.port).send(SMS), Refused)
    with server(201, body=answer) as taken:
        assert isinstance(twilio(taken.port).send(SMS), Sent)


@pytest.mark.parametrize(("status", "code"), [(401, 20003), (400, 30002), (403, 0)])
def test_an_account_that_is_not_let_in_closes_the_way(status: int, code: int) -> None:
    answer = b'{"code": %d, "message": "no"}' % code
    with (
        server(status, body=answer) as taken,
        pytest.raises(TransportDown, match="does not let us in"),
    ):
        twilio(taken.port).send(SMS)


def test_a_service_that_falls_silent_may_have_taken_it() -> None:
    with server(does="close") as taken:
        receipt: Receipt = twilio(taken.port).send(SMS)
    assert isinstance(receipt, Unknown)


def test_a_text_of_too_many_segments_is_not_sent() -> None:
    receipt = TwilioTransport({**OPTIONS, "segments": "1"}).send(
        replace(SMS, text="x" * 161)
    )
    assert receipt == Refused("the text takes 2 segments, and `segments` allows 1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"account": None}, "needs `account`"),
        ({"token": None}, "needs `token`"),
        ({"from": None}, "needs `from`"),
        ({"service": "MG1"}, "needs `from`"),
        ({"segments": "0"}, "from 1 to 10"),
        ({"account": "../x"}, "not the SID"),
        ({"colour": "red"}, "no option `colour`"),
        ({"url": "ftp://x"}, "not an address"),
    ],
)
def test_wrong_options_are_explained(change: dict[str, str | None], said: str) -> None:
    options = {
        name: value
        for name, value in {**OPTIONS, **change}.items()
        if value is not None
    }
    with pytest.raises(ValueError, match=said):
        TwilioTransport(options)
