"""Reports made for programs: delivery status (RFC 3464) and feedback (RFC 5965)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from drip.core.answers import addresses_in
from drip.inbound.mail import lines_of


@dataclass(frozen=True, slots=True)
class Status:
    """One recipient's block of a delivery report. `action` is failed, delayed, delivered, relayed or expanded.

    `passed_on`: it is about somebody else, to whom what is written to the recipient is passed on (an alias, a list).
    """

    recipient: str
    action: str
    status: str
    diagnostic: str
    passed_on: bool


def statuses(text: str) -> list[Status]:
    """The recipients' blocks. Some servers leave out the empty line between them: a field that comes again begins a block."""
    found = []
    for named in _blocks(text):
        who = named.get("final-recipient") or named.get("original-recipient") or named.get("x-actual-recipient") or ""
        if not who and not ("action" in named and "status" in named):
            continue
        # `X-Actual-Recipient` and `Original-Recipient` are whom we wrote to, where an alias led on.
        written = _address(named.get("original-recipient") or named.get("x-actual-recipient") or "")
        final = _address(who)
        # A server may write another domain, or only the name before it.
        passed_on = bool(written and final) and final.partition("@")[0].lower() != written.partition("@")[0].lower()
        action = re.split(r"[\s;(]", named.get("action", "").strip().lower() or "failed")[0]
        diagnostic = _diagnostic(named.get("diagnostic-code", ""))
        found.append(Status(written or final, action, named.get("status", ""), diagnostic, passed_on))
    return found


def _blocks(text: str) -> Iterator[dict[str, str]]:
    for paragraph in re.split(r"\n\s*\n", text):
        block: dict[str, str] = {}
        for name, value in lines_of(paragraph):
            if name in block and name in ("final-recipient", "action", "status", "original-recipient"):
                yield block
                block = {}
            block.setdefault(name, value)
        yield block


def _address(value: str) -> str:
    """`rfc822; ana@example.com`, also with a route before it; empty for what is no address (a pipe, a folder)."""
    kind, semicolon, rest = value.partition(";")
    rest = (rest if semicolon else kind).strip().strip("<>\"' ")
    if rest.startswith(("|", "/")):
        return ""
    rest = re.sub(r"^@[\w.,@-]+:", "", rest)
    if found := addresses_in(rest):
        return found[0]
    return rest if re.fullmatch(r"[^\s@]+@[^\s@]+", rest) else ""


def _diagnostic(value: str) -> str:
    return re.sub(r"(?i)^(smtp|unknown|x-[\w-]+)\s*;\s*", "", value).strip()


@dataclass(frozen=True, slots=True)
class Complaint:
    """A complaint as a provider passes it on. `kind` is abuse, fraud, virus, not-spam, opt-out, auth-failure or other."""

    kind: str
    recipients: tuple[str, ...]


def feedback(text: str) -> Complaint:
    """The report's own fields."""
    named = lines_of(text)
    kind = next((value for name, value in named if name == "feedback-type"), "") or "other"
    whom = " ".join(value for name, value in named if name in ("original-rcpt-to", "removal-recipient"))
    return Complaint(re.split(r"[\s;(]", kind.lower())[0], tuple(addresses_in(whom)))
