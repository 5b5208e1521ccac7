"""SendGrid: twilio.com/docs/sendgrid, "Event Webhook Reference"."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from drip.inbound.meaning import Class
from drip.inbound.providers.payload import mapping, parsed, text_at
from drip.inbound.providers.protocol import (
    Fetch,
    Forged,
    Posted,
    ProviderEvent,
    ProviderReport,
    events_of,
)

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
BOUNCES: Mapping[str, Class] = {
    "Invalid Address": "address-dead",
    "Mailbox Unavailable": "temporary",
    "Technical": "temporary",
    "Content": "policy",
    "Reputation": "policy",
    "Frequency/Volume": "policy",
}
# Not tried at all, and why.
DROPPED: Mapping[str, Class] = {
    "Bounced Address": "address-dead",
    "Invalid": "address-dead",
}


@dataclass(frozen=True, slots=True)
class SendGrid:
    """`public_key` is the verification key of the signed event webhook: ECDSA over
    timestamp and body.

    Raises ValueError for what is no such key.
    """

    public_key: str

    @classmethod
    def open(
        cls,
        options: Mapping[str, str],
        fetch: Fetch,
    ) -> Self:
        return cls(options["public_key"])

    def __post_init__(self) -> None:
        self._key()

    def _key(self) -> ec.EllipticCurvePublicKey:
        """Raises ValueError for what is no such key."""
        key = load_der_public_key(base64.b64decode(self.public_key))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("it is no key of an elliptic curve")
        return key

    def events(
        self,
        posted: Posted,
        now: datetime,
    ) -> list[ProviderEvent]:
        self._verify(posted)
        payloads = parsed(posted.body)
        if not isinstance(payloads, list):
            raise ValueError("a list of events is expected")
        return events_of("sendgrid", map(mapping, payloads), _reports)

    def _verify(self, posted: Posted) -> None:
        """Raises Forged for what is not signed with the key."""
        signed = posted.headers.get(TIMESTAMP, "").encode() + posted.body
        try:
            signature = base64.b64decode(posted.headers.get(SIGNATURE, ""))
            self._key().verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            raise Forged from None


def _reports(event: Mapping[str, Any]) -> Iterator[ProviderReport]:
    """By its `event`; what was processed or opened says nothing of the address."""
    kind, who = text_at(event, "event"), text_at(event, "email")
    reason, answer = text_at(event, "reason"), text_at(event, "response")
    unwanted = kind == "dropped" and reason == "Unsubscribed Address"
    if kind == "delivered":
        yield ProviderReport("delivered", who, answer)
    elif kind == "spamreport":
        yield ProviderReport("complaint", who, "abuse")
    elif kind in ("unsubscribe", "group_unsubscribe") or unwanted:
        yield ProviderReport("unsubscribe", who)
    elif kind == "deferred":
        yield ProviderReport(
            "delayed",
            who,
            answer or reason,
            by="temporary",
        )
    elif kind == "dropped":
        yield ProviderReport("bounce", who, by=DROPPED.get(reason, "policy"))
    elif kind == "bounce":
        status, by = text_at(event, "status"), _bounced_by(event)
        yield ProviderReport("bounce", who, reason, status, by)


def _bounced_by(event: Mapping[str, Any]) -> Class:
    """How SendGrid takes a bounce."""
    by = BOUNCES.get(text_at(event, "bounce_classification"), "unknown")
    blocked = text_at(event, "type") == "blocked"
    # Whoever is blocked has not proved that the address is dead.
    return "policy" if blocked and by == "address-dead" else by
