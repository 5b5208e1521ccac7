"""A session's socket: connecting to one address after the other, encrypting,
reading and writing without ever blocking.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Generic

from drip.core.shortage import Shortage, shortage
from drip.network import Address, share_s
from drip.transports.smtp.dialogue import Dialogue
from drip.transports.smtp.envelope import T
from drip.transports.smtp.server import Down

# For all addresses of a server together.
CONNECT_S = 30.0
PIECE = 1 << 18
READ_BYTES = 1 << 16
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
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


class SmtpConnection(Generic[T]):
    """One connection, driven by a selector.

    `turn` is called when what it has `interest` in is there, `too_late` at its
    `deadline`. `patience_s` is the most that anything may take, whatever the
    standard allows. `now` is of a stopwatch, in seconds.
    """

    def __init__(
        self,
        dialogue: Dialogue[T],
        addresses: Iterable[Address],
        context: ssl.SSLContext,
        patience_s: float,
        now: float,
    ) -> None:
        self.dialogue = dialogue
        self.socket: socket.socket | ssl.SSLSocket | None = None
        self._context = context
        self._most_s = patience_s
        self._connected = False
        self._shaking = False
        self._waits_to_write = False
        self._since = now
        self._untried = deque(addresses)
        self._connect_until = now + min(CONNECT_S, patience_s)
        self._address_s = 0.0
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
        if not self._connected:
            return self._since + self._address_s
        patience_s = self.dialogue.patience_s
        if patience_s is None:
            return None
        return self._since + min(patience_s, self._most_s)

    def silent_s(self, now: float) -> float:
        """For how long an answer has been waited for."""
        if self._connected and self.dialogue.patience_s is not None:
            return now - self._since
        return 0.0

    @property
    def interest(self) -> int:
        """The events of a selector to wait for."""
        if not self._connected:
            return selectors.EVENT_WRITE
        if self._shaking and self._waits_to_write:
            return selectors.EVENT_WRITE
        if self._shaking or not self.dialogue.output:
            return selectors.EVENT_READ
        return selectors.EVENT_READ | selectors.EVENT_WRITE

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
        if self._connected and not self._shaking:
            while self.socket is not None and self.dialogue.output:
                if not self._write_piece(self.socket, now):
                    break
        self._close_if_over()

    def close(self) -> None:
        """Lets go of the socket. May be called twice."""
        connection, self.socket = self.socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    # --- reading and writing

    def _write_piece(
        self,
        connection: socket.socket,
        now: float,
    ) -> bool:
        """Whether another piece may follow at once."""
        output = self.dialogue.output
        size = min(len(output), RECORD if self.encrypted else PIECE)
        try:
            with memoryview(output) as whole, whole[:size] as piece:
                count = connection.send(piece)
        except _WAITING:
            return False
        except OSError as error:
            if self.encrypted:
                # Whether the record was complete cannot be known.
                self.dialogue.wrote(size)
            # What the server said before it left may still be there.
            self._read(now)
            self.dialogue.lost(f"the connection broke: {_reason(error)}")
            return False
        self._since = now
        self.dialogue.wrote(count)
        return True

    def _read(self, now: float) -> None:
        """All that has come. The other side may have ended the session with it."""
        connection = self.socket
        while connection is not None and not self.dialogue.over:
            try:
                data = connection.recv(READ_BYTES)
            except _WAITING:
                return
            except OSError as error:
                self.dialogue.lost(f"the connection broke: {_reason(error)}")
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
                _acknowledge_at_once(connection)
            if len(data) < READ_BYTES and not self.encrypted:
                return

    # --- connecting

    def _next_address(self, why: str, now: float) -> None:
        """Begins with the next address, or gives up for the reason given.

        What the others have left of the time is shared among those that remain.
        """
        self.close()
        if not self._untried:
            self._fail(
                f"There is no connection to {self._server} ({why}).",
                "check `host` and `port`, and whether the server runs",
            )
            return
        self._since = now
        self._address_s = share_s(self._connect_until - now, len(self._untried))
        error = self._begin_to_connect(self._untried.popleft())
        if error is None:
            return
        if lack := shortage(error):
            self._lacks(lack)
        else:
            self._next_address(_reason(error), now)

    def _begin_to_connect(self, address: Address) -> OSError | None:
        """What went wrong at once, if anything did."""
        family, where = address
        try:
            self.socket = socket.socket(family, socket.SOCK_STREAM)
            self.socket.setblocking(False)
            # Else the last lines of each message would wait 40 ms for the other
            # side's delayed acknowledgement.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self.socket.connect_ex(where)
        except OSError as error:
            return error
        return None if code in _UNDER_WAY else OSError(code, os.strerror(code))

    def _connect_on(self, now: float) -> None:
        """The connection is made, or was refused."""
        assert self.socket
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._next_address(os.strerror(code), now)
            return
        self._connected = True
        self._since = now
        if self.dialogue.security == "tls":
            self._encrypt(now)

    def _encrypt(self, now: float) -> None:
        """From the beginning, or after STARTTLS (RFC 3207)."""
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
        """As far as it goes without waiting."""
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
            self._shaking = False
            self._since = now
            self.dialogue.secured()
            self._read(now)
            self.write(now)

    # --- ends

    @property
    def _server(self) -> str:
        return f"the mail server {self.dialogue.server}"

    def _untrusted(self, error: Exception) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self._fail(
                f"The certificate of {self._server} cannot be trusted"
                f" ({error.verify_message}).",
                _remedy(error),
                for_good=True,
            )
            return
        reason = getattr(error, "reason", None) or _reason(error)
        self._fail(
            f"The connection to {self._server} cannot be encrypted ({reason}).",
            "check `port` and `security`",
            for_good=isinstance(error, ssl.SSLError),
        )

    def _lacks(self, lack: Shortage) -> None:
        """Another address would not help."""
        self.dialogue.fail(Down(lack.sentence, lack.help, for_good=False, lack=lack))
        self.close()

    def _fail(
        self,
        sentence: str,
        help: str,
        *,
        for_good: bool = False,
    ) -> None:
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


def _acknowledge_at_once(connection: socket.socket) -> None:
    """What has come, so that the next answer does not wait for it.

    A server that gives its answers one by one waits with the next until this one
    is acknowledged, which this side would put off: 44 ms for each message at
    Haraka, 1 ms with this.
    """
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)


# OpenSSL's X509_V_ERR_…: self-signed, its authority unknown.
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
# Not yet good, expired.
_OUT_OF_DATE = (9, 10)


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    """What helps against a certificate that is not trusted."""
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return (
            "nobody whom this machine trusts vouches for the certificate: give the"
            " server one of a known authority, or have this machine trust its own"
            " (SSL_CERT_FILE names a file with its PEM)"
        )
    if error.verify_code in _OUT_OF_DATE:
        return "have the server's certificate renewed, and check this machine's clock"
    return "check `host`; the name there has to be the one in the certificate"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
