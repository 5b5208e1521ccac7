"""What other programs are told.

It is written down in the transaction in which it happens, and forgotten once every
webhook has it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from drip.core.settings import NOTICES
from drip.storage.base.columns import to_ms
from drip.storage.base.facts import fact, set_fact
from drip.storage.base.schema import webhook_outbox, webhook_positions
from drip.storage.base.sql import Prepared, one_row, typed_rows, upsert
from drip.storage.people import sign_ups

_position = webhook_positions.c

WANTED = "notices"
# No webhook can ask for this kind.
HUSHED = "hushed"
_ADD = Prepared(
    insert(webhook_outbox)
    .values(
        {name: bindparam(f"of_{name}") for name in ("kind", "at", "data", "contact_id")}
    )
    .inline()
)
_SET_POSITION = upsert(webhook_positions, "notice")


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened. `data` is plain."""

    number: int
    kind: str
    at: datetime
    data: Mapping[str, Any]


class _NoticeNumber(NamedTuple):
    number: int | None


def want(connection: Connection, webhooks: Mapping[str, Collection[str]]) -> None:
    """Only what these webhooks want to know is written down from here on.

    One that is new gets what happens from now on.
    """
    kinds = frozenset(kind for wanted in webhooks.values() for kind in wanted)
    # It begins behind what was written down before: that was meant for others.
    for fresh in sorted(set(webhooks) - known(connection)):
        set_position(connection, fresh, newest(connection))
    if wanted(connection) != kinds:
        set_fact(connection, WANTED, ",".join(sorted(kinds)).encode())


def wanted(connection: Connection) -> frozenset[str]:
    """Which kinds are written down."""
    kinds = (fact(connection, WANTED) or b"").decode().split(",")
    return frozenset(kinds) & frozenset(NOTICES)


def add(
    connection: Connection,
    kind: str,
    happened: Sequence[tuple[int, Mapping[str, Any]]],
    now: datetime,
) -> None:
    """Writes down what happened to which contact, if anybody asks for its kind.

    Nobody hears of a sign-up that nobody has confirmed.
    """
    if not happened or kind not in wanted(connection):
        return
    # An address that somebody else typed into a form is no news to other programs.
    keys = {data["contact"] for _, data in happened}
    hidden = sign_ups.hidden(connection, keys)
    at = to_ms(now)
    rows = [
        (kind, at, json.dumps(dict(data)), contact)
        for contact, data in happened
        if data["contact"] not in hidden
    ]
    _ADD.many(connection, rows)


def hush(connection: Connection, contact_id: int) -> None:
    """What no webhook has yet of a contact goes to none.

    The rows stay, so that their numbers are not given to others.
    """
    own = update(webhook_outbox).where(webhook_outbox.c.contact_id == contact_id)
    connection.execute(own.values(kind=HUSHED, data={}))


def after(
    connection: Connection,
    name: str,
    kinds: Collection[str],
    limit: int,
) -> Sequence[Notice]:
    """The oldest of these kinds that this webhook does not have yet."""
    notice = webhook_outbox.c
    columns = (
        notice.id.label("number"),
        notice.kind,
        notice.at,
        notice.data,
    )
    new = (
        notice.id > _position_of(name),
        notice.kind.in_(kinds),
    )
    oldest = select(*columns).where(*new).order_by(notice.id).limit(limit)
    return typed_rows(connection, oldest, into=Notice)


def _position_of(name: str) -> ColumnElement[int]:
    own = _position.webhook == name
    position = select(_position.notice).where(own).scalar_subquery()
    # One that has had none begins with the first.
    return func.coalesce(position, 0)


def set_position(connection: Connection, name: str, number: int) -> None:
    """This webhook has all up to this one."""
    connection.execute(_SET_POSITION, {"webhook": name, "notice": number})


def newest(connection: Connection) -> int:
    """The number of the newest one."""
    last = select(func.max(webhook_outbox.c.id).label("number"))
    return one_row(connection, last, into=_NoticeNumber).number or 0


def known(connection: Connection) -> set[str]:
    """The webhooks that were told of anything, or began at some number."""
    names = select(_position.webhook)
    return set(typed_rows(connection, names, into=str))


def forget(connection: Connection, names: Collection[str]) -> None:
    """Whoever is not among these gets no more; what all of these have goes."""
    others = _position.webhook.not_in(names)
    connection.execute(delete(webhook_positions).where(others))
    if not names:
        connection.execute(delete(webhook_outbox))
        return
    first = select(func.min(_position.notice).label("number"))
    until = one_row(connection, first, into=_NoticeNumber).number or 0
    notice = webhook_outbox.c.id
    # The newest stays, so that its number is not given to another one.
    done = (
        notice <= until,
        notice < newest(connection),
    )
    connection.execute(delete(webhook_outbox).where(*done))
