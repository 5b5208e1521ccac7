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
            if not self._lines and (known := _alone(line)) is not None:
                yield known
                continue
            match = _LINE.fullmatch(line.rstrip(b"\r"))
            if match is None or len(line) > LONGEST_LINE:
                raise Garbage(_shown(line))
            code, dash, text = match.groups()
            self._lines.append((code, text or b""))
            if len(self._lines) > MOST_LINES:
                raise Garbage("an answer without end")
            if dash != b"-":
                whole, self._lines = self._lines, []
                yield _reply(whole)
        if len(self._rest) > LONGEST_LINE:
            raise Garbage("a line without end")


@lru_cache(512)
def _alone(line: bytes) -> Reply | None:
    """The answer that is this line and no other; None if it is not.

    Servers mostly say the same.
    """
    match = _LINE.fullmatch(line.rstrip(b"\r")) if len(line) <= LONGEST_LINE else None
    if match is None or match[2] == b"-":
        return None
    return _reply([(match[1], match[3] or b"")])


def _reply(lines: list[tuple[bytes, bytes]]) -> Reply:
    """RFC 5321 section 4.2.1: all lines have the same code."""
    codes = {code for code, _ in lines}
    if len(codes) > 1:
        raise Garbage(
            f"an answer of several codes ({b', '.join(sorted(codes)).decode()})"
        )
    texts = [text.decode("utf-8", "replace") for _, text in lines]
    enhanced = _ENHANCED.match(texts[0])
    # An enhanced code of another class than the basic one says nothing (RFC
    # 2034 section 4).
    known = enhanced[1] if enhanced and enhanced[1][0] == chr(lines[0][0][0]) else ""
    return Reply(int(lines[0][0]), tuple(texts), known)


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


AGAIN: tuple[Cause, ...] = ("greylisted", "busy")


def verdict(at: str, reply: Reply, recipient: str = "") -> Receipt:
    """What becomes of a message whose command or text (`at`) was answered with
    a 4xx or 5xx.

    `recipient` is whom it is about, where that is known.
    """
    found = judge(
        Answer(" ".join(reply.lines), at, reply.code, reply.enhanced, recipient)
    )
    # At RCPT a fault of syntax is the address's.
    if found.cause == "dialogue" and not (
        at == "RCPT" and reply.code in (501, 553, 555)
    ):
        return Unsent(str(reply), "dialogue")
    if at != "MAIL" and reply.code >= 500 and found.cause in AGAIN:
        # By its code for good; by its words it may be taken later.
        return Unsent(str(reply), "address")
    scope = _for_now(at, reply, found) if reply.code < 500 else _for_good(at, found)
    if reply.code < 500:
        return Unsent(str(reply), scope)
    return Refused(str(reply), scope, at_recipient=at == "RCPT")


def _for_good(at: str, found: Verdict) -> Scope:
    scope = FOR_GOOD.get(found.cause, "message")
    if scope == "transport" and at == "TEXT" and found.cause == "us":
        # A filter that has read the text says it of this text.
        return "message"
    if (
        at == "MAIL"
        and scope in ("message", "address")
        and found.cause not in OF_MESSAGE
    ):
        return "transport" if found.cause in OF_SERVER else "sender"
    return "message" if scope == "address" and not found.dead else scope


def _for_now(at: str, reply: Reply, found: Verdict) -> Scope:
    """Greylisting (RFC 6647) is about one address, throttling about all of its
    domain.
    """
    scope = FOR_NOW.get(found.cause)
    if at == "MAIL":
        # Too many recipients, before one was named: of this connection (RFC
        # 3463 section 3.6).
        return (
            "session"
            if reply.enhanced == "4.5.3"
            else AT_MAIL.get(found.cause, "transport")
        )
    kind = reply.enhanced.partition(".")[2]
    if kind in ("3.1", "3.2", "3.5") or (reply.code == 421 and scope != "rate"):
        return "transport"
    if scope is None or (scope == "domain" and kind.startswith("2.")):
        return (
            "address"
            if kind.startswith("2.")
            else "domain"
            if kind.startswith(("4.", "7."))
            else _of_one(at)
        )
    return scope


def _of_one(at: str) -> Scope:
    return "address" if at == "RCPT" else "message"
