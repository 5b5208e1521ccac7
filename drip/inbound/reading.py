"""What a mail is that came back, and what it says of whom. Pure: bytes in, findings out; the unknown stays unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from drip.core.answers import addresses_in
from drip.inbound.freetext import Said, notice_of, said_in
from drip.inbound.mail import Mail, fields
from drip.inbound.meaning import Class, Evidence, class_of, status_of
from drip.inbound.reports import feedback, statuses

Kind = Literal["bounce", "delayed", "delivered", "complaint", "unsubscribe", "auto-reply", "other"]
REASON_LENGTH = 300
# What is said of one recipient, in characters; and of how many recipients one mail can be.
SAID_LENGTH = 2_000
MOST_RECIPIENTS = 1_000
_DAEMON = re.compile(
    r"(?i)mailer[-_. ]?daemon|post[-_]?master|mail[ ._-]?deliver|delivery (subsystem|system)|system administrator|mail system|"
    r"mdaemon|\bbounce|-(admin|owner|request)@|maildelivery|microsoft exchange|mail administrator|mmdf|uucp"
)
_NO_REPLY = re.compile(r"(?i)\b(no|do[-_.]?not)[-_.]?reply\b")
_FAILED = re.compile(
    r"(?i)undeliver|un?deliverable|delivery (status|fail|report|notif|has failed)|fail(ed|ure)|returned (mail|to sender)|return(ing)? (mail|message)|"
    r"non[- ]?delivery|not (be )?delivered|nicht zu(gestellt|stellbar)|mail (delivery )?(error|system error)|rejected mail|bounce|could not send|user unknown|message (denied|rejected)|unzustellbar|"
    r"non (remis|distribu|consegna)|no se (pudo|ha podido) entregar|não (foi )?entreg|niet (afgeleverd|bezorgd)|не доставлен|退信|delay|warning: (message|could not)|配信|送信できません|mail error"
)
_SAYS_FAILED = re.compile(
    r"(?i)(could ?n.t|could not|can ?not|unable to|was(n.t| not)|did not|not been|has not|failed to|were not)( yet)? (be(en)? )?(deliver|reach|sen[dt])|permanent (fatal )?(error|fail)|"
    r"(konnte|kann|wurde) .{0,60}nicht (\w+ )?(zugestellt|ausgeliefert)|nicht zustellbar|n'a pas pu|no (se )?(ha )?(podido|pudo) entregar|"
    r"non è stato possibile|não (pôde|foi possível)|niet (worden )?(afgeleverd|bezorgd)|не (может|удалось|было) .{0,20}доставлен|无法|"
    r"not (a )?member|not allowed to post|delivery (to|failed|of)|undeliver|following (address|recipient)|user unknown|mailbox (is )?full|returned|failed permanently|"
    r"(550|552|553|554|551|421|450|451|452)[ -]"
)
_DELAYED = re.compile(
    r"(?i)\bdelay(ed)?\b|warning message only|will be retried|not yet been delivered|still (trying|being)|delivery attempts will continue|keep trying"
)
_AWAY = re.compile(
    r"(?i)out of (the )?office|auto(matic)?[- :]?(reply|response|responder)|autoreply|away from|on (vacation|holiday|leave)|vacation|abwesen(heit|d)|"
    r"absen(ce|t)|réponse automatique|respuesta autom|automatische antwort|i am (currently )?(away|out)"
)
_COMPLAINS = re.compile(
    r"(?i)complaint about message|abuse report|spam (report|complaint)|email feedback report|fbl\b|feedback loop"
)
# The whole subject, our token aside: newsletters have subjects that begin with such a word, and people answer them.
_LEAVE = re.compile(
    r"(?i)\s*(?:(?:re|aw|antw|antwort|sv|rv|rif|odp|fwd?|wg|tr)\s*:\s*)*(?:please |bitte )?"
    r"(?:unsubscribe|remove|stop|abmeld(?:en|ung)|abbestell(?:en|ung)|d[ée]sabonn\w+|desinscri\w+|desuscri\w+|desabonar|"
    r"(?:darse de |dar de |darme de )?baja|disiscri\w+|uitschrijven|afmelden)"
    r"(?: (?:me|mich|please|bitte|from|von|vom|this|the|your|der|newsletter|(?:mailing )?list|e?mails?))*\s*[.!]*(?:\s+[\w-]+\.[\w-]+\.[\w-]+)?\s*"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came back about one recipient; empty where the mail does not say who it is.

    `status` is an enhanced code (RFC 3463) or empty, `reason` the words it is told by.
    `about` is where the name of a message of ours may stand: Message-IDs that it speaks of, the addresses it was sent to.
    """

    kind: Kind
    recipient: str = ""
    status: str = ""
    meaning: Class = "unknown"
    reason: str = ""
    about: tuple[str, ...] = ()


