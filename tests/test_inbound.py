"""Mails that come back: what each is, of whom, and what it means. Bytes in, findings out."""

from __future__ import annotations

import base64
import csv
import json
import random
import socket
import threading
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from drip.errors import DripError
from drip.inbound.reading import Finding, identity_of, read
from drip.inbound.sources import mails_by_imap, mails_in, split
from tests.cli import drip

# How the labels' reasons read in our classes. The others are of no class in particular.
TEMPORARY = {"mailboxfull", "expired", "networkerror"}
ANY = {
    "suspend",
    "undefined",
    "mailererror",
    "syntaxerror",
    "failedstarttls",
    "systemerror",
    "exceedlimit",
    "mesgtoobig",
    "toomanyconn",
}


def mail(
    text: str, subject: str = "Undelivered Mail Returned to Sender", **headers: str
) -> bytes:
    named = {
        "From": "MAILER-DAEMON@mx.example.net",
        "To": "bounces@maple.example",
        "Subject": subject,
        **headers,
    }
    head = "".join(
        f"{name.replace('_', '-')}: {value}\n" for name, value in named.items()
    )
    return f"{head}\n{dedent(text)}".encode()


def report(
    diagnostic: str,
    status: str = "5.0.0",
    action: str = "failed",
    who: str = "ana@example.com",
) -> bytes:
    text = f"""\
        --b
        Content-Type: text/plain

        I could not deliver your message.

        <{who}>: {diagnostic}

        --b
        Content-Type: message/delivery-status

        Reporting-MTA: dns; mx.example.net

        Final-Recipient: rfc822; {who}
        Action: {action}
        Status: {status}
        Diagnostic-Code: smtp; {diagnostic}

        --b
        Content-Type: message/rfc822

        From: hello@maple.example
        To: {who}
        Message-ID: <7b.0123456789abcdef0123456789abcdef@maple.example>
        Subject: Hello

        Hello
        --b--
        """
    return mail(
        text, Content_Type='multipart/report; report-type=delivery-status; boundary="b"'
    )


def short(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.kind, each.recipient, each.meaning) for each in found]


# --- real ones


def test_real_mails_are_recognised_and_put_into_the_right_class(corpora: Path) -> None:
    folder = corpora / "bounces"
    with (folder / "labels.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    by_file: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_file.setdefault(row["file"], []).append(row)
    counts: Counter[str] = Counter()
    for name, labels in by_file.items():
        found = read((folder / "mail" / name).read_bytes())
        for label, each in zip(labels, found, strict=False):
            if label["reason"] == "feedback":
                kind = {"abuse": "complaint", "opt-out": "unsubscribe"}.get(
                    label["feedbacktype"], "feedback"
                )
                counts["recognised"] += each.kind == kind
                counts["right"] += each.kind == kind
                continue
            recognised = each.kind in ("bounce", "delayed") and bool(each.recipient)
            counts["recognised"] += recognised
            counts["right"] += recognised and _right(label, each)
            wrong = (
                each.meaning in ("address-dead", "no-domain")
                and label["hardbounce"] == "0"
            )
            assert not wrong, (name, each)
    assert counts["recognised"] >= 0.97 * len(rows)
    assert counts["right"] >= 0.98 * counts["recognised"]


def _right(label: dict[str, str], found: Finding) -> bool:
    if label["hardbounce"] == "1":
        return found.meaning in ("address-dead", "no-domain")
    if label["reason"] in ANY:
        return found.meaning not in ("address-dead", "no-domain")
    return found.meaning == ("temporary" if label["reason"] in TEMPORARY else "policy")


@pytest.mark.parametrize("seed", range(8))
def test_no_mail_however_broken_stops_the_reading(corpora: Path, seed: int) -> None:
    files = [
        path.read_bytes() for path in sorted((corpora / "bounces" / "mail").iterdir())
    ]
    chance = random.Random(seed)
    for _ in range(1250):
        data = bytearray(chance.choice(files))
        for _ in range(chance.choice([1, 1, 3, 10, 50])):
            _mutate(data, chance)
        assert read(bytes(data))
        assert identity_of(bytes(data))


def _mutate(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) or 1)
    match chance.randrange(5):
        case 0 if data:
            data[at] = chance.randrange(256)
        case 1:
            del data[at : at + chance.randrange(200)]
        case 2:
            data[at:at] = chance.randbytes(chance.randrange(20))
        case 3:
            data[at:at] = data[at : at + chance.randrange(2000)]
        case _:
            del data[at + 1 :]


