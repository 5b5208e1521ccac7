"""Into how many messages a network cuts an SMS, each of which is paid for (3GPP TS 23.038 and 23.040)."""

from __future__ import annotations

# 3GPP TS 23.038 section 6.2.1, without what is not printed; the second take two places.
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = frozenset("^{}\\[~]|€\f")
ONE_BASIC, EACH_BASIC = 160, 153
ONE_OTHER, EACH_OTHER = 70, 67


def segments(text: str) -> int:
    """How many segments a text takes; one character beyond the basic alphabet halves what fits into each."""
    if all(letter in BASIC or letter in EXTENDED for letter in text):
        sizes = [2 if letter in EXTENDED else 1 for letter in text]
        return _cut(sizes, ONE_BASIC, EACH_BASIC)
    sizes = [len(letter.encode("utf-16-le", "replace")) // 2 for letter in text]
    return _cut(sizes, ONE_OTHER, EACH_OTHER)


def _cut(sizes: list[int], one: int, each: int) -> int:
    """No character is cut in two, so that a segment may stay a place short."""
    if sum(sizes) <= one:
        return 1
    count, room = 1, each
    for size in sizes:
        if size > room:
            count, room = count + 1, each
        room -= size
    return count
