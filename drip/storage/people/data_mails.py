"""Mails with somebody's own data: asked for on a page, sent by the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from drip.storage.base.schema import data_mails
from drip.storage.base.sql import count_changed, typed_rows

_mail = data_mails.c

# What stands in a text where the link is to be: a link is good for a time, so it is
# made as the mail leaves.
LINK = "{link}"


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
    connection: Connection,
    contact_id: int,
    subject: str,
    text: str,
    now: datetime,
) -> None:
    """One is to leave from now on."""
    row = {
        "contact_id": contact_id,
        "asked_at": now,
        "subject": subject,
        "text": text,
        "state": "waiting",
        "attempts": 0,
        "again_at": now,
    }
    connection.execute(insert(data_mails).values(row))


def asked_since(
    connection: Connection,
    contact_id: int,
    since: datetime,
) -> Sequence[datetime]:
    """When this contact's were asked for, the newest last."""
    asked_at = _mail.asked_at
    own = (
        _mail.contact_id == contact_id,
        asked_at > since,
    )
    in_order = select(asked_at).where(*own).order_by(asked_at)
    return typed_rows(connection, in_order, into=datetime)


def due(connection: Connection, now: datetime) -> Sequence[DataMail]:
    """Those that are to be tried now, the oldest first."""
    mail = data_mails.c
    columns = (
        mail.id.label("number"),
        mail.contact_id.label("contact"),
        mail.asked_at,
        mail.subject,
        mail.text,
        mail.attempts,
    )
    waiting = select(*columns).where(
        mail.state == "waiting",
        mail.again_at <= now,
    )
    return typed_rows(connection, waiting.order_by(mail.id), into=DataMail)


def begin(connection: Connection, mail: DataMail, again_at: datetime) -> bool:
    """Whether it still waits.

    It is tried now, and again then unless it is said how it ended.
    """
    # Of several daemons one is told yes: nobody gets the mail twice at once.
    still = (
        _mail.id == mail.number,
        _mail.state == "waiting",
    )
    tried = update(data_mails).where(*still)
    tried = tried.values(attempts=mail.attempts + 1, again_at=again_at)
    return count_changed(connection, tried) == 1


def end(
    connection: Connection,
    mail: DataMail,
    state: str,
    answer: str,
    now: datetime,
) -> None:
    """It was `sent`, or has `failed`."""
    connection.execute(
        update(data_mails)
        .where(_mail.id == mail.number)
        .values(state=state, answer=answer, ended_at=now)
    )
