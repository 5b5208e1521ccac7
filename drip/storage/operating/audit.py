"""Who ordered what, when and why.

A row for each order, written in the transaction of what it changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select

from drip.storage.base.schema import audit, contacts, holds
from drip.storage.base.sql import typed_rows

HOLDING = ("hold", "stop")
_ROWS = select(
    audit.c.at,
    audit.c.by,
    audit.c.command,
    audit.c.about,
    contacts.c.key.label("contact"),
    audit.c.why,
).join_from(audit, contacts, isouter=True)


class AuditRow(NamedTuple):
    """An order.

    `about` names what it is about (a campaign, a key, messages); `contact` is the key
    of the person it is about, which is read from the person: once that one is erased,
    it is `erased-7`.
    """

    at: datetime
    by: str
    command: str
    about: str | None
    contact: str | None
    why: str | None


def record(
    connection: Connection,
    at: datetime,
    by: str,
    command: str,
    about: str | None,
    contact_id: int | None,
    why: str | None,
) -> None:
    """Remembers an order for good."""
    row = {
        "at": at,
        "by": by,
        "command": command,
        "about": about,
        "contact_id": contact_id,
        "why": why,
    }
    connection.execute(insert(audit).values(row))


def orders(
    connection: Connection,
    since: datetime | None = None,
    until: datetime | None = None,
    about: str | None = None,
    contact: str | None = None,
) -> Sequence[AuditRow]:
    """The orders from `since` up to and including `until`, oldest first."""
    chosen = _ROWS.order_by(audit.c.id)
    if since is not None:
        chosen = chosen.where(audit.c.at >= since)
    if until is not None:
        chosen = chosen.where(audit.c.at <= until)
    if about is not None:
        chosen = chosen.where(audit.c.about == about)
    if contact is not None:
        chosen = chosen.where(contacts.c.key == contact)
    return typed_rows(connection, chosen, into=AuditRow)


def newest(connection: Connection, count: int) -> Sequence[AuditRow]:
    """The last orders, the newest first."""
    last = _ROWS.order_by(audit.c.id.desc()).limit(count)
    return typed_rows(connection, last, into=AuditRow)


def holders(connection: Connection) -> dict[str, AuditRow]:
    """By whose order each campaign, or everything (`*`), is held now.

    What drip holds by itself is nobody's order. Of two who held the same it is the first
    one's: theirs is the instant from which on it is held.
    """
    same = (holds.c.scope == audit.c.about) & (holds.c.at == audit.c.at)
    holding = select(func.max(audit.c.id)).join_from(audit, holds, same)
    numbers = holding.where(audit.c.command.in_(HOLDING)).group_by(audit.c.about)
    found = typed_rows(connection, _ROWS.where(audit.c.id.in_(numbers)), into=AuditRow)
    return {row.about or "": row for row in found}
