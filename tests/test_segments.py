"""How many segments an SMS takes, by 3GPP TS 23.038 (GSM 03.38) and 23.040."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.segments import BASIC, EXTENDED, segments

GSM = st.text(st.sampled_from(sorted(BASIC | EXTENDED)), max_size=500)


def test_the_basic_alphabet_has_the_127_places_of_the_standard() -> None:
    # 128 with the escape to the extension table.
    assert len(BASIC) == 127
    assert not BASIC & EXTENDED


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("ü" * 160, 1),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("ő" + "a" * 69, 1),
        ("ő" + "a" * 70, 2),
        ("ł" * 70, 1),
        ("ł" * 71, 2),
        ("名" * 134, 2),
        ("名" * 135, 3),
        ("🎂" * 35, 1),
        ("🎂" * 36, 2),
    ],
)
def test_segments_are_counted_as_networks_cut_them(text: str, count: int) -> None:
    assert segments(text) == count


@pytest.mark.parametrize("character", sorted(EXTENDED))
def test_an_extension_character_is_never_split_over_two_segments(
    character: str,
) -> None:
    # 306 places would do for two segments, were the 153rd not left empty.
    text = "a" * 152 + character + "a" * 152
    assert segments(text) == 3
    assert segments("a" * 151 + character + "a" * 153) == 2


def test_a_surrogate_pair_is_never_split_over_two_segments() -> None:
    # 67 places hold 33 pairs, and the last one stays empty.
    assert segments("🎂" * 66) == 2
    assert segments("🎂" * 67) == 3
    assert segments("a" * 66 + "🎂" + "a" * 66) == 3
    assert segments("a" * 66 + "🎂" * 2 + "名") == 2


def test_a_letter_that_looks_like_one_of_the_alphabet_is_not_one_of_it() -> None:
    # The alphabet has the capital alone, and no typographic apostrophe.
    for letter in "ç’–…":
        assert segments(letter + "a" * 70) == 2


@given(GSM)
def test_in_the_alphabet_segments_are_never_fuller_than_153_places(text: str) -> None:
    places = len(text) + sum(character in EXTENDED for character in text)
    count = segments(text)
    assert count == 1 if places <= 160 else places <= 153 * count
    # At most one place of each stays empty.
    assert count == 1 or places > 152 * (count - 1)


@given(st.text(max_size=500), st.text(max_size=20))
def test_more_text_never_takes_fewer_segments(text: str, more: str) -> None:
    assert segments(text + more) >= segments(text)
