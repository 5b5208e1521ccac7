"""What a refusal that came back means: the address is dead, it is temporary, or somebody does not want the message.

A wrong "dead" costs a customer, a wrong "unknown" one more try. So an address is dead only where the answer says so, for good,
of this very recipient or of its domain; what is said of us or of another address is no proof, and what could also be a
filter's excuse is policy. Where one server tells what another said, the innermost answer counts. Enhanced codes are RFC 3463's, with
the IANA registry's additions; words decide before codes, since servers give one code for many things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from drip.inbound.mail import addresses_in

Class = Literal["address-dead", "temporary", "policy", "unknown"]

ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
CODE = re.compile(r"(?<![\d.:/-])([245][0-5]\d)(?=[\s:;,.)-]|$)(?![.-]\d{1,3}\.\d)")

_FULL = re.compile(
    r"""(mail)?(box|folder|account|storage|quota|inbox|directory)[^.\n]{0,40}\bfull\b|\bfull\b[^.\n]{0,12}(mailbox|inbox)|
    (over|exceed(s|ed|ing)?|out\ of|reached|above|beyond)[^.\n]{0,40}(quota|storage|disk\ ?space|mailbox\ size|allotment|space)|
    quota[^.\n]{0,50}(exceed|exceeded|reached|full|over|violat)|over\ ?quota|not\ enough\ (storage|space|disk)|
    insufficient\ (system\ )?(storage|disk|space)|maildir.{0,20}(full|size)|mail\ size\ limit\ reached|
    (storage|disk)\ (limit|space)[^.\n]{0,20}(exceed|reached)|no\ (more\ )?(space|room)\ (left|for)|
    bo[iî]te.{0,60}pleine|postfach.{0,60}\bvoll|buz[oó]n.{0,60}llen[oa]|casella.{0,60}piena|caixa.{0,60}cheia|容量""",
    re.X | re.I,
)
_TOO_LARGE = re.compile(
    r"""(message|mail)\ ?(size|is)?[^.\n]{0,30}(too\ (large|big)|exceeds?\ (the\ )?(fixed\ )?(maximum|limit|size|max))|
    size\ limit\ exceeded|too\ (large|big)|exceeds?\ (the\ )?(maximum\ )?(message\ )?size|message\ length|
    (message|mail)\ (is\ )?too\ long""",
    re.X | re.I,
)
_LATER = re.compile(
    r"""timed?\ ?-?out|retry\ time|time\ limit\ (was\ )?exceeded|(been\ in\ the|in\ the)\ (mail\ )?queue\ (for\ )?too\ long|expired|
    connection\ (was\ )?(refused|reset|dropped|lost|closed|died|failed)|could\ not\ (connect|find\ a\ gateway)|
    (unable|failed)\ to\ (connect|establish)|did\ not\ (respond|accept\ (our|your)\ requests\ to\ connect)|
    no\ route\ to\ host|network\ (is\ )?(unreachable|error)|(host|server|service|system)[^.\n]{0,30}(not\ respond|unavailable|down\b|unreachable)|
    hosts?\ have\ been\ failing|temporar(y|il)|try\ (again\ )?later|deferred|resources\ temporarily|
    too\ many\ (concurrent|simultaneous|connections|sessions|hops)|rate\ ?-?limit|frequency\ limited|greylist|
    not\ been\ able\ to|delivery\ attempts\ will\ continue|will\ be\ retried|(couldn't|could\ not|cannot)\ (open|create|write|lock)|socket\ error|
    (local|internal)\ (configuration|server)?\ ?(error|problem)|system\ (not\ accepting|error|problem|resources)|mail\ loop|loops?\ back""",
    re.X | re.I,
)
_POLICY = re.compile(
    r"""\bspam|\bube\b|\buce\b|unsolicited|\bvirus|malware|phish|dmarc|\bspf\b|dkim|unauthenticated|authentication\ (is\ )?(required|failed)|
    smtp\ authentication|reverse\ dns|\br?dns\b[^.\n]{0,30}(fail|record|required|lookup|entry)|\bptr\b|mismatch(es)?\ client|without\ a\ valid\ sender|
    block(ed|ing)?\b|black\ ?-?list|block\ ?-?list|deny\ ?list|reputation|rbl\b|dnsbl|banned|policy|polic(y|ies)\ (reason|violation)|
    (access|relay(ing)?|permission)(\ (is|was))?\ (denied|not\ (permitted|allowed)|prohibited)|insecure\ mail\ relay|open\ relay|not\ (allowed|authori[sz]ed|permitted|accept(ed|ing)?\ (this|mail\ from|messages?\ from))|
    prohibited|sender[^.\n]{0,40}(reject|denied|refused|not\ (exist|found|valid|allowed)|invalid|unknown|unroutable|verif)|unrout(e)?able\ sender|
    (message|mail|content|e-?mail)[^.\n]{0,30}(reject|refused|denied|blocked|not\ accepted)|content\ (filter|reject)|
    reject(ed)?\ (by|due|for|because)|refused\ (by|due|because)|recipient\ preferences|purported|header\ error|restrict|
    unverif[iy]+able|please\ (use|turn\ on)\ (the\ )?smtp|your\ (isp|provider|ip|server|mail\ server|domain)|unusual|complaint|
    no\ access|mail\ from\ you|not\ accept\ (this|the|your)\ (mail|message)|missing\ the\ proper\ dns|bad\ sender""",
    re.X | re.I,
)
# Said of a name server that does not answer, not of what it said.
_RESOLVER = re.compile(
    r"servfail|\bdns\W+(error|query|server|time)|name ?server|name service error|lookup failed temporarily", re.I
)
_DISABLED = re.compile(
    r"""(mailbox|account|user|recipient|address|e-?mail)[^.\n]{0,60}\b(disabled|suspend(ed)?|inactive|frozen|locked|deactivated|not\ active|
    expired|closed\ temporarily|dormant|not\ accepting)|not\ accepting\ (messages|mail)|resigned|被(停用|冻结)""",
    re.X | re.I,
)
_NOBODY = re.compile(
    r"""(user|recipient|mailbox|address|account|addressee|alias|person|local\ part|name)('s)?(\ (name|address))?(?:[^.;\n]|\.(?=\w)){0,60}
        (\bunknown|not\ (be\ )?found|(doesn'?t|does\ not|did\ not|do\ not|not)\ (seem\ to\ )?exist|no\ longer\ (exists?|available|valid|active|here|with|in\ use)|not\ recogni[sz]ed|
        not\ listed|is\ invalid|not\ valid|not\ known|isn'?t\ (known|listed|valid)|inconnu|unbekannt|desconocid|not\ our\ customer)|
    (unknown|no\ such|invalid|illegal|bad|unrecogni[sz]ed|nonexist[ae]nt|non-existent|undeliverable)\ (or\ illegal\ |local\ |destination\ |e-?mail\ |recipient\ |virtual\ )*
        (user|recipient|mailbox|address|account|alias|local[\ -]?part|name|addressee|person)|
    no\ mailbox\ (here|by)|no\ (user|account|mailbox|recipient)\ (by|with|here|named|of)|not\ a\ (valid|known)\ (user|mailbox|address|recipient|account)|
    (recipient|user)\ (address\ )?(is\ )?not\ (on|in)\ (this|our|the)|doesn'?t\ have\ an?\ .{1,30}account|RecipNotFound|RecipientNotFound|
    mailbox\ unavailable|user\ (doesn'?t|does\ not)\ have|has\ no\ mailbox|this\ (user|address|account)\ (is\ )?(gone|left)|destinat(aire|ario)\ inconnu|
    (empf[äa]nger|adresse|benutzer|postfach|konto)[^.\n]{0,40}(existiert\ nicht|unbekannt|nicht\ (gefunden|bekannt|vorhanden))|
    (adresse|destinataire|utilisateur)[^.\n]{0,40}(n'existe\ pas|introuvable|inexistant)|
    (direcci[oó]n|usuario|destinatario|buz[oó]n|cuenta)[^.\n]{0,40}(no\ existe|desconocid|no\ (se\ )?(ha\ )?encontrad|inexistente)|
    (indirizzo|utente|destinatario|casella)[^.\n]{0,40}(non\ esiste|inesistente|sconosciut|non\ trovat)|
    (endereço|usu[áa]rio|destinat[áa]rio|conta)[^.\n]{0,40}(não\ existe|inexistente|desconhecid)|
    (adres|gebruiker|ontvanger)[^.\n]{0,40}(bestaat\ niet|onbekend)|
    (пользовател|адрес|ящик)[^.\n]{0,40}(не\ (существует|найден)|неизвест)|(用户|收件人|帐号|账号|邮箱)[^。\n]{0,20}(不存在|未找到)|
    宛先(不明|.{0,10}存在)|存在しません""",
    re.X | re.I,
)
_NOWHERE = re.compile(
    r"""(host|domain|mail\ server)(\ or\ domain)?(\ name)?(?:[^.;\n]|\.(?=\w)){0,40}(unknown|not\ (be\ )?found|does\ not\ exist|doesn'?t\ exist|nonexist|is\ invalid|not\ valid)|
    (unknown|no\ such|bad|invalid|illegal|non-?existent)\ (host|domain|destination)|unrout(e)?able\ (mail\ )?(domain|address)|illegal\ host|
    no\ (mail\ exchanger|mx|a\ or\ mx|dns|such\ domain)|nxdomain|couldn'?t\ find\ any\ host|name\ service\ error|malformed\ or\ unexpected\ name\ server|
    (domain|host)[^.\n]{0,30}(does\ not|doesn'?t|not)\ accept(s|ing)?\ (any\ )?mail|null\ ?mx|null\ mx|domain\ is\ not\ (accepting|configured)|because\ the\ domain\ is\ n|
    account\ or\ domain\ may\ not\ exist|[\w-]+\.[\w.-]+\ does\ not\ exist|unable\ to\ route|does\ not\ exist\ in\ dns""",
    re.X | re.I,
)
# At which command it was said. About the sender, or us:
_AT_SENDER = re.compile(
    r"(after|in reply to|to|during)\s+(the\s+)?(end of )?(MAIL( FROM)?|EHLO|HELO|initial connection|greeting|connect)\b|>>> ?(MAIL|EHLO|HELO)|"
    r"my name was rejected|sender was rejected|sender (address|domain)|domain of sender|mail from address|from:\s+domain is invalid|valid from",
    re.I,
)
_AT_RECIPIENT = re.compile(r"\bRCPT\b|(rejected|refused) (this )?(address|recipient)|does not like recipient", re.I)
_IN_REPLY_TO_RCPT = re.compile(r"\bRCPT\b|does not like recipient", re.I)
# About the text: what is said there is often a filter's excuse.
_AT_TEXT = re.compile(
    r"end of (data|message)|>>> ?DATA|(after|to|for)\s+(the\s+)?(end of\s+)?(DATA|TEXT)\b|after i sent the message|transmission failure",
    re.I,
)
# Beyond doubt, whenever it is said.
_SURELY_NOBODY = re.compile(
    r"(doesn'?t|does not) have an?\s+\S+\s+account|RecipNotFound|no mailbox here by that name", re.I
)
# More than a label: somebody has written a sentence.
_SENTENCE = re.compile(
    r"\b(is|was|are|isn'?t|does|doesn'?t|do|did|has|had|have|not recogni[sz]ed|couldn'?t|cannot|ist|existiert|est|existe|n'existe|esiste|è|bestaat|существует)\b|"
    r"[\u3040-\u30ff\u4e00-\u9fff]{4}",
    re.I,
)
# Said of who sends, whoever else is named.
_OF_SENDER = re.compile(
    r"sender address rejected|sender (verif|domain)|verification failed for|(helo|ehlo) (command )?rejected|client host rejected|"
    r"(invalid|bad) (helo|ehlo)|too many\b[^.\n]{0,20}\b(unknown|invalid|bad|non-?existent)|policy (restriction|reason|violation)|"
    r"\b(in|of) (the |your )?(from|to|cc|sender|reply-to):? header",
    re.I,
)
# Said of us or of the text, unless the recipient is named.
_OF_US = re.compile(
    r"""\bsender\b|return.?path|envelope.?from|\b(helo|ehlo)\b|client\ host|reverse|\bptr\b|\bspf\b|\bdkim\b|\bdmarc\b|\bfrom:|mail\ from|
    \b(your|sending|signing)\b[^.\n]{0,20}\b(domain|ip|server|host|address)|from\ you\b|\bheader\b|\b(url|uri|link)\b|white.?list|allow.?list|
    black.?list|block.?list|(?<!not\ )listed\ (at|in|by|on)\ (?!the\ directory|domino)|\bblocked\b|access\ denied,""",
    re.X | re.I,
)
# How Microsoft 365 says that its directory has no such recipient ("directory-based edge blocking").
_NOT_IN_DIRECTORY = re.compile(r"recipient address rejected: access denied", re.I)
# The answer of another server, told within an answer.
_INNER = re.compile(r"(?s).*(?:\b(?:said|says|replied|responded):\s+|\berror )(?=[245]\d\d[ -])")
_DEAD_CODES = ("1.1", "1.2", "1.3", "1.4", "1.6", "4.4")
_NETWORK_CODES = ("4.1", "4.2", "4.7")
_LATER_CODES = ("2.1", "2.2", "3.1", "3.2", "4.1", "4.2", "4.3", "4.5", "4.6", "4.7")
_POLICY_CODES = ("2.3", "3.4", "5.3")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one recipient: the answer in words, what stands around it, what the notice says before it comes to
    recipients, and the `Status` of a report.

    `sure`: it comes from a report made for programs, where an answer is the server's own, to RCPT unless it says otherwise.
    `recipient` is whom it is about, `ours` the domains in the addresses that we wrote from.
    """

    text: str
    around: str
    head: str = ""
    status: str = ""
    sure: bool = False
    recipient: str = ""
    ours: frozenset[str] = frozenset()


def class_of(evidence: Evidence) -> Class:
    """What an answer means."""
    evidence = replace(evidence, text=_innermost(evidence.text))
    text, around = evidence.text, evidence.around
    status = status_of(evidence)
    kind = status.partition(".")[2]
    of_sender = _AT_SENDER.search(around) is not None and _AT_RECIPIENT.search(around) is None
    refused_us = of_sender and re.search(r"(?<!\d)5\d\d[\s-]", text) is not None
    not_yet = _is_for_now(text, status)
    provable = not (of_sender or not_yet or _is_of_us(evidence))
    if kind == "4.1" and _NOT_IN_DIRECTORY.search(text) and provable:
        return "address-dead"
    if not_yet and (kind in _NETWORK_CODES or _RESOLVER.search(text)):
        return "temporary"
    if kind == "2.2" or (_FULL.search(text) and not of_sender):
        return "temporary"
    if kind in ("1.7", "1.8"):
        return "policy"
    if kind == "1.10" or (_NOWHERE.search(text) and provable and not kind.startswith("7.")):
        return "address-dead"
    if _DISABLED.search(f"{around}\n{evidence.head}"):
        return "temporary"
    if refused_us:
        return "policy"
    if _NOBODY.search(text) and provable and _is_about_the_recipient(evidence, kind):
        return "address-dead"
    if (
        _POLICY.search(text)
        or _OF_SENDER.search(text)
        or _TOO_LARGE.search(text)
        or kind in _POLICY_CODES
        or status.startswith(("5.7.", "5.6."))
    ):
        return "policy"
    if _LATER.search(text) or kind in _LATER_CODES or status.startswith("4."):
        return "temporary"
    if kind in _DEAD_CODES and status.startswith("5.") and provable:
        return "address-dead"
    code = CODE.search(text)
    if code:
        return "temporary" if code[1].startswith("4") else "policy"
    return "policy" if of_sender or _NOBODY.search(text) or _AT_TEXT.search(around) else "unknown"


def _innermost(text: str) -> str:
    found = _INNER.match(text)
    return text[found.end() :] if found else text


def _is_for_now(text: str, status: str) -> bool:
    """Whether the answer itself is no final one (RFC 5321 section 4.2.1, RFC 3463 section 2)."""
    code = re.match(r"\W*([245])\d\d(?=[ -])", text)
    return status.startswith("4.") or (code is not None and code[1] == "4")


def _is_of_us(evidence: Evidence) -> bool:
    """Whether what is unknown or refused may be the sender, or somebody else who is named."""
    text, recipient = evidence.text.lower(), evidence.recipient.lower()
    if _OF_SENDER.search(text):
        return True
    local, _, domain = recipient.rpartition("@")
    named = [each.lower() for each in addresses_in(text)]
    if any(each.rpartition("@")[0] == local for each in named):
        return False
    ours = any(re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", text) for each in evidence.ours - {domain})
    return bool(named and recipient) or ours or _OF_US.search(text) is not None


def _is_about_the_recipient(evidence: Evidence, kind: str) -> bool:
    """Whether "unknown" is proof: said with a code for it, or in reply to RCPT, and not a filter's excuse after the text."""
    if kind.startswith("7.") or kind == "2.0":
        return False
    if kind == "2.1":
        # By the standard there is such a mailbox, and it is disabled.
        return _IN_REPLY_TO_RCPT.search(evidence.around) is not None
    if kind in _DEAD_CODES or _SURELY_NOBODY.search(evidence.text):
        return True
    if _AT_TEXT.search(evidence.around):
        return False
    if evidence.sure or _AT_RECIPIENT.search(evidence.around):
        return True
    return CODE.search(evidence.text) is None and _SENTENCE.search(evidence.text) is not None


def status_of(evidence: Evidence) -> str:
    """The enhanced code: the one in the words, which is the other side's own, before a report's field."""
    found = [".".join(each.groups()) for each in ENHANCED.finditer(evidence.text)]
    given = ENHANCED.search(evidence.status)
    particular = [each for each in found if not each.endswith(".0.0")]
    return next(iter(particular), ".".join(given.groups()) if given else next(iter(found), ""))
