"""What providers of mail post about messages: Postmark, Mailgun, SendGrid,
Amazon SES. Each one's signature is checked.

What their servers were told is judged by the same rules as a bounce that comes
as a mail; the provider's own word counts where those rules do not know.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from drip.inbound.meaning import Class, Evidence, class_of, status_of
from drip.inbound.reading import (
    REASON_LENGTH,
    SAID_LENGTH,
    Finding,
    Kind,
    kind_of_feedback,
)

# Where a message's name may stand; in so many texts of an event it is looked for.
MOST_TEXTS, TEXT_LENGTH, DEEPEST = 500, 1_000, 8
# How long a signature of Mailgun's is good, and of how many it is known what
# they came with.
SIGNED_FOR_S, MOST_SEEN = 900, 100_000
# Not every name under amazonaws.com is Amazon's: a bucket's owner chooses what
# lies at `sns.s3.amazonaws.com`.
AMAZON = re.compile(r"sns\.[a-z]{2}(-[a-z]+)+-\d\.amazonaws\.com(\.cn)?")
SUBJECT = re.compile(r"sns(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")
CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]+\.pem")


class Forged(Exception):
    """The signature is not that of the provider: what was posted is not looked at."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request: its header fields by their names in small letters, and its body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One thing that a provider says.

    `source` tells it from every other, so that hearing it twice changes
    nothing.
    """

    finding: Finding
    source: str


class Provider(Protocol):
    """One provider with the secret that it shares with us."""

    def events(self, posted: Posted, now: datetime) -> list[ProviderEvent]:
        """What it says.

        Raises Forged, and ValueError for what is not as the provider writes it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Postmark:
    """It does not sign: it logs in with the name and password that its
    webhook's address is given (HTTP Basic).
    """

    user: str
    password: str

    def events(self, posted: Posted, now: datetime) -> list[ProviderEvent]:
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode())
        kind, _, given = posted.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic" or not hmac.compare_digest(
            given.strip().encode(), wanted
        ):
            raise Forged
        return list(_events("postmark", [_mapping(_parsed(posted.body))], _of_postmark))


@dataclass(slots=True)
class Mailgun:
    """`key` is the webhook signing key: HMAC-SHA256 over timestamp and token.

    It does not cover what is said, so that a signature is good for a short
    time, and for the one thing that it came with.
    """

    key: str
    _seen: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def events(self, posted: Posted, now: datetime) -> list[ProviderEvent]:
        told = _mapping(_parsed(posted.body))
        signed = [
            _text(told, "signature", name)
            for name in ("timestamp", "token", "signature")
        ]
        wanted = hmac.new(
            self.key.encode(), f"{signed[0]}{signed[1]}".encode(), "sha256"
        ).hexdigest()
        if not hmac.compare_digest(signed[2].encode(), wanted.encode()):
            raise Forged
        at = int(signed[0]) if re.fullmatch("[0-9]{1,12}", signed[0]) else 0
        if abs(now.timestamp() - at) > SIGNED_FOR_S:
            raise Forged
        said = sha256(
            json.dumps(told.get("event-data"), sort_keys=True).encode()
        ).hexdigest()
        if self._seen.setdefault(signed[1], said) != said:
            raise Forged
        while len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        return list(_events("mailgun", [_mapping(told.get("event-data"))], _of_mailgun))


