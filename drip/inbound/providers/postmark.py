"""Postmark: postmarkapp.com/developer/webhooks/webhooks-overview."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

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

# postmarkapp.com/developer/api/bounce-api#bounce-types
BOUNCES: Mapping[str, Class] = {
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
REPLIES = ("AutoResponder", "AddressChange", "OpenRelayTest")


@dataclass(frozen=True, slots=True)
class Postmark:
    """It does not sign: it logs in with the name and password that its webhook's
    address is given (HTTP Basic, RFC 7617).
    """

    user: str
    password: str

    @classmethod
    def open(
        cls,
        options: Mapping[str, str],
        fetch: Fetch,
    ) -> Self:
        return cls(options["user"], options["password"])

    def events(
        self,
        posted: Posted,
        now: datetime,
    ) -> list[ProviderEvent]:
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode())
        scheme, _, login = posted.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(login.strip().encode(), wanted)
        if scheme.lower() != "basic" or not right:
            raise Forged
        return events_of("postmark", [mapping(parsed(posted.body))], _reports)


def _reports(event: Mapping[str, Any]) -> Iterator[ProviderReport]:
    """By its `RecordType`; some bounces are none."""
    record, kind = text_at(event, "RecordType"), text_at(event, "Type")
    who = text_at(event, "Email") or text_at(event, "Recipient")
    details = text_at(event, "Details")
    if "SpamComplaint" in (record, kind):
        yield ProviderReport("complaint", who, "abuse")
    elif record == "Delivery":
        yield ProviderReport("delivered", who, details)
    elif record == "SubscriptionChange" and event.get("SuppressSending") is True:
        yield from _suppressed(event, who)
    elif kind in ("Unsubscribe", "ManuallyDeactivated"):
        yield ProviderReport("unsubscribe", who)
    elif record == "Bounce" and kind in REPLIES:
        yield ProviderReport("auto-reply", who)
    elif record == "Bounce":
        by = BOUNCES.get(kind, "unknown")
        yield ProviderReport("bounce", who, details, by=by)


def _suppressed(
    event: Mapping[str, Any],
    who: str,
) -> Iterator[ProviderReport]:
    """Postmark itself sends no more to an address, and says why."""
    reason = text_at(event, "SuppressionReason")
    if reason == "ManualSuppression":
        yield ProviderReport("unsubscribe", who)
    elif reason == "SpamComplaint":
        yield ProviderReport("complaint", who, "abuse")
    elif reason == "HardBounce":
        yield ProviderReport("bounce", who, by="address-dead")
