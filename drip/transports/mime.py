"""A message as the bytes of an e-mail (RFC 5322, MIME), the same bytes for the
same message.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from drip.core.addresses import ascii_domain
from drip.core.message import Attachment, Mailbox, Message, Pieced

# RFC 2045 section 6.7.
COLUMNS = 76
# What is longer is written in words of RFC 2047, each on a line of its own: a
# line has 998 octets (RFC 5322 section 2.1.1), and quoting may double a name.
LONG = 400
# So many escaped characters have room on a line that ends softly.
ESCAPED = (COLUMNS - 1) // 3
Fields = dict[str, str]
LEADING_DOTS = re.compile(rb"^\.+", re.M)
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
LINE = re.compile(r"\r\n|\r|\n|\u2028|\u2029|\x85|\x0b|\x0c")


def to_bytes(message: Message) -> bytes:
    """Header fields and body with CRLF line ends, lines within RFC 5322's 998
    octets."""
    head, body = _text_parts(message)
    attached = [
        _attached(attachment)
        for attachment in message.attachments
        if not attachment.content_id
    ]
    if attached:
        parts = [_join(head, body), *attached]
        head, body = _multipart("mixed", message.message_id, parts)
    return _join(_header(message) | head, body)


def _header(message: Message) -> dict[str, str]:
    """Without the fields that say what the body is."""
    fields = {
        "From": mailbox(message.sender),
        "To": mailbox(message.to),
        "Subject": _text(message.subject, "Subject"),
        "Date": _date(message.date.replace(microsecond=0)),
        "Message-ID": f"<{_one_line(message.message_id)}>",
    }
    if message.reply_to:
        fields["Reply-To"] = mailbox(message.reply_to)
    for name, value in message.headers.items():
        fields[name] = _one_line(value)
    fields["MIME-Version"] = "1.0"
    return fields


@lru_cache(16)
def _date(at: datetime) -> str:
    """RFC 5322 section 3.3."""
    return format_datetime(at, usegmt=True)


def _text_parts(message: Message) -> tuple[Fields, bytes]:
    """The text, with the page beside it where there is one."""
    head, body = _part("text/plain", message.text)
    if message.html is None:
        return head, body
    page = _page(message, message.html)
    return _multipart("alternative", message.message_id, [_join(head, body), page])


def _page(message: Message, html: str) -> bytes:
    """The page and its pictures."""
    page = _join(*_part("text/html", html))
    pictures = [
        _attached(attachment)
        for attachment in message.attachments
        if attachment.content_id
    ]
    if not pictures:
        return page
    head, body = _multipart("related", message.message_id, [page, *pictures])
    # RFC 2387 section 3.1: the type of what is shown first.
    head["Content-Type"] += '; type="text/html"'
    return _join(head, body)


def _multipart(
    kind: str,
    about: str,
    parts: list[bytes],
) -> tuple[Fields, bytes]:
    """RFC 2046 section 5.1; the boundary comes of the message, the same each time."""
    boundary = "=_" + sha256(f"{kind}{about}".encode()).hexdigest()[:32]
    line = b"--" + boundary.encode()
    pieces: list[bytes] = []
    for part in parts:
        pieces += (line, b"\r\n", part, b"\r\n")
    pieces += (line, b"--\r\n")
    head = {"Content-Type": f'multipart/{kind}; boundary="{boundary}"'}
    # Long texts are copied once.
    return head, b"".join(pieces)


@lru_cache(64)
def _attached(attachment: Attachment) -> bytes:
    """RFC 2183; a name beyond ASCII as RFC 2231 has it."""
    name = _one_line(attachment.name)
    plain = name.isascii() and '"' not in name and "\\" not in name
    written = f'filename="{name}"' if plain else f"filename*=utf-8''{quote(name)}"
    shown = "inline" if attachment.content_id else "attachment"
    fields = {
        "Content-Type": attachment.content_type,
        "Content-Disposition": f"{shown}; {written}",
        "Content-Transfer-Encoding": "base64",
    }
    if attachment.content_id:
        fields["Content-ID"] = f"<{attachment.content_id}>"
    return _join(fields, _base64(attachment.data))


def _base64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def mailbox(box: Mailbox) -> str:
    """A header's address.

    Never folded inside a name: a folded comma once became a second recipient.
    """
    name = _one_line(box.name).strip()
    address = _one_line(ascii_domain(box.address))
    if not name:
        return address
    if not _is_plain(name):
        return f"{_text(name, 'To')} <{address}>"
    # A backslash first, or it would be doubled once more.
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>'


def _part(kind: str, text: str) -> tuple[Fields, bytes]:
    """Quoted-printable, piece by piece, so that what all messages share is encoded
    once; base64 where that is shorter.

    A soft line break ends each piece that does not end a line, since the columns of the
    next one count from its start.
    """
    pieces = _pieces(text)
    size = sum([size for _, size in pieces])
    fields = {
        "Content-Type": f"{kind}; charset=utf-8",
        "Content-Transfer-Encoding": "quoted-printable",
    }
    if size >= 200 and size >= 1.2 * len(text):
        fields["Content-Transfer-Encoding"] = "base64"
        body = "\r\n".join(LINE.split(text))
        return fields, _base64(body.encode("utf-8", "replace"))
    encoded = [data for data, _ in pieces]
    encoded.append(b"\r\n")
    return fields, b"".join(encoded)


def _pieces(text: str) -> list[tuple[bytes, int]]:
    """Encoded, with the bytes that each had before."""
    if isinstance(text, Pieced) and not _is_cut_in_line_end(text):
        return [*map(_shared, text.pieces)]
    return [_piece(text)]


def _is_cut_in_line_end(text: Pieced) -> bool:
    """Whether CR and LF of one line end may stand in two pieces."""
    return "\r" in text and any(piece.endswith("\r") for piece in text.pieces[:-1])


def _piece(text: str) -> tuple[bytes, int]:
    """One piece, and how many bytes it has before it is encoded."""
    lines = LINE.split(text)
    body = "\n".join(lines).encode("utf-8", "replace")
    data = binascii.b2a_qp(body)
    if b"\n." in data or data.startswith(b"."):
        # So that SMTP has nothing to stuff: it would have to look at every
        # message, and this is done once for all of them.
        data = LEADING_DOTS.sub(_encoded_dots, data)
    # The C encoder ends soft breaks in a bare LF.
    data = data.replace(b"\n", b"\r\n")
    if data and not data.endswith(b"\r\n"):
        data = _softly_ended(data)
    return data, len(body) + len(lines) - 1


def _encoded_dots(found: re.Match[bytes]) -> bytes:
    """Escaped, as many on each line as it has room for; what follows them stands on a
    line of its own.
    """
    full, rest = divmod(len(found[0]), ESCAPED)
    lines = (b"=2E" * ESCAPED + b"=\n") * full
    return lines + b"=2E" * rest + b"=\n" if rest else lines


def _softly_ended(data: bytes) -> bytes:
    """With a soft line break at the end, for which a full last line has no room: it is
    broken before, outside of an escape.
    """
    begins = data.rfind(b"\n") + 1
    if len(data) - begins < COLUMNS:
        return data + b"=\r\n"
    cut = begins + COLUMNS - 3
    while b"=" in data[cut - 2 : cut]:
        cut -= 1
    return data[:cut] + b"=\r\n" + data[cut:] + b"=\r\n"


_shared = lru_cache(4096)(_piece)


def forget_pieces() -> None:
    """Lets go of what was encoded: some pieces hold what was written to one person."""
    _shared.cache_clear()


def _text(value: str, name: str) -> str:
    """An unstructured value, in words of RFC 2047 where it is not ASCII or too long for
    a line.
    """
    value = _one_line(value)
    if _is_plain(value):
        return value
    return Header(value, "utf-8", header_name=name).encode(linesep="\r\n")


def _is_plain(value: str) -> bool:
    """Whether a value can stand in a header as it is."""
    return value.isascii() and len(value) < LONG and "=?" not in value


def _one_line(value: str) -> str:
    """Without line ends and other control characters: nothing can be injected into a
    header.
    """
    if value.isprintable():
        return value
    clean = CONTROL.sub(" ", value)
    return clean.encode("utf-8", "replace").decode("utf-8")


def _join(fields: Fields, body: bytes) -> bytes:
    """A header, an empty line, and what it is about."""
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"".join((head.encode("utf-8", "replace"), b"\r\n", body))
