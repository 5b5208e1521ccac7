"""`smtp`: one persistent connection to a mail server, with STARTTLS or TLS and login.

The stage of a failure is known: everything before the final dot is *unsent*; a link that dies after it
and before the answer is *unknown* (RFC 5321 section 4.2.5 leaves it open); an answer decides.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Mapping

from drip.core.message import Message, Receipt, Refused, Sent, TransportDown, Unknown, Unsent
from drip.transports.mime import to_bytes

# RFC 5321 section 4.5.3.2 asks for five to ten minutes; a dead peer is noticed sooner here.
TIMEOUT_S = 60.0
OPTIONS = {"host", "port", "user", "password", "security", "timeout"}
SECURITIES = ("starttls", "tls", "none")


class SmtpTransport:
    """Options: `host`, `port` (587), `user`, `password`, `timeout` (seconds), and `security`.

    `security` is `starttls` (default), `tls` (default on port 465) or `none` (default on port 25 and on
    this machine). Certificates are always verified.
    """

    at_once = 1
    channels = frozenset({"email"})

    def __init__(self, options: Mapping[str, str]) -> None:
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise ValueError(f"the transport `smtp` has no option `{unknown[0]}`; it has {', '.join(sorted(OPTIONS))}")
        if "host" not in options:
            raise ValueError("the transport `smtp` needs a `host`")
        self._host = options["host"]
        self._port = _number(options.get("port", "587"), "port")
        self._timeout = float(_number(options.get("timeout", str(int(TIMEOUT_S))), "timeout"))
        self._login = (options.get("user"), options.get("password"))
        here = self._host in ("localhost", "127.0.0.1", "::1") or self._port == 25
        default = "tls" if self._port == 465 else "none" if here else "starttls"
        self._security = options.get("security", default)
        if self._security not in SECURITIES:
            raise ValueError(f"`security: {self._security}` is none of {', '.join(SECURITIES)}")
        if (self._login[0] is None) != (self._login[1] is None):
            raise ValueError("`user` and `password` go together")
        self._connection: smtplib.SMTP | None = None

    def send(self, message: Message) -> Receipt:
        """Hands one message over. Raises TransportDown if the server cannot be used at all."""
        payload = _dotted(to_bytes(message))
        connection = self._open()
        try:
            return self._transact(connection, message, payload)
        except (smtplib.SMTPException, OSError) as error:
            # Before the final dot: nothing can have left.
            self.close()
            return Unsent(f"the connection broke: {_say(error)}")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                connection.quit()
            connection.close()

    def _transact(self, connection: smtplib.SMTP, message: Message, payload: bytes) -> Receipt:
        international = not (message.to.address + message.sender.address).isascii()
        if international and not connection.has_extn("smtputf8"):
            return Refused("the server cannot take addresses with characters beyond ASCII")
        options = ["SMTPUTF8"] if international else []
        code, answer = connection.mail(message.sender.address, options)
        if 500 <= code < 600:
            # About the account, not about this recipient.
            self.close()
            sentence = f"{self._where} does not take mail from {message.sender.address} ({_answer(code, answer)})."
            raise TransportDown(sentence, "check `user`, the password and whether this sender is allowed there")
        if code == 250:
            code, answer = connection.rcpt(message.to.address)
        if code in (250, 251):
            code, answer = connection.docmd("DATA")
        if code != 354:
            return self._refused(connection, code, answer)
        connection.send(payload)
        try:
            connection.send(b".\r\n")
            code, answer = connection.getreply()
        except (smtplib.SMTPException, OSError) as error:
            self.close()
            return Unknown(f"the connection broke after the message was written: {_say(error)}")
        if 200 <= code < 300:
            return Sent(_answer(code, answer))
        if 400 <= code < 600:
            return self._refused(connection, code, answer)
        self.close()
        return Unknown(f"the server's answer to the message makes no sense: {_answer(code, answer)}")

    def _refused(self, connection: smtplib.SMTP, code: int, answer: bytes) -> Receipt:
        """A clear no: for good (5xx) or for now. The connection is made clean for the next message."""
        said = _answer(code, answer)
        try:
            clean = code not in (421, -1) and connection.rset()[0] == 250
        except (smtplib.SMTPException, OSError):
            clean = False
        if not clean:
            self.close()
        if code == 530:
            raise TransportDown(f"{self._where} wants a login ({said}).", "give `user` and `password`")
        return Refused(said) if 500 <= code < 600 else Unsent(said)

    @property
    def _where(self) -> str:
        return f"The mail server {self._host}:{self._port}"

    def _open(self) -> smtplib.SMTP:
        if self._connection is not None and self._alive(self._connection):
            return self._connection
        where = f"the mail server {self._host}:{self._port}"
        try:
            connection = self._connect()
        except smtplib.SMTPAuthenticationError as error:
            sentence = f"The login at {where} was refused ({_answer(error.smtp_code, error.smtp_error)})."
            raise TransportDown(sentence, "check `user` and the password it is given in the environment") from None
        except ssl.SSLError as error:
            sentence = f"The certificate or encryption of {where} cannot be trusted ({error.reason or error})."
            raise TransportDown(sentence, "check `host` and `security`") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # ValueError: a host or a password that cannot be put into the protocol at all.
            sentence = f"There is no connection to {where} ({_say(error)})."
            raise TransportDown(sentence, "check `host` and `port`, and whether the server runs") from None
        self._connection = connection
        return connection

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=context)
        else:
            connection = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        # Else the last lines of each message would wait 40 ms for the other side's delayed acknowledgement.
        if connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._security == "starttls":
                connection.starttls(context=context)
            user, password = self._login
            connection.ehlo_or_helo_if_needed()
            if user is not None and password is not None:
                connection.login(user, password)
        except (smtplib.SMTPException, OSError, ValueError):
            connection.close()
            raise
        return connection

    def _alive(self, connection: smtplib.SMTP) -> bool:
        """Whether an idle connection still answers; a server drops one that idles too long."""
        try:
            return connection.sock is not None and connection.rset()[0] == 250
        except (smtplib.SMTPException, OSError):
            self.close()
            return False


def _dotted(data: bytes) -> bytes:
    """Dot-stuffing (RFC 5321 section 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", data)


def _answer(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {' '.join(text.split())}"[:500]


def _say(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _number(text: str, name: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) <= 65535:
        raise ValueError(f"`{name}: {text}` is not a number that can be")
    return int(text)
