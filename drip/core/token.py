"""Signed links: what a link says (purpose, contact, topic) and the proof that we wrote it.

A token is `payload.key-id.signature`, HMAC-SHA256 by itsdangerous, compared in constant time. It holds
the contact's number, never a name or an address. Old keys keep verifying until they are removed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadSignature, Signer


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link stands for."""

    purpose: str
    contact: int
    topic: str | None


def sign(link: Link, key_id: str, secret: bytes) -> str:
    """The token of a link, safe in a URL."""
    payload = json.dumps([link.purpose, link.contact, link.topic], separators=(",", ":")).encode()
    body = f"{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.{key_id}"
    return _signer(secret).sign(body).decode()


def verify(token: str, keys: Mapping[str, bytes]) -> Link | None:
    """The link that one of our `keys` signed; None for everything else."""
    try:
        payload, key_id, _ = token.split(".")
        body = _signer(keys[key_id]).unsign(token).decode()
        parts = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (BadSignature, KeyError, ValueError):
        return None
    assert body.startswith(payload)
    return Link(*parts)


def _signer(secret: bytes) -> Signer:
    return Signer(secret, salt="drip.link", key_derivation="hmac", digest_method=sha256)
