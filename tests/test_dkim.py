"""Signatures, verified by an independent library."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from drip.core.message import Mailbox, Message
from drip.transports.dkim import SIGNED, Signer
from drip.transports.mime import to_bytes
from drip.transports.smtp import SmtpTransport
from tests.mail_server import MailServer
from tests.test_delivery import MESSAGE, Recorder, smtp

RSA = generate_private_key(65537, 2048)
ED = Ed25519PrivateKey.generate()
LISTED = replace(
    MESSAGE,
    headers={
        "List-Id": "<news.maple.example>",
        "List-Unsubscribe": "<https://maple.example/u/x>, <mailto:hello@maple.example>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    },
)


def pem(key: object) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()  # type: ignore[attr-defined]


def record(name: bytes | str, timeout: int = 5) -> bytes:
    """What DNS says of the two keys."""
    text = name.decode() if isinstance(name, bytes) else name
    if text.startswith("rsa._domainkey.maple.example"):
        public = RSA.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    assert text.startswith("ed._domainkey.maple.example"), text
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(
        ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    )


def signed(message: Message, *keys: tuple[str, object]) -> bytes:
    data = to_bytes(message)
    return b"".join(
        [
            *(
                Signer("maple.example", name, pem(key)).field(data, message.date)
                for name, key in keys
            ),
            data,
        ]
    )


@pytest.mark.parametrize("key", [("rsa", RSA), ("ed", ED)])
def test_a_signature_is_good_and_a_change_breaks_it(key: tuple[str, object]) -> None:
    data = signed(LISTED, key)
    assert dkim.verify(data, dnsfunc=record)
    for before, after in (
        (b"Dear Ana", b"Dear Eve"),
        (b"Subject: Hello", b"Subject: Hullo"),
        (b"One-Click", b"Two-Click"),
    ):
        assert before in data
        assert not dkim.verify(data.replace(before, after), dnsfunc=record)


@pytest.mark.parametrize(
    "name", ["From", "Subject", "Reply-To", "List-Unsubscribe", "Content-Type"]
)
def test_nobody_can_add_a_field_that_is_signed(name: str) -> None:
    data = signed(LISTED, ("rsa", RSA))
    assert not dkim.verify(
        f"{name}: <evil@elsewhere.example>\r\n".encode() + data, dnsfunc=record
    )
    assert dkim.verify(b"X-Spam: no\r\n" + data, dnsfunc=record)


def test_what_makes_a_list_mail_is_covered() -> None:
    head = signed(LISTED, ("rsa", RSA)).partition(b"bh=")[2].partition(b"b=")[0]
    named = [
        name.strip() for name in head.partition(b"h=")[2].replace(b";", b"").split(b":")
    ]
    for name in SIGNED:
        present = name.encode() in to_bytes(LISTED).lower().split(b"\r\n\r\n")[0]
        assert named.count(name.encode()) == (2 if present else 1), name


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=80))
def test_whatever_is_written_is_signed_well(text: str, subject: str, name: str) -> None:
    message = replace(
        LISTED,
        text=text,
        html=f"<p>{text}</p>",
        subject=subject,
        to=Mailbox(name, "ana@example.com"),
    )
    assert dkim.verify(signed(message, ("ed", ED)), dnsfunc=record)


def test_both_signatures_leave_with_every_message() -> None:
    keys = {
        "dkim_domain": "maple.example",
        "dkim_selector": "rsa",
        "dkim_key": pem(RSA),
        "dkim_second_selector": "ed",
        "dkim_second_key": pem(ED),
    }
    with MailServer() as server:
        transport = smtp(server, **keys)
        transport.deliver(iter([LISTED]), Recorder())
        transport.close()
    (data,) = server.texts
    assert data.count(b"DKIM-Signature:") == 2
    for number in (0, 1):
        assert dkim.DKIM(data).verify(idx=number, dnsfunc=record)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (lambda: {"dkim_domain": "maple.example"}, "needs `dkim_selector`"),
        (
            lambda: {"dkim_domain": "maple.example", "dkim_selector": "x"},
            "needs `dkim_key`",
        ),
        (
            lambda: {
                "dkim_domain": "maple.example",
                "dkim_selector": "x",
                "dkim_key": "nonsense",
            },
            "not a private key",
        ),
        (
            lambda: {
                "dkim_domain": "m.example",
                "dkim_selector": "x",
                "dkim_key": pem(generate_private_key(65537, 1024)),
            },
            "1024",
        ),
        (
            lambda: {
                "dkim_domain": "m.example",
                "dkim_selector": "x",
                "dkim_key": pem(ec_key(SECP256R1())),
            },
            "neither",
        ),
        (
            lambda: {
                "dkim_domain": "m.example",
                "dkim_selector": "a b",
                "dkim_key": pem(ED),
            },
            "cannot be a selector",
        ),
        (
            lambda: {
                "dkim_domain": "m.example",
                "dkim_selector": "x",
                "dkim_key": pem(ED),
                "dkim_second_key": pem(ED),
            },
            "second_sel",
        ),
    ],
)
def test_keys_that_cannot_be_are_explained(
    options: Callable[[], dict[str, str]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        SmtpTransport({"host": "127.0.0.1", **options()})
