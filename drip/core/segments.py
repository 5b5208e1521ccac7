"""Into how many segments a network cuts an SMS, each of which is paid for.

A text is written in the alphabet GSM 03.38 has (now 3GPP TS 23.038, section 6.2.1:
seven bits a place) or, if a single character is not in it, in UCS-2 (section 6.2.3:
two bytes a place). One message holds 140 bytes, which is 160 places of the first kind
or 70 of the second. A longer text goes out as several, each of which begins with six
bytes that say which one it is (3GPP TS 23.040, section 9.2.3.24.1): 153 and 67 places
are left.

A network cuts between characters: a character of the extension table takes two places
(section 6.2.1.1), one beyond Unicode's first plane takes a surrogate pair, and either
goes whole into the next segment where one place is left.
"""

from __future__ import annotations

# 3GPP TS 23.038 section 6.2.1, without its escape to the extension table.
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Section 6.2.1.1: each is an escape and a letter.
EXTENDED = frozenset("^{}\\[~]|€\f")
GSM_ALONE, GSM_OF_SEVERAL = 160, 153
UCS2_ALONE, UCS2_OF_SEVERAL = 70, 67


def segments(text: str) -> int:
    """How many segments a text takes; an empty one takes one.

    One character beyond GSM 03.38 more than halves what fits into each.
    """
    if BASIC.union(EXTENDED).issuperset(text):
        places = [2 if character in EXTENDED else 1 for character in text]
        return _count(places, GSM_ALONE, GSM_OF_SEVERAL)
    places = [2 if character > "\uffff" else 1 for character in text]
    return _count(places, UCS2_ALONE, UCS2_OF_SEVERAL)


def _count(
    places: list[int],
    alone: int,
    of_several: int,
) -> int:
    """The segments for characters that take so many places each."""
    if sum(places) <= alone:
        return 1
    count, room = 1, of_several
    for needed in places:
        if needed > room:
            # A place may stay empty: no character is cut in two.
            count, room = count + 1, of_several
        room -= needed
    return count
