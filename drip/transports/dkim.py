"""DKIM signatures (RFC 6376, RFC 8463): the key is read once, and a message
costs one hash of its body and one signature.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# Each is named once more than it is there, so that nobody can add another one
# (RFC 6376 section 8.15).
SIGNED = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "auto-submitted",
)
# RFC 8301 section 3.2; larger keys make answers of DNS that some servers cannot
# read.
FEWEST_BITS = 2048


class Signer:
    """Signs for a domain with a private key (RSA of at least 2048 bits, or
    Ed25519) as PEM. Raises ValueError for another.
    """

    def __init__(self, domain: str, selector: str, key: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", selector):
            raise ValueError(f"`{selector}` cannot be a selector of DKIM")
        self._domain, self._selector = domain, selector
        try:
            self._key = load_pem_private_key(key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(
                "the key for DKIM is not a private key in PEM without a password"
            ) from None
        if isinstance(self._key, RSAPrivateKey):
            if self._key.key_size < FEWEST_BITS:
                raise ValueError(
                    f"the key for DKIM has {self._key.key_size} bits; it takes {FEWEST_BITS} at least"
                )
        elif not isinstance(self._key, Ed25519PrivateKey):
            raise ValueError("the key for DKIM is neither RSA nor Ed25519")

    def field(self, message: bytes, at: datetime) -> bytes:
        """The header field, to be put before the message: relaxed header,
        simple body.
        """
        head, _, body = message.partition(b"\r\n\r\n")
        there = _fields(head)
        names = [name for name in SIGNED for _ in range(len(there.get(name, ())) + 1)]
        algorithm = (
            "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        )
        hashed = base64.b64encode(sha256(_simple(body)).digest()).decode()
        tags = (
            f"v=1; a={algorithm}; c=relaxed/simple; d={self._domain}; s={self._selector};\r\n"
            f" t={int(at.timestamp())}; bh={hashed};\r\n h={_folded(names)};\r\n b="
        )
        covered = [
            f"{name}:{value}\r\n"
            for name in SIGNED
            for value in reversed(there.get(name, []))
        ]
        own = f"dkim-signature:{_relaxed(tags)}"
        signature = self._sign(
            "".join([*covered, own]).encode("utf-8", "surrogateescape")
        )
        return f"DKIM-Signature: {tags}{_in_lines(signature)}\r\n".encode()

    def _sign(self, data: bytes) -> str:
        if isinstance(self._key, RSAPrivateKey):
            return base64.b64encode(self._key.sign(data, PKCS1v15(), SHA256())).decode()
        assert isinstance(self._key, Ed25519PrivateKey)
        return base64.b64encode(self._key.sign(sha256(data).digest())).decode()


def _fields(head: bytes) -> dict[str, list[str]]:
    """The fields that are signed, by name, in the relaxed form of RFC 6376
    section 3.4.2.
    """
    found: dict[str, list[str]] = {}
    unfolded = re.sub(r"\r\n(?=[ \t])", "", head.decode("utf-8", "surrogateescape"))
    for line in unfolded.split("\r\n"):
        name, _, value = line.partition(":")
        if (key := name.strip().lower()) in SIGNED:
            found.setdefault(key, []).append(_relaxed(value))
    return found


def _relaxed(value: str) -> str:
    return re.sub(r"[ \t]+", " ", value.replace("\r\n", "")).strip(" \t")


def _simple(body: bytes) -> bytes:
    """RFC 6376 section 3.4.3: one line end at the end, however many there are."""
    return body.rstrip(b"\r\n") + b"\r\n"


def _folded(names: list[str]) -> str:
    lines, line = [], ""
    for name in names:
        if len(line) + len(name) > 70:
            lines.append(line)
            line = ""
        line += f"{name}:"
    return "\r\n  ".join([*lines, line]).removesuffix(":")


def _in_lines(text: str) -> str:
    return "\r\n ".join(text[n : n + 72] for n in range(0, len(text), 72))
