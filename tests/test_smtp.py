"""SMTP: what is said over one connection (no sockets), against a server that does anything at any time."""

from __future__ import annotations

import base64
import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drip.core.message import Receipt, Refused, Sent, Unknown, Unsent
from drip.transports.smtp.dialogue import Dialogue
from drip.transports.smtp.envelope import Envelope, possible
from drip.transports.smtp.login import Login
from drip.transports.smtp.replies import Garbage, Replies, verdict

PIPELINING = "250-mail.example\r\n250-PIPELINING\r\n250-SIZE 50000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
PLAIN = "250 mail.example\r\n"


def letter(name: str, text: bytes = b"Subject: x\r\n\r\nHello\r\n") -> Envelope[str]:
    return Envelope(name, "shop@maple.example", f"{name}@example.com", text)


def opened(ehlo: str = PIPELINING) -> Dialogue[str]:
    dialogue: Dialogue[str] = Dialogue(
        "mail.example", "mail.example:25", "shop.example", "none", None
    )
    assert not dialogue.free
    say(dialogue, "220 mail.example\r\n")
    assert heard(dialogue) == b"EHLO shop.example\r\n"
    say(dialogue, ehlo)
    assert dialogue.free
    return dialogue


def say(dialogue: Dialogue[str], text: str) -> None:
    dialogue.received(text.encode())


def heard(dialogue: Dialogue[str]) -> bytes:
    data = bytes(dialogue.output)
    dialogue.wrote(len(data))
    return data


def ends(dialogue: Dialogue[str]) -> list[tuple[str, type[Receipt]]]:
    found = [(each.of, type(receipt)) for each, receipt in dialogue.ended]
    dialogue.ended.clear()
    return found


def envelope(name: str, text: bytes = b"Subject: x\r\n\r\nHello\r\n") -> bytes:
    return f"MAIL FROM:<shop@maple.example> SIZE={len(text)}\r\nRCPT TO:<{name}@example.com>\r\n".encode()


def sent(dialogue: Dialogue[str], name: str) -> None:
    """One message more has gone over this connection."""
    dialogue.take(letter(name))
    say(dialogue, "250 ok\r\n250 ok\r\n")
    say(dialogue, "354 go\r\n")
    dialogue.go()
    heard(dialogue)
    say(dialogue, "250 taken\r\n")
    dialogue.ended.clear()


def test_the_answer_to_a_messages_end_is_awaited_before_anything_else_is_written() -> (
    None
):
    dialogue = opened()
    sent(dialogue, "ana")
    dialogue.take(letter("bo"))
    assert heard(dialogue) == envelope("bo") + b"DATA\r\n"
    assert not dialogue.free
    say(dialogue, "250 ok\r\n250 ok\r\n354 go\r\n")
    dialogue.go()
    assert heard(dialogue) == b"Subject: x\r\n\r\nHello\r\n.\r\n"
    assert not dialogue.free
    say(dialogue, "250 taken\r\n")
    assert ends(dialogue) == [("bo", Sent)]
    assert dialogue.free and not dialogue.output


def test_data_waits_for_rcpt_until_the_connection_has_taken_somebody_and_after_whoever_it_has_not() -> (
    None
):
    dialogue = opened()
    dialogue.take(letter("ana"))
    assert heard(dialogue) == envelope("ana")
    say(dialogue, "250 ok\r\n550 5.1.1 no such user\r\n")
    assert ends(dialogue) == [("ana", Refused)] and not dialogue.output
    dialogue.take(letter("bo"))
    assert heard(dialogue) == b"RSET\r\n"
    say(dialogue, "250 ok\r\n")
    assert heard(dialogue) == envelope("bo")
    say(dialogue, "250 ok\r\n250 ok\r\n")
    assert heard(dialogue) == b"DATA\r\n"
    say(dialogue, "354 go\r\n")
    dialogue.go()
    heard(dialogue)
    say(dialogue, "250 taken\r\n")
    dialogue.take(letter("cy"))
    assert heard(dialogue) == envelope("cy") + b"DATA\r\n"


