"""One request over HTTP, to addresses that were looked at, and how far it got
if it fails.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

from drip.core.message import TransportDown
from drip.core.networks import is_public
from drip.core.shortage import lacking, shortage
from drip.network import Address, addresses_of, connect, trusting

MOST_ANSWERED = 10_000
LONGEST_SHOWN = 300
BASE64 = "whsec_"
# RFC 9110 section 15: what may go another time.
LATER = (408, 425, 429, *range(500, 600))
# What is wrong with us, so that every message would be refused.
OURS = (401, 402, 403, 407)
# Of these it may have been taken all the same; a 503 says that it was not (RFC 9110
# section 15.6.4).
MAYBE = tuple(set(range(500, 600)) - {501, 503, 505})
# The address that is posted to is at fault, so that every message would be refused.
ELSEWHERE = (*range(300, 400), 404, 405, 410)


class Broken(Exception):
    """The connection broke after something was written: it may have arrived."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A status and the beginning of what came with it."""

    status: int
    body: bytes

    def __str__(self) -> str:
        words = " ".join(self.body.decode("utf-8", "replace").split())
        return f"{self.status} {words}".strip()[:LONGEST_SHOWN]


def address_of(
    text: str,
    *,
    private: bool,
) -> SplitResult:
    """A web address that something may be posted to.

    Raises ValueError for one that cannot be.
    """
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
    """The answer; redirects are not followed.

    `timeout_s` is for the connection, over all addresses of the host, and again
    for the answer. `private` lets it lead into a private network: else whoever
    can write an address into the settings could reach what only this machine
    can reach.

    Raises TransportDown if nothing was written (Shortage, if that was for want
    of something here), Broken if something was.
    """
    connection = _connection(url, timeout_s, private)
    return _ask(connection, "POST", url, headers, body)


def get(
    url: SplitResult,
    timeout_s: float,
) -> HttpResponse:
    """What is there, on a public address; redirects are not followed.

    Raises TransportDown, whatever goes wrong.
    """
    connection = _connection(url, timeout_s, private=False)
    try:
        return _ask(
            connection,
            "GET",
            url,
            {"User-Agent": "drip"},
            None,
        )
    except Broken as broken:
        raise down(url, f"broke off ({broken})") from None


def signed(
    secret: str,
    name: str,
    at: datetime,
    body: bytes,
) -> dict[str, str]:
    """The header fields of JSON that is posted, signed as Standard Webhooks has
    it.

    That is HMAC-SHA256 over name, time and body (standardwebhooks.com). A
    secret that begins with `whsec_` is base64.
    """
    when = str(int(at.timestamp()))
    content = b".".join((name.encode(), when.encode(), body))
    digest = hmac.digest(_key(secret), content, "sha256")
    return {
        "Content-Type": "application/json",
        "User-Agent": "drip",
        "Idempotency-Key": name,
        "webhook-id": name,
        "webhook-timestamp": when,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _key(secret: str) -> bytes:
    """As Standard Webhooks writes its secrets, or any text."""
    if secret.startswith(BASE64):
        return base64.b64decode(secret.removeprefix(BASE64))
    return secret.encode()


def down(url: SplitResult, what: str) -> TransportDown:
    """Nothing can leave this way: `example.com does not answer (…).`"""
    return TransportDown(
        f"{url.hostname} {what}.",
        "check `url` and what it is given as secrets, and whether it runs",
    )


def private_address(host: str) -> str | None:
    """The first address of a host that is none of the internet's.

    None too for one that cannot be looked up. Raises Shortage.
    """
    try:
        addresses = addresses_of(host, 0)
    except (OSError, ValueError):
        return None
    return _first_inside(addresses)


def leads_inside(
    host: str,
    address: str,
) -> TransportDown:
    """Nothing is sent to this host, as it is at this address."""
    return TransportDown(
        f"{host} leads into a private network ({address}), to which nothing is sent.",
        "write `private: yes` if it is a machine of yours that is meant to get them",
    )


def _first_inside(addresses: Sequence[Address]) -> str | None:
    """The first of some addresses that is none of the internet's."""
    found = (str(where[0]) for _, where in addresses)
    return next((address for address in found if not is_public(address)), None)


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that are known already, by the name of their host.

    A name that is looked up again may lead elsewhere than where it was allowed to.
    """

    def __init__(
        self,
        name: tuple[str, int],
        addresses: Sequence[Address],
        context: ssl.SSLContext | None,
        timeout_s: float,
    ) -> None:
        super().__init__(*name, timeout=timeout_s)
        self._addresses = addresses
        self._context = context
        self.timeout_s = timeout_s
        self.late = False
        # As http.client has it for https: an odd port alone is named in `Host`.
        self.default_port = 443 if context else 80

    def connect(self) -> None:
        self.sock = connect(self._addresses, self.timeout_s)
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
        # `sock` is let go of as soon as the last answer's body begins.
        self._socket = self.sock

    def cut(self) -> None:
        """Ends it, whatever it waits for."""
        self.late = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _connection(
    url: SplitResult,
    timeout_s: float,
    private: bool,
) -> _Connection:
    """A connection that is still to be made, to addresses that may be written to."""
    host, secure = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if secure else 80)
    try:
        addresses = addresses_of(host, port)
    except (OSError, ValueError) as error:
        raise down(url, f"cannot be looked up ({_reason(error)})") from None
    inside = _first_inside(addresses)
    if inside and not private:
        raise leads_inside(host, inside)
    context = trusting() if secure else None
    return _Connection((host, port), addresses, context, timeout_s)


def _ask(
    connection: _Connection,
    method: str,
    url: SplitResult,
    headers: Mapping[str, str],
    body: bytes | None,
) -> HttpResponse:
    # A socket's own time limit is for each piece of an answer, and there may be
    # many.
    limit = threading.Timer(connection.timeout_s, connection.cut)
    try:
        _open(connection, url)
        with lacking():
            limit.start()
        return _answer(connection, method, url, headers, body)
    finally:
        limit.cancel()
        connection.close()


def _open(
    connection: _Connection,
    url: SplitResult,
) -> None:
    """Raises TransportDown, since nothing was written."""
    try:
        connection.connect()
    except OSError as error:
        if lack := shortage(error):
            raise lack from None
        untrusted = isinstance(error, ssl.SSLError)
        what = "cannot be trusted" if untrusted else "does not answer"
        raise down(url, f"{what} ({_reason(error)})") from None


def _answer(
    connection: _Connection,
    method: str,
    url: SplitResult,
    headers: Mapping[str, str],
    body: bytes | None,
) -> HttpResponse:
    """Raises Broken: from here on the other side may have taken it."""
    question = f"?{url.query}" if url.query else ""
    path = f"{url.path or '/'}{question}"
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        answer = HttpResponse(response.status, response.read(MOST_ANSWERED))
    except (OSError, http.client.HTTPException) as error:
        raise Broken(_reason(error)) from None
    if connection.late:
        raise Broken(f"the answer took more than {connection.timeout_s:g} seconds")
    return answer


def _reason(error: Exception) -> str:
    """In the system's or OpenSSL's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    reason = getattr(error, "strerror", None) or getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
