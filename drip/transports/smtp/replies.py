"""A server's answers, taken apart, and what becomes of a message that is
refused: `core.answers` judges, this says whom it hits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from drip.core.answers import Answer, Cause, Verdict, judge
from drip.core.message import Receipt, Refused, Scope, Unsent

# Longer answers than any real server gives: RFC 5321 section 4.5.3.1.5 has
# lines of 512 octets.
LONGEST_LINE = 8192
MOST_LINES = 200
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.S)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ :-]|$)")


class Garbage(Exception):
    """What came is no answer of SMTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its code, its lines' texts, and its enhanced code (`5.1.1`),
    empty if there is none.
    """

    code: int
    lines: tuple[str, ...]
    enhanced: str = ""

    def __str__(self) -> str:
        return f"{self.code} {' '.join(' '.join(self.lines).split())}".strip()[:500]


class Replies:
    """Bytes in, whole answers out."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[tuple[bytes, bytes]] = []

    @property
    def inside(self) -> bool:
        """Whether something has come that is not a whole answer yet."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The answers that are complete now, one by one.

        Raises Garbage where one makes no sense.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            reply = None if self._lines else _alone(line)
            if reply is None:
                reply = self._with_line(line)
            if reply is not None:
                yield reply
        if len(self._rest) > LONGEST_LINE:
            raise Garbage("a line without end")

    def _with_line(self, line: bytes) -> Reply | None:
        """The answer that ends with this line; None if it goes on."""
        match = _LINE.fullmatch(line.rstrip(b"\r"))
        if match is None or len(line) > LONGEST_LINE:
            raise Garbage(_shown(line))
        code, dash, text = match.groups()
        self._lines.append((code, text or b""))
        if len(self._lines) > MOST_LINES:
            raise Garbage("an answer without end")
        if dash == b"-":
            return None
        whole, self._lines = self._lines, []
        return _reply(whole)


@lru_cache(512)
def _alone(line: bytes) -> Reply | None:
    """The answer that is this line and no other; None if it is not.

    Servers mostly say the same.
    """
    if len(line) > LONGEST_LINE:
        return None
    match = _LINE.fullmatch(line.rstrip(b"\r"))
    if match is None or match[2] == b"-":
        return None
    return _reply([(match[1], match[3] or b"")])


def _reply(lines: list[tuple[bytes, bytes]]) -> Reply:
    """RFC 5321 section 4.2.1: all lines have the same code."""
    codes = sorted({code for code, _ in lines})
    if len(codes) > 1:
        raise Garbage(f"an answer of several codes ({b', '.join(codes).decode()})")
    code = codes[0].decode()
    texts = tuple(text.decode("utf-8", "replace") for _, text in lines)
    found = _ENHANCED.match(texts[0])
    enhanced = found[1] if found else ""
    if not enhanced.startswith(code[0]):
        # One of another class than the basic code says nothing (RFC 2034 section 4).
        enhanced = ""
    return Reply(int(code), texts, enhanced)


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "replace"))


# Whom an answer is about, by what it means: where it is for good, and where it
# is for now. What is not here is about the message.
FOR_GOOD: Mapping[Cause, Scope] = {
    "login": "transport",
    "relay": "transport",
    "us": "transport",
    "rate": "transport",
    "server-full": "transport",
    "sender": "sender",
    "nobody": "address",
    "no-mail": "address",
}
FOR_NOW: Mapping[Cause, Scope] = {
    "login": "transport",
    "relay": "transport",
    "us": "transport",
    "rate": "rate",
    "server-full": "transport",
    "sender": "message",
    "session": "session",
    "greylisted": "address",
    "full": "address",
    "disabled": "address",
    "crowded": "domain",
}
AT_MAIL: Mapping[Cause, Scope] = {
    "rate": "rate",
    "crowded": "rate",
    "sender": "message",
    "session": "session",
}
# At MAIL nobody has been named but the sender: what is not about the message or
# the server is about the sender.
OF_MESSAGE: tuple[Cause, ...] = ("size", "full", "international")
OF_SERVER: tuple[Cause, ...] = (
    "busy",
    "greylisted",
    "disabled",
    "crowded",
    "session",
    "expired",
)
# What may be taken later, also where a server says by its code that it will not.
AGAIN: tuple[Cause, ...] = ("greylisted", "busy")
# At RCPT a fault of syntax is the address's.
SYNTAX = (501, 553, 555)
# RFC 3463 section 3.4: full, not taking messages, misconfigured.
OF_SYSTEM = ("3.1", "3.2", "3.5")


def verdict(
    at: str,
    reply: Reply,
    recipient: str = "",
) -> Receipt:
    """What becomes of a message whose command or text (`at`) was answered with a 4xx or
    5xx.

    `recipient` is whom it is about, where that is known.
    """
    text = " ".join(reply.lines)
    found = judge(Answer(text, at, reply.code, reply.enhanced, recipient))
    of_address = at == "RCPT" and reply.code in SYNTAX
    if found.cause == "dialogue" and not of_address:
        return Unsent(str(reply), "dialogue")
    if reply.code < 500:
        return Unsent(str(reply), _for_now(at, reply, found))
    if at != "MAIL" and found.cause in AGAIN:
        # By its code for good; by its words it may be taken later.
        return Unsent(str(reply), "address")
    return Refused(str(reply), _for_good(at, found), at_recipient=at == "RCPT")


def _for_good(at: str, found: Verdict) -> Scope:
    """Whom a 5xx is about."""
    scope = FOR_GOOD.get(found.cause, "message")
    if at == "TEXT" and found.cause == "us":
        # A filter that has read the text says it of this text.
        return "message"
    of_nobody = scope in ("message", "address") and found.cause not in OF_MESSAGE
    if at == "MAIL" and of_nobody:
        return "transport" if found.cause in OF_SERVER else "sender"
    return "message" if scope == "address" and not found.dead else scope


def _for_now(
    at: str,
    reply: Reply,
    found: Verdict,
) -> Scope:
    """Greylisting (RFC 6647) is about one address, throttling about all of its
    domain."""
    scope = FOR_NOW.get(found.cause)
    # RFC 3463: the class, then what it is about and what of that.
    _, _, subject = reply.enhanced.partition(".")
    if at == "MAIL":
        # Too many recipients, before one was named: of this connection (section 3.6).
        session = reply.enhanced == "4.5.3"
        return "session" if session else AT_MAIL.get(found.cause, "transport")
    leaves = reply.code == 421 and scope != "rate"
    if leaves or subject in OF_SYSTEM:
        return "transport"
    if subject.startswith("2.") and scope in (None, "domain"):
        return "address"
    if scope is not None:
        return scope
    if subject.startswith(("4.", "7.")):
        return "domain"
    return "address" if at == "RCPT" else "message"
