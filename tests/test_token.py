"""Signed links."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drip.core.token import Link, sign, verify

KEYS = {"old": b"a" * 32, "new": b"b" * 32}
LINK = Link("unsubscribe", 17, "news")


def test_a_link_is_verified_by_old_and_new_keys() -> None:
    for key_id, secret in KEYS.items():
        assert verify(sign(LINK, key_id, secret), KEYS) == LINK


def test_a_removed_key_verifies_no_more() -> None:
    assert verify(sign(LINK, "old", KEYS["old"]), {"new": KEYS["new"]}) is None


def test_a_token_is_safe_in_a_url_and_holds_no_personal_data() -> None:
    token = sign(LINK, "new", KEYS["new"])
    assert all(char.isalnum() or char in "-_." for char in token)


@given(st.text(max_size=80))
def test_what_we_did_not_sign_is_refused(text: str) -> None:
    assert verify(text, KEYS) is None


@given(st.integers(0, 200), st.characters(max_codepoint=127))
def test_a_changed_character_is_refused(position: int, char: str) -> None:
    token = sign(LINK, "new", KEYS["new"])
    position %= len(token)
    changed = token[:position] + char + token[position + 1 :]
    assert changed == token or verify(changed, KEYS) is None
