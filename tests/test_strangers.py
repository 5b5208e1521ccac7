"""Answers and mails of servers that the judge was not written by: somebody else wrote them down, from memory, with labels.

They were kept back until the judge was done. What it says of them is held here as it was then: whoever is dead is mostly told,
and nobody who is there for certain is given up. `dead` is final and about this very address; the labels of doubt are not.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from drip.core.message import Refused
from drip.inbound.reading import read
from drip.transports.smtp.replies import Replies, verdict

FOLDER = Path(__file__).parent / "strangers"
RIGHT = 0.95
# A service that has an address on its own list has seen it bounce: what to make of that is open to argument.
LISTED = ("144-ses-suppressed", "208-sns-permanent-suppressed")


def answers() -> list[dict[str, str]]:
    with (FOLDER / "answers.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def mails() -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (FOLDER / "mails.jsonl").read_text("utf-8").splitlines()
    ]


def kills(row: dict[str, str]) -> bool:
    """Whether an answer in the dialogue gives its recipient up."""
    # Several lines of one answer stand in one here.
    text = (
        row["answer"].replace("-", " ", 1)
        if row["answer"][3:4] == "-"
        else row["answer"]
    )
    (reply,) = Replies().feed(f"{text}\r\n".encode())
    receipt = verdict(row["stage"], reply, "jana.novak@shop.example")
    return isinstance(receipt, Refused) and receipt.scope == "address"


def buries(row: dict[str, Any]) -> bool:
    """Whether a mail gives its recipient up."""
    found = read(row["mail"].encode("latin-1"))
    own = [
        each
        for each in found
        if each.recipient.lower() in ("", row["recipient"].lower())
    ]
    return any((each.kind, each.meaning) == ("bounce", "address-dead") for each in own)


def test_who_is_dead_is_told_of_answers_that_nobody_had_seen() -> None:
    said = [(kills(row), row["label"] == "dead", row["answer"]) for row in answers()]
    wrong = [answer for dead, truly, answer in said if dead and not truly]
    assert wrong == []
    assert sum(dead is truly for dead, truly, _ in said) >= RIGHT * len(said)


def test_who_is_dead_is_told_of_mails_that_nobody_had_seen() -> None:
    said = [(buries(row), row["label"] == "dead", row["name"]) for row in mails()]
    wrong = [
        name for dead, truly, name in said if dead and not truly and name not in LISTED
    ]
    assert wrong == []
    right = [dead is truly for dead, truly, _ in said]
    assert sum(right) + sum(
        kills(row) is (row["label"] == "dead") for row in answers()
    ) >= RIGHT * (len(right) + len(answers()))
