"""A mail as it came in, however broken: its header, its parts, and their texts.

Nothing here raises for what is in a mail.

Raises Shortage for what the machine lacks while it is read.
"""

from __future__ import annotations

import base64
import email
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.header import decode_header
from email.message import Message as Parsed
from email.parser import BytesHeaderParser
from email.policy import Compat32
from typing import TypeVar

from drip.core.shortage import shortage

T = TypeVar("T")
# What a notice or a report never needs more of.
MOST_BYTES = 1_000_000
# A copy of the message that a mail is about, a report of its delivery (RFC
# 3464; RFC 6533 for addresses beyond ASCII), and a receipt (RFC 8098).
COPIES = (
    "message/rfc822",
    "text/rfc822-headers",
    "message/global",
    "message/global-headers",
)
STATUSES = ("message/delivery-status", "message/global-delivery-status")
RECEIPT = "message/disposition-notification"
# The library looks at each line once for each boundary, and makes a message of
# each block of a report.
MOST_LOOKS = 5_000_000
MOST_BLOCKS = 10_000
MOST_PARTS = 100
MOST_CHARACTERS = 100_000
LONGEST_LINE = 1_000
LONGEST_FIELD = 10 * LONGEST_LINE
_HIDDEN = re.compile(r"(?i)<(style|script|head)\b")


@dataclass(frozen=True, slots=True)
class MailPart:
    """One part that has no parts: its type in small letters, and its text with
    line ends of one kind.
    """

    kind: str
    text: str


class Mail:
    """The header by name, and the parts in order."""

    def __init__(self, data: bytes) -> None:
        self._parsed = _parsed(data[:MOST_BYTES].lstrip(b"\r\n"))
        self.report = str(_parameter(self._parsed, "report-type") or "").lower()
        self.parts = list(_parts(self._parsed))

    def header(self, name: str) -> str:
        """A field in words, empty where it is missing."""
        return in_words(self._parsed.get(name))

    def headers(self, name: str) -> list[str]:
        """A field that may come more than once."""
        return [in_words(each) for each in self._parsed.get_all(name) or []]

    def part(self, *kinds: str) -> MailPart | None:
        """The first part of one of these types."""
        return next((each for each in self.parts if each.kind in kinds), None)


def in_words(value: object) -> str:
    """A header's value without line ends, its RFC 2047 words decoded where they
    can be.
    """
    if value is None:
        return ""
    text = " ".join(str(value).split())
    if "=?" not in text:
        return text
    # Words that end in the middle stay as they are.
    pieces: list[tuple[str | bytes, str | None]] = _tried(
        lambda: decode_header(text), [(text, None)]
    )
    return "".join(
        _decoded(piece, charset) if isinstance(piece, bytes) else piece
        for piece, charset in pieces
    )


def lines_of(text: str) -> list[tuple[str, str]]:
    """A block of `Name: value` lines, folded ones unfolded; names in small letters."""
    found = []
    for line in re.sub(r"\n[ \t]+", " ", text).split("\n"):
        name, colon, value = line.partition(":")
        if colon and re.fullmatch(r"[A-Za-z0-9-]+\s*", name):
            found.append((name.strip().lower(), value.strip()))
    return found


def fields(text: str) -> dict[str, str]:
    """The same by name; of several the first."""
    return dict(reversed(lines_of(text)))


class _Bounded(Compat32):
    """The library takes time that grows with the square of a field's length,
    and knows nothing of RFC 6532.
    """

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:LONGEST_FIELD]

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_BOUNDED = _Bounded()


def _parsed(data: bytes) -> Parsed:
    """The mail with its parts; where these are too many, or too many within
    each other, its header and one text.
    """
    nested = len(re.findall(rb"(?i)boundary|message/(?:rfc822|global)", data))
    blocks = (
        len(re.findall(rb"\n\r?\n", data)) if b"delivery-status" in data.lower() else 0
    )
    if data.count(b"\n") * nested <= MOST_LOOKS and blocks <= MOST_BLOCKS:
        # Raises RecursionError.
        whole = _tried(lambda: email.message_from_bytes(data, policy=_BOUNDED), None)
        if whole is not None:
            return whole
    return BytesHeaderParser(policy=_BOUNDED).parsebytes(data)


