"""A session's socket: connecting to one address after the other, encrypting, reading and writing without ever blocking."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
from collections import deque
from typing import Any, Generic

from drip.core.shortage import Shortage, shortage
from drip.transports.smtp.dialogue import Dialogue
from drip.transports.smtp.envelope import T
from drip.transports.smtp.server import Down

CONNECT_S = 30.0
PIECE = 1 << 18
# Linux has a word for it; elsewhere it says again what was said at the start.
QUICK_ACK = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)
# One record of TLS, so that a write is whole or not at all.
RECORD = 1 << 14
_WAITING = (
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    BlockingIOError,
    InterruptedError,
)
Address = tuple[socket.AddressFamily, Any]


class SmtpConnection(Generic[T]):
    """One connection, driven by a selector: `turn` when what it has `interest` in is there, `too_late` at its `deadline`.

    `patience_s` is the most that anything may take, whatever the standard allows. `now` is of a stopwatch, in seconds.
    """

    def __init__(
        self,
        dialogue: Dialogue[T],
        addresses: list[Address],
        context: ssl.SSLContext,
        patience_s: float,
        now: float,
    ) -> None:
        self.dialogue = dialogue
        self.socket: socket.socket | ssl.SSLSocket | None = None
        self._addresses, self._context, self._most_s = (
            deque(addresses),
            context,
            patience_s,
        )
        self._connected = False
        self._shaking = False
        self._waits_to_write = False
        self._since = now
        self._next_address("there is no address to connect to", now)

    @property
    def over(self) -> bool:
        return self.socket is None

    @property
    def encrypted(self) -> bool:
        return isinstance(self.socket, ssl.SSLSocket)

    @property
    def deadline(self) -> float | None:
        """When it has waited for too long; None while it waits for nothing."""
        patience = self._patience_s()
        return None if patience is None else self._since + min(patience, self._most_s)

    def silent_s(self, now: float) -> float:
        """For how long an answer has been waited for."""
        return (
            now - self._since
            if self._connected and self._patience_s() is not None
            else 0.0
        )

    def _patience_s(self) -> float | None:
        if not self._connected:
            return CONNECT_S
        return self.dialogue.patience_s

    @property
    def interest(self) -> int:
        """The events of a selector to wait for."""
        if not self._connected:
            return selectors.EVENT_WRITE
        if self._shaking:
            return (
                selectors.EVENT_WRITE if self._waits_to_write else selectors.EVENT_READ
            )
        return selectors.EVENT_READ | (
            selectors.EVENT_WRITE if self.dialogue.output else 0
        )

    def turn(self, events: int, now: float) -> None:
        """Does what can be done now without waiting."""
        if self.socket is None:
            return
        if not self._connected:
            self._connect_on(now)
        elif self._shaking:
            self._shake_hands(now)
        else:
            if events & selectors.EVENT_READ:
                self._read(now)
            self.write(now)
        self._close_if_over()

    def write(self, now: float) -> None:
        """Hands over as much of the output as there is room for."""
        connection, output = self.socket, self.dialogue.output
        while (
            connection is not None and output and self._connected and not self._shaking
        ):
            size = min(len(output), RECORD if self.encrypted else PIECE)
            try:
                with memoryview(output) as whole, whole[:size] as piece:
                    count = connection.send(piece)
            except _WAITING:
                break
            except OSError as error:
                if self.encrypted:
                    # Whether the record was complete cannot be told.
                    self.dialogue.wrote(size)
                # What the server said before it left may still be there.
                self._read(now)
                self.dialogue.lost(f"the connection broke: {_said(error)}")
                break
            self._since = now
            self.dialogue.wrote(count)
        self._close_if_over()

    def close(self) -> None:
        """Lets go of the socket. May be called twice."""
        connection, self.socket = self.socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    # --- reading

    def _read(self, now: float) -> None:
        connection = self.socket
        while connection is not None and not self.dialogue.over:
            try:
                data = connection.recv(1 << 16)
            except _WAITING:
                return
            except OSError as error:
                self.dialogue.lost(f"the connection broke: {_said(error)}")
                return
            if not data:
                self.dialogue.lost("the server closed the connection")
                return
            if self.dialogue.received(data):
                self._since = now
            if self.dialogue.wants_tls:
                self._encrypt(now)
                return
            if self.dialogue.awaits:
                # A server that gives its answers one by one waits with the next until this one is acknowledged, which this side
                # would put off: 44 ms for each message at Haraka, 1 ms with this.
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
            if len(data) < 1 << 16 and not self.encrypted:
                return

    # --- connecting

    def _next_address(self, why: str, now: float) -> None:
        self.close()
        if not self._addresses:
            self._fail(
                f"There is no connection to {self._server} ({why}).",
                "check `host` and `port`, and whether the server runs",
            )
            return
        family, address = self._addresses.popleft()
        self._since = now
        try:
            self.socket = socket.socket(family, socket.SOCK_STREAM)
            self.socket.setblocking(False)
            # Else the last lines of each message would wait 40 ms for the other side's delayed acknowledgement.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self.socket.connect_ex(address)
        except OSError as error:
            if lack := shortage(error):
                self._lacks(lack)
            else:
                self._next_address(_said(error), now)
            return
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            return
        if lack := shortage(OSError(code, os.strerror(code))):
            self._lacks(lack)
        else:
            self._next_address(os.strerror(code), now)

    def _connect_on(self, now: float) -> None:
        assert self.socket
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._next_address(os.strerror(code), now)
            return
        self._connected, self._since = True, now
        if self.dialogue.security == "tls":
            self._encrypt(now)

    def _encrypt(self, now: float) -> None:
        assert self.socket
        try:
            self.socket = self._context.wrap_socket(
                self.socket,
                server_hostname=self.dialogue.host,
                do_handshake_on_connect=False,
            )
        except (OSError, ValueError) as error:
            self._untrusted(error)
            return
        self._shaking = True
        self._shake_hands(now)

    def _shake_hands(self, now: float) -> None:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._waits_to_write = False
        except ssl.SSLWantWriteError:
            self._waits_to_write = True
        except (OSError, ValueError) as error:
            self._untrusted(error)
        else:
            self._shaking, self._since = False, now
            self.dialogue.secured()
            self._read(now)
            self.write(now)

    # --- ends

    @property
    def _server(self) -> str:
        return f"the mail server {self.dialogue.server}"

    def _untrusted(self, error: Exception) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            sentence = f"The certificate of {self._server} cannot be trusted ({error.verify_message})."
            self._fail(sentence, _remedy(error), for_good=True)
        else:
            reason = getattr(error, "reason", None) or _said(error)
            sentence = (
                f"The connection to {self._server} cannot be encrypted ({reason})."
            )
            self._fail(
                sentence,
                "check `port` and `security`",
                for_good=isinstance(error, ssl.SSLError),
            )

    def _lacks(self, lack: Shortage) -> None:
        """Another address would not help."""
        self.dialogue.fail(Down(lack.sentence, lack.help, for_good=False, lack=lack))
        self.close()

    def _fail(self, sentence: str, help: str, *, for_good: bool = False) -> None:
        self.dialogue.fail(Down(sentence, help, for_good))
        self.close()

    def too_late(self, now: float) -> None:
        """The deadline has come."""
        if not self._connected:
            self._next_address("it does not answer", now)
            return
        self.dialogue.lost("the server did not answer in time", silent=True)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self.dialogue.over:
            self.close()


# OpenSSL's X509_V_ERR_…: self-signed, its authority unknown, expired or not yet good.
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
_OUT_OF_DATE = (9, 10)


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return (
            "nobody whom this machine trusts vouches for the certificate: give the server one of a known authority, or have this "
            "machine trust its own (SSL_CERT_FILE names a file with its PEM)"
        )
    if error.verify_code in _OUT_OF_DATE:
        return "have the server's certificate renewed, and check this machine's clock"
    return "check `host`; the name there has to be the one in the certificate"


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
