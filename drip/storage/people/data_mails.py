"""Mails with somebody's own data: asked for on a page, sent by the daemon, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from drip.storage.base.schema_operating import data_mails

# What stands in a text where the link is to be.
LINK = "{link}"
_c = data_mails.c


@dataclass(frozen=True, slots=True)
class DataMail:
    """One that is to leave. `attempts` is how often that was tried."""

    number: int
    contact: int
    asked_at: datetime
    subject: str
    text: str
    attempts: int


def ask(
    connection: Connection, contact_id: int, subject: str, text: str, now: datetime
) -> None:
    """One is to leave from now on."""
    values = {
        "contact_id": contact_id,
        "asked_at": now,
        "subject": subject,
        "text": text,
        "again_at": now,
    }
    connection.execute(insert(data_mails).values(**values, state="waiting", attempts=0))


def asked_since(
    connection: Connection, contact_id: int, since: datetime
) -> Sequence[datetime]:
    """When this contact's were asked for, the newest last."""
    own = select(_c.asked_at).where(_c.contact_id == contact_id, _c.asked_at > since)
    return list(connection.scalars(own.order_by(_c.asked_at)))


def due(connection: Connection, now: datetime) -> Sequence[DataMail]:
    """Those that are to be tried now, the oldest first."""
    columns = (_c.id, _c.contact_id, _c.asked_at, _c.subject, _c.text, _c.attempts)
    waiting = select(*columns).where(_c.state == "waiting", _c.again_at <= now)
    return [DataMail(*row) for row in connection.execute(waiting.order_by(_c.id))]


def begin(connection: Connection, mail: DataMail, again_at: datetime) -> bool:
    """Whether it still waits; it is tried now, and again then unless it is said how it ended."""
    still = (_c.id == mail.number, _c.state == "waiting")
    values = {"attempts": mail.attempts + 1, "again_at": again_at}
    return (
        connection.execute(update(data_mails).where(*still).values(values)).rowcount
        == 1
    )


def end(
    connection: Connection, mail: DataMail, state: str, answer: str, now: datetime
) -> None:
    """It was `sent`, or has `failed`."""
    values = {"state": state, "answer": answer, "ended_at": now}
    connection.execute(update(data_mails).where(_c.id == mail.number).values(values))