def read(data: bytes) -> list[Finding]:
    """Every finding of one mail, one for each recipient that it is about."""
    mail = Mail(data)
    ids = (*_message_ids(mail), *_addressed(mail))
    found = (
        _feedback(mail) or _unsubscribe(mail) or _report(mail) or _notice(mail) or _reply(mail) or [Finding("other")]
    )
    return [_with_ids(each, ids) for each in found]


def identity_of(data: bytes) -> str:
    """What tells this mail from every other, however it was fetched: its Message-ID, or what it says."""
    mail = Mail(data)
    told = mail.header("Message-ID") or "\n".join(part.text for part in mail.parts)
    return sha256(told.encode("utf-8", "replace")).hexdigest()[:32]


def _with_ids(each: Finding, ids: tuple[str, ...]) -> Finding:
    reason = " ".join(each.reason.split())[:REASON_LENGTH]
    return Finding(each.kind, each.recipient, each.status, each.meaning, reason, ids)


# --- complaints and unsubscribing


def _feedback(mail: Mail) -> list[Finding]:
    part = mail.part("message/feedback-report")
    about = mail.part("message/rfc822", "text/rfc822-headers")
    to = addresses_in(fields(about.text).get("to", "")) if about else []
    if part:
        told = feedback(part.text)
        kind: Kind = "unsubscribe" if told.kind == "opt-out" else "complaint"
        return [Finding(kind, who, reason=told.kind) for who in told.recipients or to[:1] or [""]]
    if about and _COMPLAINS.search(mail.header("Subject")):
        who = next(iter(addresses_in(" ".join(_original(mail, "x-hmxmroriginalrecipient")))), "") or next(iter(to), "")
        return [Finding("complaint", who, reason="abuse")]
    return []


def _unsubscribe(mail: Mail) -> list[Finding]:
    subject = mail.header("Subject")
    if not _LEAVE.fullmatch(subject) or _from_a_machine(mail):
        return []
    return [Finding("unsubscribe", _sender(mail), reason=subject)]


# --- reports and notices


def _report(mail: Mail) -> list[Finding]:
    part = mail.part("message/delivery-status", "message/global-delivery-status")
    if part is None:
        return []
    told = statuses(part.text)
    notice = _words(mail)
    said = _said(mail, notice)
    ours = _our_domains(mail)
    words = {each.recipient.lower(): each.text for each in said}
    arrived = {each.recipient.lower() for each in told if _kind_of(each.action) == "delivered"}
    found = []
    for each in told[:MOST_RECIPIENTS]:
        around = words.get(each.recipient.lower(), notice if len(told) == 1 else "")
        text = each.diagnostic or _answer(around)
        recipient = each.recipient or next(iter(_failed(mail)), "") or _addressee(mail)
        evidence = Evidence(text, f"{around}\n{each.status}", _before(notice, said), each.status, True, recipient, ours)
        finding = _finding(_kind_of(each.action), recipient, evidence)
        if each.passed_on and finding.meaning == "address-dead":
            # Whom it is passed on to may be gone; whoever we wrote to is not.
            finding = replace(finding, meaning="unknown" if recipient.lower() in arrived else "temporary")
        found.append(finding)
    return found


def _kind_of(action: str) -> Kind:
    if action in ("delivered", "relayed", "expanded"):
        return "delivered"
    return "delayed" if action == "delayed" else "bounce"


def _notice(mail: Mail) -> list[Finding]:
    """A notice in words, if it looks like one: by who sends it, or by its subject, and by what it says."""
    notice = _words(mail)
    subject = mail.header("Subject")
    sure = bool(mail.header("X-Failed-Recipients")) or mail.report == "delivery-status"
    machine = _from_a_machine(mail)
    if mail.report == "disposition-notification" or (not sure and _is_answered(mail)):
        return []
    copied = mail.part("message/rfc822", "text/rfc822-headers") is not None
    fails = _SAYS_FAILED.search(notice) is not None
    if not sure and not (machine and (fails or _FAILED.search(subject))) and not (copied and fails):
        return []
    delayed = _DELAYED.search(f"{subject}\n{notice}") is not None and not re.search(
        r"(?i)permanent|given up|failed", subject
    )
    kind: Kind = "delayed" if delayed else "bounce"
    told = _said(mail, notice) or [Said(_addressee(mail), notice or subject)]
    head, ours = _before(notice, told), _our_domains(mail)
    found = []
    for each in told[:MOST_RECIPIENTS]:
        evidence = Evidence(_answer(each.text), each.text, head, recipient=each.recipient, ours=ours)
        found.append(_finding(kind, each.recipient, evidence))
    # A person who tells of a mail that came back proves nothing, nor does a machine that does not say of whom.
    proves = sure or machine or _NO_REPLY.search(mail.header("From")) is not None
    return [
        each if proves and (each.recipient or each.meaning != "address-dead") else replace(each, meaning="unknown")
        for each in found
    ]


