"""A message as the bytes of an e-mail (RFC 5322, MIME), the same bytes for the same message."""

from __future__ import annotations

import base64
import quopri
import re
from email.header import Header
from email.utils import format_datetime
from hashlib import sha256

from drip.core.message import Mailbox, Message

# Addresses with other characters need a server that speaks SMTPUTF8 (RFC 6531).
LINE = re.compile(r"\r\n|\r|\n|\u2028|\u2029|\x85|\x0b|\x0c")


def to_bytes(message: Message) -> bytes:
    """Header fields and body with CRLF line ends, lines within RFC 5322's 998 octets."""
    fields = {
        "From": mailbox(message.sender),
        "To": mailbox(message.to),
        "Subject": _text(message.subject, "Subject"),
        "Date": format_datetime(message.date, usegmt=True),
        "Message-ID": f"<{message.message_id}>",
    }
    if message.reply_to:
        fields["Reply-To"] = mailbox(message.reply_to)
    fields |= {name: _one_line(value) for name, value in message.headers.items()}
    fields["MIME-Version"] = "1.0"
    if message.html is None:
        part, body = _part("text/plain", message.text)
        return _join(fields | part, body)
    boundary = "=_" + sha256(message.message_id.encode()).hexdigest()[:32]
    fields["Content-Type"] = f'multipart/alternative; boundary="{boundary}"'
    parts = (_join(*_part("text/plain", message.text)), _join(*_part("text/html", message.html)))
    middle = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return _join(fields, middle + b"--%s--\r\n" % boundary.encode())


def mailbox(box: Mailbox) -> str:
    """A header's address. Never folded inside a name: a folded comma once became a second recipient."""
    name = _one_line(box.name).strip()
    if not name:
        return box.address
    if name.isascii():
        return '"{}" <{}>'.format(re.sub(r'(["\\])', r"\\\1", name), box.address)
    return f"{_text(name, 'To')} <{box.address}>"


def _part(kind: str, text: str) -> tuple[dict[str, str], bytes]:
    body = "\r\n".join(LINE.split(text)).encode("utf-8", "replace")
    fields = {"Content-Type": f"{kind}; charset=utf-8"}
    if len(body) < 200 or len(body) < 1.2 * len(text):
        fields["Content-Transfer-Encoding"] = "quoted-printable"
        return fields, _quoted(body)
    fields["Content-Transfer-Encoding"] = "base64"
    return fields, base64.encodebytes(body).replace(b"\n", b"\r\n")


def _quoted(body: bytes) -> bytes:
    """Quoted-printable with CRLF; soft breaks of the C encoder end in a bare LF."""
    encoded = quopri.encodestring(body.replace(b"\r\n", b"\n"))
    return encoded.replace(b"\n", b"\r\n") + b"\r\n"


def _text(value: str, name: str) -> str:
    """An unstructured value, in words of RFC 2047 where it is not ASCII or too long for a line."""
    value = _one_line(value)
    if value.isascii() and len(value) < 900 and "=?" not in value:
        return value
    return Header(value, "utf-8", header_name=name).encode(linesep="\r\n")


def _one_line(value: str) -> str:
    """Without line ends and other control characters: nothing can be injected into a header."""
    clean = "".join(" " if char < " " or char in "\x7f\x85\u2028\u2029" else char for char in value)
    return clean.encode("utf-8", "replace").decode("utf-8")


def _join(fields: dict[str, str], body: bytes) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode("utf-8", "replace") + b"\r\n" + body
