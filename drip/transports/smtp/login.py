"""Logging in: PLAIN (RFC 4616), LOGIN (as servers have it), and XOAUTH2 (as Google and Microsoft describe it)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, with a password or with an access token."""

    user: str
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def steps(self, offered: Sequence[str]) -> Iterator[bytes] | None:
        """The lines to be sent, the next one after each 334; None if the server offers nothing that fits."""
        if self.token is not None:
            return self._xoauth2() if "XOAUTH2" in offered else None
        if "PLAIN" in offered:
            return self._plain()
        return self._login() if "LOGIN" in offered else None

    def _plain(self) -> Iterator[bytes]:
        yield b"AUTH PLAIN " + _coded(f"\0{self.user}\0{self.password}")

    def _login(self) -> Iterator[bytes]:
        yield b"AUTH LOGIN"
        yield _coded(self.user)
        yield _coded(str(self.password))

    def _xoauth2(self) -> Iterator[bytes]:
        yield b"AUTH XOAUTH2 " + _coded(f"user={self.user}\x01auth=Bearer {self.token}\x01\x01")
        # What is wrong comes as a challenge; the server says 535 after an empty answer.
        yield b""


def _coded(text: str) -> bytes:
    return base64.b64encode(text.encode())