@dataclass(frozen=True, slots=True)
class SendGrid:
    """`public_key` is the verification key of the signed event webhook: ECDSA
    over timestamp and body.

    Raises ValueError for what is no such key.
    """

    public_key: str

    def __post_init__(self) -> None:
        self._key()

    def _key(self) -> ec.EllipticCurvePublicKey:
        key = load_der_public_key(base64.b64decode(self.public_key))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("it is no key of an elliptic curve")
        return key

    def events(self, posted: Posted, now: datetime) -> list[ProviderEvent]:
        at = posted.headers.get("x-twilio-email-event-webhook-timestamp", "")
        try:
            signature = base64.b64decode(
                posted.headers.get("x-twilio-email-event-webhook-signature", "")
            )
            self._key().verify(
                signature, at.encode() + posted.body, ec.ECDSA(hashes.SHA256())
            )
        except (InvalidSignature, ValueError):
            raise Forged from None
        told = _parsed(posted.body)
        if not isinstance(told, list):
            raise ValueError("a list of events is expected")
        return list(
            _events("sendgrid", [_mapping(each) for each in told], _of_sendgrid)
        )


@dataclass(slots=True)
class Ses:
    """Notifications by Amazon SNS about `topic` (its ARN).

    `fetch` gets an address of Amazon's: the certificate that signs, and the one
    that confirms the subscription.
    """

    topic: str
    fetch: Callable[[str], bytes]
    _certificates: dict[str, bytes] = field(default_factory=dict)

    def events(self, posted: Posted, now: datetime) -> list[ProviderEvent]:
        told = _mapping(_parsed(posted.body))
        if _text(told, "TopicArn") != self.topic:
            raise Forged
        self._verify(told, now)
        if _text(told, "Type") == "SubscriptionConfirmation":
            self.fetch(_of_amazon(_text(told, "SubscribeURL")))
            return []
        if _text(told, "Type") != "Notification":
            return []
        try:
            inner = _mapping(json.loads(_text(told, "Message")))
        except ValueError:
            # Amazon says hello in plain words when the topic is set up.
            return []
        return list(_events("ses", [inner], _of_ses))

    def _verify(self, told: Mapping[str, Any], now: datetime) -> None:
        """docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html"""
        confirms = _text(told, "Type") != "Notification"
        own = (
            ("SubscribeURL", "Timestamp", "Token")
            if confirms
            else ("Subject", "Timestamp")
        )
        names = ("Message", "MessageId", *own, "TopicArn", "Type")
        signed = "".join(
            f"{name}\n{_text(told, name)}\n" for name in names if name in told
        )
        address = _of_amazon(_text(told, "SigningCertURL"))
        if not CERTIFICATE.fullmatch(urlsplit(address).path) or urlsplit(address).query:
            raise Forged
        if address not in self._certificates:
            self._certificates = {address: self.fetch(address)}
        kind = (
            hashes.SHA256() if _text(told, "SignatureVersion") == "2" else hashes.SHA1()
        )
        try:
            certificate = load_pem_x509_certificate(self._certificates[address])
            key, subject = (
                certificate.public_key(),
                certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME),
            )
            valid = (
                certificate.not_valid_before_utc
                <= now
                <= certificate.not_valid_after_utc
            )
            ours = any(SUBJECT.fullmatch(str(each.value)) for each in subject)
            if not isinstance(key, rsa.RSAPublicKey) or not valid or not ours:
                raise Forged
            key.verify(
                base64.b64decode(_text(told, "Signature")),
                signed.encode(),
                padding.PKCS1v15(),
                kind,
            )
        except (InvalidSignature, ValueError):
            # What cannot be read as a certificate or as base64 is a ValueError.
            raise Forged from None


def _of_amazon(address: str) -> str:
    """Raises Forged for an address that is not Amazon's."""
    url = urlsplit(address)
    if url.scheme != "https" or not AMAZON.fullmatch(url.netloc):
        raise Forged
    return address


# --- what they say


@dataclass(frozen=True, slots=True)
class _Said:
    """One event in our words. `by` is how the provider itself takes a bounce."""

    kind: Kind
    recipient: str
    text: str = ""
    status: str = ""
    by: Class = "unknown"