# --- reports


@pytest.mark.parametrize(
    ("diagnostic", "status", "meaning"),
    [
        (
            "550 5.1.1 <ana@example.com>: Recipient address rejected: User unknown",
            "5.1.1",
            "address-dead",
        ),
        (
            "550-5.1.1 The email account that you tried to reach does not exist. Please try",
            "5.1.1",
            "address-dead",
        ),
        (
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
            "5.1.10",
            "address-dead",
        ),
        (
            "Host or domain name not found. Name service error for name=example.com type=A: Host not found",
            "5.4.4",
            "no-domain",
        ),
        (
            "Host or domain name not found. Name service error for name=mx.nowhere.example type=A: Host not found",
            "5.4.4",
            "temporary",
        ),
        ("556 5.1.10 Domain does not accept mail (nullMX)", "5.1.10", "address-dead"),
        ("552 5.2.2 Mailbox full", "5.2.2", "temporary"),
        (
            "452-4.2.2 The email account that you tried to reach is over quota.",
            "4.2.2",
            "temporary",
        ),
        (
            "connect to mx.example.com[192.0.2.1]:25: Connection timed out",
            "4.4.1",
            "temporary",
        ),
        (
            "550 5.2.1 The email account that you tried to reach is disabled.",
            "5.2.1",
            "temporary",
        ),
        ("550 5.7.1 Message rejected as spam by Content Filtering.", "5.7.1", "policy"),
        (
            "550-5.7.26 This mail has been blocked because the sender is unauthenticated.",
            "5.7.26",
            "policy",
        ),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using zen.spamhaus.org",
            "5.7.1",
            "policy",
        ),
        ("552 5.3.4 Message size exceeds fixed limit", "5.3.4", "policy"),
        ("550 5.1.8 Sender address rejected: Domain not found", "5.1.8", "policy"),
    ],
)
def test_a_report_says_what_it_means(
    diagnostic: str, status: str, meaning: str
) -> None:
    (found,) = read(report(diagnostic, status))
    assert (found.kind, found.recipient, found.status, found.meaning) == (
        "bounce",
        "ana@example.com",
        status,
        meaning,
    )
    assert "7b.0123456789abcdef0123456789abcdef@maple.example" in found.about


def test_answers_of_many_servers_mean_what_they_say() -> None:
    with (Path(__file__).parent / "answers.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    wrong = [
        (row, found.meaning)
        for row in rows
        if (found := read(report(row["answer"], row["status"]))[0]).meaning
        != row["class"]
    ]
    assert not wrong


@pytest.mark.parametrize(
    "diagnostic",
    [
        "550 5.1.1 <back+1f.0123@maple.example>: Recipient address rejected: User unknown",
        "550 5.1.1 <carl@example.com>: Recipient address rejected: User unknown",
        "550 5.1.2 maple.example: unknown host",
        "450 4.1.1 <ana@example.com>: User unknown",
        "550 5.1.1 <ana@example.com>: undeliverable address: host mx[192.0.2.1] said: 554 5.7.1 you are blocked",
    ],
)
def test_only_a_final_answer_about_the_recipient_proves_that_nobody_is_there(
    diagnostic: str,
) -> None:
    (found,) = read(report(diagnostic, "5.1.1"))
    assert (found.kind, found.recipient) == ("bounce", "ana@example.com")
    assert found.meaning in ("policy", "temporary")


@pytest.mark.parametrize(
    ("written", "final", "meaning"),
    [
        ("info@example.com", "carl@example.com", "unknown"),
        ("ana@example.com", "ana@inner.example.net", "address-dead"),
        ("ana@example.com", "Ana@example.com", "address-dead"),
    ],
)
def test_whoever_a_message_is_passed_on_to_is_not_whom_we_wrote_to(
    written: str, final: str, meaning: str
) -> None:
    fields = f"Final-Recipient: rfc822; {final}\nOriginal-Recipient: rfc822;{written}\n".encode()
    told = report("550 5.1.1 User unknown", "5.1.1").replace(
        b"Final-Recipient: rfc822; ana@example.com\n", fields
    )
    assert short(read(told)) == [("bounce", written, meaning)]


