"""What a mail is that came back, and what it says of whom.

Pure: bytes in, findings out; the unknown stays unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Literal

from drip.inbound.freetext import RecipientNotice
from drip.inbound.mail import COPIES, RECEIPT, STATUSES, Mail, fields
from drip.inbound.meaning import Class, Evidence, class_of, status_of
from drip.inbound.origin import (
    addressee,
    envelope_recipients,
    failed,
    first_address,
    is_auto_reply,
    is_automatic,
    is_by_person,
    is_by_server,
    message_ids,
    notices,
    original,
    our_domains,
    sender,
    words,
)
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
_LIST_MANAGER = re.compile(r"(?i)-(admin|owner|request)@")
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
    """What came back about one recipient; empty where the mail does not say who it is.

    - `status`: an enhanced code (RFC 3463), or empty.
    - `reason`: the words in which it came.
    - `about`: where the name of a message of ours may stand: Message-IDs that it speaks
      of, the addresses it was sent to.
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
    ids = (*message_ids(mail), *envelope_recipients(mail))
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
    return [_with_ids(finding, ids) for finding in found]


def identity_of(data: bytes) -> str:
    """What tells this mail from every other, however it was fetched: its Message-ID,
    or what it says.
    """
    mail = Mail(data)
    texts = "\n".join(part.text for part in mail.parts)
    own = mail.header("Message-ID") or texts
    return sha256(own.encode("utf-8", "replace")).hexdigest()[:32]


def _with_ids(
    found: Finding,
    ids: tuple[str, ...],
) -> Finding:
    """With where our message's name may stand, and its reason on one line."""
    reason = " ".join(found.reason.split())[:REASON_LENGTH]
    return replace(found, reason=reason, about=ids)


# --- complaints and unsubscribing


def _feedback(mail: Mail) -> list[Finding]:
    """A report of a complaint (RFC 5965), or a copy that comes with one in words."""
    report, copy = mail.part("message/feedback-report"), mail.part(*COPIES)
    to = first_address(fields(copy.text).get("to", "")) if copy else ""
    if report:
        complaint = feedback(report.text)
        kind = kind_of_feedback(complaint.kind)
        recipients = complaint.recipients or (to,)
        return [Finding(kind, who, reason=complaint.kind) for who in recipients]
    if copy and _COMPLAINS.search(mail.header("Subject")):
        # Microsoft puts it into the copy.
        named = " ".join(original(mail, "x-hmxmroriginalrecipient"))
        return [Finding("complaint", first_address(named) or to, reason="abuse")]
    return []


def kind_of_feedback(name: str) -> Kind:
    """What a report by this name is for us."""
    if name in COMPLAINING:
        return "complaint"
    return "unsubscribe" if name in OPTING_OUT else "feedback"


def _unsubscribe(mail: Mail) -> list[Finding]:
    """Somebody who writes back only to be left alone."""
    subject = mail.header("Subject")
    if not _LEAVE.fullmatch(subject) or is_by_server(mail):
        return []
    return [Finding("unsubscribe", sender(mail), reason=subject)]


# --- reports and notices


def _report(mail: Mail) -> list[Finding]:
    """A report of its delivery (RFC 3464)."""
    blocks = _statuses(mail)
    notice = words(mail)
    members = _members(mail, notice)
    arrived = {
        block.recipient.lower() for block in blocks if _kind_of(block) == "delivered"
    }
    proves = mail.report == "delivery-status" or not is_by_person(mail)
    read_block = _block_reader(mail, notice, alone=len(blocks) == 1)
    found = []
    for block in blocks[:MOST_RECIPIENTS]:
        finding = read_block(block)
        behind = finding.recipient.lower() in arrived | members
        if block.passed_on or behind or not proves:
            # Whom it is passed on to may be gone, or full; whoever we wrote to is not.
            finding = replace(finding, meaning="unknown")
        found.append(finding)
    return found


def _statuses(mail: Mail) -> list[Status]:
    """The recipients' blocks; none for a mail that is no report."""
    report = mail.part(*STATUSES)
    return statuses(report.text) if report else []


