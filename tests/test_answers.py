"""What an answer of a mail server means: one judge for the dialogue and for mails that come back."""

from __future__ import annotations

import csv
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drip.core.answers import Answer, Verdict, judge
from drip.core.message import Refused
from drip.inbound.mail import Mail
from drip.inbound.reading import read
from drip.inbound.reports import statuses
from drip.transports.smtp.replies import Replies, verdict
from tests.test_inbound import report

HERE = Path(__file__).parent
CODES = re.compile(r"([45]\d\d)[ -]#?([45]\.\d{1,3}\.\d{1,3})?")


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize(
    "row", rows("phrasings.tsv"), ids=lambda row: row["answer"][:60]
)
def test_dead_is_who_is_said_not_to_be_there_and_nobody_else(
    row: dict[str, str],
) -> None:
    assert in_the_dialogue(row["answer"]) is (row["dead"] == "yes")


def in_the_dialogue(answer: str) -> bool:
    """Whether it kills the address when it is heard in reply to RCPT."""
    (reply,) = Replies().feed(
        f"{answer[:3]} {' '.join(answer[4:].split())}\r\n".encode()
    )
    receipt = verdict("RCPT", reply, recipient="ana@example.com")
    return isinstance(receipt, Refused) and receipt.scope == "address"


def in_a_report(answer: str) -> bool:
    """The same where it comes back in a delivery report."""
    found = CODES.match(answer)
    (finding,) = read(report(answer, found[2] or "5.0.0" if found else "5.0.0"))
    return finding.meaning == "address-dead"


def real_answers(corpora: Path) -> Iterator[str]:
    """Those of the table, and the diagnostics of real bounces, about ana@example.com."""
    yield from (row["answer"] for row in rows("answers.tsv"))
    for path in sorted((corpora / "bounces" / "mail").iterdir()):
        mail = Mail(path.read_bytes())
        part = mail.part("message/delivery-status")
        for each in statuses(part.text) if part else ():
            yield " ".join(
                each.diagnostic.replace(
                    each.recipient or "\0", "ana@example.com"
                ).split()
            )
        for part in mail.parts:
            yield from re.findall(
                r"(?m)^[^\n]{0,200}?(?:said: |<<< |: )([45]\d\d [^\n]{5,300})$",
                part.text,
            )


def test_an_answer_means_the_same_in_the_dialogue_and_in_a_mail(corpora: Path) -> None:
    answers = {each for each in real_answers(corpora) if CODES.match(each)}
    answers |= {row["answer"] for row in rows("phrasings.tsv")}
    assert len(answers) >= 500
    assert [
        each for each in sorted(answers) if in_the_dialogue(each) != in_a_report(each)
    ] == []


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("550 5.1.1 <paul@other.example>: User unknown", "somebody-else"),
        ("550 5.1.1 <back+1f@maple.example>: User unknown", "somebody-else"),
        ("550 5.1.1 User unknown, ask postmaster@example.com", "nobody"),
        (
            "550 Sender verify failed: mx.example.net said: 550 user unknown",
            "somebody-else",
        ),
        (
            "550 5.1.1 <ana@example.com>: host mx.example.com said: 451 4.3.0 try later",
            "busy",
        ),
        (
            "550 5.4.4 Name service error for name=example.com type=MX: Host not found",
            "no-domain",
        ),
        (
            "550 5.4.4 Name service error for name=example.com type=MX: Host not found, try again",
            "busy",
        ),
        (
            "550 5.4.4 Name service error for name=mx.example.net type=A: Host not found",
            "no-mail-host",
        ),
        (
            "550 5.1.2 <ana@example.com>... Host unknown (Name server: mx.nowhere.example.: host not found)",
            "no-mail-host",
        ),
        (
            "550 5.1.2 <ana@example.com>... Host unknown (Name server: example.com.: host not found)",
            "no-domain",
        ),
        ("550 all relevant MX records point to non-existent hosts", "no-mail-host"),
        (
            "550 5.6.7 SMTPUTF8 is required, but was not offered by host mx.example.com",
            "international",
        ),
        ("550 5.7.27 Sender address has null MX", "sender"),
        ("550 example.com does not accept mail", "no-mail"),
        ("550 example.com does not accept mail from you", "us"),
    ],
)
def test_it_counts_who_is_meant(text: str, cause: str) -> None:
    found = judge(
        Answer(text, "RCPT", 550, "", "ana@example.com", frozenset({"maple.example"}))
    )
    assert found == Verdict(
        found.cause, final="451" not in text, dead=cause in ("nobody", "no-mail")
    )
    assert found.cause == cause


def test_domains_are_known_however_they_are_written() -> None:
    said = "550 5.1.2 Name service error for name=Bücher-Shop.example type=MX: Host not found"
    assert (
        judge(Answer(said, "RCPT", recipient="ana@bücher-shop.example")).cause
        == "no-domain"
    )
    ours = frozenset({"maple-shop.example"})
    assert (
        judge(
            Answer(
                "550 mail.maple-shop.example is unknown",
                "RCPT",
                550,
                "",
                "ana@example.com",
                ours,
            )
        ).cause
        == "policy"
    )


def test_a_code_alone_proves_only_beside_words_that_say_nothing_else() -> None:
    assert judge(Answer("550 5.1.1 Recipient rejected", "RCPT")).dead
    assert judge(Answer("550 5.1.1", "RCPT")).dead
    assert not judge(Answer("550 5.1.1 Glorp happened", "RCPT")).dead
    assert not judge(Answer("450 5.1.1 No such user", "RCPT")).dead
    assert not judge(Answer("550 No such user", "TEXT")).dead


def test_no_text_takes_the_judge_long() -> None:
    """5 ms for an answer of the greatest length; one that took 100 would let a mail of a thousand recipients take minutes."""
    chance = random.Random(1)
    pieces = [
        "user ",
        "unknown ",
        "not ",
        "5.1.1 ",
        ": 550 ",
        "try ",
        "check the ",
        "a",
        "@x ",
        "mail ",
        "over ",
        "your ",
        "ящик ",
    ]
    for text in [each * 2000 for each in pieces] + [
        "".join(chance.choices(pieces, k=1000)) for _ in range(20)
    ]:
        began = time.process_time()
        judge(
            Answer(
                text,
                "RCPT",
                550,
                "5.1.1",
                "ana@example.com",
                frozenset({"maple.example"}),
            )
        )
        assert time.process_time() - began < 0.5
