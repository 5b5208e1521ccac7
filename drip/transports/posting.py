"""One request over HTTP, to the one address that was looked at, and how far it got when it fails."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

from drip.core.message import TransportDown
from drip.core.shortage import lacking, shortage
from drip.transports.reaching import addresses_of, trusting

MOST_ANSWERED = 10_000
BASE64 = "whsec_"
# RFC 9110 section 15: what may go another time, and what is wrong with us, so that every message would be refused.
LATER = (408, 425, 429, *range(500, 600))
OURS = (401, 402, 403, 407)
# Of these it may have been taken all the same; a 503 says that it was not (RFC 9110 section 15.6.4).
MAYBE = tuple(set(range(500, 600)) - {501, 503, 505})
# What is at fault is the address that is posted to, so that every message would be refused.
ELSEWHERE = (*range(300, 400), 404, 405, 410)
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class Broken(Exception):
    """The connection broke after something was written: it may have arrived."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A status and the beginning of what came with it."""

    status: int
    body: bytes

    def __str__(self) -> str:
        return f"{self.status} {' '.join(self.body.decode('utf-8', 'replace').split())}".strip()[
            :300
        ]


def address_of(text: str, *, private: bool) -> SplitResult:
    """A web address that something may be posted to. Raises ValueError for one that cannot be."""
    try:
        url = urlsplit(text)
        # Asking for the port raises for one that cannot be.
        whole = url.hostname and url.port != 0
    except ValueError:
        raise ValueError(f"`url: {text}` is not an address") from None
    if not whole or url.scheme not in ("https", "http") or url.username is not None:
        raise ValueError(
            f"`url: {text}` is not an address as https://example.com/messages"
        )
    if url.scheme == "http" and not private:
        raise ValueError("`url` has to begin with https://, so that nobody reads along")
    return url


def post(
    url: SplitResult,
    headers: Mapping[str, str],
    body: bytes,
    timeout_s: float,
    *,
    private: bool,
) -> HttpResponse:
    """The answer; redirects are not followed. Raises TransportDown if nothing was written (Shortage, if that was for want of
    something here), Broken if something was.

    `private` lets it lead into a private network: else whoever can write an address into the settings could reach what only
    this machine can reach.
    """
    return _asked("POST", url, headers, body, timeout_s, private)


def signed(secret: str, name: str, at: datetime, body: bytes) -> dict[str, str]:
    """The header fields of JSON that is posted, signed as Standard Webhooks has it (standardwebhooks.com): HMAC-SHA256 over
    name, time and body. A secret that begins with `whsec_` is base64."""
    key = (
        base64.b64decode(secret.removeprefix(BASE64))
        if secret.startswith(BASE64)
        else secret.encode()
    )
    when = str(int(at.timestamp()))
    digest = hmac.digest(key, b".".join((name.encode(), when.encode(), body)), "sha256")
    return {
        "Content-Type": "application/json",
        "User-Agent": "drip",
        "Idempotency-Key": name,
        "webhook-id": name,
        "webhook-timestamp": when,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def get(url: SplitResult, timeout_s: float) -> HttpResponse:
    """What is there, on a public address; redirects are not followed. Raises TransportDown, whatever goes wrong."""
    try:
        return _asked(
            "GET", url, {"User-Agent": "drip"}, None, timeout_s, private=False
        )
    except Broken as broken:
        raise down(url, f"broke off ({broken})") from None


def _asked(
    method: str,
    url: SplitResult,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
    private: bool,
) -> HttpResponse:
    connection, begun = _connection(url, timeout_s, private), False
    # A socket's own time limit is for each piece of an answer, and there may be many.
    ends = threading.Timer(timeout_s, connection.cut)
    try:
        connection.connect()
        with lacking():
            ends.start()
        begun = True
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        whole = HttpResponse(answer.status, answer.read(MOST_ANSWERED))
        if connection.late:
            raise Broken(f"the answer took more than {timeout_s:g} seconds")
        return whole
    except (OSError, http.client.HTTPException) as error:
        if begun:
            raise Broken(_said(error)) from None
        if lack := shortage(error):
            raise lack from None
        what = (
            f"cannot be trusted ({_said(error)})"
            if isinstance(error, ssl.SSLError)
            else f"does not answer ({_said(error)})"
        )
        raise down(url, what) from None
    finally:
        ends.cancel()
        connection.close()


def down(url: SplitResult, what: str) -> TransportDown:
    """Nothing can leave this way: `example.com does not answer (…).`"""
    return TransportDown(
        f"{url.hostname} {what}.",
        "check `url` and what it is given as secrets, and whether it runs",
    )


def private_address(host: str) -> str | None:
    """The first address of a host that is none of the internet's; None too for one that cannot be looked up. Raises Shortage."""
    try:
        found = [str(address[0]) for _, address in addresses_of(host, 0)]
    except (OSError, ValueError):
        return None
    return next((address for address in found if not _is_public(address)), None)


def leads_inside(host: str, address: str) -> TransportDown:
    """Nothing is sent to this host, as it is at this address."""
    help = "write `private: yes` if it is a machine of yours that is meant to get them"
    return TransportDown(
        f"{host} leads into a private network ({address}), to which nothing is sent.",
        help,
    )


def _connection(url: SplitResult, timeout_s: float, private: bool) -> _Pinned:
    """By one of the addresses that were looked at: a name that is looked up again may lead elsewhere."""
    host, secure = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if secure else 80)
    try:
        addresses = [str(address[0]) for _, address in addresses_of(host, port)]
    except (OSError, UnicodeError) as error:
        raise down(url, f"cannot be looked up ({_said(error)})") from None
    inside = [each for each in addresses if not _is_public(each)]
    if inside and not private:
        raise leads_inside(host, inside[0])
    return _Pinned(host, port, addresses[0], trusting() if secure else None, timeout_s)


def _is_public(address: str) -> bool:
    """Whether an address is one of the internet's, and an IPv4 address within it too (RFC 4291, RFC 3056, RFC 6052, RFC 4380)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found in TRANSLATED:
        return _is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    if not found.is_global or found.is_multicast or found.is_reserved:
        return False
    if not isinstance(found, ipaddress.IPv6Address):
        return True
    within = [
        each
        for each in (found.ipv4_mapped, found.sixtofour, *(found.teredo or ()))
        if each is not None
    ]
    return not found.is_site_local and all(
        each.is_global and not each.is_multicast for each in within
    )


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that is known already, by the name of a host."""

    def __init__(
        self,
        host: str,
        port: int,
        address: str,
        context: ssl.SSLContext | None,
        timeout_s: float,
    ) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._pinned, self._tls, self.late = address, context, False
        # As http.client has it for https, so that the port is named only where it is an odd one.
        self.default_port = 443 if context else 80

    def connect(self) -> None:
        self.sock = socket.create_connection((self._pinned, self.port), self.timeout)
        if self._tls:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)
        # `sock` is let go of as soon as the last answer's body begins.
        self._link = self.sock

    def cut(self) -> None:
        """Ends it, whatever it waits for."""
        self.late = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (
        str(getattr(error, "strerror", None) or getattr(error, "reason", None) or error)
        or type(error).__name__
    )
