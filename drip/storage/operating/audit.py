"""Who ordered what, when and why: a row for each order, written in the transaction of what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from drip.storage.base.schema import contacts
from drip.storage.base.schema_operating import audit

HOLDING = ("hold", "stop")
_ROWS = select(
    audit.c.at,
    audit.c.by,
    audit.c.command,
    audit.c.about,
    contacts.c.key.label("contact"),
    audit.c.why,
).join_from(audit, contacts, isouter=True)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An order. `about` names what it is about (a campaign, a key, messages); `contact` is the key of the person it is about,
    which is read from the person: once that one is erased, it is `erased-7`."""

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
    """The orders given from `since` up to and including `until`, oldest first."""
    chosen = _ROWS.order_by(audit.c.id)
    if since is not None:
        chosen = chosen.where(audit.c.at >= since)
    if until is not None:
        chosen = chosen.where(audit.c.at <= until)
    if about is not None:
        chosen = chosen.where(audit.c.about == about)
    if contact is not None:
        chosen = chosen.where(contacts.c.key == contact)
    return [AuditRow(*row) for row in connection.execute(chosen)]


def newest(connection: Connection, count: int) -> Sequence[AuditRow]:
    """The last orders, the newest first."""
    last = _ROWS.order_by(audit.c.id.desc()).limit(count)
    return [AuditRow(*row) for row in connection.execute(last)]


def holders(connection: Connection) -> dict[str, AuditRow]:
    """The newest order to hold each campaign, and everything (`*`), by what it holds; whether it is held still is another
    question (`control.held_scopes`)."""
    last = (
        select(func.max(audit.c.id))
        .where(audit.c.command.in_(HOLDING))
        .group_by(audit.c.about)
    )
    found = connection.execute(_ROWS.where(audit.c.id.in_(last)))
    return {row.about: AuditRow(*row) for row in found}
