"""Reports made for programs: delivery status (RFC 3464) and feedback (RFC 5965)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from drip.core.answers import addresses_in
from drip.inbound.mail import lines_of


@dataclass(frozen=True, slots=True)
class Status:
    """One recipient's block of a delivery report.

    `action` is failed, delayed, delivered, relayed or expanded, or what its
    server has made up. `retried`: it says until when it will be tried again.

    `passed_on`: it is about somebody else, to whom what is written to the
    recipient is passed on (an alias, a list).
    """

    recipient: str
    action: str
    status: str
    diagnostic: str
    passed_on: bool
    retried: bool = False


def statuses(text: str) -> list[Status]:
    """The recipients' blocks.

    Some servers leave out the empty line between them: a field that comes again begins
    a block.
    """
    return [_status(named) for named in _blocks(text) if _is_of_recipient(named)]


# Where an alias led on, `Original-Recipient` is whom we wrote to; sendmail calls that
# final, and the other one actual.
_RECIPIENTS = ("original-recipient", "final-recipient", "x-actual-recipient")


def _is_of_recipient(named: dict[str, str]) -> bool:
    """The first block is about the whole report (RFC 3464 section 2.2)."""
    if any(named.get(name) for name in _RECIPIENTS):
        return True
    return "action" in named and "status" in named


def _status(named: dict[str, str]) -> Status:
    """One recipient's block, by the names of its fields."""
    values = (_address(named.get(name, "")) for name in _RECIPIENTS)
    addresses = [address for address in values if address]
    # A server may write another domain, or only the name before it.
    people = {address.partition("@")[0].lower() for address in addresses}
    action = named.get("action", "").strip().lower() or "failed"
    return Status(
        recipient=addresses[0] if addresses else "",
        action=re.split(r"[\s;(]", action)[0],
        status=named.get("status", ""),
        diagnostic=_diagnostic(named.get("diagnostic-code", "")),
        passed_on=len(people) > 1,
        retried="will-retry-until" in named,
    )


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs, and what one of them repeats as one more."""
    for paragraph in re.split(r"\n\s*\n", text):
        block: dict[str, str] = {}
        for name, value in lines_of(paragraph):
            if name in block and name in _ONCE:
                yield block
                block = {}
            block.setdefault(name, value)
        yield block


_ONCE = ("final-recipient", "action", "status", "original-recipient")


def _address(value: str) -> str:
    """`rfc822; ana@example.com`, also with a route before it; empty for what is
    no address (a pipe, a folder).
    """
    kind, semicolon, rest = value.partition(";")
    rest = (rest if semicolon else kind).strip().strip("<>\"' ")
    if rest.startswith(("|", "/")):
        return ""
    rest = re.sub(r"^@[\w.,@-]+:", "", rest)
    if found := addresses_in(rest):
        return found[0]
    return rest if re.fullmatch(r"[^\s@]+@[^\s@]+", rest) else ""


# How a program on the server ended that was to take the mail (sysexits.h),
# which sendmail reports as `X-Unix; 67`.
EXITS = {
    64: "the program was called wrongly",
    65: "the program does not accept the message",
    66: "the program found no input",
    67: "user unknown",
    68: "no data record for the host",
    69: "service unavailable",
    70: "internal error",
    71: "system error",
    72: "system error: a file is missing",
    73: "could not create the mailbox",
    74: "input/output error",
    75: "temporary failure, try again later",
    76: "protocol error",
    77: "permission denied",
    78: "configuration error",
}
_EXIT = re.compile(r"(?i)x-unix\s*;\s*(\d{1,3})\s*")


def _diagnostic(value: str) -> str:
    """The answer without its type (`smtp; 550 …`)."""
    exited = _EXIT.fullmatch(value)
    if exited is None:
        return re.sub(r"(?i)^(smtp|unknown|x-[\w-]+)\s*;\s*", "", value).strip()
    code = int(exited[1])
    return f"{EXITS.get(code, 'system error')} (exit code {code})"


@dataclass(frozen=True, slots=True)
class Complaint:
    """A complaint as a provider passes it on.

    `kind` is abuse, fraud, virus, not-spam, opt-out, auth-failure or other.
    """

    kind: str
    recipients: tuple[str, ...]


def feedback(text: str) -> Complaint:
    """The report's own fields."""
    named = lines_of(text)
    kinds = (value for name, value in named if name == "feedback-type")
    kind = next(kinds, "") or "other"
    whom = (value for name, value in named if name in _COMPLAINED)
    recipients = addresses_in(" ".join(whom))
    return Complaint(re.split(r"[\s;(]", kind.lower())[0], tuple(recipients))


_COMPLAINED = ("original-rcpt-to", "removal-recipient")