def _block_reader(
    mail: Mail,
    notice: str,
    *,
    alone: bool,
) -> Callable[[Status], Finding]:
    """Reads a recipient's block beside what the notice says of him.

    `alone`: there is one block, so that all of the notice is about it.
    """
    said = notices(mail, notice)
    by_recipient = {one.recipient.lower(): one.text for one in said}
    head, ours = _before(notice, said), our_domains(mail)
    named = next(iter(failed(mail)), "") or addressee(mail)

    def read_block(block: Status) -> Finding:
        rest = notice if alone else ""
        around = by_recipient.get(block.recipient.lower(), rest)
        recipient = block.recipient or named
        evidence = Evidence(
            text=block.diagnostic or _answer(around),
            around=f"{around}\n{block.status}",
            head=head,
            status=block.status,
            sure=True,
            recipient=recipient,
            ours=ours,
        )
        return _finding(_kind_of(block), recipient, evidence)

    return read_block


def _members(mail: Mail, notice: str) -> set[str]:
    """Lists and aliases that a report is about by name, while it is somebody behind
    them who did not get it. Exim writes so.
    """
    behind = {address.lower() for address in failed(mail)}
    reported = {block.recipient.lower() for block in _statuses(mail)}
    pairs = {(name, member) for name in reported - behind for member in behind}
    for generated in _GENERATED.finditer(notice):
        pairs.add((generated[2].lower(), generated[1].lower()))
    return {name for name, member in pairs if _local(name) != _local(member)}


def _local(address: str) -> str:
    """What stands before the @: lists and their members often share the rest."""
    return address.rpartition("@")[0]


def _kind_of(block: Status) -> Kind:
    """By the action of its block (RFC 3464 section 2.3.3)."""
    if block.action in ("delivered", "relayed", "expanded"):
        return "delivered"
    if block.action == "deliverable":
        # Whoever runs the server has asked whether an address is one (`sendmail -bv`):
        # nothing was sent.
        return "other"
    if block.action != "delayed":
        return "bounce"
    # OpenSMTPD calls its last word "delayed".
    words = f"{block.status} {block.diagnostic}"
    expired = re.search(r"\b[45]\.4\.7\b|\bexpired\b", words)
    return "delayed" if block.retried or not expired else "bounce"


def _posted(mail: Mail) -> list[Finding]:
    """What Amazon posts, by mail."""
    kinds = ("text/plain", "application/json")
    texts = [part.text for part in mail.parts if part.kind in kinds]
    text = "\n".join(texts).replace('\\"', '"')
    if not _POSTED.search(text):
        return []
    passing = re.search(r'"bounceType"\s*:\s*"(?!Permanent)', text) is not None
    found = []
    for recipient in islice(_posted_recipients(text), MOST_RECIPIENTS):
        finding = _posted_finding(recipient)
        if passing and finding.meaning in ("address-dead", "no-domain", "unknown"):
            finding = replace(finding, meaning="temporary")
        found.append(finding)
    return found


def _posted_finding(recipient: dict[str, object]) -> Finding:
    """What Amazon says of one recipient."""
    who = str(recipient.get("emailAddress", ""))
    status = str(recipient.get("status", ""))
    code = str(recipient.get("diagnosticCode", ""))
    answer = re.sub(r"(?i)^\s*smtp\s*;\s*", "", code)
    return _finding("bounce", who, Evidence(answer, answer, "", status, True, who))


def _posted_recipients(text: str) -> Iterator[dict[str, object]]:
    """Each object that names one; what is no JSON is passed over."""
    for found in _POSTED_RECIPIENT.finditer(text):
        try:
            recipient = json.loads(found[0])
        except (ValueError, RecursionError):
            continue
        yield recipient


def _rejection(mail: Mail) -> list[Finding]:
    """A receipt that says that a filter of the recipient's has refused the message
    (Pigeonhole's `reject`).
    """
    receipt = mail.part(RECEIPT)
    if mail.report != "disposition-notification" or receipt is None:
        return []
    named, notice = fields(receipt.text), words(mail)
    if not named.get("disposition", "").lower().startswith("automatic-action"):
        return []
    subject = mail.header("Subject")
    if not _REJECTED.match(subject) and not _REJECTED.search(notice):
        return []
    final = named.get("final-recipient", "")
    who = first_address(f"{final} {named.get('original-recipient', '')}")
    return [Finding("bounce", who, meaning="policy", reason=notice)]


def _notice(mail: Mail) -> list[Finding]:
    """A notice in words, if it looks like one: by who sends it, or by its subject, and
    by what it says.
    """
    notice = words(mail)
    # The mail says by a field made for programs what it is.
    sure = bool(mail.header("X-Failed-Recipients")) or mail.report == "delivery-status"
    by_list = _is_by_list(mail, notice)
    if not (sure or by_list or _looks_like_notice(mail, notice)):
        return []
    if mail.report == "disposition-notification" or (not sure and is_auto_reply(mail)):
        return []
    # A person who tells of a mail that came back proves nothing, nor does a machine
    # that does not say of whom.
    proves = sure or not is_by_person(mail)
    members = _members(mail, notice)
    found = []
    for finding in _findings_in(mail, notice):
        is_member = finding.recipient.lower() in members
        if is_member or not _holds(finding, proves, by_list):
            finding = replace(finding, meaning="unknown")
        found.append(finding)
    return found


