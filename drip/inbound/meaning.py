"""What a refusal that came back means for the address.

`core.answers` judges the answer itself; here is read at which command it was
said, since a mail tells that in words around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from drip.core.answer_words import DISABLED
from drip.core.answers import (
    CODE,
    ENHANCED,
    LONGEST,
    Answer,
    Cause,
    Verdict,
    enhanced_in,
    innermost,
    judge,
)
from drip.core.phrases import plain

# `no-domain`: the recipient's domain is said not to exist, which one answer
# alone does not prove.
Class = Literal["address-dead", "no-domain", "temporary", "policy", "unknown"]

_CLASSES: Mapping[Cause, Class] = {
    "greylisted": "temporary",
    "full": "temporary",
    "server-full": "temporary",
    "disabled": "temporary",
    "crowded": "temporary",
    "expired": "temporary",
    "busy": "temporary",
    "no-mail-host": "temporary",
    "no-domain": "no-domain",
    "nobody": "address-dead",
    "no-mail": "address-dead",
    "unknown": "unknown",
}
# At which command it was said. About the sender, or us:
_AT_SENDER = re.compile(
    r"(after|in reply to|to|during)\s+(the\s+)?(end of )?(MAIL( FROM)?|EHLO|HELO|initial connection|greeting|connect)\b|"
    r">>> ?(MAIL|EHLO|HELO)|(sender|my name) was rejected|mail from address|from:\s+domain is invalid|valid from",
    re.I,
)
_AT_RECIPIENT = re.compile(r"\bRCPT\b|does not like recipient", re.I)
# Some servers say so whatever was answered.
_MAYBE_AT_RECIPIENT = re.compile(
    r"(rejected|refused) (this )?(address|recipient)", re.I
)
# About the text: what is said there is often a filter's excuse.
_AT_TEXT = re.compile(
    r"end of (data|message)|>>> ?DATA|(after|to|for)\s+(the\s+)?(end of\s+)?(DATA|TEXT)\b|after i sent the message|transmission failure",
    re.I,
)
# A label that filters give as well.
_LABEL = re.compile(
    r"\b(user|recipient|mailbox|address|account) (unknown|not found)\b|\b(unknown|no such|invalid) (user|recipient|mailbox|address|account)\b",
    re.I,
)
# More than a label: somebody has written a sentence.
_SENTENCE = re.compile(
    r"\b(is|was|are|isn'?t|does|doesn'?t|do|did|has|had|have|not recogni[sz]ed|couldn'?t|cannot|ist|existiert|est|existe|n'existe|esiste|è|bestaat|существует)\b|"
    r"[\u3040-\u30ff\u4e00-\u9fff]{4}",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one recipient: the answer in words, what stands around
    it, what the notice says before it comes to recipients, and the `Status` of
    a report.

    `sure`: it comes from a report made for programs, where an answer is the
    server's own, to RCPT unless it says otherwise. `recipient` is whom it is
    about, `ours` the domains in the addresses that we wrote from.
    """

    text: str
    around: str
    head: str = ""
    status: str = ""
    sure: bool = False
    recipient: str = ""
    ours: frozenset[str] = frozenset()


def class_of(evidence: Evidence) -> Class:
    """What an answer means."""
    status = status_of(evidence)
    at = _command(evidence, status)
    code = CODE.search(evidence.text)
    found = judge(
        Answer(
            evidence.text,
            at,
            0,
            status,
            evidence.recipient,
            evidence.ours,
        )
    )
    if at == "MAIL" and found.final and code:
        return "policy"
    if found.cause == "nobody" and _says_disabled(evidence):
        return "temporary"
    meaning = _class(found)
    if meaning != "unknown":
        return meaning
    # What the words do not tell, the class of a code does (RFC 3463 section 2).
    digits = code[1] if code else status
    if digits:
        return "policy" if digits.startswith("5") else "temporary"
    return "policy" if at in ("MAIL", "TEXT") else "unknown"


def _says_disabled(evidence: Evidence) -> bool:
    """Whether the notice around the answer says that the mailbox is closed for a
    while.
    """
    words = f"{evidence.around}\n{evidence.head}"
    return bool(DISABLED.said_in(plain(words[:LONGEST])))


def _class(found: Verdict) -> Class:
    """By what causes it: an address is dead only if the answer is final and sure of
    it.
    """
    meaning = _CLASSES.get(found.cause, "policy")
    if meaning in ("address-dead", "no-domain") and not found.final:
        return "temporary"
    return "policy" if meaning == "address-dead" and not found.dead else meaning


def _command(evidence: Evidence, status: str) -> str:
    """At which command it was said, as far as anything tells."""
    around = evidence.around
    at_text = _AT_TEXT.search(around)
    if _AT_RECIPIENT.search(around):
        return "TEXT" if at_text else "RCPT"
    maybe = _MAYBE_AT_RECIPIENT.search(around) is not None
    if _AT_SENDER.search(around) and not maybe:
        return "MAIL"
    if at_text:
        return "TEXT"
    if maybe and status.endswith(".2.1"):
        return ""
    if evidence.sure or maybe:
        return "RCPT"
    # Where no server is quoted, whoever writes the notice says it himself.
    quoted = CODE.search(evidence.text) or _is_label(evidence.text)
    return "" if quoted else "RCPT"


def _is_label(text: str) -> bool:
    """Whether it is a heading that filters put above their own refusals too."""
    return bool(_LABEL.search(text)) and not _SENTENCE.search(text)


def status_of(evidence: Evidence) -> str:
    """The enhanced code: the one in the words, which is the other side's own, before a
    report's field.
    """
    said = enhanced_in(innermost(evidence.text[:LONGEST]))
    if said and not said.endswith(".0.0"):
        return said
    reported = ENHANCED.search(evidence.status)
    return ".".join(reported.groups()) if reported else said
