"""`twilio`: SMS by Twilio, or by a service that speaks as Twilio does (`url`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from urllib.parse import urlencode

from drip.core.message import Message, Receipt, Refused, Scope, Sent, Unknown, Unsent
from drip.core.segments import segments
from drip.transports.options import number, only
from drip.transports.posting import (
    LATER,
    MAYBE,
    OURS,
    Broken,
    HttpResponse,
    address_of,
    down,
    post,
)

OPTIONS = {
    "account",
    "token",
    "from",
    "service",
    "url",
    "timeout",
    "segments",
    "private",
}
URL = "https://api.twilio.com"
TIMEOUT_S, LONGEST_S = 30, 600
MOST_SEGMENTS = 4
# Twilio's own codes (twilio.com/docs/api/errors): whom a no is about, where it
# is not about this message.
SCOPES: Mapping[int, Scope] = {
    21211: "address",
    21217: "address",
    21265: "address",
    21407: "address",
    21421: "address",  # no number
    21610: "address",  # has answered STOP
    21614: "address",  # cannot get SMS
    21606: "sender",
    21659: "sender",
    21660: "sender",
    21212: "sender",
    21266: "sender",  # the sender's number
}
# Too much at once, or an account that is out of money or closed.
TOO_MUCH = (14107, 20429, 30022)
CLOSED = (20003, 20005, 21237, 30002, 63038)


class TwilioTransport:
    """Options: `account` (its SID), `token`, `from` (a number) or `service` (a
    messaging service's SID), `segments` (the most that one message may take,
    4), `timeout` in seconds, and `url` for a service that speaks as Twilio
    does.
    """

    channels = frozenset({"sms"})

    def __init__(self, options: Mapping[str, str]) -> None:
        only(options, "twilio", OPTIONS)
        for name in ("account", "token"):
            if name not in options:
                raise ValueError(f"the transport `twilio` needs `{name}`")
        account, token = options["account"], options["token"]
        self._sender = _sender(options)
        if not account.isalnum():
            raise ValueError("`account` is not the SID of an account")
        self._private = options.get("private", "no") == "yes"
        base = options.get("url", URL).rstrip("/")
        self._url = address_of(
            f"{base}/2010-04-01/Accounts/{account}/Messages.json",
            private=self._private,
        )
        login = base64.b64encode(f"{account}:{token}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {login}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._timeout_s = number(options, "timeout", TIMEOUT_S, LONGEST_S)
        self._most = number(options, "segments", MOST_SEGMENTS, 10)

    def send(self, message: Message) -> Receipt:
        """Hands one message over.

        Raises TransportDown if the service cannot be reached, or does not know
        us.
        """
        text = message.text.strip()
        count = segments(text)
        if count > self._most:
            return Refused(
                f"the text takes {count} segments, and `segments` allows {self._most}"
            )
        form = {"To": message.to.address, "Body": text, **self._sender}
        try:
            answer = post(
                self._url,
                self._headers,
                urlencode(form).encode(),
                self._timeout_s,
                private=self._private,
            )
        except Broken as broken:
            return Unknown(
                f"the connection broke after the message was written: {broken}"
            )
        return self._meaning(answer, count)

    def close(self) -> None:
        """Nothing is kept open."""

    def _meaning(
        self,
        answer: HttpResponse,
        count: int,
    ) -> Receipt:
        """By the HTTP status, and by Twilio's own code within."""
        payload = _fields(answer.body)
        if 200 <= answer.status < 300:
            many = "s" if count > 1 else ""
            return Sent(f"{payload.get('sid', 'taken')}, {count} segment{many}")
        code = payload.get("code")
        said = f"{answer.status} {payload.get('message') or answer}"[:300]
        if answer.status in OURS or code in CLOSED:
            raise down(self._url, f"does not let us in ({said})")
        if code in TOO_MUCH or answer.status == 429:
            return Unsent(said, "transport")
        if answer.status in MAYBE:
            # There is no key by which the service would know a repeat.
            return Unknown(said)
        if answer.status in LATER:
            return Unsent(said)
        scope = SCOPES.get(code) if isinstance(code, int) else None
        return Refused(said, scope or "message")


def _sender(options: Mapping[str, str]) -> dict[str, str]:
    """From which number, or by which service's choice of numbers."""
    if ("from" in options) == ("service" in options):
        raise ValueError("the transport `twilio` needs `from` (a number) or `service`")
    if "from" in options:
        return {"From": options["from"]}
    return {"MessagingServiceSid": options["service"]}


def _fields(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
