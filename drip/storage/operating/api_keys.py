"""Tokens by which other programs come in, and what was answered to them.

Of a token only its hash is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, or_, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import answered, api_keys
from drip.storage.base.sql import count_changed, first_row, select_as, typed_rows

_answer = answered.c
_key = api_keys.c

# A repeat of a request is known for so long.
REMEMBERED = timedelta(days=1)
FORGOTTEN = (
    '{"note": "This request was answered before. What was said of single people is not '
    'kept, since somebody was erased meanwhile."}'
)
# What answers call somebody by, or quote of them.
NAMING = ("reason", "notes", "contact")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A program's right to come in, and to what (`scopes`)."""

    number: int
    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None


class _ApiKeyRow(NamedTuple):
    id: int
    name: str
    scopes: str
    created_at: datetime
    revoked_at: datetime | None

    def key(self) -> ApiKey:
        scopes = frozenset(self.scopes.split(","))
        return ApiKey(
            self.id,
            self.name,
            scopes,
            self.created_at,
            self.revoked_at,
        )


# Without their hashes: what is listed can be shown.
_KEYS = select_as(api_keys, _ApiKeyRow)


def add(
    connection: Connection,
    name: str,
    token: str,
    scopes: Collection[str],
    now: datetime,
) -> bool:
    """Whether the name was free."""
    row = {
        "name": name,
        "digest": digest(token),
        "scopes": ",".join(sorted(scopes)),
        "created_at": now,
    }
    free = insert_or(api_keys).on_conflict_do_nothing(index_elements=["name"])
    added = free.values(row).returning(_key.id)
    return connection.execute(added).first() is not None


def find(connection: Connection, token: str) -> ApiKey | None:
    """Whose token this is, if it is good.

    Tokens have 256 bits, so that a plain hash of one cannot be turned back.
    """
    good = (
        _key.digest == digest(token),
        _key.revoked_at.is_(None),
    )
    found = first_row(connection, _KEYS.where(*good), into=_ApiKeyRow)
    return found.key() if found else None


def listed(connection: Connection) -> Sequence[ApiKey]:
    """All that there are and were."""
    in_order = _KEYS.order_by(_key.id)
    return [row.key() for row in typed_rows(connection, in_order, into=_ApiKeyRow)]


def revoke(connection: Connection, name: str, now: datetime) -> bool:
    """Whether there was one of this name that was good; it is not any more."""
    good = (
        _key.name == name,
        _key.revoked_at.is_(None),
    )
    revoked = update(api_keys).where(*good).values(revoked_at=now)
    return count_changed(connection, revoked) == 1


def digest(token: str) -> str:
    """The hash under which a token, or a request's name, is kept."""
    return sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What was answered to a request; `digest` is of its body."""

    digest: str
    status: int
    body: str


def answer_to(connection: Connection, key: ApiKey, name: str) -> StoredResponse | None:
    """What was answered to this program's request of this name."""
    own = (
        _answer.api_key_id == key.number,
        _answer.name == digest(name),
    )
    asked = select_as(answered, StoredResponse).where(*own)
    return first_row(connection, asked, into=StoredResponse)


def remember(
    connection: Connection,
    key: ApiKey,
    name: str,
    answer: StoredResponse,
    now: datetime,
) -> None:
    """Keeps an answer for a repeat.

    Of the request's name only a hash is kept: programs make names of addresses.
    """
    row = {
        "api_key_id": key.number,
        "name": digest(name),
        "digest": answer.digest,
        "status": answer.status,
        "body": answer.body,
        "at": now,
    }
    connection.execute(insert(answered).values(row))


def forget_answers(connection: Connection, before: datetime) -> None:
    """Answers from before an instant are not kept."""
    connection.execute(delete(answered).where(_answer.at < before))


def forget_words(connection: Connection) -> None:
    """Answers that name or quote anybody are not kept.

    Which of them are about one person cannot be told, since what was refused is stored
    nowhere else. That the requests were answered, and with which status, stays.
    """
    names_somebody = or_(*(_answer.body.contains(f'"{name}":') for name in NAMING))
    connection.execute(update(answered).where(names_somebody).values(body=FORGOTTEN))
