"""`webhook`: each message as JSON to an address of yours, signed, for whatever
channel your program serves.

It is signed as `posting.signed` says; the id is the message's name, the same
for every attempt, so that a repeat is recognised.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from drip.core.channels import CHANNELS
from drip.core.message import (
    Attachment,
    Mailbox,
    Message,
    Receipt,
    Refused,
    Sent,
    Unknown,
    Unsent,
)
from drip.transports.options import number, only
from drip.transports.posting import (
    ELSEWHERE,
    LATER,
    OURS,
    Broken,
    HttpResponse,
    address_of,
    down,
    post,
    signed,
)

OPTIONS = {"url", "secret", "timeout", "private"}
TIMEOUT_S, LONGEST_S = 30, 600


class WebhookTransport:
    """Options: `url` (https), `secret` (of the signature), `timeout` in seconds
    (30), and `private: yes` for an address within your own network, to which
    nothing is sent else.
    """

    channels = frozenset(CHANNELS)

    def __init__(self, options: Mapping[str, str]) -> None:
        only(options, "webhook", OPTIONS)
        for name in ("url", "secret"):
            if name not in options:
                raise ValueError(f"the transport `webhook` needs a `{name}`")
        self._private = options.get("private", "no") == "yes"
        self._url = address_of(options["url"], private=self._private)
        self._secret = options["secret"]
        self._timeout_s = number(options, "timeout", TIMEOUT_S, LONGEST_S)

    def send(self, message: Message) -> Receipt:
        """Posts one message.

        Raises TransportDown if the address cannot be reached at all, or does not know
        us.
        """
        payload = json.dumps(_payload(message), ensure_ascii=False)
        body = payload.encode("utf-8", "replace")
        headers = signed(
            self._secret,
            message.message_id,
            message.date,
            body,
        )
        try:
            answer = post(
                self._url,
                headers,
                body,
                self._timeout_s,
                private=self._private,
            )
        except Broken as broken:
            return Unknown(
                f"the connection broke after the message was written: {broken}"
            )
        return self._meaning(answer)

    def _meaning(self, answer: HttpResponse) -> Receipt:
        """By the HTTP status alone: the other side is anybody's program."""
        if 200 <= answer.status < 300:
            return Sent(str(answer))
        if answer.status in OURS:
            raise down(self._url, f"does not know us ({answer})")
        if answer.status in ELSEWHERE:
            more = ": redirects are not followed" if answer.status < 400 else ""
            raise down(self._url, f"is not where messages are taken ({answer}{more})")
        later = answer.status in LATER
        return Unsent(str(answer)) if later else Refused(str(answer))

    def close(self) -> None:
        """Nothing is kept open."""


def _payload(message: Message) -> dict[str, Any]:
    """What the other side gets."""
    return {
        "id": message.message_id,
        "channel": message.channel,
        "to": _mailbox(message.to),
        "from": _mailbox(message.sender),
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "headers": dict(message.headers),
        "date": message.date.isoformat(),
        "attachments": [_attached(file) for file in message.attachments],
    }


def _mailbox(box: Mailbox) -> dict[str, str]:
    return {"name": box.name, "address": box.address}


def _attached(file: Attachment) -> dict[str, str | None]:
    return {
        "name": file.name,
        "type": file.content_type,
        "data": base64.b64encode(file.data).decode(),
        "content_id": file.content_id or None,
    }
