"""What other programs are told: written down in the transaction in which it happens, and forgotten once all were told."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.settings import NOTICES
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import meta
from drip.storage.base.schema_operating import told, webhook_outbox
from drip.storage.base.sql import Prepared
from drip.storage.people import sign_ups

WANTED = "notices"
# No webhook can ask for this kind.
HUSHED = "hushed"
_WANTED = Prepared(select(meta.c.value).where(meta.c.name == WANTED))
_ADD = Prepared(
    insert(webhook_outbox)
    .values(
        {name: bindparam(f"of_{name}") for name in ("kind", "at", "data", "contact_id")}
    )
    .inline()
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened. `data` is plain."""

    number: int
    kind: str
    at: datetime
    data: Mapping[str, Any]


def want(connection: Connection, webhooks: Mapping[str, Collection[str]]) -> None:
    """Only what these webhooks want to know is written down from here on. One that is new is told of what happens from now on."""
    kinds = {kind for each in webhooks.values() for kind in each}
    for fresh in sorted(set(webhooks) - known(connection)):
        told_until(connection, fresh, newest(connection))
    value = ",".join(sorted(kinds)).encode()
    if wanted(connection) != frozenset(kinds):
        statement = insert_or(meta).values(name=WANTED, value=value)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["name"], set_={"value": value}
            )
        )


def wanted(connection: Connection) -> frozenset[str]:
    """Which kinds are written down."""
    found = _WANTED.rows(connection)
    return (
        frozenset(bytes(found[0][0]).decode().split(",")) & frozenset(NOTICES)
        if found
        else frozenset()
    )


def add(
    connection: Connection,
    kind: str,
    happened: Sequence[tuple[int, Mapping[str, Any]]],
    now: datetime,
) -> None:
    """Writes down what happened to which contact, if anybody wants to know of its kind. Of a sign-up that nobody has confirmed
    nobody is told."""
    if happened and kind in wanted(connection):
        hidden = sign_ups.hidden(connection, {data["contact"] for _, data in happened})
        told_of = [
            (contact, data)
            for contact, data in happened
            if data["contact"] not in hidden
        ]
        _ADD.many(
            connection,
            [
                (kind, to_ms(now), json.dumps(dict(data)), contact)
                for contact, data in told_of
            ],
        )


def hush(connection: Connection, contact_id: int) -> None:
    """What is not told yet of a contact is told to nobody. The rows stay, so that their numbers are not given to others."""
    values = {"kind": HUSHED, "data": {}}
    connection.execute(
        update(webhook_outbox)
        .where(webhook_outbox.c.contact_id == contact_id)
        .values(values)
    )


def after(
    connection: Connection, name: str, kinds: Collection[str], limit: int
) -> Sequence[Notice]:
    """The oldest of these kinds that this webhook was not told of yet."""
    last = select(told.c.notice).where(told.c.webhook == name).scalar_subquery()
    where = (
        webhook_outbox.c.id > func.coalesce(last, 0),
        webhook_outbox.c.kind.in_(kinds),
    )
    columns = (
        webhook_outbox.c.id,
        webhook_outbox.c.kind,
        webhook_outbox.c.at,
        webhook_outbox.c.data,
    )
    return [
        Notice(*row)
        for row in connection.execute(
            select(*columns).where(*where).order_by(webhook_outbox.c.id).limit(limit)
        )
    ]


def told_until(connection: Connection, name: str, number: int) -> None:
    """This webhook was told of all up to this one."""
    statement = insert_or(told).values(webhook=name, notice=number)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["webhook"], set_={"notice": number}
        )
    )


def newest(connection: Connection) -> int:
    """The number of the newest one."""
    return connection.execute(select(func.max(webhook_outbox.c.id))).scalar() or 0


def known(connection: Connection) -> set[str]:
    """The webhooks that were told of anything, or began at some number."""
    return set(connection.scalars(select(told.c.webhook)))


def forget(connection: Connection, names: Collection[str]) -> None:
    """Whoever is not among these is told no more; what all of these were told of goes."""
    connection.execute(delete(told).where(told.c.webhook.not_in(names)))
    if not names:
        connection.execute(delete(webhook_outbox))
        return
    until = connection.execute(select(func.min(told.c.notice))).scalar()
    # The newest stays, so that its number is not given to another one.
    connection.execute(
        delete(webhook_outbox).where(
            webhook_outbox.c.id <= (until or 0),
            webhook_outbox.c.id < newest(connection),
        )
    )
