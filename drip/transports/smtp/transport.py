"""`smtp`: a mail server over a few connections that stay open.

One thread drives them all by a selector.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from drip.core.message import DeliverySession, Message, Receipt, TransportDown
from drip.core.providers import PROVIDERS
from drip.network import Address, addresses_of, trusting
from drip.transports.dkim import Signer
from drip.transports.mime import forget_pieces, to_bytes
from drip.transports.options import number, only
from drip.transports.smtp.connection import SmtpConnection
from drip.transports.smtp.dialogue import Dialogue
from drip.transports.smtp.login import Login
from drip.transports.smtp.round import Round
from drip.transports.smtp.server import SmtpServer

OPTIONS = {
    "host",
    "port",
    "user",
    "password",
    "token",
    "security",
    "timeout",
    "connections",
    "messages_per_connection",
    "hello",
    "bounces",
    "dkim_domain",
    "dkim_selector",
    "dkim_key",
    "dkim_second_selector",
    "dkim_second_key",
    "provider",
}
NAME_FIELDS = {
    name: provider.name_field
    for name, provider in PROVIDERS.items()
    if provider.name_field
}
SECURITIES = ("starttls", "tls", "none")
HERE = ("localhost", "127.0.0.1", "::1")
GOODBYE_S = 2.0
# So often it is looked at whether an answer has taken too long.
DEADLINES_EVERY_S = 0.2
DEFAULT_CONNECTIONS = 4
# As long as RFC 5321 section 4.5.3.2 gives to the slowest answer.
LONGEST_WAIT_S = 600


class SmtpTransport:
    """Options: `host`, `port` (587), `user` with `password` or `token`
    (XOAUTH2), `security`, `connections` (4), `messages_per_connection` (after
    so many a connection is made anew; no limit), `hello` (how this machine
    calls itself), `timeout` (the most seconds for any answer), and `bounces`:
    the address that what cannot be delivered comes back to, with the message's
    name behind a `+`; else it comes back to the sender.

    `dkim_domain`, `dkim_selector` and `dkim_key` (PEM) sign what is sent; a
    second selector and key sign it once more, as for RSA and Ed25519 side by
    side.

    `provider` (`postmark`, `sendgrid` or `mailgun`) has the message's name
    given back in what that provider posts about it.

    `security` is `starttls` (default), `tls` (default on port 465) or `none`
    (default on this machine, and on port 25 without a login). Certificates are
    always verified.
    """

    channels = frozenset({"email"})

    def __init__(
        self,
        options: Mapping[str, str],
        passed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        only(options, "smtp", OPTIONS)
        if "host" not in options:
            raise ValueError("the transport `smtp` needs a `host`")
        self._host = options["host"]
        self._port = number(options, "port", 587, 65535)
        self._timeout_s = float(number(options, "timeout", LONGEST_WAIT_S, 3600))
        self.most = number(options, "connections", DEFAULT_CONNECTIONS, 100)
        self.per_connection = _per_connection(options)
        self._login = _login(options)
        self._security = self._security_of(options)
        self._hello = _hello(options)
        self._bounces = _bounces(options)
        self._provider = options.get("provider")
        if self._provider is not None and self._provider not in NAME_FIELDS:
            known = ", ".join(NAME_FIELDS)
            raise ValueError(f"`provider: {self._provider}` is none of {known}")
        self._signers = _signers(options)
        self.passed_s = passed_s
        self._context = trusting()
        self._known = SmtpServer()
        self._connections: list[SmtpConnection[Message]] = []
        self._deadlines_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._watched: dict[SmtpConnection[Message], selectors.SelectorKey] = {}

    def _security_of(self, options: Mapping[str, str]) -> str:
        security = options.get("security", self._usual_security())
        if security not in SECURITIES:
            raise ValueError(
                f"`security: {security}` is none of {', '.join(SECURITIES)}"
            )
        return security

    def _usual_security(self) -> str:
        """Encrypted, but on this machine, and between servers without a login."""
        if self._port == 465:
            return "tls"
        without_login = self._port == 25 and self._login is None
        return "none" if self._host in HERE or without_login else "starttls"

    @property
    def relay_name(self) -> str:
        """Who takes messages on, and as whom we log in: `ana at mail.example:587`."""
        name = f"{self._host}:{self._port}"
        return f"{self._login.user} at {name}" if self._login else name

    def send(self, message: Message) -> Receipt:
        """Hands one message over.

        Raises TransportDown if the server cannot be used at all.
        """
        alone = _Alone()
        self.deliver(iter([message]), alone)
        (receipt,) = alone.receipts
        return receipt

    def deliver(
        self,
        messages: Iterator[Message],
        session: DeliverySession,
    ) -> None:
        """Hands over what the iterator has, several at once.

        Raises TransportDown; the session knows what was begun.
        """
        try:
            Round(self, messages, session).run()
        finally:
            forget_pieces()

    def written(self, message: Message) -> bytes:
        """The message as it is sent, signed where a key is given."""
        if self._provider:
            message = _with_name_for(self._provider, message)
        data = to_bytes(message)
        if not self._signers:
            return data
        signatures = [signer.field(data, message.date) for signer in self._signers]
        return b"".join([*signatures, data])

    def sender_of(self, message: Message) -> str:
        """The envelope's sender: an address of this message's own, so that
        whatever comes back says which one it was.
        """
        if self._bounces is None:
            return message.sender.address
        local, _, domain = self._bounces.partition("@")
        return f"{local}+{message.message_id.partition('@')[0]}@{domain}"

    def close(self) -> None:
        """Says goodbye to the server. May be called twice."""
        until = self.passed_s() + GOODBYE_S
        for connection in self._connections:
            connection.dialogue.quit()
        self.flush()
        while self.connections and self.passed_s() < until:
            self.wait(until)
        for connection in self._connections:
            connection.close()
        self._connections = []
        self._watch()

    # --- the connections, for one round

    @property
    def recipients(self) -> int:
        """How many the server has taken by now."""
        return self._known.recipients

    @property
    def connections(self) -> Sequence[SmtpConnection[Message]]:
        """The connections that have not ended."""
        return [connection for connection in self._connections if not connection.over]

    def connect(self) -> None:
        """Begins one more connection. Raises TransportDown if the host is not known."""
        dialogue: Dialogue[Message] = Dialogue(
            self._host,
            f"{self._host}:{self._port}",
            self._hello,
            self._security,
            self._login,
            self._known,
        )
        connection = SmtpConnection(
            dialogue,
            self._addresses(),
            self._context,
            self._timeout_s,
            self.passed_s(),
        )
        self._connections.append(connection)

    def without_ended(self) -> list[SmtpConnection[Message]]:
        """Lets go of connections that have ended, and returns them."""
        ended = [connection for connection in self._connections if connection.over]
        if ended:
            self._connections = list(self.connections)
        return ended

    def flush(self) -> None:
        """Writes what is to be written."""
        now = self.passed_s()
        for connection in self._connections:
            if connection.dialogue.output:
                connection.write(now)

    def look(self) -> None:
        """Reads what has come meanwhile: a server drops connections that idle
        for too long.
        """
        self.wait(self.passed_s())

    def wait(self, until: float) -> None:
        """Until something has come, can be written, or `until`, and for a fifth of
        a second at most.
        """
        self._watch()
        now = self.passed_s()
        longest_s = max(min(until - now, DEADLINES_EVERY_S), 0.0)
        ready = self._selector.select(longest_s) if self._watched else []
        now = self.passed_s()
        for key, events in ready:
            key.data.turn(events, now)
        if now >= self._deadlines_at:
            # With many connections under way it would cost more than what they do.
            self._deadlines_at = now + DEADLINES_EVERY_S
            self._end_late(now)

    def _end_late(self, now: float) -> None:
        for connection in self._connections:
            deadline = connection.deadline
            if deadline is not None and now >= deadline:
                connection.too_late(now)

    def _watch(self) -> None:
        """Tells the selector what each connection waits for.

        By the socket and not by its number: the next address that is tried gets the
        number of the one before, of which the kernel has forgotten that it is watched.
        """
        for connection, key in list(self._watched.items()):
            same = connection.socket is key.fileobj
            if not same or connection.interest != key.events:
                self._selector.unregister(key.fileobj)
                del self._watched[connection]
        for connection in self._connections:
            if connection.socket is not None and connection not in self._watched:
                self._watched[connection] = self._selector.register(
                    connection.socket, connection.interest, connection
                )

    def _addresses(self) -> list[Address]:
        try:
            return addresses_of(self._host, self._port)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "that is no name of a machine"
            server = f"{self._host}:{self._port}"
            raise TransportDown(
                f"There is no connection to the mail server {server} ({reason}).",
                "check `host`, and whether names can be looked up from here",
            ) from None


class _Alone:
    """The session for one message that nobody keeps a book of."""

    accepts = True

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    def turn(
        self,
        ended: Sequence[tuple[Message, Receipt]],
        ready: Sequence[Message],
    ) -> list[bool]:
        self.receipts += [receipt for _, receipt in ended]
        return [True] * len(ready)

    def wants(self, message: Message) -> bool:
        return True

    def waits(self, sentence: str | None) -> None:
        """There is nobody to tell."""


def _per_connection(options: Mapping[str, str]) -> int | None:
    if "messages_per_connection" not in options:
        return None
    return number(options, "messages_per_connection", 0, 10_000)


def _hello(options: Mapping[str, str]) -> str:
    """Raises ValueError for what cannot stand behind EHLO."""
    name = options.get("hello") or _own_name()
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]-]{1,255}", name):
        raise ValueError(f"`hello: {name}` is not the name of a machine")
    return name


def _bounces(options: Mapping[str, str]) -> str | None:
    address = options.get("bounces")
    # A message's name goes between the two, and 64 is the most (RFC 5321 section
    # 4.5.3.1.1).
    if address and re.fullmatch(r"[^\s<>@+]{1,14}@[^\s<>@]+", address):
        return address
    if address is None:
        return None
    raise ValueError(
        f"`bounces: {address}` is not an address with at most 14 letters before its @"
    )


def _with_name_for(
    provider: str,
    message: Message,
) -> Message:
    """The message with its own name where the provider gives it back."""
    field, pattern = NAME_FIELDS[provider]
    value = pattern.format(message.message_id.partition("@")[0])
    return replace(message, headers={**message.headers, field: value})


def _login(options: Mapping[str, str]) -> Login | None:
    """None where nothing is given; raises ValueError for half of it."""
    user = options.get("user")
    password = options.get("password")
    token = options.get("token")
    if user is None and password is None and token is None:
        return None
    if user is None or (password is None) == (token is None):
        raise ValueError(
            "`user` and `password` go together (or `user` and `token`, for XOAUTH2)"
        )
    return Login(user, password, token)


def _signers(options: Mapping[str, str]) -> list[Signer]:
    """None, one or two: RFC 8463 asks for an RSA signature beside one by Ed25519."""
    if not any(name.startswith("dkim_") for name in options):
        return []
    first = _signer(options, "dkim_selector", "dkim_key")
    second = ("dkim_second_selector", "dkim_second_key")
    if not any(name in options for name in second):
        return [first]
    return [first, _signer(options, *second)]


def _signer(
    options: Mapping[str, str],
    selector: str,
    key: str,
) -> Signer:
    """Raises ValueError for one of the three that is missing."""
    for name in ("dkim_domain", selector, key):
        if name not in options:
            raise ValueError(f"signing by DKIM needs `{name}` too")
    return Signer(options["dkim_domain"], options[selector], options[key])


def _own_name() -> str:
    """The machine's name where it is a full one, else as RFC 5321 section 4.1.3
    has it.
    """
    name = socket.gethostname()
    whole = re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name)
    return name if whole else "[127.0.0.1]"
