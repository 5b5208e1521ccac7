"""`webhook`: each message as JSON to an address of yours, signed, for whatever channel your program serves.

The signature is that of Standard Webhooks (standardwebhooks.com): `webhook-id` is the message's name, the same for every
attempt, so that a repeat is recognised; `webhook-signature` is HMAC-SHA256 over id, time and body.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from drip.core.message import Message, Receipt, Refused, Sent, TransportDown, Unknown, Unsent
from drip.core.settings import CHANNELS

OPTIONS = {"url", "secret", "timeout", "private"}
TIMEOUT_S = 30.0
MOST_ANSWERED = 10_000
# RFC 9110 section 15: what may go another time.
LATER = (408, 425, 429, *range(500, 600))
# What is wrong with us, so that every message would be refused.
OURS = (401, 403, 407)


class WebhookTransport:
    """Options: `url` (https), `secret` (of the signature), `timeout` in seconds (30), and `private: yes` for an address
    within your own network, to which nothing is sent else: whoever can write an address into the settings must not be able
    to reach what only this machine can reach."""

    channels = frozenset(CHANNELS)

    def __init__(self, options: Mapping[str, str]) -> None:
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise ValueError(
                f"the transport `webhook` has no option `{unknown[0]}`; it has {', '.join(sorted(OPTIONS))}"
            )
        for name in ("url", "secret"):
            if name not in options:
                raise ValueError(f"the transport `webhook` needs a `{name}`")
        self._private = options.get("private", "no") == "yes"
        self._url = _url(options["url"], self._private)
        self._secret = options["secret"].encode()
        self._timeout = _seconds(options.get("timeout"))

    def send(self, message: Message) -> Receipt:
        """Posts one message. Raises TransportDown if the address cannot be reached at all, or does not know us."""
        body = json.dumps(_told(message), ensure_ascii=False).encode("utf-8", "replace")
        connection = self._connection()
        written = False
        try:
            connection.connect()
            written = True
            connection.request("POST", self._path, body, self._headers(message, body))
            answer = connection.getresponse()
            said = answer.read(MOST_ANSWERED)
        except (OSError, http.client.HTTPException) as error:
            if not written and isinstance(error, ssl.SSLError):
                raise self._down(f"cannot be trusted ({error.reason or error})") from None
            if not written:
                raise self._down(f"does not answer ({_said(error)})") from None
            return Unknown(f"the connection broke after the message was written: {_said(error)}")
        finally:
            connection.close()
        return self._meaning(answer.status, said)

    def close(self) -> None:
        """Nothing is kept open."""

    def _meaning(self, status: int, said: bytes) -> Receipt:
        told = f"{status} {' '.join(said.decode('utf-8', 'replace').split())}".strip()[:300]
        if 200 <= status < 300:
            return Sent(told)
        if status in OURS:
            raise self._down(f"does not know us ({told})")
        if status in LATER:
            return Unsent(told)
        if 300 <= status < 400:
            return Refused(f"{told}: redirects are not followed")
        return Refused(told)

    def _headers(self, message: Message, body: bytes) -> dict[str, str]:
        name, at = message.message_id, str(int(message.date.timestamp()))
        digest = hmac.digest(self._secret, b".".join((name.encode(), at.encode(), body)), "sha256")
        return {
            "Content-Type": "application/json",
            "User-Agent": "drip",
            "Idempotency-Key": name,
            "webhook-id": name,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }

    @property
    def _path(self) -> str:
        return (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")

    def _connection(self) -> http.client.HTTPConnection:
        """To the one address that was looked at: a name that is looked up again may lead elsewhere."""
        host, secure = self._url.hostname or "", self._url.scheme == "https"
        port = self._url.port or (443 if secure else 80)
        address = self._address(host, port)
        return _Pinned(host, port, address, ssl.create_default_context() if secure else None, self._timeout)

    def _address(self, host: str, port: int) -> str:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self._down(f"cannot be looked up ({_said(error)})") from None
        addresses = [str(each[4][0]) for each in found]
        inside = [each for each in addresses if not ipaddress.ip_address(each.partition("%")[0]).is_global]
        if inside and not self._private:
            help = "write `private: yes` if it is a machine of yours that is meant to get them"
            raise TransportDown(f"{host} leads into a private network ({inside[0]}), to which nothing is sent.", help)
        return addresses[0]

    def _down(self, what: str) -> TransportDown:
        return TransportDown(f"{self._url.hostname} {what}.", "check `url` and `secret`, and whether it runs")


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that is known already, by the name of a host."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._pinned, self._tls = address, context
        # As http.client has it for https, so that the port is named only where it is an odd one.
        self.default_port = 443 if context else 80

    def connect(self) -> None:
        self.sock = socket.create_connection((self._pinned, self.port), self.timeout)
        if self._tls:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _told(message: Message) -> dict[str, Any]:
    """What the other side gets."""
    return {
        "id": message.message_id,
        "channel": message.channel,
        "to": {"name": message.to.name, "address": message.to.address},
        "from": {"name": message.sender.name, "address": message.sender.address},
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "headers": dict(message.headers),
        "date": message.date.isoformat(),
        "attachments": [
            {"name": each.name, "type": each.content_type, "data": base64.b64encode(each.data).decode()}
            for each in message.attachments
        ],
    }


def _url(text: str, private: bool) -> SplitResult:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises for a port that cannot be
    except ValueError:
        raise ValueError(f"`url: {text}` is not an address") from None
    if not url.hostname or url.scheme not in ("https", "http") or url.username is not None:
        raise ValueError(f"`url: {text}` is not an address as https://example.com/messages")
    if url.scheme == "http" and not private:
        raise ValueError("`url` has to begin with https://, so that nobody reads along")
    return url


def _seconds(text: str | None) -> float:
    if text is None:
        return TIMEOUT_S
    if not text.isdecimal() or not 0 < int(text) <= 600:
        raise ValueError(f"`timeout: {text}` is not a number of seconds that can be")
    return float(text)


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
