"""Amazon SES, by notifications of Amazon SNS.

docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import Certificate, load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from drip.inbound.meaning import Class
from drip.inbound.providers.payload import mapping, mappings_in, parsed, text_at
from drip.inbound.providers.protocol import (
    Fetch,
    Forged,
    Posted,
    ProviderEvent,
    ProviderReport,
    events_of,
)
from drip.inbound.reading import kind_of_feedback

# Not every name under amazonaws.com is Amazon's: a bucket's owner chooses what lies at
# `sns.s3.amazonaws.com`.
AMAZON = re.compile(r"sns\.[a-z]{2}(-[a-z]+)+-\d\.amazonaws\.com(\.cn)?")
SUBJECT = re.compile(r"sns(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")
CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]+\.pem")
# docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
SIGNED_TO_CONFIRM = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
# …/notification-contents.html#bounce-types
BOUNCES: Mapping[str, Class] = {"Permanent": "address-dead", "Transient": "temporary"}
ABOUT_MESSAGE = ("MessageTooLarge", "ContentRejected", "AttachmentRejected")


@dataclass(slots=True)
class Ses:
    """Notifications by Amazon SNS about `topic` (its ARN).

    `fetch` gets an address of Amazon's: the certificate that signs, and the one that
    confirms the subscription.
    """

    topic: str
    fetch: Fetch
    _certificates: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        options: Mapping[str, str],
        fetch: Fetch,
    ) -> Self:
        return cls(options["topic"], fetch)

    def events(
        self,
        posted: Posted,
        now: datetime,
    ) -> list[ProviderEvent]:
        notification = mapping(parsed(posted.body))
        if text_at(notification, "TopicArn") != self.topic:
            raise Forged
        self._verify(notification, now)
        kind = text_at(notification, "Type")
        if kind == "SubscriptionConfirmation":
            self.fetch(_of_amazon(text_at(notification, "SubscribeURL")))
        if kind != "Notification":
            return []
        try:
            payload = mapping(json.loads(text_at(notification, "Message")))
        except ValueError:
            # Amazon says hello in plain words when the topic is set up.
            return []
        return events_of("ses", [payload], _reports)

    def _verify(
        self,
        notification: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Raises Forged for what is not signed by Amazon, now."""
        pem = self._certificate(text_at(notification, "SigningCertURL"))
        newer = text_at(notification, "SignatureVersion") == "2"
        try:
            key = _key(load_pem_x509_certificate(pem), now)
            key.verify(
                base64.b64decode(text_at(notification, "Signature")),
                _signed(notification),
                padding.PKCS1v15(),
                hashes.SHA256() if newer else hashes.SHA1(),
            )
        except (InvalidSignature, ValueError):
            # What cannot be read as a certificate or as base64 is a ValueError.
            raise Forged from None

    def _certificate(self, address: str) -> bytes:
        """What is at an address of Amazon's certificates; the last one is kept."""
        url = urlsplit(_of_amazon(address))
        if not CERTIFICATE.fullmatch(url.path) or url.query:
            raise Forged
        if address not in self._certificates:
            self._certificates = {address: self.fetch(address)}
        return self._certificates[address]


def _signed(notification: Mapping[str, Any]) -> bytes:
    """The text that the signature covers."""
    confirms = text_at(notification, "Type") != "Notification"
    names = SIGNED_TO_CONFIRM if confirms else SIGNED
    there = (name for name in names if name in notification)
    lines = (f"{name}\n{text_at(notification, name)}\n" for name in there)
    return "".join(lines).encode()


def _key(
    certificate: Certificate,
    now: datetime,
) -> rsa.RSAPublicKey:
    """The key of a certificate of Amazon's that is good now. Raises Forged."""
    key = certificate.public_key()
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    amazons = any(SUBJECT.fullmatch(str(name.value)) for name in names)
    if not isinstance(key, rsa.RSAPublicKey) or not amazons:
        raise Forged
    if not begins <= now <= ends:
        raise Forged
    return key


def _of_amazon(address: str) -> str:
    """Raises Forged for an address that is not Amazon's."""
    url = urlsplit(address)
    if url.scheme != "https" or not AMAZON.fullmatch(url.netloc):
        raise Forged
    return address


def _reports(event: Mapping[str, Any]) -> Iterator[ProviderReport]:
    """By its `notificationType`, or `eventType` where events are published instead."""
    kind = text_at(event, "notificationType") or text_at(event, "eventType")
    details = mapping(event.get(kind[:1].lower() + kind[1:]))
    if kind == "Bounce":
        yield from _bounces(details)
    elif kind == "Complaint":
        reason = text_at(details, "complaintFeedbackType") or "abuse"
        for recipient in mappings_in(details, "complainedRecipients"):
            who = text_at(recipient, "emailAddress")
            yield ProviderReport(kind_of_feedback(reason), who, reason)
    elif kind == "Delivery":
        for who in details.get("recipients") or []:
            answer = text_at(details, "smtpResponse")
            yield ProviderReport("delivered", str(who), answer)
    elif kind == "DeliveryDelay":
        for recipient in mappings_in(details, "delayedRecipients"):
            yield _report("delayed", recipient, "temporary")


def _bounces(details: Mapping[str, Any]) -> Iterator[ProviderReport]:
    """One for each recipient; a mail that is too large is no fault of theirs."""
    by = BOUNCES.get(text_at(details, "bounceType"), "unknown")
    if text_at(details, "bounceSubType") in ABOUT_MESSAGE:
        by = "policy"
    for recipient in mappings_in(details, "bouncedRecipients"):
        yield _report("bounce", recipient, by)


def _report(
    kind: Literal["bounce", "delayed"],
    recipient: Mapping[str, Any],
    by: Class,
) -> ProviderReport:
    """Of one recipient, with the answer of its server."""
    return ProviderReport(
        kind,
        text_at(recipient, "emailAddress"),
        text_at(recipient, "diagnosticCode"),
        text_at(recipient, "status"),
        by,
    )
