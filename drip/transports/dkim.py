"""DKIM signatures (RFC 6376, RFC 8463): the key is read once, and a message
costs one hash of its body and one signature.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
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

    def __init__(
        self,
        domain: str,
        selector: str,
        key: str,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", selector):
            raise ValueError(f"`{selector}` cannot be a selector of DKIM")
        self._domain = domain
        self._selector = selector
        self._key = _private_key(key)

    def field(self, message: bytes, at: datetime) -> bytes:
        """The header field, to be put before the message: relaxed header, simple
        body."""
        head, _, body = message.partition(b"\r\n\r\n")
        fields = _fields(head)
        tags = self._tags(fields, body, at)
        covered = [
            f"{name}:{value}\r\n"
            for name in SIGNED
            for value in reversed(fields.get(name, []))
        ]
        covered.append(f"dkim-signature:{_relaxed(tags)}")
        signature = self._sign("".join(covered).encode("utf-8", "surrogateescape"))
        return f"DKIM-Signature: {tags}{_in_lines(signature)}\r\n".encode()

    def _tags(
        self,
        fields: Mapping[str, list[str]],
        body: bytes,
        at: datetime,
    ) -> str:
        """All of the signature but what is signed with."""
        digest = base64.b64encode(sha256(_simple(body)).digest()).decode()
        names = [name for name in SIGNED for _ in range(len(fields.get(name, ())) + 1)]
        return (
            f"v=1; a={self._algorithm}; c=relaxed/simple;"
            f" d={self._domain}; s={self._selector};\r\n"
            f" t={int(at.timestamp())}; bh={digest};\r\n"
            f" h={_folded(names)};\r\n"
            " b="
        )

    @property
    def _algorithm(self) -> str:
        return (
            "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        )

    def _sign(self, data: bytes) -> str:
        """In base64."""
        if isinstance(self._key, RSAPrivateKey):
            signature = self._key.sign(data, PKCS1v15(), SHA256())
        else:
            # RFC 8463 section 3: of the hash, not of what is hashed.
            signature = self._key.sign(sha256(data).digest())
        return base64.b64encode(signature).decode()


def _private_key(pem: str) -> RSAPrivateKey | Ed25519PrivateKey:
    """Raises ValueError for what cannot sign."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(
            "the key for DKIM is not a private key in PEM without a password"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the key for DKIM is neither RSA nor Ed25519")
    if key.key_size < FEWEST_BITS:
        raise ValueError(
            f"the key for DKIM has {key.key_size} bits; it takes {FEWEST_BITS} at least"
        )
    return key


def _fields(head: bytes) -> dict[str, list[str]]:
    """The fields that are signed, by name, in the relaxed form of RFC 6376 section
    3.4.2.
    """
    found: dict[str, list[str]] = {}
    unfolded = re.sub(r"\r\n(?=[ \t])", "", head.decode("utf-8", "surrogateescape"))
    for line in unfolded.split("\r\n"):
        name, _, value = line.partition(":")
        key = name.strip().lower()
        if key in SIGNED:
            found.setdefault(key, []).append(_relaxed(value))
    return found


def _relaxed(value: str) -> str:
    """RFC 6376 section 3.4.2: blanks in a row are one."""
    return re.sub(r"[ \t]+", " ", value.replace("\r\n", "")).strip(" \t")


def _simple(body: bytes) -> bytes:
    """RFC 6376 section 3.4.3: one line end at the end, however many there are."""
    return body.rstrip(b"\r\n") + b"\r\n"


def _folded(names: list[str]) -> str:
    """Over several lines, each of which may begin with a blank."""
    lines, line = [], ""
    for name in names:
        if len(line) + len(name) > 70:
            lines.append(line)
            line = ""
        line += f"{name}:"
    return "\r\n  ".join([*lines, line]).removesuffix(":")


def _in_lines(text: str) -> str:
    """Base64 may be folded anywhere (RFC 6376 section 3.5)."""
    return "\r\n ".join(text[n : n + 72] for n in range(0, len(text), 72))
