"""Who has written a mail that came back, and about which message of ours."""

from __future__ import annotations

import re

from drip.core.answers import addresses_in
from drip.inbound.freetext import RecipientNotice, notice_of, notices_in
from drip.inbound.mail import COPIES, RECEIPT, STATUSES, Mail, fields

# The addresses that one message was sent from are few.
MOST_OURS = 20
REPORTS = (*STATUSES, "message/feedback-report", RECEIPT)
_DAEMON = re.compile(
    r"(?i)mailer[-_. ]?daemon|post[-_]?master|mail[ ._-]?deliver|delivery (subsystem|system)|system administrator|mail system|"
    r"mdaemon|\bbounce|maildelivery|microsoft ?exchange|mail administrator|mmdf|uucp"
)
_FORWARDED = re.compile(r"(?i)\s*(fwd?|wg|tr|rv|i|enc|doorst|vs|pd|пересл)\s*:")
_NO_REPLY = re.compile(r"(?i)\b(no|do[-_.]?not)[-_.]?reply\b")
# Older than RFC 3834.
_AUTOMATIC = (
    "X-Autoreply",
    "X-Autorespond",
    "X-Autoresponder",
    "X-Auto-Response-From",
)
_MESSAGE_ID = re.compile(r"<([^<>@\s]{1,200}@[^<>@\s]{1,200})>")


# --- who has written it


def sender(mail: Mail) -> str:
    """Where an answer would go; empty where no address is named."""
    return first_address(mail.header("Reply-To") or mail.header("From"))


def first_address(text: str) -> str:
    """The first address in a text; empty without one."""
    return next(iter(addresses_in(text)), "")


def is_by_server(mail: Mail) -> bool:
    """Whether a mail server has written it: RFC 5321 section 4.5.5 has such a mail
    come from no path, and not every server does.
    """
    from_nobody = mail.header("Return-Path").strip() == "<>"
    return from_nobody or _DAEMON.search(mail.header("From")) is not None


def is_automatic(mail: Mail) -> bool:
    """RFC 3834, and what is older than it."""
    if mail.header("Auto-Submitted").lower().startswith("auto-"):
        return True
    if mail.header("Precedence").lower() == "auto_reply":
        return True
    receipt = mail.report == "disposition-notification"
    return receipt or any(mail.header(name) for name in _AUTOMATIC)


def is_auto_reply(mail: Mail) -> bool:
    """Whether somebody's own program answers.

    Notices of servers are automatic too, and come from no path either.
    """
    return is_automatic(mail) and _DAEMON.search(mail.header("From")) is None


def is_by_person(mail: Mail) -> bool:
    """Whoever tells of a mail that came back proves nothing."""
    author = mail.header("From")
    no_reply = _NO_REPLY.search(author) is not None
    if not (no_reply or is_by_server(mail) or is_automatic(mail)):
        return True
    forwarded = _FORWARDED.match(mail.header("Subject")) is not None
    return forwarded and not _DAEMON.search(author)


# --- the message that it is about


def words(mail: Mail) -> str:
    """The notice: the words before the copy of the message."""
    texts: list[str] = []
    for part in mail.parts:
        if part.kind in COPIES:
            break
        another = part.kind == "text/html" and texts
        if part.kind not in ("text/plain", "text/html") or another:
            continue
        texts.append(part.text)
        if notice_of(part.text) != part.text:
            break
    return notice_of("\n".join(texts))


def original(mail: Mail, *names: str) -> list[str]:
    """Fields of the message that the mail is about, where a copy of it is there."""
    copy = mail.part(*COPIES)
    if copy is not None:
        header = copy.text.split("\n\n")[0]
    else:
        plain = (part.text for part in mail.parts if part.kind == "text/plain")
        text = "\n".join(plain)
        header = text[len(notice_of(text)) :]
    named = fields(header)
    return [named[name] for name in names if name in named]


def addressee(mail: Mail) -> str:
    """Whom the message was for, by its copy."""
    named = original(mail, "x-original-to", "delivered-to", "to")
    return first_address(" ".join(named))


def failed(mail: Mail) -> list[str]:
    """Whom Exim, and who follows it, names by a field."""
    return addresses_in(" ".join(mail.headers("X-Failed-Recipients")))


def message_ids(mail: Mail) -> tuple[str, ...]:
    """The Message-IDs of the message that this is about: of its copy, and what this is
    a reply to.
    """
    texts = [
        *original(mail, "message-id"),
        mail.header("In-Reply-To"),
        mail.header("References"),
        *(part.text for part in mail.parts if part.kind in REPORTS),
    ]
    found = _MESSAGE_ID.findall(" ".join(texts))
    return tuple(dict.fromkeys(found))


def envelope_recipients(mail: Mail) -> list[str]:
    """To whom it was really sent: bounces go to an address that holds the message's
    name.
    """
    names = ("To", "Delivered-To", "X-Original-To", "Envelope-To")
    values = (value for name in names for value in mail.headers(name))
    return addresses_in(" ".join(values))


def our_domains(mail: Mail) -> frozenset[str]:
    """Of the addresses that the message was sent from."""
    addresses = _our_addresses(mail)[:MOST_OURS]
    return frozenset(address.rpartition("@")[2].lower() for address in addresses)


def notices(
    mail: Mail,
    notice: str,
) -> list[RecipientNotice]:
    """What a notice says of each recipient."""
    senders = addresses_in(mail.header("From"))
    return notices_in(notice, failed(mail), [*senders, *_our_addresses(mail)])


def _our_addresses(mail: Mail) -> list[str]:
    """Those that the message was sent from, as its copy and the bounce's own `To`
    say.
    """
    named = (mail.header("To"), *original(mail, "from", "return-path"))
    return addresses_in(" ".join(named))