def _answer(text: str) -> str:
    """Of a transcript the server's lines alone."""
    said = re.findall(r"(?m)^[ \t]*<<< ?(.*)$", text)
    return "\n".join(said) or text


def _before(notice: str, said: list[Said]) -> str:
    """What the notice says before it comes to the first recipient."""
    return notice.partition(said[0].recipient)[0] if said and said[0].recipient else ""


def _said(mail: Mail, notice: str) -> list[Said]:
    return said_in(notice, _failed(mail), [*addresses_in(mail.header("From")), *_our_addresses(mail)])


def _our_addresses(mail: Mail) -> list[str]:
    """Those that the message was sent from."""
    return addresses_in(" ".join((mail.header("To"), *_original(mail, "from", "return-path"))))


def _our_domains(mail: Mail) -> frozenset[str]:
    return frozenset(each.rpartition("@")[2].lower() for each in _our_addresses(mail))


def _finding(kind: Kind, recipient: str, evidence: Evidence) -> Finding:
    text, around, head = evidence.text[:SAID_LENGTH], evidence.around[:SAID_LENGTH], evidence.head[:SAID_LENGTH]
    evidence = replace(evidence, text=text, around=around, head=head)
    meaning: Class = "unknown" if kind == "delivered" else class_of(evidence)
    if kind == "bounce" and meaning == "unknown" and evidence.head:
        # It may have been said before the recipients are named.
        evidence = replace(evidence, text=f"{evidence.head}\n{evidence.text}", sure=False)
        meaning = class_of(evidence)
        if meaning == "address-dead" and not status_of(evidence):
            meaning = "policy"
    if kind == "delayed" and meaning != "policy":
        meaning = "temporary"
    return Finding(kind, recipient, status_of(evidence), meaning, evidence.text or evidence.status)


def _words(mail: Mail) -> str:
    """The notice: the words before the copy of the message."""
    texts: list[str] = []
    for part in mail.parts:
        if part.kind in ("message/rfc822", "text/rfc822-headers"):
            break
        if part.kind in ("text/plain", "text/html") and not (part.kind == "text/html" and texts):
            texts.append(part.text)
            if notice_of(part.text) != part.text:
                break
    return notice_of("\n".join(texts))


def _failed(mail: Mail) -> list[str]:
    return addresses_in(" ".join(mail.headers("X-Failed-Recipients")))


def _original(mail: Mail, *names: str) -> list[str]:
    """Fields of the message that the mail is about, where a copy of it is there."""
    about = mail.part("message/rfc822", "text/rfc822-headers")
    if about is not None:
        named = fields(about.text.split("\n\n")[0])
    else:
        text = "\n".join(part.text for part in mail.parts if part.kind == "text/plain")
        named = fields(text[len(notice_of(text)) :])
    return [named[name] for name in names if name in named]


def _addressee(mail: Mail) -> str:
    """Whom the message was for, by its copy."""
    return next(iter(addresses_in(" ".join(_original(mail, "x-original-to", "delivered-to", "to")))), "")


def _message_ids(mail: Mail) -> tuple[str, ...]:
    """The Message-IDs of the message that this is about: of its copy, and what this is a reply to."""
    said = " ".join(
        [*_original(mail, "message-id"), mail.header("In-Reply-To"), mail.header("References"),
         *(each.text for each in mail.parts if each.kind in ("message/delivery-status", "message/feedback-report"))]
    )  # fmt: skip
    found = re.findall(r"<([^<>@\s]{1,200}@[^<>@\s]{1,200})>", said)
    return tuple(dict.fromkeys(found))


def _addressed(mail: Mail) -> list[str]:
    """To whom it was really sent: bounces go to an address that holds the message's name."""
    names = ("To", "Delivered-To", "X-Original-To", "Envelope-To")
    return addresses_in(" ".join(value for name in names for value in mail.headers(name)))


# --- replies


def _reply(mail: Mail) -> list[Finding]:
    if _is_automatic(mail) or _AWAY.search(mail.header("Subject")):
        return [Finding("auto-reply", _sender(mail), reason=mail.header("Subject"))]
    return []


def _is_answered(mail: Mail) -> bool:
    """Whether somebody's own program answers. Notices of servers are automatic too, and come from no path either."""
    return _is_automatic(mail) and _DAEMON.search(mail.header("From")) is None


def _is_automatic(mail: Mail) -> bool:
    """RFC 3834, and what is older than it."""
    automatic = mail.header("Auto-Submitted").lower().startswith("auto-") or any(
        mail.header(name) for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Response-From")
    )
    return automatic or mail.header("Precedence").lower() == "auto_reply" or mail.report == "disposition-notification"


def _from_a_machine(mail: Mail) -> bool:
    empty = mail.header("Return-Path").strip() == "<>"
    return empty or _DAEMON.search(mail.header("From")) is not None


def _sender(mail: Mail) -> str:
    return next(iter(addresses_in(mail.header("Reply-To") or mail.header("From"))), "")
