"""What steers a terminal or hides is escaped where it is shown; what languages need stays."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from drip.core.characters import HIDDEN, json_text, plain_key, shown, without_hidden

# Seen, although Unicode counts them among the format characters; or needed by languages and pictures of writing.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
NEEDED = {0x200C, 0x200D}


def test_every_control_and_format_character_of_unicode_is_escaped() -> None:
    for number in range(sys.maxunicode + 1):
        if (
            unicodedata.category(chr(number)) in ("Cc", "Cf", "Zl", "Zp", "Cs")
            and number not in SEEN
        ):
            after = "ک" if number not in NEEDED else "a"
            assert HIDDEN.search(after + chr(number)), hex(number)


def test_no_letter_mark_or_sign_is_escaped() -> None:
    for number in range(sys.maxunicode + 1):
        if unicodedata.category(chr(number))[0] in "LMNPS":
            assert shown("a" + chr(number)) == "a" + chr(number), hex(number)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egro.elpmaxe", r"\u202egro.elpmaxe"),
        ("\U000e0041", r"\U000e0041"),
        ("a\u200db", r"a\u200db"),
        ("a\ufe01\ufe02", "a\ufe01" + r"\ufe02"),
        ("\ud83d", r"\ud83d"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_what_hides_is_escaped(text: str, seen: str) -> None:
    assert shown(text) == seen
    assert json_text({"x": text}).isascii() or "\ufe01" in text
    assert json.loads(json_text({text: text})) == {text: text}


@pytest.mark.parametrize(
    "text", ["می‌خواهم", "क्‍ष", "👩‍👩‍👧", "1️⃣ ❤️", "葛󠄀城", "Zoë Łucja", "🏳️‍🌈"]
)
def test_what_languages_and_pictures_of_writing_need_stays(text: str) -> None:
    assert shown(text) == without_hidden(text) == plain_key(text, "key") == text


def test_what_is_kept_of_a_text_has_its_lines() -> None:
    assert (
        without_hidden("\ufeffAna\u200b\x1b[1m\nB\tC\r\n\u202ex\u202c")
        == "Ana[1m\nB\tC\r\nx"
    )


def test_a_key_that_hides_something_is_refused_and_shown() -> None:
    with pytest.raises(
        ValueError,
        match=r"the key `an\\u202ea` holds the character \\u202e, which nobody can see",
    ):
        plain_key("an\u202ea", "key")
