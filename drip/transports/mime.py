"""A message as the bytes of an e-mail (RFC 5322, MIME), the same bytes for the same message."""

from __future__ import annotations

import base64
import quopri
import re
from email.header import Header
from email.utils import format_datetime
from hashlib import sha256
from urllib.parse import quote

from drip.core.message import Attachment, Mailbox, Message
from drip.transports.addresses import ascii_domain

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
    head, body = _text_parts(message)
    if message.attachments:
        parts = [_join(head, body), *(_attached(each) for each in message.attachments)]
        head, body = _multipart("mixed", message.message_id, parts)
    return _join(fields | head, body)


def _text_parts(message: Message) -> tuple[dict[str, str], bytes]:
    if message.html is None:
        return _part("text/plain", message.text)
    parts = [_join(*_part("text/plain", message.text)), _join(*_part("text/html", message.html))]
    return _multipart("alternative", message.message_id, parts)


def _multipart(kind: str, about: str, parts: list[bytes]) -> tuple[dict[str, str], bytes]:
    boundary = "=_" + sha256(f"{kind}{about}".encode()).hexdigest()[:32]
    middle = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return {"Content-Type": f'multipart/{kind}; boundary="{boundary}"'}, middle + b"--%s--\r\n" % boundary.encode()


def _attached(attachment: Attachment) -> bytes:
    """RFC 2183; a name beyond ASCII as RFC 2231 has it."""
    name = attachment.name
    plain = name.isascii() and '"' not in name and "\\" not in name
    written = f'filename="{name}"' if plain else f"filename*=utf-8''{quote(name)}"
    fields = {
        "Content-Type": attachment.content_type,
        "Content-Disposition": f"attachment; {written}",
        "Content-Transfer-Encoding": "base64",
    }
    return _join(fields, base64.encodebytes(attachment.data).replace(b"\n", b"\r\n"))


def mailbox(box: Mailbox) -> str:
    """A header's address. Never folded inside a name: a folded comma once became a second recipient."""
    name, address = _one_line(box.name).strip(), ascii_domain(box.address)
    if not name:
        return address
    if name.isascii():
        return '"{}" <{}>'.format(re.sub(r'(["\\])', r"\\\1", name), address)
    return f"{_text(name, 'To')} <{address}>"


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