def test_a_server_without_pipelining_is_asked_one_thing_at_a_time() -> None:
    dialogue = opened(PLAIN)
    dialogue.take(letter("ana"))
    assert heard(dialogue) == b"MAIL FROM:<shop@maple.example>\r\n"
    say(dialogue, "250 ok\r\n")
    assert heard(dialogue) == b"RCPT TO:<ana@example.com>\r\n"
    say(dialogue, "250 ok\r\n")
    assert heard(dialogue) == b"DATA\r\n"
    say(dialogue, "354 go\r\n")
    dialogue.go()
    assert heard(dialogue) == b"Subject: x\r\n\r\nHello\r\n.\r\n"
    say(dialogue, "250 taken\r\n")
    dialogue.take(letter("bo"))
    assert heard(dialogue) == b"MAIL FROM:<shop@maple.example>\r\n"
    say(dialogue, "250 ok\r\n")
    assert heard(dialogue) == b"RCPT TO:<bo@example.com>\r\n"
    say(dialogue, "550 5.1.1 no such user\r\n")
    assert ends(dialogue) == [("ana", Sent), ("bo", Refused)]
    dialogue.take(letter("cy"))
    assert heard(dialogue) == b"RSET\r\n"


def test_a_recipient_refused_beside_data_leaks_into_nothing() -> None:
    dialogue = opened()
    sent(dialogue, "ana")
    dialogue.take(letter("bo"))
    heard(dialogue)
    say(dialogue, "250 ok\r\n550 5.1.1 no such user\r\n354 go\r\n")
    assert heard(dialogue) == b".\r\n"
    assert not dialogue.ended and not dialogue.free
    say(dialogue, "554 no valid recipients\r\n")
    assert ends(dialogue) == [("bo", Refused)]
    dialogue.take(letter("cy"))
    assert heard(dialogue) == envelope("cy")
    say(dialogue, "250 ok\r\n250 ok\r\n")
    say(dialogue, "354 go\r\n")
    assert dialogue.ready and dialogue.ready.of == "cy"


def test_what_is_left_of_a_refused_envelope_is_reset_before_the_next() -> None:
    dialogue = opened()
    sent(dialogue, "ana")
    dialogue.take(letter("bo"))
    heard(dialogue)
    say(dialogue, "250 ok\r\n450 4.2.0 greylisted\r\n")
    assert not dialogue.ended
    say(dialogue, "503 no recipients\r\n")
    assert ends(dialogue) == [("bo", Unsent)]
    dialogue.take(letter("cy"))
    assert heard(dialogue) == b"RSET\r\n"


def test_what_was_refused_before_the_connection_ended_is_refused() -> None:
    dialogue = opened()
    sent(dialogue, "ana")
    dialogue.take(letter("bo"))
    heard(dialogue)
    say(dialogue, "250 ok\r\n550 5.1.1 no such user\r\n")
    dialogue.lost("the server closed the connection")
    assert ends(dialogue) == [("bo", Refused)] and dialogue.cut is None


def test_a_session_that_the_server_ends_after_so_many_messages_has_not_died() -> None:
    for before, died in ((1, False), (0, True)):
        dialogue = opened()
        for n in range(before):
            sent(dialogue, f"p{n}")
        dialogue.take(letter("bo"))
        heard(dialogue)
        dialogue.lost("the server closed the connection")
        assert dialogue.cut and (dialogue.died_on is not None) is died


def test_goodbye_is_said_once() -> None:
    dialogue = opened()
    sent(dialogue, "ana")
    dialogue.quit()
    assert not dialogue.free
    dialogue.quit()
    assert heard(dialogue) == b"QUIT\r\n" and not dialogue.over
    say(dialogue, "221 bye\r\n")
    assert dialogue.over


def test_a_server_that_hangs_up_without_a_word_on_the_text_has_died_whatever_it_took_before() -> (
    None
):
    dialogue = opened()
    sent(dialogue, "ana")
    dialogue.take(letter("bo"))
    say(dialogue, "250 ok\r\n250 ok\r\n354 go\r\n")
    dialogue.go()
    heard(dialogue)
    dialogue.lost("the server closed the connection")
    assert ends(dialogue) == [("bo", Unknown)] and dialogue.died_on


def test_what_is_not_permitted_after_354_ends_with_the_connection() -> None:
    dialogue = opened()
    dialogue.take(letter("ana"))
    say(dialogue, "250 ok\r\n250 ok\r\n")
    say(dialogue, "354 go\r\n")
    heard(dialogue)
    dialogue.drop()
    assert dialogue.over and not dialogue.output and not dialogue.ended


