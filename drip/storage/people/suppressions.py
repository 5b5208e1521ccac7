"""Suppressions: addresses never to be written to again, kept as keyed hashes."""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Connection,
    delete,
    select,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.settings import CHANNELS
from drip.storage.base.schema import (
    meta,
    suppressions,
)
from drip.storage.base.sql import Prepared, texts_in
from drip.storage.people.contacts import Contact, address_of

_SUPPRESSION_KEY = Prepared(
    select(meta.c.value).where(meta.c.name == "suppression-key")
)
_ANY_SUPPRESSED = Prepared(select(suppressions.c.digest).limit(1))
_SUPPRESSED = Prepared(
    select(suppressions.c.digest, suppressions.c.reason).where(
        suppressions.c.digest.in_(texts_in("digests"))
    )
)


def suppress(connection: Connection, address: str, reason: str, now: datetime) -> None:
    """Never again to this address. The first reason stays."""
    row = {
        "digest": digest(suppression_key(connection), address),
        "reason": reason,
        "at": now,
    }
    connection.execute(insert_or(suppressions).on_conflict_do_nothing(), row)


def take_back(connection: Connection, address: str, reason: str) -> None:
    """An address that was given up for a reason that begins so is not."""
    own = suppressions.c.digest == digest(suppression_key(connection), address)
    connection.execute(
        delete(suppressions).where(
            own, suppressions.c.reason.startswith(reason, autoescape=True)
        )
    )


def any_suppressed(connection: Connection) -> bool:
    """Whether any address is: if none is, nobody's has to be hashed to see."""
    return bool(_ANY_SUPPRESSED.rows(connection))


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
    key, found = suppression_key(connection), []
    for channel in CHANNELS:
        address = address_of(contact, channel)
        of_address = select(suppressions.c.reason, suppressions.c.at)
        row = (
            connection.execute(
                of_address.where(suppressions.c.digest == digest(key, address))
            ).first()
            if address
            else None
        )
        if address and row:
            found.append(GivenUp(channel, address, row.reason, row.at))
    return found


def digest(key: bytes, address: str) -> str:
    """The keyed hash under which an address is suppressed, whatever its case."""
    return hmac.digest(key, address.strip().casefold().encode(), "sha256").hex()


def suppression_key(connection: Connection) -> bytes:
    """The key of this database's hashes."""
    return bytes(_SUPPRESSION_KEY.rows(connection)[0][0])