def _parts(parsed: Parsed, depth: int = 0) -> Iterator[MailPart]:
    payload = parsed.get_payload() if parsed.is_multipart() else None
    kind = _kind(parsed)
    if isinstance(payload, list) and depth < 20:
        if kind in (*COPIES, *STATUSES, "message/feedback-report", RECEIPT):
            text = "\n\n".join(_as_text(each) for each in payload[:MOST_PARTS])
            if in_words(parsed.get("Content-Transfer-Encoding")).lower() == "base64":
                text = _from_base64(text)
            yield MailPart(kind, text)
            return
        for each in payload[:MOST_PARTS]:
            if isinstance(each, Parsed):
                yield from _parts(each, depth + 1)
        return
    text = _text(parsed)
    if kind == "text/html":
        text = _without_tags(text)
    yield MailPart(kind, text)


def _as_text(part: object) -> str:
    # Of what cannot be written again its header at least.
    header = (
        "\n".join(f"{name}: {value}" for name, value in part.items())
        if isinstance(part, Parsed)
        else ""
    )
    # As bytes: as a string it would put bytes beyond ASCII, which stand in many
    # a report, into words of RFC 2047.
    text = _tried(
        lambda: (
            _decoded(part.as_bytes(), None) if isinstance(part, Parsed) else str(part)
        ),
        header,
    )
    return _lines(text).strip("\n")


def _from_base64(text: str) -> str:
    """What a report says; by RFC 2046 it is never encoded, which some servers
    do not know.
    """
    return _tried(
        lambda: _lines(_decoded(base64.b64decode(text, validate=False), None)), text
    )


def _kind(parsed: Parsed) -> str:
    kind = _tried(lambda: parsed.get_content_type().lower(), "text/plain")
    # Parameters without their semicolon.
    kind = re.split(r"\s", kind)[0]
    whole = kind.startswith("multipart/") and not parsed.is_multipart()
    return "text/plain" if whole else kind


def _parameter(parsed: Parsed, name: str) -> object:
    return _tried(lambda: parsed.get_param(name), None)


def _text(parsed: Parsed) -> str:
    payload: object = _tried(lambda: parsed.get_payload(decode=True), None)
    if not isinstance(payload, bytes):
        return ""
    charset = _parameter(parsed, "charset")
    return _lines(_decoded(payload, charset if isinstance(charset, str) else None))


def _tried(read: Callable[[], T], instead: T) -> T:
    """What the library reads of a part, or something else: on mails that are
    broken it raises errors of any kind.
    """
    try:
        return read()
    except Exception as error:
        if lack := shortage(error):
            # The mail is not taken, and is read again.
            raise lack from None
        return instead


def _decoded(data: bytes, charset: str | None) -> str:
    for each in (charset, "utf-8"):
        try:
            return data.decode(each or "utf-8")
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode("latin-1")


def _lines(text: str) -> str:
    """With line ends of one kind, and no more of it than anybody writes."""
    text = (
        text[:MOST_CHARACTERS]
        .replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\x00", "")
    )
    return "\n".join(line[:LONGEST_LINE] for line in text.split("\n"))


def _without_tags(text: str) -> str:
    """In time that grows with the length alone: a tag ends where the next one
    begins.
    """
    text = re.sub(
        r"(?i)<(br|/?p|/?div|/?tr|/?li|/?h\d|/?table|hr)\b[^<>]*>",
        "\n",
        _without_hidden(text),
    )
    return html.unescape(re.sub(r"<[/!A-Za-z][^<>@]*>", " ", text))


def _without_hidden(text: str) -> str:
    kept, at = [], 0
    while found := _HIDDEN.search(text, at):
        end = re.compile(rf"(?i)</{found[1]}\s*>").search(text, found.end())
        if end is None:
            break
        kept.append(text[at : found.start()])
        at = end.end()
    return " ".join([*kept, text[at:]])