def test_sendmail_calls_final_whom_we_wrote_to_and_actual_whom_that_led_to() -> None:
    for actual, meaning in (
        ("carl@other.example", "unknown"),
        ("ana@inner.example", "address-dead"),
    ):
        more = f"Final-Recipient: rfc822; ana@example.com\nX-Actual-Recipient: rfc822; {actual}\n".encode()
        told = report("550 5.1.1 User unknown", "5.1.1").replace(
            b"Final-Recipient: rfc822; ana@example.com\n", more
        )
        assert short(read(told)) == [("bounce", "ana@example.com", meaning)]


def test_a_list_that_others_got_the_message_by_is_left_alone() -> None:
    block = "\nFinal-Recipient: rfc822; {}\nOriginal-Recipient: rfc822;info@example.com\nAction: {}\nStatus: {}\n"
    blocks = block.format("bo@example.com", "relayed", "2.0.0") + block.format(
        "carl@example.com", "failed", "5.1.1"
    )
    text = f"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n{blocks}\n--b--\n"
    found = read(
        mail(
            text,
            Content_Type='multipart/report; report-type=delivery-status; boundary="b"',
        )
    )
    assert short(found) == [
        ("delivered", "info@example.com", "unknown"),
        ("bounce", "info@example.com", "unknown"),
    ]


def test_a_report_is_read_though_it_was_encoded() -> None:
    fields = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; ana@example.com\nAction: failed\nStatus: 5.1.1\n"
    encoded = base64.encodebytes(fields.encode()).decode()
    head = "--b\nContent-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
    text = f"{head}{encoded}\n--b--\n"
    found = read(
        mail(
            text,
            Content_Type='multipart/report; report-type=delivery-status; boundary="b"',
        )
    )
    assert short(found) == [("bounce", "ana@example.com", "address-dead")]


@pytest.mark.parametrize(
    ("action", "kind"),
    [("delayed", "delayed"), ("delivered", "delivered"), ("relayed", "delivered")],
)
def test_a_report_need_not_be_of_a_failure(action: str, kind: str) -> None:
    (found,) = read(report("451 4.7.1 later", "4.7.1", action))
    assert found.kind == kind
    assert found.meaning != "address-dead"


def test_a_filters_excuse_is_no_proof_that_nobody_is_there() -> None:
    text = """\
        Your message could not be delivered to the following recipients:

        <ana@example.com>:
            mx.example.com [192.0.2.45]:
        >>> DATA
        <<< 550 Unknown user ana@example.com
        """
    assert short(read(mail(text))) == [("bounce", "ana@example.com", "policy")]


# --- notices in words, of many kinds of servers


NOTICES = [
    (
        """\
        Hi. This is the qmail-send program at example.net.
        I'm afraid I wasn't able to deliver your message to the following addresses.

        <ana@example.com>:
        192.0.2.1 does not like recipient.
        Remote host said: 550 no such user
        Giving up on 192.0.2.1.

        --- Below this line is a copy of the message.

        Return-Path: <hello@maple.example>
        To: bo@example.com
        """,
        [("bounce", "ana@example.com", "address-dead")],
    ),
    (
        """\
        This message was created automatically by mail delivery software.
        The following address(es) failed:

          ana@example.com
            SMTP error from remote mail server after RCPT TO:<ana@example.com>:
            550 5.1.1 unknown user
          bo@example.com
            mailbox is full: retry timeout exceeded
        """,
        [
            ("bounce", "ana@example.com", "address-dead"),
            ("bounce", "bo@example.com", "temporary"),
        ],
    ),
    (
        """\
        Your message

          Subject: Hello

        was not delivered to:

          ana@example.com

        because:

          User ana (ana@example.com) is not listed in Domino Directory
        """,
        [("bounce", "ana@example.com", "address-dead")],
    ),
    (
        """\
        Your message could not be delivered because of

        550 5.1.1 User unknown

        The following recipients were affected:
            ana@example.com
        """,
        [("bounce", "ana@example.com", "address-dead")],
    ),
    (
        """\
        ana@example.com

        -------server message
        550 5.1.1 unknown user <ana@example.com>

        -------original message
        From: hello@maple.example
        To: someone@else.example
        """,
        [("bounce", "ana@example.com", "address-dead")],
    ),
    (
        """\
           ----- Transcript of session follows -----
        550 nowhere.example (smtp)... 550 Host unknown
        554 <ana@nowhere.example>... 550 Host unknown (Authoritative answer from name server)
           ----- Unsent message follows -----
        From: hello@maple.example
        To: bo@example.com
        """,
        [("bounce", "ana@nowhere.example", "no-domain")],
    ),
    (
        """\
        Message could not be delivered for 2 days, and will be retried.

          ana@example.com
            host mx.example.com: 451 4.7.1 Greylisted, please try again
        """,
        [("delayed", "ana@example.com", "temporary")],
    ),
    (
        """\
        Die folgende Nachricht konnte nicht zugestellt werden:

        ana@example.com: 550 5.7.1 Rejected: your IP is on a blocklist
        """,
        [("bounce", "ana@example.com", "policy")],
    ),
    (
        """\
        Ihre E-Mail an den folgenden Empfänger konnte leider nicht zugestellt werden:

        ana@example.com

        Die Empfängeradresse existiert nicht.
        """,
        [("bounce", "ana@example.com", "address-dead")],
    ),
    (
        """\
        Le message n'a pas pu être remis.

        ana@example.com : la boîte aux lettres du destinataire est pleine
        """,
        [("bounce", "ana@example.com", "temporary")],
    ),
    (
        """\
        The following message could not be delivered:

        Message ID: <1f.0123456789abcdef@maple.example>
        Recipient: ana@example.com
        550 5.1.1 unknown user
        """,
        [("bounce", "ana@example.com", "address-dead")],
    ),
    (
        """\
        Hi. This is the qmail-send program at example.net.

        <ana@example.com>:
        CNAME lookup failed temporarily. (#4.4.3)
        I'm not going to try again; this message has been in the queue too long.
        """,
        [("bounce", "ana@example.com", "temporary")],
    ),
]