def _findings_in(mail: Mail, notice: str) -> Iterator[Finding]:
    """One for each recipient that a notice is about."""
    subject = mail.header("Subject")
    kind = _kind_of_notice(notice, subject)
    said = notices(mail, notice)
    if not said:
        said = [RecipientNotice(addressee(mail), notice or subject)]
    head, ours = _before(notice, said), our_domains(mail)
    for one in said[:MOST_RECIPIENTS]:
        evidence = Evidence(
            text=_answer(one.text),
            around=one.text,
            head=head,
            recipient=one.recipient,
            ours=ours,
        )
        yield _finding(kind, one.recipient, evidence)


def _looks_like_notice(mail: Mail, notice: str) -> bool:
    """By its words, and by a copy of the message or a server as its author."""
    fails = _SAYS_FAILED.search(notice) is not None
    if fails and mail.part(*COPIES) is not None:
        return True
    fails = fails or _FAILED.search(mail.header("Subject")) is not None
    return fails and is_by_server(mail)


def _is_by_list(mail: Mail, notice: str) -> bool:
    """Whether the program that manages a list has written it."""
    manager = _LIST_MANAGER.search(mail.header("From"))
    return manager is not None and _SAYS_FAILED.search(notice) is not None


def _kind_of_notice(notice: str, subject: str) -> Kind:
    """Whether it says that it is still being tried."""
    delayed = _DELAYED.search(f"{subject}\n{notice}")
    final = re.search(r"(?i)permanent|given up|failed", subject)
    return "delayed" if delayed and not final else "bounce"


def _holds(
    finding: Finding,
    proves: bool,
    by_list: bool,
) -> bool:
    """Whether what a notice says may be held against the address."""
    if by_list and finding.meaning == "policy":
        return True
    lasting = finding.meaning in ("address-dead", "no-domain")
    return proves and (finding.recipient != "" or not lasting)


def _answer(text: str) -> str:
    """Of a transcript the server's lines alone."""
    said = re.findall(r"(?m)^(?:[ \t]*<<<|[^\n<]{0,60}<--) ?(.*)$", text)
    return "\n".join(said) or text


def _before(
    notice: str,
    said: list[RecipientNotice],
) -> str:
    """What the notice says before it comes to the first recipient."""
    first = said[0].recipient if said else ""
    return notice.partition(first)[0] if first else ""


def _finding(
    kind: Kind,
    recipient: str,
    evidence: Evidence,
) -> Finding:
    """What the evidence comes to, within the lengths that anybody reads."""
    evidence = replace(
        evidence,
        text=evidence.text[:SAID_LENGTH],
        around=evidence.around[:SAID_LENGTH],
        head=evidence.head[:SAID_LENGTH],
    )
    meaning: Class = "unknown"
    if kind not in ("delivered", "other"):
        meaning = class_of(evidence)
    if kind == "bounce" and meaning == "unknown" and evidence.head:
        evidence = _with_head(evidence)
        meaning = _meaning_of_head(evidence)
    if kind == "delayed" and meaning != "policy":
        meaning = "temporary"
    status = status_of(evidence)
    reason = evidence.text or evidence.status
    if status.endswith(".6.7"):
        reason = f"{NO_SMTPUTF8}: {reason}"
    return Finding(kind, recipient, status, meaning, reason)


def _with_head(evidence: Evidence) -> Evidence:
    """It may have been said before the recipients are named."""
    return replace(
        evidence,
        text=_answer(f"{evidence.head}\n{evidence.text}"),
        around=f"{evidence.head}\n{evidence.around}",
        sure=False,
    )


def _meaning_of_head(evidence: Evidence) -> Class:
    """What stands before the recipients may be about another one."""
    meaning = class_of(evidence)
    lasting = meaning in ("address-dead", "no-domain")
    return "policy" if lasting and not status_of(evidence) else meaning


# --- replies


def _reply(mail: Mail) -> list[Finding]:
    """Somebody is away, and has a program say so."""
    subject = mail.header("Subject")
    if is_automatic(mail) or _AWAY.search(subject):
        return [Finding("auto-reply", sender(mail), reason=subject)]
    return []
