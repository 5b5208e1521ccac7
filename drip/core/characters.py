"""Characters that steer a terminal or that nobody sees.

How they are shown, and what becomes of them where texts come in.

They are the control characters (C0, DEL, C1), line separators, halves of UTF-16 and
format characters (Unicode's Cc, Zl, Zp, Cs and Cf), with which a name can turn a line
round, hide, look like another one, or write into somebody's terminal. Cf holds some
that are seen (the number signs of Arabic, Syriac and Kaithi): these stay. Joiners
(U+200C, U+200D) and variation selectors stay where writing needs them: Persian and the
languages of India write words with joiners, and pictures of writing are put together by
both. A joiner after a letter of ASCII joins nothing, and of several selectors in a row
only the first selects: those hide something.
"""

from __future__ import annotations

import json
import re
from typing import Any

SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
JOINERS = "\u200c\u200d"
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ud800-\udfff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
HIDDEN = re.compile(
    f"[{_UNSEEN}]|(?<![^\x00-\x7f{JOINERS}])[{JOINERS}]|(?:^|(?<=[{SELECTORS}]))[{SELECTORS}]"
)
NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def shown(text: str) -> str:
    """The text as one line for people, with what is hidden in it escaped.

    As in `\\x1b`, `\\u202e`, `\\n`.
    """
    if text.isascii() and text.isprintable():
        return text
    return HIDDEN.sub(lambda found: _escaped(found[0]), text)


def json_text(value: Any) -> str:
    """A value as one line of JSON in which letters stay letters.

    What is hidden is escaped as JSON does it (RFC 8259, section 7).
    """
    made = json.dumps(value, ensure_ascii=False)
    if made.isascii() and made.isprintable():
        return made
    # Outside of its strings JSON is ASCII.
    return HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], made)


def without_hidden(text: str) -> str:
    """What somebody typed or pasted, as it is kept: tabs and line ends stay."""
    if text.isascii() and text.isprintable():
        return text
    return HIDDEN.sub(lambda found: found[0] if found[0] in "\t\r\n" else "", text)


def whole(text: str) -> str:
    """The text with `?` for each half of a character of UTF-16.

    Halves cannot be written as UTF-8. The same object if there is none.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def plain_key(text: str, what: str) -> str:
    """A key as it came: two that look alike have to be one.

    Raises ValueError, which shows what hides in it.
    """
    if hidden := hidden_in(text):
        raise ValueError(
            f"the {what} `{shown(text)}` holds the character {hidden}, which nobody "
            "can see"
        )
    return text


def hidden_in(text: str) -> str | None:
    """The first character that is hidden in a text, escaped."""
    found = None if text.isascii() and text.isprintable() else HIDDEN.search(text)
    return _escaped(found[0]) if found else None


def _escaped(char: str) -> str:
    number = ord(char)
    if char in NAMED:
        return NAMED[char]
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