@pytest.mark.parametrize(("text", "expected"), NOTICES)
def test_a_notice_in_words_is_understood(
    text: str, expected: list[tuple[str, str, str]]
) -> None:
    assert short(read(mail(text))) == expected


def notices() -> list[dict[str, Any]]:
    with (Path(__file__).parent / "notices.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("row", notices(), ids=lambda row: row["name"])
def test_whole_notices_of_many_servers_say_who_is_dead(row: dict[str, Any]) -> None:
    headers = {"Content_Type": "text/plain; charset=utf-8", **row.get("header", {})}
    subject = headers.pop("subject", "Undelivered Mail Returned to Sender")
    if "report" in row:
        data = dsn(row["text"], row["report"], "To: ana@example.com", **headers)
    else:
        data = mail("", subject, **headers) + row["text"].encode()
    assert any(each.meaning == "address-dead" for each in read(data)) is row["dead"]


# --- who is meant


def dsn(
    notice: str, block: str, copy: str = "To: team@shop.example", **headers: str
) -> bytes:
    """A delivery report with these words and this recipient's block."""
    text = "\n".join(
        [
            "--b",
            "Content-Type: text/plain",
            "",
            dedent(notice),
            "--b",
            "Content-Type: message/delivery-status",
            "",
            "Reporting-MTA: dns; mx.shop.example",
            "",
            dedent(block).strip(),
            "",
            "--b",
            "Content-Type: message/rfc822",
            "",
            "From: hello@maple.example",
            copy,
            "Subject: Hello",
            "",
            "Hello",
            "--b--",
            "",
        ]
    )
    kind = 'multipart/report; report-type=delivery-status; boundary="b"'
    return mail("", **{**headers, "Content_Type": kind}) + text.encode()


EXIM = """\
    This message was created automatically by mail delivery software.

    A message that you sent could not be delivered to one or more of its
    recipients. This is a permanent error. The following address(es) failed:

      {member}
        (generated from team@shop.example)
        host mx.other.example [192.0.2.7]
        SMTP error from remote mail server after RCPT TO:<{member}>:
        550 5.1.1 No such user
    """
EXIM_BLOCK = """\
    Action: failed
    Final-Recipient: rfc822;team@shop.example
    Status: 5.0.0
    Remote-MTA: dns; mx.other.example
    Diagnostic-Code: smtp; 550 5.1.1 No such user
    """


@pytest.mark.parametrize(
    ("member", "meaning"),
    [("paul@other.example", "unknown"), ("team@inner.example", "address-dead")],
)
def test_a_list_is_not_dead_because_a_member_is(member: str, meaning: str) -> None:
    notice = EXIM.format(member=member)
    for headers in ({"X_Failed_Recipients": member}, {}):
        (found,) = read(dsn(notice, EXIM_BLOCK, **headers))
        assert (found.kind, found.recipient, found.meaning) == (
            "bounce",
            "team@shop.example",
            meaning,
        )
    (found,) = read(mail(notice, X_Failed_Recipients=member))
    assert found.recipient == member


def test_a_name_in_a_directory_is_nobodys_address() -> None:
    notice = """\
        Your message

          To:      team@shop.example
          Subject: Hello

        did not reach the following recipient(s):

        Paul Miller on Thu, 26 Nov 2026 10:00:00 +0100
            The recipient name is not recognized
            MSEXCH:IMS:SHOP:MAIN:EX1 0 (000C05A6) Unknown Recipient
        """
    (found,) = read(
        mail(
            notice,
            "Undeliverable: Hello",
            From="System Administrator <postmaster@shop.example>",
        )
    )
    assert (found.recipient, found.meaning) == ("", "unknown")


def block(action: str, status: str, diagnostic: str, more: str = "") -> str:
    lines = f"Final-Recipient: rfc822; ana@example.com\nAction: {action}\nStatus: {status}\nDiagnostic-Code: {diagnostic}\n"
    return lines + more


@pytest.mark.parametrize(
    ("told", "kind", "meaning"),
    [
        # OpenSMTPD's last word.
        (block("delayed", "4.4.7", "smtp; Envelope expired"), "bounce", "temporary"),
        (
            block(
                "delayed",
                "4.4.7",
                "smtp; delayed",
                "Will-Retry-Until: Fri, 27 Nov 2026 10:00:00 +0000\n",
            ),
            "delayed",
            "temporary",
        ),
        (
            block("delayed", "4.4.1", "smtp; connection timed out"),
            "delayed",
            "temporary",
        ),
        (
            block(
                "failed",
                "5.4.316",
                "smtp; 550 5.4.316 Message expired, connection refused",
            ),
            "bounce",
            "temporary",
        ),
        (
            block(
                "failed",
                "5.4.312",
                "smtp; 550 5.4.312 Message expired, DNS query failed",
            ),
            "bounce",
            "temporary",
        ),
        # `sendmail -bv` asks whether an address is one.
        (block("deliverable", "2.0.0", "smtp; 250 2.1.5 Ok"), "other", "unknown"),
        # sysexits.h
        (block("failed", "5.1.1", "X-Unix; 67"), "bounce", "address-dead"),
        (block("failed", "5.1.2", "X-Unix; 68"), "bounce", "temporary"),
        (block("failed", "5.0.0", "X-Unix; 69"), "bounce", "temporary"),
        (block("failed", "5.3.0", "X-Unix; 70"), "bounce", "temporary"),
        (block("failed", "5.3.0", "X-Unix; 73"), "bounce", "temporary"),
        (block("failed", "5.0.0", "X-Unix; 75"), "bounce", "temporary"),
        (block("failed", "5.7.0", "X-Unix; 77"), "bounce", "policy"),
        (block("failed", "5.3.0", "X-Unix; 199"), "bounce", "temporary"),
    ],
)
def test_what_servers_make_of_the_fields(told: str, kind: str, meaning: str) -> None:
    (found,) = read(dsn("Your message:\n", told, "To: ana@example.com"))
    assert (found.kind, found.recipient, found.meaning) == (
        kind,
        "ana@example.com",
        meaning,
    )


def test_an_exit_code_is_told_in_words() -> None:
    (found,) = read(
        dsn(
            "Your message:\n",
            block("failed", "5.1.1", "X-Unix; 67"),
            "To: ana@example.com",
        )
    )
    assert found.reason == "user unknown (exit code 67)"


REJECTION = """\
    --b
    Content-Type: text/plain

    {words}

    --b
    Content-Type: message/disposition-notification

    Reporting-UA: mx.example.com; Dovecot Mail Delivery Agent
    Final-Recipient: rfc822; ana@example.com
    Original-Message-ID: <7b.0123456789abcdef0123456789abcdef@maple.example>
    Disposition: {disposition}; deleted

    --b--
    """


@pytest.mark.parametrize(
    ("words", "disposition", "kind", "meaning"),
    [
        (
            "Your message to <ana@example.com> was automatically rejected: no newsletters please",
            "automatic-action/MDN-sent-automatically",
            "bounce",
            "policy",
        ),
        (
            "Your message was deleted without being read",
            "automatic-action/MDN-sent-automatically",
            "auto-reply",
            "unknown",
        ),
        (
            "I have refused it",
            "manual-action/MDN-sent-manually",
            "auto-reply",
            "unknown",
        ),
    ],
)
def test_a_filter_of_the_recipients_that_rejects_a_message_refuses_it(
    words: str, disposition: str, kind: str, meaning: str
) -> None:
    report_type = "multipart/report; report-type=disposition-notification; boundary=b"
    text = REJECTION.format(words=words, disposition=disposition)
    (found,) = read(
        mail(text, "Re: Hello", From="ana@example.com", Content_Type=report_type)
    )
    assert (found.kind, found.meaning) == (kind, meaning)
    assert "7b.0123456789abcdef0123456789abcdef@maple.example" in found.about


@pytest.mark.parametrize(
    ("bounce", "said", "meaning"),
    [
        ("Permanent", "smtp; 550 5.1.1 user unknown", "address-dead"),
        ("Permanent", "smtp; 550 5.7.1 blocked", "policy"),
        ("Transient", "smtp; 550 5.1.1 user unknown", "temporary"),
        ("Transient", "smtp; 552 5.2.2 mailbox full", "temporary"),
        ("Undetermined", "", "temporary"),
    ],
)
def test_what_amazon_posts_is_read_where_it_comes_by_mail(
    bounce: str, said: str, meaning: str
) -> None:
    whom = [
        {
            "emailAddress": "ana@example.com",
            "action": "failed",
            "status": "5.1.1",
            "diagnosticCode": said,
        }
    ]
    posted = {
        "notificationType": "Bounce",
        "bounce": {"bounceType": bounce, "bouncedRecipients": whom},
    }
    for text in (
        json.dumps(posted),
        json.dumps({"Type": "Notification", "Message": json.dumps(posted)}),
    ):
        found = read(
            mail(text, "AWS Notification Message", From="no-reply@sns.amazonaws.com")
        )
        assert short(found) == [("bounce", "ana@example.com", meaning)]


@pytest.mark.parametrize(
    "subject",
    [
        "Fwd: Undelivered Mail Returned to Sender",
        "WG: Mail delivery failed",
        "See below",
    ],
)
def test_whoever_forwards_a_bounce_proves_nothing(subject: str) -> None:
    whole = report("550 5.1.1 User unknown", "5.1.1")
    sender = b"From: Ana <ana@firm.example>\nSubject: " + subject.encode() + b"\n"
    kept = whole.partition(b"Subject: Undelivered Mail Returned to Sender\n")[2]
    inline = sender + kept.replace(
        b"multipart/report; report-type=delivery-status", b"multipart/mixed"
    )
    assert {each.meaning for each in read(inline)} == {"unknown"}
    attached = (
        sender
        + b'Content-Type: multipart/mixed; boundary="o"\n\n--o\n\nSee this\n--o\nContent-Type: message/rfc822\n\n'
    )
    assert {each.meaning for each in read(attached + whole + b"\n--o--\n")} == {
        "unknown"
    }


@pytest.mark.parametrize(
    "kind", ["not-spam", "auth-failure", "virus", "dmarc", "other"]
)
def test_reports_that_are_no_complaints_are_told_apart(kind: str) -> None:
    text = f"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nOriginal-Rcpt-To: ana@example.com\n--b--\n"
    found = read(
        mail(
            text,
            "Report",
            Content_Type="multipart/report; report-type=feedback-report; boundary=b",
        )
    )
    assert [(each.kind, each.reason) for each in found] == [("feedback", kind)]


def test_a_report_of_an_address_beyond_ascii_is_read() -> None:
    """RFC 6533, as Postfix writes it where the next server lacks SMTPUTF8."""
    said = "SMTPUTF8 is required, but was not offered by host mx.example.com[192.0.2.1]"
    told = block("failed", "5.6.7", f"smtp; {said}").replace(
        "rfc822; ana@", "utf-8; jürgen@"
    )
    data = dsn(
        "Your message:\n",
        told,
        "To: jürgen@example.com\nMessage-ID: <7b.0123@maple.example>",
    )
    data = data.replace(
        b"message/delivery-status", b"message/global-delivery-status"
    ).replace(b"message/rfc822", b"message/global")
    (found,) = read(data)
    assert (found.kind, found.recipient, found.status, found.meaning) == (
        "bounce",
        "jürgen@example.com",
        "5.6.7",
        "policy",
    )
    assert (
        found.reason
        == f"a server on the way cannot take addresses beyond ASCII: {said}"
    )
    assert "7b.0123@maple.example" in found.about


def test_words_beyond_ascii_in_a_report_are_read() -> None:
    (found,) = read(report("550 5.1.1 Пользователь не найден", "5.1.1"))
    assert (found.meaning, found.reason) == (
        "address-dead",
        "550 5.1.1 Пользователь не найден",
    )


# --- what is no bounce


def test_complaints_name_whom_they_are_of() -> None:
    text = """\
        --b
        Content-Type: message/feedback-report

        Feedback-Type: abuse
        Version: 1
        Original-Rcpt-To: <ana@example.com>
        Original-Rcpt-To: <bo@example.com>
        --b--
        """
    found = read(
        mail(
            text,
            "Complaint",
            Content_Type="multipart/report; report-type=feedback-report; boundary=b",
        )
    )
    assert [(each.kind, each.recipient, each.reason) for each in found] == [
        ("complaint", "ana@example.com", "abuse"),
        ("complaint", "bo@example.com", "abuse"),
    ]


@pytest.mark.parametrize(
    ("subject", "headers", "kind"),
    [
        ("Re: Hello", {"Auto_Submitted": "auto-replied"}, "auto-reply"),
        ("Out of office: Hello", {}, "auto-reply"),
        ("Abwesenheitsnotiz", {}, "auto-reply"),
        (
            "Re: Hello",
            {"Auto_Submitted": "auto-replied", "Return_Path": "<>"},
            "auto-reply",
        ),
        ("unsubscribe eyJ.k1.abc", {}, "unsubscribe"),
        ("AW: Unsubscribe", {}, "unsubscribe"),
        ("Please remove me from this list.", {}, "unsubscribe"),
        ("Désabonner", {}, "unsubscribe"),
        ("Desinscripción", {}, "unsubscribe"),
        ("Re: Remove stains in five minutes", {}, "other"),
        ("Re: Baja California 2026", {}, "other"),
        ("Re: Hello", {}, "other"),
        ("My delivery failed to arrive", {}, "other"),
    ],
)
def test_mails_of_people_are_told_apart(
    subject: str, headers: dict[str, str], kind: str
) -> None:
    headers = {"From": "Ana <ana@example.com>", **headers}
    (found,) = read(
        mail("I was away, and the mailbox is full of joy.\n", subject, **headers)
    )
    assert found.kind == kind
    assert found.meaning == "unknown"


def test_an_automatic_answer_is_no_bounce_whatever_it_says() -> None:
    text = "Ana has left, this address is no longer valid. Your message has not been delivered. Ask bo@example.com.\n"
    headers = {
        "From": "Ana <ana@example.com>",
        "Return_Path": "<>",
        "Auto_Submitted": "auto-replied",
    }
    assert short(read(mail(text, "Re: Hello", **headers))) == [
        ("auto-reply", "ana@example.com", "unknown")
    ]


def test_a_receipt_is_no_bounce() -> None:
    kind = "multipart/report; report-type=disposition-notification; boundary=b"
    text = "--b\nContent-Type: text/plain\n\nana@example.com could not be delivered: user unknown\n--b--\n"
    (found,) = read(mail(text, "Read: Hello", Content_Type=kind))
    assert found.kind == "auto-reply"


def test_what_a_person_tells_of_a_mail_that_came_back_proves_nothing() -> None:
    text = """\
        --b
        Content-Type: text/plain

        My answer was returned, see below.

        bo@example.com: User unknown

        --b
        Content-Type: message/rfc822

        From: hello@maple.example
        To: ana@example.com
        Subject: Hello

        Hello
        --b--
        """
    found = read(
        mail(
            text,
            "Fwd: Hello",
            From="Ana <ana@example.com>",
            Content_Type="multipart/mixed; boundary=b",
        )
    )
    assert [each.meaning for each in found] == ["unknown"]


def test_complaints_of_outlook_name_whom_they_are_of_within_the_copy() -> None:
    text = """\
        --b
        Content-Type: message/rfc822

        X-HmXmrOriginalRecipient: ana@outlook.example
        From: hello@maple.example
        Subject: Hello

        Hello
        --b--
        """
    (found,) = read(
        mail(
            text,
            "complaint about message from 192.0.2.1",
            Content_Type="multipart/mixed; boundary=b",
        )
    )
    assert (found.kind, found.recipient) == ("complaint", "ana@outlook.example")


NESTED = b"".join(
    b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n)
    for n in range(1000)
)
# Each of these took the reading minutes, or raised an error.
HOSTILE = {
    "mails in mails": b"Content-Type: message/rfc822\n\n" * 1000,
    "parts in parts": NESTED,
    "parts in parts of many lines": NESTED[:4000] + b"\n" * 900_000,
    "a type with parameters without end": b"Content-Type: text/plain"
    + b"; a=b" * 100_000
    + b"\n\nHello\n",
    "lines of blanks": b"\n" + (b"Recipient" + b" " * 900 + b"!\n") * 1000,
    "tags without end": b"Content-Type: text/html\n\n"
    + (b"<br <a <script>" * 60 + b"\n") * 100,
    "nothing but line ends": b"\n" * 1_000_000,
    "a report of blocks without end": b'Content-Type: multipart/report; boundary="b"\n\n--b\n'
    b"Content-Type: message/delivery-status\n\n" + b"\n \n" * 300_000,
    "addresses without end": b"\n"
    + (b"a@" * 450 + b" (generated from " + b"@" * 80 + b"\n") * 100,
    "recipients of many words": b"\n"
    + b"".join(
        b"p%d@example.com: user mailbox account is not unknown over the quota try again\n"
        % n
        for n in range(1200)
    ),
    "braces without end": b'\n"notificationType":"Bounce"' + b'{"emailAddress"' * 6_000,
    "names without end": b"\nrecipient(s)\n" + (b" " * 900 + b"on\n") * 100,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_no_mail_makes_the_reading_take_for_ever(data: bytes) -> None:
    whole = b"From: MAILER-DAEMON@mx.example.net\nSubject: Returned mail\n" + data
    assert read(whole)
    assert identity_of(whole)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"\x00" * 100,
        b"From: x\n",
        b"Content-Type: multipart/report\n\n",
        "名".encode(),
    ],
)
def test_what_is_no_mail_is_other(data: bytes) -> None:
    assert [each.kind for each in read(data)] == ["other"]


