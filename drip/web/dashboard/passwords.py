"""Passwords of operators: kept as a hash that is slow to try (Argon2id, RFC 9106)."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# NIST SP 800-63B section 3.1.1.2 asks for 8 where there is a second factor and 15 where
# there is none.
SHORTEST = 15
# The same section wants at least 64.
LONGEST = 200
# RFC 9106 section 4, second recommended option: 64 MiB.
_HASHER = PasswordHasher()


def hash_of(password: str) -> str:
    """What is kept of a password."""
    return _HASHER.hash(password)


def fits(kept: str | None, password: str) -> bool:
    """Whether a password is the one of which this was kept. As slow where there is
    none: nobody learns which names there are."""
    try:
        return _HASHER.verify(kept or _nobodys(), password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return hash_of("nobody has this one")
