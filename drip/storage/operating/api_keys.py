"""Tokens by which other programs come in, and what was answered to them. Of a token only its hash is kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection, Row, delete, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema_operating import answered, api_keys

# A repeat of a request is known for so long.
REMEMBERED = timedelta(days=1)
FORGOTTEN = '{"note": "This request was answered before. What was said of single people is not kept, since somebody was erased meanwhile."}'


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A program's right to come in, and to what (`scopes`)."""

    number: int
    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None


def add(
    connection: Connection,
    name: str,
    token: str,
    scopes: Collection[str],
    now: datetime,
) -> bool:
    """Whether the name was free."""
    values = {
        "name": name,
        "digest": digest(token),
        "scopes": ",".join(sorted(scopes)),
        "created_at": now,
    }
    statement = (
        insert_or(api_keys)
        .values(values)
        .on_conflict_do_nothing(index_elements=["name"])
    )
    return connection.execute(statement.returning(api_keys.c.id)).first() is not None


def find(connection: Connection, token: str) -> ApiKey | None:
    """Whose token this is, if it is good. Tokens have 256 bits, so that a plain hash of one cannot be turned back."""
    where = (api_keys.c.digest == digest(token), api_keys.c.revoked_at.is_(None))
    row = connection.execute(select(api_keys).where(*where)).first()
    return _key(row) if row else None


def listed(connection: Connection) -> Sequence[ApiKey]:
    """All that there are and were."""
    return [
        _key(row)
        for row in connection.execute(select(api_keys).order_by(api_keys.c.id))
    ]


def revoke(connection: Connection, name: str, now: datetime) -> bool:
    """Whether there was one of this name that was good; it is not any more."""
    where = (api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    return (
        connection.execute(
            update(api_keys).where(*where).values(revoked_at=now)
        ).rowcount
        == 1
    )


def digest(token: str) -> str:
    """The hash under which a token, or a request's name, is kept."""
    return sha256(token.encode()).hexdigest()


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        row.id,
        row.name,
        frozenset(row.scopes.split(",")),
        row.created_at,
        row.revoked_at,
    )


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What was answered to a request; `digest` is of its body."""

    digest: str
    status: int
    body: str


def answer_to(connection: Connection, key: ApiKey, name: str) -> StoredResponse | None:
    """What was answered to this program's request of this name."""
    columns = (answered.c.digest, answered.c.status, answered.c.body)
    own = (answered.c.api_key_id == key.number, answered.c.name == digest(name))
    row = connection.execute(select(*columns).where(*own)).first()
    return StoredResponse(*row) if row else None


def remember(
    connection: Connection,
    key: ApiKey,
    name: str,
    answer: StoredResponse,
    now: datetime,
) -> None:
    """Keeps an answer for a repeat. Of the request's name only a hash is kept: programs make names of addresses."""
    values = {
        "digest": answer.digest,
        "status": answer.status,
        "body": answer.body,
        "at": now,
    }
    connection.execute(
        insert(answered).values(api_key_id=key.number, name=digest(name), **values)
    )


def forget_answers(connection: Connection, before: datetime) -> None:
    """Answers from before an instant are not kept."""
    connection.execute(delete(answered).where(answered.c.at < before))


def forget_words(connection: Connection) -> None:
    """Answers that name or quote anybody are not kept: which of them are about one person cannot be told, since what was refused
    is stored nowhere else. That the requests were answered, and with which status, stays."""
    names_somebody = or_(
        *(
            answered.c.body.contains(f'"{name}":')
            for name in ("reason", "notes", "contact")
        )
    )
    connection.execute(update(answered).where(names_somebody).values(body=FORGOTTEN))