def test_a_file_of_several_mails_is_taken_apart(tmp_path: Path) -> None:
    one = b"From x@y Thu Nov 26 10:00:00 2026\nSubject: a\n\nHello\n>From here\n\n"
    two = b"From x@y Thu Nov 26 10:01:00 2026\nSubject: b\n\nHello\n"
    assert [each.data for each in split("box", one + two)] == [
        b"Subject: a\n\nHello\nFrom here\n\n",
        b"Subject: b\n\nHello\n",
    ]
    (tmp_path / "a.eml").write_bytes(b"Subject: a\n\nFrom here on\n")
    assert [each.name for each in mails_in(tmp_path)] == ["a.eml"]


def test_a_mailbox_that_breaks_off_says_so_wherever_it_does() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listening.accept()
        with client, client.makefile("rwb") as file:
            file.write(b"* OK here\r\n")
            file.flush()
            for line in file:
                tag, _, said = line.partition(b" ")
                verb = said.upper()
                if b"STORE" in verb:
                    return
                more = {
                    b"SEAR": b"* SEARCH 1\r\n",
                    b"FETC": b"* 1 FETCH (UID 1 BODY[] {4}\r\nA: b)\r\n",
                }
                told = next(
                    (text for name, text in more.items() if name in verb),
                    b"* CAPABILITY IMAP4rev1\r\n",
                )
                file.write(told + tag + b" OK done\r\n")
                file.flush()

    threading.Thread(target=serve, daemon=True).start()
    options = {
        "host": "127.0.0.1",
        "port": str(listening.getsockname()[1]),
        "security": "none",
        "user": "u",
        "password": "p",
    }
    with (
        listening,
        pytest.raises(DripError, match="The mailbox at 127.0.0.1 broke off"),
    ):
        for each in mails_by_imap(options):
            assert each.data == b"A: b"
            each.taken()


def test_the_command_says_what_mails_are_without_knowing_any_message(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.eml").write_bytes(report("550 5.1.1 user unknown", "5.1.1"))
    made = drip(tmp_path, "inbound", "--dry-run", "--json", str(tmp_path / "a.eml"))
    assert made.code == 0
    assert json.loads(made.out) == {
        "file": "a.eml",
        "kind": "bounce",
        "recipient": "ana@example.com",
        "status": "5.1.1",
        "class": "address-dead",
        "reason": "550 5.1.1 user unknown",
    }
    missing = drip(tmp_path, "inbound", "nowhere.eml", "--dry-run")
    assert missing.code == 2
    assert "help:" in missing.err
