"""Notices in words: which recipients one is about, and what it says of each.

There is no standard for them. What nearly all have in common: a recipient's
address stands at the beginning of a line (after marks, a label or a bracket),
what is said of it follows, and behind a line of its own comes a copy of the
message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from drip.core.answers import ADDRESS, addresses_in

# Exchange names people as its directory does, without any address.
_NAME_ALONE = re.compile(
    r"(?im)recipient\(s\)[^\n]{0,60}\n\s*[^\n@]{2,80} on (?:\w{2,4},? )?\d{1,4}[ ./-]"
)
# Behind these the message itself is copied.
_COPY = re.compile(
    r"""(?im)^[ \t>]*(
    [-=*_~.#]{2,}[ \t]*[^\n]{0,60}\b(copy\ of|original|unsent|undelivered|returned|enclosed|forwarded|below\ this\ line|
        (message|mail)\ (headers?|body|contents?|text|follows)|headers?\ (of|follow|only)|begin\ (of\ )?(the\ )?(message|header|mail))\b[^\n]{0,60}|
    (here\ is\ )?(a\ copy\ of\ )?(the|your)\ (original|returned|unsent)\ (message|mail)[^\n:]{0,40}(:|follows?|is\ below|attached)[^\n]{0,5}|
    (the\ )?(header|body|text|first\ lines?)[^\n]{0,30}of\ (the|your)\ (original\ )?(message|mail)[^\n]{0,40}|
    (message\ |original\ )?(headers?|contents?)\ follows?[^\n]{0,10}|
    (Return-Path|Received):\ [^\n]*
    )$""",
    re.X,
)
# Not one of those lines: a heading of the notice itself.
_HEADING = re.compile(
    r"(?i)transcript|following addresses|delivery errors|permanent fatal|details|recipient|error|reason|diagnos|failed|deliver(y|ed) (report|status|notif)|explanation"
)
_LABEL = r"(?:[-*>•·|+ \t]|\d+[.)])*(?:(?:final |original |failed |intended )?(?:recipient|addressee|address|to|user|rcpt to|sent to|could not be delivered to|(?:unable to|could not) deliver (?:message|mail|your message) to|delivery to|message to|e-?mail)(?: address)?(?:\(s\)|\(es\)|s|es)?\s*(?:[:=]|is\b)?\s*)?"
_RECIPIENT = re.compile(
    rf"(?i)^{_LABEL}(?:rfc822;\s*|smtp:\s*|mailto:)?[<\"'\[(]*({ADDRESS.pattern})"
)
# After these comes somebody else's address.
_NOT = re.compile(
    r"(?i)^[\s>*-]*(from|sender|reply-to|subject|date|message[- ]id|mail from|cc|return-path|references|in-reply-to|by|x-[\w-]+|envelope-sender|sent by|reporting-mta|received)\b\s*[:<]|MAIL FROM|postmaster@|contact|support@|abuse@"
)
# `550 <ana@example.com>... User unknown`
_TRANSCRIPT = re.compile(
    rf"(?i)^\s*[245]\d\d[ -](?:[245]\.\d+\.\d+ )?<({ADDRESS.pattern})>\s*\.\.\."
)
_QUOTED_TO = re.compile(r"(?i)^\s*to:\s")


@dataclass(frozen=True, slots=True)
class RecipientNotice:
    """What a notice says of one recipient."""

    recipient: str
    text: str


def notice_of(text: str) -> str:
    """The notice without the copy of the message behind it."""
    for found in _COPY.finditer(text):
        before = text[: found.start()]
        # A notice has something to say before it begins to copy.
        if _begins_copy(found[0]) and re.search(r"\w", before):
            return before
    return text


def _begins_copy(line: str) -> bool:
    """Whether it is a header's line, or no heading of the notice itself."""
    is_header = line.lstrip(" \t>").startswith(("Return-Path", "Received"))
    return is_header or not _HEADING.search(line)


def notices_in(
    notice: str,
    failed: list[str],
    others: list[str],
) -> list[RecipientNotice]:
    """What the notice says of each recipient.

    `failed` are named by a header field; `others` are senders.
    """
    known = {address.lower() for address in failed}
    apart = {address.lower() for address in others} - known
    lines = notice.split("\n")
    marks = []
    for number, line in enumerate(lines):
        if address := _recipient(line, known, apart):
            marks.append((number, address))
    if not marks:
        return _of_whole(notice, failed, apart)
    # Where nothing is said behind an address, what stands before all of them is about
    # it.
    head = "\n".join(lines[: marks[0][0]])
    return [
        RecipientNotice(
            found.recipient,
            found.text if _says_something(found) else f"{found.text}{head}",
        )
        for found in _by_recipient(lines, marks)
    ]


def _of_whole(
    notice: str,
    failed: list[str],
    apart: set[str],
) -> list[RecipientNotice]:
    """A notice in which no line begins with a recipient's address."""
    if failed:
        return [RecipientNotice(address, notice) for address in failed]
    if _NAME_ALONE.search(notice):
        return [RecipientNotice("", notice)]
    for address in addresses_in(_without_senders(notice)):
        if address.lower() not in apart:
            return [RecipientNotice(address, notice)]
    return []


def _by_recipient(
    lines: list[str],
    marks: list[tuple[int, str]],
) -> list[RecipientNotice]:
    """The lines that are about each recipient, in the order in which they are named."""
    texts: dict[str, str] = {}
    names: dict[str, str] = {}
    ends = [*(number for number, _ in marks[1:]), len(lines)]
    begins = 0
    for (number, address), end in zip(marks, ends, strict=True):
        # Sendmail's transcript says what happened first and names the recipient last;
        # everybody else names him first.
        named_last = _TRANSCRIPT.match(lines[number]) is not None
        own = lines[begins : number + 1] if named_last else lines[number:end]
        begins = number + 1 if named_last else end
        key = address.lower()
        names.setdefault(key, address)
        texts[key] = texts.get(key, "") + "\n".join(own) + "\n"
    return [RecipientNotice(names[key], text) for key, text in texts.items()]


def _recipient(
    line: str,
    known: set[str],
    apart: set[str],
) -> str | None:
    """The address that a line begins with, if it is a recipient's."""
    if _NOT.search(line) or _QUOTED_TO.match(line):
        return None
    # Runs of blanks would be tried in every way.
    found = _TRANSCRIPT.match(line) or _RECIPIENT.match(" ".join(line.split()))
    if found is None:
        return None
    address = found[1].rstrip(".")
    is_sender = address.lower() in apart - known
    # One may have written to oneself, which only a line of its own says.
    alone = re.fullmatch(r"\s*<[^<>]+>:\s*", line)
    return None if is_sender and not alone else address


def _says_something(found: RecipientNotice) -> bool:
    """Whether there are words beside the address."""
    rest = found.text.lower().replace(found.recipient.lower(), " ")
    return len(re.findall(r"[^\W\d_]{2,}", rest)) >= 2


def _without_senders(notice: str) -> str:
    """Without the lines that name somebody else than a recipient."""
    return "\n".join(line for line in notice.split("\n") if not _NOT.search(line))
