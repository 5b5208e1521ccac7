"""What a channel is. A new one is one more row of `CHANNELS`, and its words on pages.

A row says where a channel's messages go, which files their text is in, and what becomes
of the text. How they leave is a transport's (`drip.transports`), which names the
channels that it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from drip.core.segments import segments


@dataclass(frozen=True, slots=True)
class Channel:
    """- `address_field`: the contact's field that says where its messages go.
    - `address_in_words`: what somebody without an address lacks.
    - `sample_address`: what the person of a campaign's own tests has.
    - `endings`: of the files that make its messages, the first choice first.
    - `has_pages`: whether it shows a page (HTML), or nothing but text.
    - `segments`: where a text is cut and each piece is paid for, into how many; by it
      comes what the channel has for an alphabet, and how long a piece may be.
    """

    name: str
    address_field: str
    address_in_words: str
    sample_address: str
    endings: tuple[str, ...]
    has_pages: bool = False
    segments: Callable[[str], int] | None = None


CHANNELS = MappingProxyType(
    {
        channel.name: channel
        for channel in (
            Channel(
                "email",
                "email",
                "e-mail address",
                "sample@example.com",
                (".md", ".html", ".mjml", ".txt"),
                has_pages=True,
            ),
            Channel(
                "sms",
                "phone",
                "phone number",
                "+13125550100",
                (".sms", ".txt", ".md"),
                segments=segments,
            ),
            Channel(
                "push",
                "push_token",
                "device to push to (push_token)",
                "sample",
                (".push", ".sms", ".txt", ".md"),
            ),
            Channel(
                "letter",
                "postal_address",
                "postal address (postal_address)",
                "1 Sample Street",
                (".letter.html", ".md", ".html"),
                has_pages=True,
            ),
        )
    }
)
