"""Suppressions: addresses never to be written to again, kept as keyed hashes.

Who is erased stays suppressed: a hash gives no address away without the key, which
never leaves the database.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.channels import CHANNELS
from drip.storage.base.facts import SUPPRESSION_KEY, fact
from drip.storage.base.schema import suppressions
from drip.storage.base.sql import Prepared, first_row, select_as, texts_in
from drip.storage.people.contacts import Contact, address_of

_suppression = suppressions.c


class SuppressedDigest(NamedTuple):
    """The hash of an address, and why it is suppressed."""

    digest: str
    reason: str


class _SuppressedSince(NamedTuple):
    reason: str
    at: datetime


_ANY_SUPPRESSED = Prepared(select(_suppression.digest).limit(1), into=str)
_SUPPRESSED = Prepared(
    select_as(suppressions, SuppressedDigest).where(
        _suppression.digest.in_(texts_in("digests"))
    ),
    into=SuppressedDigest,
)


def suppress(connection: Connection, address: str, reason: str, now: datetime) -> None:
    """Never again to this address. The first reason stays."""
    # The hash alone: the address itself may have to be erased, and stays suppressed.
    own = digest(suppression_key(connection), address)
    row = {"digest": own, "reason": reason, "at": now}
    connection.execute(insert_or(suppressions).on_conflict_do_nothing(), row)


def take_back(connection: Connection, address: str, reason: str) -> None:
    """An address that was given up for a reason that begins so is not."""
    own = _suppression.digest == digest(suppression_key(connection), address)
    for_this = _suppression.reason.startswith(reason, autoescape=True)
    connection.execute(delete(suppressions).where(own, for_this))


def any_suppressed(connection: Connection) -> bool:
    """Whether any address is: if none is, nobody's has to be hashed to see."""
    return _ANY_SUPPRESSED.first(connection) is not None


def suppressed(connection: Connection, digests: Collection[str]) -> dict[str, str]:
    """Those of these hashes of addresses that are suppressed, with the reason."""
    return dict(_SUPPRESSED.rows(connection, digests=json.dumps(list(digests))))


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Since when an address is never written to again, and what for."""

    channel: str
    address: str
    reason: str
    at: datetime


def given_up(connection: Connection, contact: Contact) -> list[GivenUp]:
    """Those of a contact's addresses that are suppressed."""
    key = suppression_key(connection)
    found = []
    for channel in CHANNELS:
        address = address_of(contact, channel)
        since = _since(connection, digest(key, address)) if address else None
        if address and since:
            found.append(
                GivenUp(
                    channel,
                    address,
                    since.reason,
                    since.at,
                )
            )
    return found


def _since(connection: Connection, hashed: str) -> _SuppressedSince | None:
    own = select_as(suppressions, _SuppressedSince).where(_suppression.digest == hashed)
    return first_row(connection, own, into=_SuppressedSince)


def digest(key: bytes, address: str) -> str:
    """The keyed hash under which an address is suppressed, whatever its case."""
    return hmac.digest(key, address.strip().casefold().encode(), "sha256").hex()


def suppression_key(connection: Connection) -> bytes:
    """The key of this database's hashes."""
    key = fact(connection, SUPPRESSION_KEY)
    # Under a new one nobody who was suppressed would be any more.
    assert key is not None, "a database is made with it"
    return key
