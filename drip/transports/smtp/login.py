"""Logging in: PLAIN (RFC 4616), LOGIN (as servers have it), XOAUTH2 (as Google
and Microsoft describe it), and CRAM-MD5 (RFC 2195) where an encrypted server
offers nothing else, as Debian's sendmail does.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

# The lines to be sent, the next one for what each 334 says. Raises ValueError
# where that is no challenge.
Steps = Generator[bytes, str, None]


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, with a password or with an access token."""

    user: str
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def steps(
        self,
        offered: Sequence[str],
        *,
        encrypted: bool,
    ) -> Steps | None:
        """What is to be said; None if the server offers nothing that fits."""
        if self.token is not None:
            return self._xoauth2() if "XOAUTH2" in offered else None
        if "PLAIN" in offered:
            return self._plain()
        if "LOGIN" in offered:
            return self._login()
        return self._cram_md5() if "CRAM-MD5" in offered and encrypted else None

    def _plain(self) -> Steps:
        yield b"AUTH PLAIN " + _coded(f"\0{self.user}\0{self.password}")

    def _login(self) -> Steps:
        yield b"AUTH LOGIN"
        yield _coded(self.user)
        yield _coded(str(self.password))

    def _cram_md5(self) -> Steps:
        challenge = yield b"AUTH CRAM-MD5"
        # RFC 4954 section 4.
        said = base64.b64decode(challenge, validate=True)
        digest = hmac.new(str(self.password).encode(), said, "md5").hexdigest()
        yield _coded(f"{self.user} {digest}")

    def _xoauth2(self) -> Steps:
        yield b"AUTH XOAUTH2 " + _coded(
            f"user={self.user}\x01auth=Bearer {self.token}\x01\x01"
        )
        # What is wrong comes as a challenge; the server says 535 after an empty
        # answer.
        yield b""


def _coded(text: str) -> bytes:
    return base64.b64encode(text.encode())
