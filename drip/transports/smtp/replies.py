"""What a server's answer means: whether it is for good, and whom it is about.

Basic codes are RFC 5321 section 4.2, enhanced ones RFC 3463 with the IANA registry's additions (RFC 7372 about
authentication, RFC 7505 about null MX). The rules are data; the first that fits decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from drip.core.message import Receipt, Refused, Scope, Unsent

# Longer answers than any real server gives: RFC 5321 section 4.5.3.1.5 has lines of 512 octets.
LONGEST_LINE = 8192
MOST_LINES = 200
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.S)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ :-]|$)")


_ADDRESS = re.compile(r"<[^<>\s]*@[^<>\s]*>|[^\s<>@]{1,64}@[^\s<>@]{1,255}")


class Garbage(Exception):
    """What came is no answer of SMTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its code, its lines' texts, and its enhanced code (`5.1.1`), empty if there is none."""

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
        """The answers that are complete now, one by one. Raises Garbage where one makes no sense."""
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
    """The answer that is this line and no other; None if it is not. Servers mostly say the same."""
    match = _LINE.fullmatch(line.rstrip(b"\r")) if len(line) <= LONGEST_LINE else None
    if match is None or match[2] == b"-":
        return None
    return _reply([(match[1], match[3] or b"")])


def _reply(lines: list[tuple[bytes, bytes]]) -> Reply:
    """RFC 5321 section 4.2.1: all lines have the same code."""
    codes = {code for code, _ in lines}
    if len(codes) > 1:
        raise Garbage(f"an answer of several codes ({b', '.join(sorted(codes)).decode()})")
    texts = [text.decode("utf-8", "replace") for _, text in lines]
    enhanced = _ENHANCED.match(texts[0])
    # An enhanced code of another class than the basic one says nothing (RFC 2034 section 4).
    known = enhanced[1] if enhanced and enhanced[1][0] == chr(lines[0][0][0]) else ""
    return Reply(int(lines[0][0]), tuple(texts), known)


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Answers to these commands with this code, enhanced code and text (regular expressions; empty fits all) are about `scope`."""

    at: str
    code: str
    enhanced: str
    says: str
    scope: Scope
    # Only as long as the server has not taken another recipient over the same connection.
    of_all: bool = False


GREY = "gr[ea]y|try again (in|after) \\d+ (sec|min)"
NO_SUCH = (
    "user unknown|unknown (user|recipient|local part|mailbox)|no such (user|recipient|mailbox|address|person)|"
    "(user|recipient|mailbox|address|account)( \\S+)? (not found|does ?n.t exist|does not exist|unknown|is unknown|is disabled)|"
    "invalid (recipient|mailbox|user)|no mailbox (here|by that name)|not a valid (mailbox|user)|"
    "(account|mailbox) (has been |is |was )?(disabled|closed|deleted|inactive|suspended|terminated)|not our customer"
)
OF_SENDER = "sender address rejected|sender verif|verification failed for|domain of sender|sender (domain|user)"
EXCUSE = "too many|\\bspam|blocked|bl(ac|o)ck.?list|\\blisted (at|in|by|on)|polic(y|ies)|at a rate"
# What another server said, told by this one: of whom and why is not known.
TOLD = "\\b(said|callout)\\b[^:]*: ?[45]\\d\\d\\b"
# Said of this machine or this account, whatever the message.
OF_US = (
    "client host|blocked using|(helo|ehlo) (command )?rejected|(daily|hourly|sending|outbound)\\b.{0,30}\\b(quota|limit)|"
    "\\byour (account|ip|server|host)\\b.{0,40}(suspend|block|listed|banned|disabled|limit)"
)
THROTTLE = "\\brate\\b|\\brate.?limit|throttl|too (many|fast|much)|unusual|defer|slow down|temporarily (blocked|rejected)|reputation|\\blimit"
NO_RELAY = "relay(ing)?( access)? (is )?(denied|not (permitted|allowed)|prohibited)|(unable to|not) relay"
RULES = (
    # --- for good: nothing at all can leave
    Rule("MAIL RCPT DATA TEXT", "53[0458]", "", "", "transport"),
    Rule("MAIL RCPT DATA TEXT", "5", "5\\.7\\.[089]", "authenti", "transport"),
    Rule("RCPT", "5", "", NO_RELAY, "transport", of_all=True),
    Rule("RCPT DATA TEXT", "5", "", TOLD, "message"),
    Rule("MAIL RCPT", "5", "", OF_US, "transport"),
    Rule("MAIL RCPT DATA TEXT", "5", "5\\.4\\.5", "", "transport"),
    # --- for good, though the address may be there: it is the sender who is unknown, or this is a filter's excuse
    Rule("RCPT DATA TEXT", "5", "", OF_SENDER, "sender"),
    Rule("RCPT DATA TEXT", "5", "5\\.1\\.[0-6]|5\\.2\\.1|(5\\.0\\.0)?", EXCUSE, "message"),
    # --- for good: the address is dead
    Rule("RCPT DATA TEXT", "5", "5\\.1\\.(1|2|3|4|6|10)|5\\.2\\.1", "", "address"),
    Rule("RCPT", "556", "", "", "address"),
    # Microsoft 365, of a recipient that its directory does not have.
    Rule("RCPT", "5", "5\\.4\\.1", "recipient address rejected: access denied", "address"),
    # --- for good: this message
    Rule("MAIL", "552", "", "", "message"),
    Rule("MAIL", "5", "5\\.2\\.[23]|5\\.3\\.4", "", "message"),
    # --- for good: its sender, so that all others would be refused too (RFC 7372 for 5.7.20 to 5.7.26)
    Rule("MAIL RCPT DATA TEXT", "5", "5\\.1\\.[78]|5\\.7\\.(2[0-79]|30)", "", "sender"),
    Rule("MAIL", "5", "", "", "sender"),
    Rule("RCPT", "55[013]", "(5\\.0\\.0)?", NO_SUCH, "address"),
    # --- for now: this sender
    Rule("MAIL", "4", "4\\.1\\.[78]", "", "message"),
    # --- for now: nothing at all can leave
    Rule("MAIL", "4", "", "", "transport"),
    Rule("RCPT DATA TEXT", "421", "", "", "transport"),
    Rule("RCPT DATA TEXT", "45[123]", "4\\.3\\.[125]", "", "transport"),
    # --- for now: greylisting (RFC 6647) is about one address, throttling about all of its domain
    Rule("RCPT DATA TEXT", "4", "", GREY, "address"),
    Rule("RCPT DATA TEXT", "4", "4\\.2\\.[0-9]+", "", "address"),
    Rule("RCPT DATA TEXT", "4", "4\\.7\\.[0-9]+|4\\.4\\.[0-9]+", "", "domain"),
    Rule("RCPT DATA TEXT", "4", "", THROTTLE, "domain"),
    Rule("RCPT", "4", "", "", "address"),
)


def verdict(at: str, reply: Reply, took_others: bool = False) -> Receipt:
    """What becomes of a message whose command or text (`at`) was answered with a 4xx or 5xx."""
    # An address is anybody's text.
    said = _ADDRESS.sub("", " ".join(reply.lines))
    rules = (rule for rule in RULES if not (rule.of_all and took_others))
    scope: Scope = next((rule.scope for rule in rules if _fits(rule, at, reply, said)), "message")
    return Unsent(str(reply), scope) if reply.code < 500 else Refused(str(reply), scope)


def _fits(rule: Rule, at: str, reply: Reply, said: str) -> bool:
    return (
        at in rule.at.split()
        and re.match(rule.code, str(reply.code)) is not None
        and (not rule.enhanced or re.fullmatch(rule.enhanced, reply.enhanced) is not None)
        and (not rule.says or re.search(rule.says, said, re.I) is not None)
    )
