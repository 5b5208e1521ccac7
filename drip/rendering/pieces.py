"""Texts in pieces (`core.message.Pieced`): what is put into them, and taken out, so
that pieces which many messages share stay the same objects in each.
"""

from __future__ import annotations

import re
from functools import lru_cache

from drip.core.message import Pieced

_BODY = re.compile(r"<body\b[^<>]*>", re.I)
_GAP = re.compile(r"\n\s*\n\s*\n+")
# Templates have some hundred pieces; all beyond are people's.
MOST_KEPT = 1_024


class PieceCache:
    """What comes of pieces that were seen before.

    Some hold what was written to one person: `forget` them once the messages of a
    dispatch have left.
    """

    def __init__(self) -> None:
        self.cut = lru_cache(MOST_KEPT)(_cut)
        self.without_gaps = lru_cache(MOST_KEPT)(_without_gaps)

    def forget(self) -> None:
        """Lets go of all texts."""
        self.cut.cache_clear()
        self.without_gaps.cache_clear()


def before_the_end(
    html: Pieced,
    more: str,
    cache: PieceCache,
) -> Pieced:
    """The page with more at the end of its body."""
    at = html.lower().rfind("</body>")
    return _put_in(html, more, len(html) if at < 0 else at, cache)


def at_the_beginning(
    html: Pieced,
    more: str,
    cache: PieceCache,
) -> Pieced:
    """The page with more at the beginning of its body."""
    found = _BODY.search(html)
    return _put_in(html, more, found.end() if found else 0, cache)


def behind_the_last_word(
    text: Pieced,
    more: str,
) -> Pieced:
    """The text with more in the place of the blanks at its end."""
    pieces = list(text.pieces)
    while pieces and not pieces[-1].strip():
        pieces.pop()
    if pieces:
        pieces[-1] = pieces[-1].rstrip()
    return Pieced([*pieces, more])


def without_gaps(
    text: Pieced,
    cache: PieceCache,
) -> Pieced:
    """With no more than one empty line at a time.

    Piece by piece, if none of the gaps goes over the end of a piece.
    """
    if not _GAP.search(text):
        return text
    pieces = Pieced([cache.without_gaps(piece) for piece in text.pieces])
    return Pieced([_without_gaps(text)]) if _GAP.search(pieces) else pieces


def _put_in(
    text: Pieced,
    more: str,
    at: int,
    cache: PieceCache,
) -> Pieced:
    """A text with another one put in, before its character number `at`."""
    for number, piece in enumerate(text.pieces):
        if at <= len(piece):
            left, right = cache.cut(piece, at)
            before, behind = text.pieces[:number], text.pieces[number + 1 :]
            return Pieced([*before, left, more, right, *behind])
        at -= len(piece)
    return Pieced([*text.pieces, more])


def _cut(piece: str, at: int) -> tuple[str, str]:
    return piece[:at], piece[at:]


def _without_gaps(text: str) -> str:
    return _GAP.sub("\n\n", text)
