"""Who may log in to the dashboard, and who is logged in.

Of what a browser keeps only a hash is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import operators, sessions
from drip.storage.base.sql import first_row, typed_rows

_operator = operators.c
_session = sessions.c


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who may log in. `password` is the hash of one."""

    number: int
    name: str
    password: str
    created_at: datetime


_OPERATORS = select(
    _operator.id.label("number"),
    _operator.name,
    _operator.password,
    _operator.created_at,
)


def add(connection: Connection, name: str, password: str, now: datetime) -> bool:
    """Whether the name was free. `password` is the hash of one."""
    row = {"name": name, "password": password, "created_at": now}
    free = insert_or(operators).on_conflict_do_nothing(index_elements=["name"])
    added = free.values(row).returning(_operator.id)
    return connection.execute(added).first() is not None


def set_password(connection: Connection, name: str, password: str) -> bool:
    """Whether there is one of this name: the password is another one.

    Whoever was logged in by the old one is not any more.
    """
    found = find(connection, name)
    if found is None:
        return False
    own = update(operators).where(_operator.id == found.number)
    connection.execute(own.values(password=password))
    # Whoever knew the old one may be why it was changed.
    _log_out_everywhere(connection, found)
    return True


def remove(connection: Connection, name: str) -> bool:
    """Whether there was one of this name; whoever it was is not logged in any more."""
    found = find(connection, name)
    if found is None:
        return False
    _log_out_everywhere(connection, found)
    connection.execute(delete(operators).where(_operator.id == found.number))
    return True


def find(connection: Connection, name: str) -> Operator | None:
    """The one of this name."""
    own = _OPERATORS.where(_operator.name == name)
    return first_row(connection, own, into=Operator)


def listed(connection: Connection) -> Sequence[Operator]:
    """All of them, in order of their names."""
    return typed_rows(connection, _OPERATORS.order_by(_operator.name), into=Operator)


def log_in(
    connection: Connection,
    operator: Operator,
    token: str,
    until: datetime,
    now: datetime,
) -> None:
    """The browser that keeps `token` is this operator's until then.

    Sessions that are over are forgotten.
    """
    connection.execute(delete(sessions).where(_session.until <= now))
    row = {
        "digest": digest(token),
        "operator_id": operator.number,
        "until": until,
    }
    connection.execute(insert(sessions).values(row))


def log_out(connection: Connection, token: str) -> None:
    """The browser that keeps `token` is nobody's."""
    connection.execute(delete(sessions).where(_session.digest == digest(token)))


def _log_out_everywhere(connection: Connection, operator: Operator) -> None:
    own = _session.operator_id == operator.number
    connection.execute(delete(sessions).where(own))


def logged_in(connection: Connection, token: str, now: datetime) -> Operator | None:
    """Whose browser this is."""
    of_session = _OPERATORS.join(sessions, _session.operator_id == _operator.id)
    good = (
        _session.digest == digest(token),
        _session.until > now,
    )
    return first_row(connection, of_session.where(*good), into=Operator)


def digest(token: str) -> str:
    """The hash under which a token is kept.

    It has 256 bits, so that a plain one cannot be turned back.
    """
    return sha256(token.encode()).hexdigest()
