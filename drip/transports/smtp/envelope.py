"""A message as a session needs it, and what no server, or this one, can ever take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from drip.core.message import Receipt, Refused, Scope

# RFC 5321 sections 4.1.2 and 4.5.3.1; nothing that could end the path or the line.
_ADDRESS = re.compile(
    r"""(?:[^\s<>"@\x00-\x20\x7f]+|"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])+")@[^\s<>"@\x00-\x20\x7f]+"""
)
T = TypeVar("T")


def possible(address: str) -> bool:
    """Whether an address can stand in an envelope."""
    local, _, _ = address.rpartition("@")
    size = len(address.encode("utf-8", "replace"))
    return (
        size <= 254
        and len(local.encode("utf-8", "replace")) <= 64
        and bool(_ADDRESS.fullmatch(address))
    )


@dataclass(slots=True)
class Envelope(Generic[T]):
    """A message as a session needs it: what it is for the caller, its envelope,
    and its bytes with dots stuffed.
    """

    of: T
    sender: str
    recipient: str
    text: bytes
    international: bool = False
    # When it was given to a connection, in seconds of the transport's clock.
    taken_s: float = 0.0
    # What was said of it before its text could go: the first no decides.
    no: Receipt | None = None
    # Where its last byte stands in all that was ever written, once its text goes.
    dot_at: int | None = None


def impossible(
    envelope: Envelope[T],
    extensions: Mapping[str, str],
    most_bytes: int | None,
) -> Refused | None:
    """What a server with these extensions, which takes so many bytes at most,
    can never take; known without asking it.
    """
    if not possible(envelope.recipient):
        return Refused("this address cannot be", "address")
    if not possible(envelope.sender):
        return Refused("the sender's address cannot be", "sender")
    if most_bytes is not None and len(envelope.text) > most_bytes:
        return Refused(
            f"the message has {len(envelope.text):,} bytes, and the server takes {most_bytes:,} at most"
        )
    if envelope.international and "SMTPUTF8" not in extensions:
        about: Scope = "message" if envelope.sender.isascii() else "sender"
        return Refused(
            "the server does not offer SMTPUTF8, which addresses beyond ASCII need",
            about,
        )
    if not envelope.text.isascii() and "8BITMIME" not in extensions:
        return Refused("the server cannot take characters beyond ASCII")
    return None
