"""What a mail is that came back, and what it says of whom.

Pure: bytes in, findings out; the unknown stays unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from drip.core.answers import addresses_in
from drip.inbound.freetext import Said, notice_of, said_in
from drip.inbound.mail import COPIES, RECEIPT, STATUSES, Mail, fields
from drip.inbound.meaning import Class, Evidence, class_of, status_of
from drip.inbound.reports import Status, feedback, statuses

Kind = Literal[
    "bounce",
    "delayed",
    "delivered",
    "complaint",
    "feedback",
    "unsubscribe",
    "auto-reply",
    "other",
]
# Of feedback reports (RFC 5965, 6591, 6650) those by which somebody complains
# of our mail. The others say that a mail was no spam, that it failed a check
# (`auth-failure`, `dmarc`), or what a scanner found.
COMPLAINING = ("abuse", "fraud")
OPTING_OUT = ("opt-out", "opt-out-list")
# RFC 6531 section 3.5: X.6.7 says it, in words that name an extension.
NO_SMTPUTF8 = "a server on the way cannot take addresses beyond ASCII"
REASON_LENGTH = 300
# What is said of one recipient, in characters; and of how many recipients one
# mail can be.
SAID_LENGTH = 2_000
MOST_RECIPIENTS = 1_000
# The addresses that one message was sent from are few.
MOST_OURS = 20
_DAEMON = re.compile(
    r"(?i)mailer[-_. ]?daemon|post[-_]?master|mail[ ._-]?deliver|delivery (subsystem|system)|system administrator|mail system|"
    r"mdaemon|\bbounce|maildelivery|microsoft ?exchange|mail administrator|mmdf|uucp"
)
_REPORTS = (*STATUSES, "message/feedback-report", RECEIPT)
_LIST_MANAGER = re.compile(r"(?i)-(admin|owner|request)@")
_FORWARDED = re.compile(r"(?i)\s*(fwd?|wg|tr|rv|i|enc|doorst|vs|pd|пересл)\s*:")
# Who tells a person's program to refuse a mail has it say so in a receipt (RFC
# 5429 section 2.1.2).
_REJECTED = re.compile(
    r"(?i)\b(reject|refus|abgelehnt|abgewiesen|zurückgewiesen|rejet|rechaz|rifiut|respint|rejeit|recus|geweiger|odrzuc|avvis|afvis|odmít|redded|elutas|respins)|"
    r"отклон|отказ|拒|거부"
)
# Amazon's notifications, where somebody has them sent by mail.
_POSTED = re.compile(r'"(?:notificationType|eventType)"\s*:\s*"Bounce"')
_POSTED_RECIPIENT = re.compile(r'\{[^{}]{0,1000}"emailAddress"[^{}]{0,1000}\}')
_GENERATED = re.compile(
    r"(?i)([^\s<>()@]{1,64}@[^\s<>()@]{1,255})>?\s{1,20}\(generated from <?([^\s<>()]{1,320})>?\)"
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
# The whole subject, our token aside: newsletters have subjects that begin with
# such a word, and people answer them.
_LEAVE = re.compile(
    r"(?i)\s*(?:(?:re|aw|antw|antwort|sv|rv|rif|odp|fwd?|wg|tr)\s*:\s*)*(?:please |bitte )?"
    r"(?:unsubscribe|remove|stop|abmeld(?:en|ung)|abbestell(?:en|ung)|d[ée]sabonn\w+|desinscri\w+|desuscri\w+|desabonar|"
    r"(?:darse de |dar de |darme de )?baja|disiscri\w+|uitschrijven|afmelden)"
    r"(?: (?:me|mich|please|bitte|from|von|vom|this|the|your|der|newsletter|(?:mailing )?list|e?mails?))*\s*[.!]*(?:\s+[\w-]+\.[\w-]+\.[\w-]+)?\s*"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came back about one recipient; empty where the mail does not say who
    it is.

    `status` is an enhanced code (RFC 3463) or empty, `reason` the words it is
    told by. `about` is where the name of a message of ours may stand:
    Message-IDs that it speaks of, the addresses it was sent to.
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
        _feedback(mail)
        or _unsubscribe(mail)
        or _posted(mail)
        or _report(mail)
        or _rejection(mail)
        or _notice(mail)
        or _reply(mail)
        or [Finding("other")]
    )
    return [_with_ids(each, ids) for each in found]


def identity_of(data: bytes) -> str:
    """What tells this mail from every other, however it was fetched: its
    Message-ID, or what it says.
    """
    mail = Mail(data)
    told = mail.header("Message-ID") or "\n".join(part.text for part in mail.parts)
    return sha256(told.encode("utf-8", "replace")).hexdigest()[:32]


def _with_ids(each: Finding, ids: tuple[str, ...]) -> Finding:
    reason = " ".join(each.reason.split())[:REASON_LENGTH]
    return Finding(each.kind, each.recipient, each.status, each.meaning, reason, ids)


# --- complaints and unsubscribing


def _feedback(mail: Mail) -> list[Finding]:
    part = mail.part("message/feedback-report")
    about = mail.part(*COPIES)
    to = addresses_in(fields(about.text).get("to", "")) if about else []
    if part:
        told = feedback(part.text)
        kind = kind_of_feedback(told.kind)
        return [
            Finding(kind, who, reason=told.kind)
            for who in told.recipients or to[:1] or [""]
        ]
    if about and _COMPLAINS.search(mail.header("Subject")):
        who = next(
            iter(addresses_in(" ".join(_original(mail, "x-hmxmroriginalrecipient")))),
            "",
        ) or next(iter(to), "")
        return [Finding("complaint", who, reason="abuse")]
    return []


def kind_of_feedback(said: str) -> Kind:
    """What a report by this name is for us."""
    return (
        "complaint"
        if said in COMPLAINING
        else "unsubscribe"
        if said in OPTING_OUT
        else "feedback"
    )


def _unsubscribe(mail: Mail) -> list[Finding]:
    subject = mail.header("Subject")
    if not _LEAVE.fullmatch(subject) or _from_a_machine(mail):
        return []
    return [Finding("unsubscribe", _sender(mail), reason=subject)]


# --- reports and notices


def _report(mail: Mail) -> list[Finding]:
    part = mail.part(*STATUSES)
    if part is None:
        return []
    told = statuses(part.text)
    notice = _words(mail)
    said = _said(mail, notice)
    ours = _our_domains(mail)
    words = {each.recipient.lower(): each.text for each in said}
    arrived = {each.recipient.lower() for each in told if _kind_of(each) == "delivered"}
    members, proves = (
        _members(mail, notice),
        mail.report == "delivery-status" or not _by_a_person(mail),
    )
    found = []
    for each in told[:MOST_RECIPIENTS]:
        around = words.get(each.recipient.lower(), notice if len(told) == 1 else "")
        text = each.diagnostic or _answer(around)
        recipient = each.recipient or next(iter(_failed(mail)), "") or _addressee(mail)
        evidence = Evidence(
            text,
            f"{around}\n{each.status}",
            _before(notice, said),
            each.status,
            True,
            recipient,
            ours,
        )
        finding = _finding(_kind_of(each), recipient, evidence)
        if each.passed_on or recipient.lower() in arrived | members or not proves:
            # Whom it is passed on to may be gone, or full; whoever we wrote to
            # is not.
            finding = replace(finding, meaning="unknown")
        found.append(finding)
    return found


def _members(mail: Mail, notice: str) -> set[str]:
    """Lists and aliases that a report is about by name, while it is somebody
    behind them who did not get it. Exim writes so.
    """
    failed = {each.lower() for each in _failed(mail)}
    behind = {
        (each[2].lower(), each[1].lower()) for each in _GENERATED.finditer(notice)
    }
    named = behind | {
        (told, each) for told in _reported(mail) - failed for each in failed
    }
    return {
        told
        for told, each in named
        if told.rpartition("@")[0] != each.rpartition("@")[0]
    }


def _reported(mail: Mail) -> set[str]:
    part = mail.part(*STATUSES)
    return {each.recipient.lower() for each in statuses(part.text)} if part else set()


def _kind_of(each: Status) -> Kind:
    if each.action in ("delivered", "relayed", "expanded"):
        return "delivered"
    if each.action == "deliverable":
        # Whoever runs the server has asked whether an address is one (`sendmail
        # -bv`): nothing was sent.
        return "other"
    expired = (
        re.search(r"\b[45]\.4\.7\b|\bexpired\b", f"{each.status} {each.diagnostic}")
        is not None
    )
    # OpenSMTPD calls its last word "delayed".
    return (
        "delayed"
        if each.action == "delayed" and (each.retried or not expired)
        else "bounce"
    )


def _by_a_person(mail: Mail) -> bool:
    """Whoever tells of a mail that came back proves nothing."""
    sender = mail.header("From")
    machine = (
        _from_a_machine(mail)
        or _NO_REPLY.search(sender) is not None
        or _is_automatic(mail)
    )
    return not machine or (
        _FORWARDED.match(mail.header("Subject")) is not None
        and not _DAEMON.search(sender)
    )


def _posted(mail: Mail) -> list[Finding]:
    """What Amazon posts, by mail."""
    text = "\n".join(
        part.text
        for part in mail.parts
        if part.kind in ("text/plain", "application/json")
    ).replace('\\"', '"')
    if not _POSTED.search(text):
        return []
    passing = re.search(r'"bounceType"\s*:\s*"(?!Permanent)', text) is not None
    found = []
    for each in _objects(text):
        who, status = str(each.get("emailAddress", "")), str(each.get("status", ""))
        said = re.sub(r"(?i)^\s*smtp\s*;\s*", "", str(each.get("diagnosticCode", "")))
        finding = _finding("bounce", who, Evidence(said, said, "", status, True, who))
        doubtful = passing and finding.meaning in (
            "address-dead",
            "no-domain",
            "unknown",
        )
        found.append(replace(finding, meaning="temporary") if doubtful else finding)
    return found[:MOST_RECIPIENTS]


def _objects(text: str) -> Iterator[dict[str, object]]:
    for found in _POSTED_RECIPIENT.finditer(text):
        try:
            each = json.loads(found[0])
        except (ValueError, RecursionError):
            continue
        yield each


def _rejection(mail: Mail) -> list[Finding]:
    """A receipt that says that a filter of the recipient's has refused the
    message (Pigeonhole's `reject`).
    """
    part = mail.part(RECEIPT)
    if mail.report != "disposition-notification" or part is None:
        return []
    named, notice = fields(part.text), _words(mail)
    automatic = named.get("disposition", "").lower().startswith("automatic-action")
    if not automatic or not (
        _REJECTED.match(mail.header("Subject")) or _REJECTED.search(notice)
    ):
        return []
    who = next(
        iter(
            addresses_in(
                named.get("final-recipient", "")
                + " "
                + named.get("original-recipient", "")
            )
        ),
        "",
    )
    return [Finding("bounce", who, meaning="policy", reason=notice)]


def _notice(mail: Mail) -> list[Finding]:
    """A notice in words, if it looks like one: by who sends it, or by its
    subject, and by what it says.
    """
    notice = _words(mail)
    subject = mail.header("Subject")
    sure = bool(mail.header("X-Failed-Recipients")) or mail.report == "delivery-status"
    machine = _from_a_machine(mail)
    if mail.report == "disposition-notification" or (not sure and _is_answered(mail)):
        return []
    copied = mail.part(*COPIES) is not None
    fails = _SAYS_FAILED.search(notice) is not None
    told_by_list = _LIST_MANAGER.search(mail.header("From")) is not None and fails
    if (
        not sure
        and not told_by_list
        and not (machine and (fails or _FAILED.search(subject)))
        and not (copied and fails)
    ):
        return []
    delayed = _DELAYED.search(f"{subject}\n{notice}") is not None and not re.search(
        r"(?i)permanent|given up|failed", subject
    )
    kind: Kind = "delayed" if delayed else "bounce"
    told = _said(mail, notice) or [Said(_addressee(mail), notice or subject)]
    head, ours = _before(notice, told), _our_domains(mail)
    found = []
    for each in told[:MOST_RECIPIENTS]:
        evidence = Evidence(
            _answer(each.text), each.text, head, recipient=each.recipient, ours=ours
        )
        found.append(_finding(kind, each.recipient, evidence))
    # A person who tells of a mail that came back proves nothing, nor does a
    # machine that does not say of whom.
    proves = sure or not _by_a_person(mail)
    members = _members(mail, notice)
    found = [
        replace(each, meaning="unknown") if each.recipient.lower() in members else each
        for each in found
    ]
    return [
        each if _holds(each, proves, told_by_list) else replace(each, meaning="unknown")
        for each in found
    ]


def _holds(each: Finding, proves: bool, told_by_list: bool) -> bool:
    if told_by_list and each.meaning == "policy":
        return True
    return proves and (
        each.recipient != "" or each.meaning not in ("address-dead", "no-domain")
    )


def _answer(text: str) -> str:
    """Of a transcript the server's lines alone."""
    said = re.findall(r"(?m)^(?:[ \t]*<<<|[^\n<]{0,60}<--) ?(.*)$", text)
    return "\n".join(said) or text


def _before(notice: str, said: list[Said]) -> str:
    """What the notice says before it comes to the first recipient."""
    return notice.partition(said[0].recipient)[0] if said and said[0].recipient else ""


def _said(mail: Mail, notice: str) -> list[Said]:
    return said_in(
        notice,
        _failed(mail),
        [*addresses_in(mail.header("From")), *_our_addresses(mail)],
    )


def _our_addresses(mail: Mail) -> list[str]:
    """Those that the message was sent from."""
    return addresses_in(
        " ".join((mail.header("To"), *_original(mail, "from", "return-path")))
    )


def _our_domains(mail: Mail) -> frozenset[str]:
    return frozenset(
        each.rpartition("@")[2].lower() for each in _our_addresses(mail)[:MOST_OURS]
    )


def _finding(kind: Kind, recipient: str, evidence: Evidence) -> Finding:
    text, around, head = (
        evidence.text[:SAID_LENGTH],
        evidence.around[:SAID_LENGTH],
        evidence.head[:SAID_LENGTH],
    )
    evidence = replace(evidence, text=text, around=around, head=head)
    meaning: Class = "unknown" if kind in ("delivered", "other") else class_of(evidence)
    if kind == "bounce" and meaning == "unknown" and evidence.head:
        # It may have been said before the recipients are named.
        text, around = _answer(f"{head}\n{text}"), f"{head}\n{around}"
        evidence = replace(evidence, text=text, around=around, sure=False)
        meaning = class_of(evidence)
        if meaning in ("address-dead", "no-domain") and not status_of(evidence):
            meaning = "policy"
    if kind == "delayed" and meaning != "policy":
        meaning = "temporary"
    status = status_of(evidence)
    said = evidence.text or evidence.status
    return Finding(
        kind,
        recipient,
        status,
        meaning,
        f"{NO_SMTPUTF8}: {said}" if status.endswith(".6.7") else said,
    )


def _words(mail: Mail) -> str:
    """The notice: the words before the copy of the message."""
    texts: list[str] = []
    for part in mail.parts:
        if part.kind in COPIES:
            break
        if part.kind in ("text/plain", "text/html") and not (
            part.kind == "text/html" and texts
        ):
            texts.append(part.text)
            if notice_of(part.text) != part.text:
                break
    return notice_of("\n".join(texts))


def _failed(mail: Mail) -> list[str]:
    return addresses_in(" ".join(mail.headers("X-Failed-Recipients")))


def _original(mail: Mail, *names: str) -> list[str]:
    """Fields of the message that the mail is about, where a copy of it is there."""
    about = mail.part(*COPIES)
    if about is not None:
        named = fields(about.text.split("\n\n")[0])
    else:
        text = "\n".join(part.text for part in mail.parts if part.kind == "text/plain")
        named = fields(text[len(notice_of(text)) :])
    return [named[name] for name in names if name in named]


def _addressee(mail: Mail) -> str:
    """Whom the message was for, by its copy."""
    return next(
        iter(
            addresses_in(
                " ".join(_original(mail, "x-original-to", "delivered-to", "to"))
            )
        ),
        "",
    )


def _message_ids(mail: Mail) -> tuple[str, ...]:
    """The Message-IDs of the message that this is about: of its copy, and what
    this is a reply to.
    """
    said = " ".join(
        [
            *_original(mail, "message-id"),
            mail.header("In-Reply-To"),
            mail.header("References"),
            *(each.text for each in mail.parts if each.kind in _REPORTS),
        ]
    )
    found = re.findall(r"<([^<>@\s]{1,200}@[^<>@\s]{1,200})>", said)
    return tuple(dict.fromkeys(found))


def _addressed(mail: Mail) -> list[str]:
    """To whom it was really sent: bounces go to an address that holds the
    message's name.
    """
    names = ("To", "Delivered-To", "X-Original-To", "Envelope-To")
    return addresses_in(
        " ".join(value for name in names for value in mail.headers(name))
    )


# --- replies


def _reply(mail: Mail) -> list[Finding]:
    if _is_automatic(mail) or _AWAY.search(mail.header("Subject")):
        return [Finding("auto-reply", _sender(mail), reason=mail.header("Subject"))]
    return []


def _is_answered(mail: Mail) -> bool:
    """Whether somebody's own program answers.

    Notices of servers are automatic too, and come from no path either.
    """
    return _is_automatic(mail) and _DAEMON.search(mail.header("From")) is None


def _is_automatic(mail: Mail) -> bool:
    """RFC 3834, and what is older than it."""
    automatic = mail.header("Auto-Submitted").lower().startswith("auto-") or any(
        mail.header(name)
        for name in (
            "X-Autoreply",
            "X-Autorespond",
            "X-Autoresponder",
            "X-Auto-Response-From",
        )
    )
    return (
        automatic
        or mail.header("Precedence").lower() == "auto_reply"
        or mail.report == "disposition-notification"
    )


def _from_a_machine(mail: Mail) -> bool:
    empty = mail.header("Return-Path").strip() == "<>"
    return empty or _DAEMON.search(mail.header("From")) is not None


def _sender(mail: Mail) -> str:
    return next(iter(addresses_in(mail.header("Reply-To") or mail.header("From"))), "")
