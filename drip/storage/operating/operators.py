"""Who may log in to the dashboard, and who is logged in. Of what a browser keeps only a hash is kept here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema_operating import operators, sessions


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who may log in. `password` is the hash of one."""

    number: int
    name: str
    password: str
    created_at: datetime


def add(connection: Connection, name: str, password: str, now: datetime) -> bool:
    """Whether the name was free. `password` is the hash of one."""
    values = {"name": name, "password": password, "created_at": now}
    statement = (
        insert_or(operators)
        .values(values)
        .on_conflict_do_nothing(index_elements=["name"])
    )
    return connection.execute(statement.returning(operators.c.id)).first() is not None


def set_password(connection: Connection, name: str, password: str) -> bool:
    """Whether there is one of this name: the password is another one, and whoever was logged in by the old one is not."""
    found = find(connection, name)
    if found is None:
        return False
    connection.execute(
        update(operators)
        .where(operators.c.id == found.number)
        .values(password=password)
    )
    connection.execute(delete(sessions).where(sessions.c.operator_id == found.number))
    return True


def remove(connection: Connection, name: str) -> bool:
    """Whether there was one of this name; whoever it was is not logged in any more."""
    found = find(connection, name)
    if found is None:
        return False
    connection.execute(delete(sessions).where(sessions.c.operator_id == found.number))
    connection.execute(delete(operators).where(operators.c.id == found.number))
    return True


def find(connection: Connection, name: str) -> Operator | None:
    """The one of this name."""
    row = connection.execute(select(operators).where(operators.c.name == name)).first()
    return Operator(*row) if row else None


def listed(connection: Connection) -> Sequence[Operator]:
    """All of them, in order of their names."""
    return [
        Operator(*row)
        for row in connection.execute(select(operators).order_by(operators.c.name))
    ]


def log_in(
    connection: Connection,
    operator: Operator,
    token: str,
    until: datetime,
    now: datetime,
) -> None:
    """The browser that keeps `token` is this operator's until then. Sessions that are over are forgotten."""
    connection.execute(delete(sessions).where(sessions.c.until <= now))
    values = {"digest": digest(token), "operator_id": operator.number, "until": until}
    connection.execute(insert(sessions).values(values))


def log_out(connection: Connection, token: str) -> None:
    """The browser that keeps `token` is nobody's."""
    connection.execute(delete(sessions).where(sessions.c.digest == digest(token)))


def logged_in(connection: Connection, token: str, now: datetime) -> Operator | None:
    """Whose browser this is."""
    joined = select(operators).join(sessions, sessions.c.operator_id == operators.c.id)
    row = connection.execute(
        joined.where(sessions.c.digest == digest(token), sessions.c.until > now)
    ).first()
    return Operator(*row) if row else None


def digest(token: str) -> str:
    """The hash under which a token is kept: it has 256 bits, so that a plain one cannot be turned back."""
    return sha256(token.encode()).hexdigest()