@pytest.mark.parametrize(
    ("written", "expected"), [(0, Unsent), (10, Unsent), (None, Unknown)]
)
def test_only_what_was_written_to_its_last_byte_can_have_left(
    written: int | None, expected: type[Receipt]
) -> None:
    dialogue = opened()
    dialogue.take(letter("ana"))
    heard(dialogue)
    say(dialogue, "250 ok\r\n250 ok\r\n354 go\r\n")
    dialogue.go()
    dialogue.wrote(len(dialogue.output) if written is None else written)
    dialogue.lost("the link died")
    assert ends(dialogue) == [("ana", expected)]


def test_a_larger_message_than_the_server_takes_is_not_begun() -> None:
    dialogue = opened()
    dialogue.take(letter("ana", b"x" * 50_001))
    assert ends(dialogue) == [("ana", Refused)]
    assert dialogue.free and not dialogue.output


def test_addresses_beyond_ascii_need_a_server_that_takes_them() -> None:
    text = "Subject: ü\r\n\r\n".encode()
    for ehlo, said in ((PIPELINING, b"BODY=8BITMIME SMTPUTF8"), (PLAIN, b"")):
        dialogue = opened(ehlo)
        dialogue.take(
            Envelope(
                "ü", "shop@maple.example", "ü@example.com", text, international=True
            )
        )
        assert said in heard(dialogue)
        assert ends(dialogue) == ([] if said else [("ü", Refused)])


@pytest.mark.parametrize(
    ("sender", "scope"),
    [("jörg@maple.example", "sender"), ("shop@maple.example", "message")],
)
def test_nobodys_address_is_given_up_because_a_server_knows_ascii_only(
    sender: str, scope: str
) -> None:
    dialogue = opened(PLAIN)
    dialogue.take(
        Envelope(
            "x",
            sender,
            "ana@example.com",
            "From: ü\r\n\r\n".encode(),
            international=True,
        )
    )
    ((_, receipt),) = dialogue.ended
    assert isinstance(receipt, Refused) and receipt.scope == scope


def test_whose_relaying_is_denied_is_about_us_whomever_the_server_took_before() -> None:
    for before in (0, 1):
        dialogue = opened()
        for n in range(before):
            sent(dialogue, f"p{n}")
        dialogue.take(letter("ana"))
        say(dialogue, "250 ok\r\n550 5.7.1 Relay access denied\r\n503 no\r\n")
        ((_, receipt),) = dialogue.ended
        assert (
            isinstance(receipt, Refused)
            and receipt.scope == "transport"
            and receipt.at_recipient
        )


@pytest.mark.parametrize(
    "address",
    [
        "a b@example.com",
        "a\r\nRCPT TO:<b@c>@example.com",
        "a>@example.com",
        "<a@example.com",
        "a@b@c",
        "@example.com",
        "a",
        "",
        "a@",
        "x" * 65 + "@example.com",
        "a@" + "x" * 300,
        '"a\n"@example.com',
        "a\x00@example.com",
    ],
)
def test_an_address_that_cannot_be_is_refused_before_anything_is_said(
    address: str,
) -> None:
    dialogue = opened()
    dialogue.take(Envelope("x", "shop@maple.example", address, b"\r\n"))
    assert ends(dialogue) == [("x", Refused)]
    assert not dialogue.output


@pytest.mark.parametrize(
    "address",
    ["ana@example.com", '"john doe"@example.com', "o'neil+x@a-b.example", "名@例.jp"],
)
def test_odd_addresses_are_addresses(address: str) -> None:
    assert possible(address)


# --- beginning a session


def begin(security: str = "none", login: Login | None = None) -> Dialogue[str]:
    dialogue: Dialogue[str] = Dialogue(
        "mail.example", "mail.example:25", "shop.example", security, login
    )
    say(dialogue, "220 mail.example\r\n")
    heard(dialogue)
    return dialogue


def test_an_old_server_that_knows_no_ehlo_is_greeted_the_old_way() -> None:
    dialogue = begin()
    say(dialogue, "502 what?\r\n")
    assert heard(dialogue) == b"HELO shop.example\r\n"
    say(dialogue, "250 hello\r\n")
    assert dialogue.free


@pytest.mark.parametrize(
    "greeting", ["554 go away\r\n", "421 busy\r\n", "200 what\r\n"]
)
def test_a_server_that_does_not_want_to_talk_is_explained(greeting: str) -> None:
    dialogue: Dialogue[str] = Dialogue(
        "mail.example", "mail.example:25", "shop.example", "none", None
    )
    say(dialogue, greeting)
    assert (
        dialogue.over and dialogue.down and "mail.example:25" in dialogue.down.sentence
    )


