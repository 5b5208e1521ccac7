"""Mailgun: documentation.mailgun.com, "Webhooks" and "Event structure"."""

from __future__ import annotations

import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
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

# How long a signature is good, and of how many it is known what they came with.
SIGNED_FOR_S = 900
MOST_SEEN = 100_000


@dataclass(slots=True)
class Mailgun:
    """`key` is the webhook signing key: HMAC-SHA256 over timestamp and token.

    It does not cover what is said, so that a signature is good for a short time, and
    for the one thing that it came with.
    """

    key: str
    _seen: OrderedDict[str, str] = field(default_factory=OrderedDict)

    @classmethod
    def open(
        cls,
        options: Mapping[str, str],
        fetch: Fetch,
    ) -> Self:
        return cls(options["secret"])

    def events(
        self,
        posted: Posted,
        now: datetime,
    ) -> list[ProviderEvent]:
        payload = mapping(parsed(posted.body))
        event = payload.get("event-data")
        token = self._signed_token(payload, now)
        written = json.dumps(event, sort_keys=True)
        self._note(token, sha256(written.encode()).hexdigest())
        return events_of("mailgun", [mapping(event)], _reports)

    def _signed_token(
        self,
        payload: Mapping[str, Any],
        now: datetime,
    ) -> str:
        """The token, if it is signed and its time is not over. Raises Forged."""
        timestamp = text_at(payload, "signature", "timestamp")
        token = text_at(payload, "signature", "token")
        signature = text_at(payload, "signature", "signature")
        made = hmac.new(self.key.encode(), f"{timestamp}{token}".encode(), "sha256")
        if not hmac.compare_digest(signature.encode(), made.hexdigest().encode()):
            raise Forged
        at = int(timestamp) if re.fullmatch("[0-9]{1,12}", timestamp) else 0
        if abs(now.timestamp() - at) > SIGNED_FOR_S:
            raise Forged
        return token

    def _note(self, token: str, digest: str) -> None:
        """What a token came with. Raises Forged if it was something else before."""
        if self._seen.setdefault(token, digest) != digest:
            raise Forged
        while len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)


def _reports(event: Mapping[str, Any]) -> Iterator[ProviderReport]:
    """By its `event`; opens and clicks are counted by our own pages."""
    kind, who = text_at(event, "event"), text_at(event, "recipient")
    reason = text_at(event, "reason")
    if kind == "delivered":
        answer = text_at(event, "delivery-status", "message")
        yield ProviderReport("delivered", who, answer)
    elif kind == "complained":
        yield ProviderReport("complaint", who, "abuse")
    elif kind == "unsubscribed" or reason == "suppress-unsubscribe":
        yield ProviderReport("unsubscribe", who)
    elif kind == "failed":
        yield _failure(event, who, reason)


def _failure(
    event: Mapping[str, Any],
    who: str,
    reason: str,
) -> ProviderReport:
    """A message that did not arrive, or has not yet."""
    state = mapping(event.get("delivery-status"))
    passing = text_at(event, "severity") == "temporary"
    by: Class = "address-dead" if reason == "suppress-bounce" else "unknown"
    return ProviderReport(
        "delayed" if passing else "bounce",
        who,
        _answer(state),
        text_at(state, "enhanced-code"),
        by,
    )


def _answer(state: Mapping[str, Any]) -> str:
    """What the server answered, with its code before it."""
    code = str(state.get("code") or "")
    message = text_at(state, "message") or text_at(state, "description")
    # Mailgun's own codes begin at 600; they are no server's answer.
    own = re.match("[6-9]", code)
    if own or message[:3] == code:
        return message
    return f"{code} {message}".strip()
