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

    Some servers leave out the empty line between them: a field that comes again
    begins a block.
    """
    found = []
    for named in _blocks(text):
        who = [
            named.get(f"{each}-recipient", "")
            for each in ("original", "final", "x-actual")
        ]
        if not any(who) and not ("action" in named and "status" in named):
            continue
        # Where an alias led on, `Original-Recipient` is whom we wrote to;
        # sendmail calls that final, and the other one actual.
        addresses = [address for each in who if (address := _address(each))]
        # A server may write another domain, or only the name before it.
        passed_on = len({each.partition("@")[0].lower() for each in addresses}) > 1
        action = re.split(
            r"[\s;(]", named.get("action", "").strip().lower() or "failed"
        )[0]
        diagnostic = _diagnostic(named.get("diagnostic-code", ""))
        status, written = named.get("status", ""), next(iter(addresses), "")
        found.append(
            Status(
                written,
                action,
                status,
                diagnostic,
                passed_on,
                "will-retry-until" in named,
            )
        )
    return found


def _blocks(text: str) -> Iterator[dict[str, str]]:
    for paragraph in re.split(r"\n\s*\n", text):
        block: dict[str, str] = {}
        for name, value in lines_of(paragraph):
            if name in block and name in (
                "final-recipient",
                "action",
                "status",
                "original-recipient",
            ):
                yield block
                block = {}
            block.setdefault(name, value)
        yield block


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
    if exited := _EXIT.fullmatch(value):
        return (
            f"{EXITS.get(int(exited[1]), 'system error')} (exit code {int(exited[1])})"
        )
    return re.sub(r"(?i)^(smtp|unknown|x-[\w-]+)\s*;\s*", "", value).strip()


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
    kind = (
        next((value for name, value in named if name == "feedback-type"), "") or "other"
    )
    whom = " ".join(
        value
        for name, value in named
        if name in ("original-rcpt-to", "removal-recipient")
    )
    return Complaint(re.split(r"[\s;(]", kind.lower())[0], tuple(addresses_in(whom)))
