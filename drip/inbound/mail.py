"""A mail as it came in, however broken: its header, its parts, and their texts.

Nothing here raises for what is in a mail.

Raises Shortage for what the machine lacks while it is read.
"""

from __future__ import annotations

import base64
import email
import html
import re
from collections.abc import Callable, Iterator, Sequence
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
DEEPEST = 20
_HIDDEN = re.compile(r"(?i)<(style|script|head)\b")
# What stands behind such a tag stands on a line of its own.
_BREAKING = re.compile(r"(?i)<(br|/?p|/?div|/?tr|/?li|/?h\d|/?table|hr)\b[^<>]*>")
_OF_MESSAGES = (*COPIES, *STATUSES, "message/feedback-report", RECEIPT)


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
        return [in_words(value) for value in self._parsed.get_all(name) or []]

    def part(self, *kinds: str) -> MailPart | None:
        """The first part of one of these types."""
        return next((part for part in self.parts if part.kind in kinds), None)


def in_words(value: object) -> str:
    """A header's value without line ends, its RFC 2047 words decoded where they can
    be."""
    if value is None:
        return ""
    text = " ".join(str(value).split())
    if "=?" not in text:
        return text
    # Words that end in the middle stay as they are.
    as_it_is: list[tuple[str | bytes, str | None]] = [(text, None)]
    pieces = _tried(lambda: decode_header(text), as_it_is)
    return "".join(_piece(data, charset) for data, charset in pieces)


def _piece(data: str | bytes, charset: str | None) -> str:
    """One word of a header, or what stands between two of them."""
    return _decoded(data, charset) if isinstance(data, bytes) else data


def lines_of(text: str) -> list[tuple[str, str]]:
    """A block of `Name: value` lines, folded ones unfolded; names in small letters."""
    unfolded = re.sub(r"\n[ \t]+", " ", text)
    found = []
    for line in unfolded.split("\n"):
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
        """Cuts a field that no reader could show."""
        name, value = super().header_source_parse(sourcelines)
        return name, value[:LONGEST_FIELD]

    def header_fetch_parse(
        self,
        name: str,
        value: str,
    ) -> str:
        """Bytes beyond ASCII are UTF-8, as RFC 6532 section 3.2 has them."""
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_BOUNDED = _Bounded()


def _parsed(data: bytes) -> Parsed:
    """The mail with its parts; where these are too many, or too many within each other,
    its header and one text.
    """
    if not _is_costly(data):
        # Raises RecursionError.
        whole = _tried(lambda: email.message_from_bytes(data, policy=_BOUNDED), None)
        if whole is not None:
            return whole
    return BytesHeaderParser(policy=_BOUNDED).parsebytes(data)


def _is_costly(data: bytes) -> bool:
    """Whether the library would look at too many lines, or make too many messages."""
    return _is_nested_deep(data) or _has_many_blocks(data)


def _is_nested_deep(data: bytes) -> bool:
    nested = len(re.findall(rb"(?i)boundary|message/(?:rfc822|global)", data))
    return data.count(b"\n") * nested > MOST_LOOKS


def _has_many_blocks(data: bytes) -> bool:
    # Of a delivery status each block becomes a message of its own (RFC 3464, section
    # 2.1).
    if b"delivery-status" not in data.lower():
        return False
    return len(re.findall(rb"\n\r?\n", data)) > MOST_BLOCKS


def _parts(
    parsed: Parsed,
    depth: int = 0,
) -> Iterator[MailPart]:
    """Those without parts, in order; what is nested deeper than 20 is one."""
    payload = parsed.get_payload() if parsed.is_multipart() else None
    kind = _kind(parsed)
    if not isinstance(payload, list) or depth >= DEEPEST:
        text = _text(parsed)
        yield MailPart(kind, _without_tags(text) if kind == "text/html" else text)
    elif kind in _OF_MESSAGES:
        yield MailPart(kind, _text_of_messages(parsed, payload[:MOST_PARTS]))
    else:
        for part in payload[:MOST_PARTS]:
            if isinstance(part, Parsed):
                yield from _parts(part, depth + 1)


def _text_of_messages(
    parsed: Parsed,
    messages: Sequence[object],
) -> str:
    """What the library takes for messages within one, as the text that it was."""
    text = "\n\n".join(map(_as_text, messages))
    encoding = in_words(parsed.get("Content-Transfer-Encoding"))
    return _from_base64(text) if encoding.lower() == "base64" else text


def _as_text(part: object) -> str:
    if not isinstance(part, Parsed):
        return _lines(str(part)).strip("\n")
    # Of what cannot be written again its header at least.
    header = "\n".join(f"{name}: {value}" for name, value in part.items())
    # As bytes: as a string it would put bytes beyond ASCII, which stand in many a
    # report, into words of RFC 2047.
    text = _tried(lambda: _decoded(part.as_bytes(), None), header)
    return _lines(text).strip("\n")


def _from_base64(text: str) -> str:
    """What a report says; by RFC 2046 it is never encoded, which some servers
    do not know.
    """
    return _tried(
        lambda: _lines(_decoded(base64.b64decode(text, validate=False), None)), text
    )


def _kind(parsed: Parsed) -> str:
    """Its type in small letters; plain text for one that says it has parts and has
    none.
    """
    kind = _tried(lambda: parsed.get_content_type().lower(), "text/plain")
    # Parameters without their semicolon.
    kind = re.split(r"\s", kind)[0]
    whole = kind.startswith("multipart/") and not parsed.is_multipart()
    return "text/plain" if whole else kind


def _parameter(parsed: Parsed, name: str) -> object:
    """Of its type (RFC 2045 section 5.1); None where it is missing or broken."""
    return _tried(lambda: parsed.get_param(name), None)


def _text(parsed: Parsed) -> str:
    """What it holds, whatever it says of its encoding; empty for what is broken."""
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
    """By the character set named, else as UTF-8, else as Latin-1, which takes any
    byte.
    """
    for name in (charset, "utf-8"):
        try:
            return data.decode(name or "utf-8")
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode("latin-1")


# NUL is no character of a text, and PostgreSQL stores none.
ONE_KIND = {ord("\r"): "\n", ord("\x00"): None}


def _lines(text: str) -> str:
    """With line ends of one kind, and no more of it than anybody writes."""
    text = text[:MOST_CHARACTERS].replace("\r\n", "\n").translate(ONE_KIND)
    return "\n".join(line[:LONGEST_LINE] for line in text.split("\n"))


def _without_tags(text: str) -> str:
    """In time that grows with the length alone: a tag ends where the next one
    begins."""
    text = _BREAKING.sub("\n", _without_hidden(text))
    return html.unescape(re.sub(r"<[/!A-Za-z][^<>@]*>", " ", text))


def _without_hidden(text: str) -> str:
    """Without elements that are not shown."""
    kept, at = [], 0
    while begin := _HIDDEN.search(text, at):
        end = re.compile(rf"(?i)</{begin[1]}\s*>").search(text, begin.end())
        if end is None:
            break
        kept.append(text[at : begin.start()])
        at = end.end()
    kept.append(text[at:])
    return " ".join(kept)