def test_nothing_is_said_in_the_clear_where_encryption_is_wanted() -> None:
    dialogue = begin("starttls", Login("u", "p"))
    say(dialogue, "250-mail.example\r\n250 AUTH PLAIN\r\n")
    assert dialogue.down and "STARTTLS" in dialogue.down.sentence
    assert not dialogue.output


def test_what_comes_in_the_clear_after_starttls_is_not_believed() -> None:
    dialogue = begin("starttls")
    say(dialogue, "250-mail.example\r\n250 STARTTLS\r\n")
    assert heard(dialogue) == b"STARTTLS\r\n"
    say(dialogue, "220 go\r\n250 AUTH PL")
    assert dialogue.over and not dialogue.wants_tls


def test_after_starttls_the_server_is_asked_anew_what_it_can() -> None:
    dialogue = begin("starttls")
    say(dialogue, "250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
    heard(dialogue)
    say(dialogue, "220 go\r\n")
    assert dialogue.wants_tls
    dialogue.secured()
    assert heard(dialogue) == b"EHLO shop.example\r\n"
    say(dialogue, PLAIN)
    assert dialogue.free and "PIPELINING" not in dialogue.extensions


LOGINS: list[tuple[str, Login, list[bytes]]] = [
    ("PLAIN LOGIN", Login("u", "pä"), [b"AUTH PLAIN AHUAcMOk\r\n"]),
    ("LOGIN", Login("u", "p"), [b"AUTH LOGIN\r\n", b"dQ==\r\n", b"cA==\r\n"]),
    (
        "XOAUTH2",
        Login("u", token="t"),
        [b"AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\r\n"],
    ),
]


@pytest.mark.parametrize(("offered", "login", "lines"), LOGINS)
def test_logging_in(offered: str, login: Login, lines: list[bytes]) -> None:
    dialogue = begin(login=login)
    say(dialogue, f"250-mail.example\r\n250 AUTH {offered}\r\n")
    for line in lines[:-1]:
        assert heard(dialogue) == line
        # Mostly base64; some servers say it in words.
        say(dialogue, "334 your name, please\r\n")
    assert heard(dialogue) == lines[-1]
    assert not dialogue.free
    say(dialogue, "235 welcome\r\n")
    assert dialogue.free


def test_cram_md5_is_for_an_encrypted_server_that_offers_nothing_else() -> None:
    # The example of RFC 2195 section 2.
    login = Login("tim", "tanstaaftanstaaf")
    challenge = base64.b64encode(b"<1896.697170952@postoffice.reston.mci.net>").decode()
    dialogue = begin("starttls", login)
    say(dialogue, "250-mail.example\r\n250 STARTTLS\r\n")
    say(dialogue, "220 go\r\n")
    dialogue.secured()
    heard(dialogue)
    say(dialogue, "250-mail.example\r\n250 AUTH DIGEST-MD5 CRAM-MD5\r\n")
    assert heard(dialogue) == b"AUTH CRAM-MD5\r\n"
    say(dialogue, f"334 {challenge}\r\n")
    assert base64.b64decode(heard(dialogue)) == b"tim b913a602c7eda7a495b4e6e7334d3890"
    say(dialogue, "235 welcome\r\n")
    assert dialogue.free


@pytest.mark.parametrize("challenge", ["%%%", "PDE4OTY", "Hello there"])
def test_a_challenge_that_is_none_is_a_login_that_failed(challenge: str) -> None:
    dialogue = begin("starttls", Login("tim", "secret"))
    say(dialogue, "250-mail.example\r\n250 STARTTLS\r\n")
    say(dialogue, "220 go\r\n")
    dialogue.secured()
    say(dialogue, "250-mail.example\r\n250 AUTH CRAM-MD5\r\n")
    say(dialogue, f"334 {challenge}\r\n")
    assert dialogue.down and "login" in dialogue.down.sentence


def test_cram_md5_in_the_clear_is_not_offered_to_anybody() -> None:
    dialogue = begin(login=Login("tim", "secret"))
    say(dialogue, "250-mail.example\r\n250 AUTH CRAM-MD5\r\n")
    assert dialogue.down and "offers no way to log in" in dialogue.down.sentence


@pytest.mark.parametrize(
    ("code", "for_good"), [("535 5.7.8 wrong", True), ("454 4.7.0 later", False)]
)
def test_a_refused_login_closes_the_way(code: str, for_good: bool) -> None:
    dialogue = begin(login=Login("u", token="old"))
    say(dialogue, "250-mail.example\r\n250 AUTH XOAUTH2\r\n")
    heard(dialogue)
    say(dialogue, "334 eyJzdGF0dXMiOiI0MDAifQ==\r\n")
    assert heard(dialogue) == b"\r\n"
    say(dialogue, f"{code}\r\n")
    assert dialogue.down and dialogue.down.for_good is for_good
    assert "login" in dialogue.down.sentence


# --- what answers mean

MEANINGS = [
    (
        "RCPT",
        "550 5.1.1 <x>: Recipient address rejected: User unknown in virtual mailbox table",
        Refused,
        "address",
    ),
    ("RCPT", "550 No such user here", Refused, "address"),
    (
        "RCPT",
        "550 5.2.1 The email account that you tried to reach is disabled",
        Refused,
        "message",
    ),
    (
        "RCPT",
        "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        Refused,
        "address",
    ),
    ("RCPT", "556 5.1.10 Recipient address has null MX", Refused, "address"),
    ("RCPT", "550 5.7.1 Message rejected due to policy", Refused, "message"),
    ("RCPT", "550 blocked for spam", Refused, "message"),
    ("RCPT", "550 5.1.1 Message refused by spam filter", Refused, "message"),
    ("RCPT", "550 5.1.1 too many invalid recipients", Refused, "message"),
    (
        "RCPT",
        "550 5.1.1 <x>: undeliverable address: host mx said: 550 5.7.1 go away",
        Refused,
        "message",
    ),
    (
        "RCPT",
        "550 <y>: Sender address rejected: User unknown in virtual mailbox table",
        Refused,
        "sender",
    ),
    (
        "RCPT",
        "511 sorry, can't find a valid MX for sender domain (#5.1.1 - chkuser)",
        Refused,
        "sender",
    ),
    ("RCPT", "552 5.2.2 Mailbox full", Refused, "message"),
    ("RCPT", "554 5.7.1 <x>: Relay access denied", Refused, "transport"),
    ("RCPT", "550 5.1.8 Sender domain not found", Refused, "sender"),
    (
        "RCPT",
        "450 4.7.1 <x>: Recipient address rejected: Greylisted",
        Unsent,
        "address",
    ),
    ("RCPT", "451 4.7.1 Please try again in 300 seconds", Unsent, "address"),
    ("RCPT", "450 4.2.1 mailbox temporarily disabled", Unsent, "address"),
    ("RCPT", "421 4.7.0 too many connections", Unsent, "transport"),
    ("RCPT", "452 4.3.1 Insufficient system storage", Unsent, "transport"),
    (
        "RCPT",
        "451 4.7.650 The mail server has been temporarily rate limited",
        Unsent,
        "domain",
    ),
    ("RCPT", "450 4.4.1 host not found", Unsent, "domain"),
    ("RCPT", "550 5.1.1 <x>: mx said: 550 user unknown", Refused, "address"),
    ("RCPT", "550 Callout verification failed: 550 user unknown", Refused, "message"),
    (
        "RCPT",
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that",
        Refused,
        "message",
    ),
    ("RCPT", "550 Your account has been suspended", Refused, "transport"),
    (
        "RCPT",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        Refused,
        "transport",
    ),
    ("MAIL", "550 5.7.1 Client host [192.0.2.1] rejected", Refused, "transport"),
    ("RCPT", "550 5.4.5 Daily user sending quota exceeded", Refused, "transport"),
    ("RCPT", "452 4.2.2 Mailbox size limit exceeded", Unsent, "address"),
    (
        "RCPT",
        "450 <bob@corporate.example>: Recipient address rejected: unverified address",
        Unsent,
        "address",
    ),
    ("RCPT", "451 4.3.0 <x>: Temporary lookup failure", Unsent, "address"),
    (
        "MAIL",
        "450 4.1.8 <b@n>: Sender address rejected: Domain not found",
        Unsent,
        "message",
    ),
    ("MAIL", "530 5.7.0 Authentication required", Refused, "transport"),
    ("MAIL", "553 5.7.1 Sender address rejected: not owned by user", Refused, "sender"),
    ("MAIL", "552 5.3.4 Message size exceeds fixed limit", Refused, "message"),
    ("MAIL", "452 4.3.1 Insufficient system storage", Unsent, "transport"),
    ("TEXT", "554 5.6.0 Message content rejected", Refused, "message"),
    ("TEXT", "550 5.7.26 This mail is unauthenticated", Refused, "sender"),
    ("TEXT", "552 too big", Refused, "message"),
    ("TEXT", "451 4.7.28 rate limit exceeded", Unsent, "domain"),
    ("TEXT", "451 later", Unsent, "message"),
    ("TEXT", "550 5.1.1 user unknown", Refused, "address"),
    # Whoever is over quota, grey or gone for now is not dead.
    (
        "RCPT",
        "550 5.1.1 <x>: Recipient address rejected: greylisted",
        Unsent,
        "address",
    ),
    ("RCPT", "550 5.1.1 user is over quota", Refused, "message"),
    ("RCPT", "550 5.1.1 Service unavailable, try again later", Unsent, "address"),
    ("RCPT", "550 5.1.1 callout timed out", Unsent, "address"),
    ("RCPT", "550 5.1.1 message rejected due to content", Refused, "message"),
    ("RCPT", "501 5.1.3 Bad recipient address syntax", Refused, "message"),
    ("RCPT", "555 5.5.2 Syntax error in address", Refused, "message"),
    ("RCPT", "550 5.6.7 SMTPUTF8 is required", Refused, "message"),
    ("RCPT", "550 Unrouteable address", Refused, "message"),
    ("RCPT", "550 5.1.2 Domain example.com does not exist", Refused, "message"),
    # Who refuses one sender for one recipient says nothing of the others.
    (
        "RCPT",
        "550 5.7.1 Sender is not allowed to send to this group",
        Refused,
        "message",
    ),
    ("RCPT", "550 sender maple.example is blocked by this user", Refused, "message"),
    (
        "TEXT",
        "554 5.7.1 Rejected by the DMARC policy of maple.example",
        Refused,
        "message",
    ),
    ("MAIL", "550 Sender unknown", Refused, "sender"),
    ("RCPT", "550 Sender verify failed", Refused, "sender"),
    # How much we send.
    ("MAIL", "450 4.7.1 Error: too much mail from 127.0.0.1", Unsent, "rate"),
    ("MAIL", "451 4.7.0 Slow down", Unsent, "rate"),
    ("MAIL", "452 4.5.3 Your sending limit is reached", Unsent, "session"),
    ("MAIL", "421 4.7.0 Rate limit exceeded", Unsent, "rate"),
    ("RCPT", "450 4.7.1 Error: too many recipients from 127.0.0.1", Unsent, "rate"),
    ("RCPT", "451 4.7.1 Your IP sends too fast", Unsent, "rate"),
    ("RCPT", "550 5.1.1 rate exceeded", Refused, "message"),
    (
        "RCPT",
        "550 5.7.1 You have exceeded your hourly sending limit",
        Refused,
        "transport",
    ),
    (
        "RCPT",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
        Unsent,
        "address",
    ),
    ("RCPT", "452 4.5.3 Too many messages in this connection", Unsent, "session"),
    ("MAIL", "452 4.5.3 Too many messages in this session", Unsent, "session"),
    # How the two talk.
    ("MAIL", "503 5.5.1 Bad sequence of commands", Unsent, "dialogue"),
    ("MAIL", "503 5.5.1 Sender already specified", Unsent, "dialogue"),
    ("MAIL", "500 5.5.2 Error: bad syntax", Unsent, "dialogue"),
    ("MAIL", "501 5.5.4 Syntax: MAIL FROM:<address>", Unsent, "dialogue"),
    ("RCPT", "503 5.5.1 Error: need MAIL command", Unsent, "dialogue"),
    ("DATA", "554 5.5.1 Error: no valid recipients", Unsent, "dialogue"),
    ("DATA", "502 5.5.2 Error: command not recognized", Unsent, "dialogue"),
    ("MAIL", "501 5.1.7 Bad sender address syntax", Refused, "sender"),
    # Nothing can leave.
    ("RCPT", "503 5.7.1 Relay not permitted", Refused, "transport"),
    ("RCPT", "503 This server requires authentication", Refused, "transport"),
    ("RCPT", "454 4.7.1 <x>: Relay access denied", Unsent, "transport"),
    ("RCPT", "550 relay not permitted", Refused, "transport"),
    ("RCPT", "452 Insufficient system storage", Unsent, "transport"),
    ("RCPT", "452 4.3.1 Mail system full", Unsent, "transport"),
    (
        "RCPT",
        "450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]",
        Unsent,
        "transport",
    ),
    (
        "MAIL",
        "554 5.3.2 System is shutting down, try again later",
        Refused,
        "transport",
    ),
]


def scopes() -> list[dict[str, str]]:
    with (Path(__file__).parent / "scopes.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize(
    "row", scopes(), ids=lambda row: f"{row['at']} {row['answer'][:50]}"
)
def test_whom_an_answer_hits(row: dict[str, str]) -> None:
    (reply,) = Replies().feed(f"{row['answer']}\r\n".encode())
    receipt = verdict(row["at"], reply)
    assert isinstance(receipt, Refused | Unsent) and receipt.scope == row["scope"]
    assert isinstance(receipt, Unsent) is (
        reply.code < 500 or row["scope"] == "dialogue"
    )


@pytest.mark.parametrize(("at", "said", "kind", "scope"), MEANINGS)
def test_what_an_answer_means(
    at: str, said: str, kind: type[Refused | Unsent], scope: str
) -> None:
    (reply,) = Replies().feed(f"{said}\r\n".encode())
    receipt = verdict(at, reply)
    assert isinstance(receipt, kind)
    assert receipt.scope == scope
    assert receipt.answer == said
    assert isinstance(receipt, Unsent) or receipt.at_recipient is (at == "RCPT")


@pytest.mark.parametrize(
    "line",
    [
        b"hello\r\n",
        b"99 x\r\n",
        b"250-a\r\n251 b\r\n",
        b"\r\n",
        b"2500\r\n",
        b"x" * 9000,
    ],
)
def test_garbage_is_told_from_answers(line: bytes) -> None:
    with pytest.raises(Garbage):
        list(Replies().feed(line))


def test_answers_come_in_any_pieces() -> None:
    replies, found = Replies(), []
    for byte in b"250-one\r\n250-two\r\n250 three\r\n354\r\n550 5.1.1 no\n":
        found += replies.feed(bytes([byte]))
    assert [(each.code, each.lines, each.enhanced) for each in found] == [
        (250, ("one", "two", "three"), ""),
        (354, ("",), ""),
        (550, ("5.1.1 no",), "5.1.1"),
    ]


# --- a server that does anything


@dataclass
class Server:
    """A mail server that keeps to the rules, unless its chance says otherwise; `taken` is what it really took."""

    chance: random.Random
    out: bytearray = field(default_factory=lambda: bytearray(b"220 mail\r\n"))
    taken: list[bytes] = field(default_factory=list)
    closed: bool = False
    _in: bytes = b""
    _mail: bool = False
    _to: bytes = b""
    _text: bool = False

    def receive(self, data: bytes) -> None:
        self._in += data
        while not self.closed and self._step():
            pass

    def _step(self) -> bool:
        end = (
            b"\r\n.\r\n"
            if self._text and not self._in.startswith(b".\r\n")
            else b".\r\n"
            if self._text
            else b"\r\n"
        )
        if end not in self._in:
            if self._text and self.chance.random() < 0.03:
                self._trouble("552 5.3.4 too much")
            return False
        if self._text:
            text, _, self._in = self._in.partition(end)
            self._took(text + b"\r\n" if end == b"\r\n.\r\n" else b"")
        else:
            line, _, self._in = self._in.partition(b"\r\n")
            self._asked(line)
        return True

    def _took(self, text: bytes) -> None:
        self._text = self._mail = False
        if not self._to:
            self._say("554 nobody is to get it")
        elif self._fate("TEXT"):
            self.taken.append(self._to)
            assert (
                text.replace(b"\r\n..", b"\r\n.")
                == b"To: " + self._to + b"\r\n\r\n.dots\r\n"
            ), "something leaked"
            if self.chance.random() < 0.06:
                self._close()
            else:
                self._say("250 taken")
        self._to = b""

    def _asked(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"EHLO":
            self._say_raw(self.chance.choice([PIPELINING, PIPELINING, PLAIN]).encode())
        elif verb == b"RSET":
            self._mail, self._to = False, b""
            self._say("250 ok")
        elif verb == b"MAIL":
            assert not self._mail, "MAIL within a transaction"
            self._mail = self._fate("MAIL") and self._say("250 ok")
        elif verb == b"RCPT" and self._mail:
            if self._fate("RCPT"):
                self._to = line[9:-1]
                self._say("250 ok")
        elif (
            verb == b"DATA" and self._mail and (self._to or self.chance.random() < 0.5)
        ):
            if self._fate("DATA"):
                self._text = True
                self._say("354 go")
        elif verb == b"QUIT":
            self._say("221 bye")
            self._close()
        else:
            self._say("503 not now")

    def _fate(self, at: str) -> bool:
        """Whether all goes well; else something was said or done."""
        drawn = self.chance.random()
        if drawn < 0.04:
            self._say(
                self.chance.choice(
                    ["450 4.2.0 later", "550 5.1.1 no", "451 4.7.1 slow down", "599 x"]
                )
            )
        elif drawn < 0.06:
            self._trouble("421 closing")
        elif drawn < 0.08:
            self._close()
        elif drawn < 0.09:
            self._trouble(
                self.chance.choice(["what?", "250-a", "354 go", "100 x", "\x00\xff"])
            )
        else:
            return True
        return False

    def _say(self, line: str) -> bool:
        code, _, rest = line.partition(" ")
        if self.chance.random() < 0.1:
            self._say_raw(f"{code}-{rest}\r\n".encode())
        self._say_raw(f"{line}\r\n".encode())
        return True

    def _say_raw(self, data: bytes) -> None:
        self.out += data

    def _trouble(self, line: str) -> None:
        self._say_raw(f"{line}\r\n".encode())
        self._close()

    def _close(self) -> None:
        self.closed = True


@dataclass
class Talk:
    """Letters handed to one session after the other, over a link that carries bytes in any pieces and may break."""

    chance: random.Random
    ends: dict[str, Receipt] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def run(self, count: int) -> None:
        waiting = [f"p{n}" for n in range(count)]
        for _ in range(200):
            if not waiting:
                return
            waiting = self._session(waiting)
        raise AssertionError("it never ends")

    def _session(self, waiting: list[str]) -> list[str]:
        server = Server(self.chance)
        dialogue: Dialogue[str] = Dialogue("mail", "mail:25", "me", "none", None)
        while not dialogue.over:
            self._step(server, dialogue, waiting)
            for each, receipt in dialogue.ended:
                assert each.of not in self.ends, "two ends"
                self.ends[each.of] = receipt
            dialogue.ended.clear()
            if not waiting and dialogue.idle:
                dialogue.quit()
                break
        self.taken += [to.decode().partition("@")[0] for to in server.taken]
        again = [dialogue.cut.of] if dialogue.cut else []
        again += [dialogue.ready.of] if dialogue.ready else []
        return self._dropped + again + waiting

    _dropped: list[str] = field(default_factory=list)

    def _step(
        self, server: Server, dialogue: Dialogue[str], waiting: list[str]
    ) -> None:
        self._dropped = []
        if dialogue.ready:
            if self.chance.random() < 0.02:
                self._dropped = [dialogue.ready.of]
                dialogue.drop()
                return
            dialogue.go()
        if dialogue.free and waiting and self.chance.random() < 0.9:
            name = waiting.pop(0)
            to = f"{name}@example.com"
            text = f"To: {to}\r\n\r\n..dots\r\n".encode()
            dialogue.take(Envelope(name, "shop@maple.example", to, text))
        if dialogue.output and not server.closed:
            assert dialogue.patience_s
            count = self.chance.randint(1, len(dialogue.output))
            server.receive(bytes(dialogue.output[:count]))
            dialogue.wrote(count)
        if server.out and self.chance.random() < 0.8:
            count = self.chance.randint(1, len(server.out))
            piece = bytes(server.out[:count])
            del server.out[:count]
            dialogue.received(piece)
        elif server.closed and not server.out:
            dialogue.lost("the server closed the connection")
        elif self.chance.random() < 0.003:
            dialogue.lost("the link died")


@pytest.mark.parametrize("first", range(0, 2000, 250))
def test_whatever_a_server_does_what_is_said_of_a_message_is_true(first: int) -> None:
    kinds: set[type[Receipt]] = set()
    for seed in range(first, first + 250):
        talk = Talk(random.Random(seed))
        talk.run(12)
        assert set(talk.ends) == {f"p{n}" for n in range(12)}, seed
        for name, receipt in talk.ends.items():
            times = talk.taken.count(name)
            kinds.add(type(receipt))
            # The server's word after the dot is final: what it refuses there it has not taken.
            expected: Sequence[int] = {
                Sent: (1,),
                Unknown: (0, 1),
                Unsent: (0,),
                Refused: (0,),
            }[type(receipt)]
            assert times in expected, (seed, name, receipt)
    assert kinds == {Sent, Unknown, Unsent, Refused}
