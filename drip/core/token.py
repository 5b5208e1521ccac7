"""Signed links.

What a link says (purpose, contact, topic) and the proof that we wrote it.

A token is `payload.key-id.signature`, HMAC-SHA256 by itsdangerous, compared in constant
time. It holds the contact's number, never a name or an address. Old keys keep verifying
until they are removed.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from itsdangerous import BadSignature, Signer

# Made once: `json.dumps` makes an encoder for each link.
_written = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link stands for.

    `run` is 0 outside of a run; `detail` is an answer, or a step.
    """

    purpose: str
    contact: int
    topic: str | None
    run: int = 0
    detail: str | None = None


def sign(link: Link, key_id: str, secret: bytes) -> str:
    """The token of a link, safe in a URL."""
    said = (link.purpose, link.contact, link.topic, link.run, link.detail)
    payload = _written(said).encode()
    body = f"{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.{key_id}"
    return _signer(secret).sign(body).decode()


def verify(token: str, keys: Mapping[str, bytes]) -> Link | None:
    """The link that one of our `keys` signed; None for everything else."""
    try:
        payload, key_id, _ = token.split(".")
        body = _signer(keys[key_id]).unsign(token).decode()
        parts = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
    except (BadSignature, KeyError, ValueError):
        return None
    assert body.startswith(payload)
    return Link(*parts)


# A link that downloads one's own data, and how long it is good for.
OWN_DATA, DATA_LASTS = "data", timedelta(minutes=30)


def data_link(contact: int, now: datetime) -> Link:
    """The link by which a contact downloads its data.

    `detail` is the second of Unix time at which it ends.
    """
    return Link(OWN_DATA, contact, None, 0, str(int((now + DATA_LASTS).timestamp())))


def is_over(link: Link, now: datetime) -> bool:
    """Whether a link to somebody's data is good no more.

    Also one that does not say until when it is.
    """
    until = link.detail or ""
    return not until.isdecimal() or len(until) > 12 or now.timestamp() >= int(until)


def topic_said(token: str) -> str | None:
    """The topic that a token names, whoever wrote it.

    To be shown, never to be acted upon.
    """
    try:
        payload, _, _ = token[:1000].split(".")
        _, _, topic, _, _ = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return topic if isinstance(topic, str) else None


# A message's name, wherever it is written: before the @ of its Message-ID, in the
# address that bounces go to.
NAME = re.compile(r"(?<![0-9a-f.])([0-9a-f]{1,15})\.([0-9a-f]{32})(?![0-9a-f])")


def message_name(workspace: str, run_id: int, step: str, channel: str) -> str:
    """What a message is called outside.

    Its run's number and what only this workspace can have worked out of it.

    The same for every attempt at the same message, so that a resend can be recognised.
    `workspace` is the workspace's id, which is the secret of it: whoever knew it could
    make up what came back.
    """
    about = f"{run_id}/{step}/{channel}".encode()
    return f"{run_id:x}.{hmac.digest(workspace.encode(), about, 'sha256').hex()[:32]}"


def public_name(workspace: str) -> str:
    """What the workspace itself is called outside, where its id has to stay unknown."""
    return hmac.digest(workspace.encode(), b"drip.workspace", "sha256").hex()[:16]


# Without the letters and digits that people take for one another.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_LENGTH = 10


def coupon_code(prefix: str, about: str, secret: bytes) -> str:
    """A code that nobody can guess: `BDAY-7K3QX9RMTB`.

    50 bits of HMAC-SHA256 (RFC 2104), the same for the same occasion.
    """
    digest = int.from_bytes(
        hmac.digest(secret, b"drip.coupon/" + about.encode(), "sha256"), "big"
    )
    letters = []
    for _ in range(CODE_LENGTH):
        digest, rest = divmod(digest, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return "-".join([*([prefix] if prefix else []), "".join(letters)])


@lru_cache(16)
def _signer(secret: bytes) -> Signer:
    # Derived once: itsdangerous would do it for each link.
    derived = Signer(
        secret, salt="drip.link", key_derivation="hmac", digest_method=sha256
    ).derive_key()
    return Signer(derived, key_derivation="none", digest_method=sha256)
