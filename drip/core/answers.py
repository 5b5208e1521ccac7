"""What a no of a mail server means.

It was heard in the dialogue, or came back in a mail.

A wrong "dead" costs a customer, a wrong "not dead" one more try: an address is dead
only where an answer says so, for good, of this very address. The order of judgement,
and why:

1. Where one server tells what another said, the innermost answer is the one that
counts; the others only pass it on. 2. Words come before codes, since servers give one
code for many things: `5.1.1` comes with greylisting, full mailboxes and directories
that are down. Only codes that have one meaning everywhere go before words (`535`,
`X.2.2`, `X.4.7`). 3. Who is meant comes first: us (our login, our leave to relay, how
much we send, our machine), then the sender. What is said of these proves nothing about
a recipient, whatever else stands there. 4. Then whatever passes: greylisting, a full or
disabled mailbox, time that ran out, servers that are busy or cannot look something up.
A final code does not make it final. 5. Then what is said of this message (its size, its
content, a policy, the way its address is written). 6. Then the domain, and the address
at last: there is no mail (RFC 7505), no such domain, nobody of that name. 7. Where no
words are known, the code: RFC 3463 with the IANA registry's additions, then RFC 5321
section 4.2. A code alone is no proof if there are words beside it that say anything
else (`NEUTRAL` are those that do not).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from drip.core import answer_words as words
from drip.core.phrases import ITS_DOMAIN, MACHINE, OUR_DOMAIN, Words, plain

# What it is about: us; the sender; how we talk; what passes; this message; the
# recipient's domain; the address.
Cause = Literal[
    "login",
    "relay",
    "us",
    "rate",
    "sender",
    "dialogue",
    "greylisted",
    "full",
    "disabled",
    "crowded",
    "session",
    "expired",
    "busy",
    "server-full",
    "size",
    "international",
    "policy",
    "syntax",
    "no-mail",
    "no-mail-host",
    "no-domain",
    "nobody",
    "somebody-else",
    "unknown",
]
# Longer than any answer of a server; what follows is a copy of something.
LONGEST = 2_000
# So far back from an answer stands what is told of it.
LONGEST_TELLING = 200
ADDRESS = re.compile(
    r"""(?<![\w.!#$%&'*+/=?^`{|}~@-])[\w!#$%&'*+/=?^`{|}~-][\w.!#$%&'*+/=?^`{|}~-]{0,63}@[\w-]+(?:\.[\w-]+)*"""
)
ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
CODE = re.compile(r"(?<![\d.:/-])([245][0-5]\d)(?=[\s:;,.)-]|$)(?![.-]\d{1,3}\.\d)")
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']{1,500}", re.I)
_MACHINE = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){3,7})(?![\w.]*\d)",
    re.I,
)
_NUMBERS = re.compile(
    r"(?<![\w.])#?[245]\.\d{1,3}\.\d{1,3}\b|(?<![\w.])[245]\d\d(?=[ -])"
)
_WORD = re.compile(r"(?<![\w.#-])[^\W\d_]{3,}(?![\w-]|\.\w)")
# The answer of another server, told within an answer.
_INNER = re.compile(r"(?s).*(?::\s+[\"']?|\berror |-> )(?=[245]\d\d[ -])")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said, with its codes.

    Where they are not known `code` is 0 and `enhanced` empty.

    `at` is the command, MAIL, RCPT or DATA, TEXT for the text itself, and empty where
    that is not known. `recipient` is the address that it is about, `ours` are the
    domains that we write from.
    """

    text: str
    at: str = ""
    code: int = 0
    enhanced: str = ""
    recipient: str = ""
    ours: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it means.

    `final`: the server means it for good. `dead`: this very address will never take a
    mail again.
    """

    cause: Cause
    final: bool
    dead: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Which answers are about `cause`.

    Those with one of these words, one of these enhanced codes (without their class) and
    one of these basic codes. What is not given fits everything.
    """

    cause: Cause
    says: Words | None = None
    enhanced: str = ""
    code: str = ""


RULES = (
    # --- us, our leave to send, and the dialogue
    AnswerRule("login", code="53[0458]"),
    # Microsoft: who may write to a group.
    AnswerRule("policy", enhanced=r"7\.1\d\d"),
    AnswerRule("login", words.LOGIN),
    AnswerRule("relay", words.RELAY),
    AnswerRule("dialogue", code="503"),
    # --- codes of one meaning
    AnswerRule("sender", enhanced=r"1\.[78]|7\.(2[0-79]|30)"),
    AnswerRule("full", enhanced=r"2\.2"),
    AnswerRule("expired", enhanced=r"4\.7"),
    AnswerRule("us", enhanced=r"4\.5", code="5.."),
    AnswerRule("international", enhanced=r"6\.7"),
    AnswerRule("no-mail", code="556"),
    # --- us, and the sender
    AnswerRule("nobody", words.NOT_IN_DIRECTORY, enhanced=r"4\.1"),
    AnswerRule("us", words.US),
    AnswerRule("sender", words.SENDER),
    AnswerRule("policy", words.MAYBE_SENDER),
    # --- what passes
    AnswerRule("greylisted", words.GREYLISTED),
    AnswerRule("session", words.IN_SESSION),
    AnswerRule("crowded", words.THEIR_RATE),
    AnswerRule("rate", words.OUR_RATE),
    AnswerRule("server-full", words.SERVER_FULL),
    AnswerRule("full", words.FULL),
    AnswerRule("no-domain", words.SURELY_NO_DOMAIN),
    AnswerRule("policy", words.POLICY, enhanced=r"7\..*"),
    AnswerRule("busy", words.LATER),
    AnswerRule("no-mail", words.NULL_MX),
    AnswerRule("disabled", words.DISABLED),
    AnswerRule("size", words.SIZE),
    AnswerRule("crowded", words.RATE),
    AnswerRule("expired", words.EXPIRED),
    # --- this message
    AnswerRule("international", words.INTERNATIONAL),
    AnswerRule("policy", words.POLICY),
    AnswerRule("no-mail-host", words.MX_HOST),
    AnswerRule("busy", words.BUSY),
    AnswerRule("dialogue", words.DIALOGUE, enhanced=r"5\.[124]"),
    AnswerRule("dialogue", words.DIALOGUE, code="50[0124]|55[45]"),
    AnswerRule("syntax", words.ADDRESS_SYNTAX),
    # --- the domain, and the address
    AnswerRule("no-domain", words.DOMAIN_GONE),
    AnswerRule("nobody", words.NOBODY),
    AnswerRule("nobody", words.GONE, enhanced=r"1\.[016]"),
    # --- codes alone
    AnswerRule("syntax", code="501|555"),
    AnswerRule("dialogue", code="50[024]"),
)
BY_CODE: Mapping[str, Cause] = {
    "1.1": "nobody",
    "1.2": "no-domain",
    "1.3": "syntax",
    "1.4": "policy",
    "1.6": "nobody",
    "1.10": "no-mail",
    "2.1": "disabled",
    "2.3": "size",
    "2.4": "policy",
    "3.1": "server-full",
    "3.2": "busy",
    "3.3": "policy",
    "3.4": "size",
    "3.5": "busy",
    "4.0": "busy",
    "4.1": "busy",
    "4.2": "busy",
    "4.3": "busy",
    "4.4": "no-mail-host",
    "4.6": "busy",
    "5.1": "dialogue",
    "5.2": "dialogue",
    "5.3": "policy",
    "5.4": "dialogue",
}
# Enhanced codes that are about the recipient, so that words prove what they say even
# where a filter could have said them.
_OF_RECIPIENT = ("1.0", "1.1", "1.2", "1.4", "1.6", "1.10", "4.4")
# To whom questions go: nobody's mail is about them. RFC 2142.
_ROLES = {"postmaster", "abuse", "helpdesk", "noc", "hostmaster"}
_NEUTRAL = frozenset(words.NEUTRAL.split())
_DEAD: tuple[Cause, ...] = ("nobody", "no-mail")


def judge(answer: Answer) -> Verdict:
    """What an answer means. Never raises, whatever the text."""
    whole = answer.text[:LONGEST]
    text, code, enhanced = _innermost(whole, answer)
    final = code // 100 != 4 and not enhanced.startswith("4")
    said = _marked(text, answer)
    kind = enhanced.partition(".")[2]
    rule = next((rule for rule in RULES if _fits(rule, said, kind, code)), None)
    by_words = rule is not None
    cause: Cause = rule.cause if rule else _by_code(kind, said if code else "")
    if cause not in (*_DEAD, "no-domain"):
        return Verdict(cause, final)
    telling = plain(whole[: len(whole) - len(text)][-LONGEST_TELLING:])
    of_sender = words.TOLD_OF_SENDER.said_in(telling)
    if of_sender or _is_of_somebody_else(text, said, answer):
        return Verdict("somebody-else", final)
    if cause == "no-domain":
        # At MAIL it is ours that is missing, and class 7 is a filter's way to say so.
        is_ours = answer.at == "MAIL" or kind.startswith("7.")
        return Verdict("policy" if is_ours else cause, final)
    if by_words and not _is_proof(said, kind, code, answer.at):
        return Verdict("policy" if answer.at or code else "unknown", final)
    return Verdict(cause, final, dead=final and answer.at != "MAIL")


def enhanced_in(text: str) -> str:
    """The enhanced code in words; empty if there is none.

    A particular one comes before one that says nothing (`5.0.0`).
    """
    codes = [".".join(found.groups()) for found in ENHANCED.finditer(text)]
    particular = [code for code in codes if not code.endswith(".0.0")]
    return next(iter(particular or codes), "")


def addresses_in(text: str) -> list[str]:
    """The addresses in a text, in their order, each once."""
    return list(dict.fromkeys(found[0].rstrip(".") for found in ADDRESS.finditer(text)))


def without_addresses(text: str) -> str:
    """A text as it may be kept of nobody in particular."""
    return ADDRESS.sub("…", text)


def innermost(text: str) -> str:
    """Where a server tells what another one said: the last answer that is told."""
    found = _INNER.match(text)
    return text[found.end() :] if found else text


def _innermost(whole: str, answer: Answer) -> tuple[str, int, str]:
    """The answer that counts, with its basic and its enhanced code."""
    text = innermost(whole)
    code, enhanced = answer.code, answer.enhanced or enhanced_in(text)
    found = CODE.search(text)
    if text != whole and found:
        code, inner = int(found[1]), enhanced_in(text)
        enhanced = inner or (enhanced if enhanced[:1] == found[1][:1] else "")
    return text, code or (int(found[1]) if found else 0), enhanced


def _marked(text: str, answer: Answer) -> str:
    """The plain words.

    Without codes, addresses and links, which anybody may have chosen, and with domains
    by whose they are.
    """
    text = _NUMBERS.sub(" ", ADDRESS.sub(" ", _URL.sub(" ", text)))
    said = words.ADVICE.pattern.sub(" ", plain(_MACHINE.sub(MACHINE, text)))
    domain = answer.recipient.rpartition("@")[2].lower()
    for own in answer.ours - {domain}:
        # Our hosts are ours as well, while an MX of the recipient's domain is not the
        # domain.
        with_hosts = rf"(?:[\w-]{{1,63}}\.){{0,5}}{re.escape(plain(own))}"
        said = _named(with_hosts, OUR_DOMAIN, said)
    return _named(re.escape(plain(domain)), ITS_DOMAIN, said) if domain else said


def _named(domain: str, mark: str, said: str) -> str:
    return re.sub(rf"(?<![\w.-]){domain}\.?(?![\w-])", mark, said)


def _fits(rule: AnswerRule, said: str, kind: str, code: int) -> bool:
    if rule.enhanced and re.fullmatch(rule.enhanced, kind) is None:
        return False
    if rule.code and re.fullmatch(rule.code, str(code)) is None:
        return False
    return rule.says is None or rule.says.said_in(said)


def _by_code(kind: str, said: str) -> Cause:
    # Classes 6 and 7 are about the text and about policy (RFC 3463, 3.7 and 3.8).
    usual: Cause = "policy" if kind.startswith(("6.", "7.")) else "unknown"
    cause: Cause = BY_CODE.get(kind, usual)
    # Words that say something else are believed rather than a code that ends an
    # address.
    others = set(_WORD.findall(said)) - _NEUTRAL
    return "unknown" if cause in _DEAD and others else cause


def _is_of_somebody_else(text: str, said: str, answer: Answer) -> bool:
    """Whether others are named than the recipient and the domain that we write from."""
    local = answer.recipient.lower().rpartition("@")[0]
    named = {found.lower().rpartition("@")[0] for found in addresses_in(text)}
    named -= _ROLES
    if local in named or not answer.recipient:
        return False
    return bool(named) or OUR_DOMAIN in said


def _is_proof(said: str, kind: str, code: int, at: str) -> bool:
    """Whether "nobody" proves it.

    Said at RCPT, or with a code for it, and not a filter's excuse after the text.
    """
    if (
        kind.startswith(("5.2", "5.4", "7."))
        or kind in ("1.3", "2.0")
        or at == "MAIL"
        or (code in (501, 555) and kind != "1.1")
    ):
        return False
    return at == "RCPT" or kind in _OF_RECIPIENT or words.SURELY_NOBODY.said_in(said)