# postmarkapp.com/developer/api/bounce-api#bounce-types
_POSTMARK: Mapping[str, Class] = {
    "HardBounce": "address-dead",
    "BadEmailAddress": "address-dead",
    "Undeliverable": "temporary",
    "Transient": "temporary",
    "SoftBounce": "temporary",
    "DnsError": "temporary",
    "SMTPApiError": "temporary",
    "SpamNotification": "policy",
    "Blocked": "policy",
    "DMARCPolicy": "policy",
    "VirusNotification": "policy",
    "TemplateRenderingFailed": "policy",
    "ChallengeVerification": "policy",
}
# Not bounces, although they come as such.
_POSTMARK_REPLIES = ("AutoResponder", "AddressChange", "OpenRelayTest")


def _of_postmark(event: Mapping[str, Any]) -> Iterator[_Said]:
    record, kind = _text(event, "RecordType"), _text(event, "Type")
    who = _text(event, "Email") or _text(event, "Recipient")
    if record == "SpamComplaint" or kind == "SpamComplaint":
        yield _Said("complaint", who, "abuse")
    elif record == "Delivery":
        yield _Said("delivered", who, _text(event, "Details"))
    elif record == "SubscriptionChange" and event.get("SuppressSending") is True:
        reason = _text(event, "SuppressionReason")
        if reason == "ManualSuppression":
            yield _Said("unsubscribe", who)
        elif reason == "SpamComplaint":
            yield _Said("complaint", who, "abuse")
        elif reason == "HardBounce":
            yield _Said("bounce", who, by="address-dead")
    elif kind in ("Unsubscribe", "ManuallyDeactivated"):
        yield _Said("unsubscribe", who)
    elif record == "Bounce" and kind in _POSTMARK_REPLIES:
        yield _Said("auto-reply", who)
    elif record == "Bounce":
        yield _Said(
            "bounce", who, _text(event, "Details"), by=_POSTMARK.get(kind, "unknown")
        )


def _of_mailgun(event: Mapping[str, Any]) -> Iterator[_Said]:
    kind, who = _text(event, "event"), _text(event, "recipient")
    if kind == "delivered":
        yield _Said("delivered", who, _text(event, "delivery-status", "message"))
    elif kind == "complained":
        yield _Said("complaint", who, "abuse")
    elif kind == "unsubscribed" or _text(event, "reason") == "suppress-unsubscribe":
        yield _Said("unsubscribe", who)
    elif kind == "failed":
        state = _mapping(event.get("delivery-status"))
        code = str(state.get("code") or "")
        told = _text(state, "message") or _text(state, "description")
        text = told if told[:3] == code else f"{code} {told}".strip()
        by: Class = (
            "address-dead" if _text(event, "reason") == "suppress-bounce" else "unknown"
        )
        # Its own codes begin at 600; they are no server's answer.
        own = re.match("[6-9]", code)
        passing = _text(event, "severity") == "temporary"
        yield _Said(
            "delayed" if passing else "bounce",
            who,
            told if own else text,
            _text(state, "enhanced-code"),
            by,
        )


_SENDGRID: Mapping[str, Class] = {
    "Invalid Address": "address-dead",
    "Mailbox Unavailable": "temporary",
    "Technical": "temporary",
    "Content": "policy",
    "Reputation": "policy",
    "Frequency/Volume": "policy",
}
_DROPPED: Mapping[str, Class] = {
    "Bounced Address": "address-dead",
    "Invalid": "address-dead",
}


def _of_sendgrid(event: Mapping[str, Any]) -> Iterator[_Said]:
    kind, who, text = (
        _text(event, "event"),
        _text(event, "email"),
        _text(event, "reason"),
    )
    if kind == "delivered":
        yield _Said("delivered", who, _text(event, "response"))
    elif kind == "spamreport":
        yield _Said("complaint", who, "abuse")
    elif kind in ("unsubscribe", "group_unsubscribe") or (
        kind == "dropped" and text == "Unsubscribed Address"
    ):
        yield _Said("unsubscribe", who)
    elif kind == "deferred":
        yield _Said("delayed", who, _text(event, "response") or text, by="temporary")
    elif kind == "dropped":
        yield _Said("bounce", who, by=_DROPPED.get(text, "policy"))
    elif kind == "bounce":
        by = _SENDGRID.get(_text(event, "bounce_classification"), "unknown")
        yield _Said(
            "bounce",
            who,
            text,
            _text(event, "status"),
            "policy"
            if by == "address-dead" and _text(event, "type") == "blocked"
            else by,
        )


# docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types
_SES: Mapping[str, Class] = {"Permanent": "address-dead", "Transient": "temporary"}
_SES_POLICY = ("MessageTooLarge", "ContentRejected", "AttachmentRejected")


def _of_ses(event: Mapping[str, Any]) -> Iterator[_Said]:
    kind = _text(event, "notificationType") or _text(event, "eventType")
    told = _mapping(event.get(kind[:1].lower() + kind[1:]))
    if kind == "Bounce":
        by = (
            "policy"
            if _text(told, "bounceSubType") in _SES_POLICY
            else _SES.get(_text(told, "bounceType"), "unknown")
        )
        for each in _list(told, "bouncedRecipients"):
            yield _Said(
                "bounce",
                _text(each, "emailAddress"),
                _text(each, "diagnosticCode"),
                _text(each, "status"),
                by,
            )
    elif kind == "Complaint":
        reason = _text(told, "complaintFeedbackType") or "abuse"
        for each in _list(told, "complainedRecipients"):
            yield _Said(kind_of_feedback(reason), _text(each, "emailAddress"), reason)
    elif kind == "Delivery":
        for who in told.get("recipients") or []:
            yield _Said("delivered", str(who), _text(told, "smtpResponse"))
    elif kind == "DeliveryDelay":
        for each in _list(told, "delayedRecipients"):
            yield _Said(
                "delayed",
                _text(each, "emailAddress"),
                _text(each, "diagnosticCode"),
                _text(each, "status"),
                "temporary",
            )


def _events(
    provider: str,
    told: list[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], Iterator[_Said]],
) -> Iterator[ProviderEvent]:
    for event in told:
        digest = sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()[:32]
        about = tuple(_texts(event))[:MOST_TEXTS]
        for number, said in enumerate(read(event)):
            yield ProviderEvent(
                _finding(said, about),
                f"{provider}:{digest}:{number}" if number else f"{provider}:{digest}",
            )


def _finding(said: _Said, about: tuple[str, ...]) -> Finding:
    text = re.sub(r"^\s*smtp\s*;\s*", "", said.text[:SAID_LENGTH], flags=re.I)
    meaning: Class = "unknown"
    status = said.status[:20]
    if said.kind in ("bounce", "delayed"):
        evidence = Evidence(text, text, "", status, True, said.recipient)
        status = status_of(evidence)
        meaning = class_of(evidence) if text or status else "unknown"
        meaning = said.by if meaning == "unknown" else meaning
        if said.kind == "delayed" and meaning != "policy":
            meaning = "temporary"
    return Finding(
        said.kind,
        said.recipient,
        status,
        meaning,
        " ".join(text.split())[:REASON_LENGTH],
        about,
    )


# --- JSON of anybody's


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is no JSON") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = value.get(name)
    return (
        [each for each in found if isinstance(each, dict)]
        if isinstance(found, list)
        else []
    )


def _text(value: Mapping[str, Any], *names: str) -> str:
    """The text at the end of these names; empty for none."""
    found: Any = value
    for name in names:
        found = _mapping(found).get(name)
    text = (
        found
        if isinstance(found, str)
        else str(found)
        if isinstance(found, int)
        else ""
    )
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts of an event, however deep."""
    if isinstance(value, str):
        yield value[:TEXT_LENGTH]
    elif depth < DEEPEST:
        inside = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list)
            else ()
        )
        for each in inside:
            yield from _texts(each, depth + 1)
