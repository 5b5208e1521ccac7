"""How a worker and whoever started it talk: frames over a socket, each a kind, a length
and so many bytes.

What a worker says is data and never code (no pickles): it runs what marketers wrote.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Any

HEAD = struct.Struct("!cI")
# Reading JSON holds up a whole process: 0.2 s for the most there may be.
MOST_JSON = 16 * 1024 * 1024
# HTML comes with its pictures, and is not read.
MOST_HTML = 128 * 1024 * 1024


class FrameKind(Enum):
    """What a frame is."""

    ASK = b"a"
    # The files are read and what was asked for begins: time counts from here on.
    BEGUN = b"b"
    # Which template is being filled in: so that it can be named if that does not end.
    NOTE = b"n"
    JSON = b"j"
    HTML = b"h"
    # A DripError, by its words.
    WRONG = b"w"
    # A Shortage, by its words.
    LACKS = b"l"
    # Another exception, by its name: its words can be about people.
    FAILED = b"f"
    OUT_OF_MEMORY = b"m"


class Nonsense(Exception):
    """What came is no frame, or not what it says it is."""


def send(
    pipe: socket.socket,
    kind: FrameKind,
    body: bytes = b"",
) -> None:
    """Raises OSError if nobody is there any more."""
    pipe.sendall(HEAD.pack(kind.value, len(body)))
    # Not both at once: of a long one there would be two.
    pipe.sendall(body)


def receive(take: Callable[[int], bytes]) -> tuple[FrameKind, bytes]:
    """The next frame; `take` gets so many bytes. Raises Nonsense, and what `take`
    raises."""
    name, length = HEAD.unpack(take(HEAD.size))
    try:
        kind = FrameKind(name)
    except ValueError:
        raise Nonsense from None
    most = MOST_HTML if kind is FrameKind.HTML else MOST_JSON
    if length > most:
        raise Nonsense
    return kind, take(length)


def packed(value: Any) -> bytes:
    """JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def unpacked(body: bytes) -> Any:
    """What `packed` packed. Raises Nonsense."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Nonsense from None
