"""Whether the server behind a channel has ever taken a recipient, whom it refused before that, and what sessions died on.

A server that takes nobody may mean us: that it refuses somebody proves nothing about the recipient.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    distinct,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import in_state, messages
from drip.storage.base.schema_operating import refusals, relays, session_deaths
from drip.storage.base.sql import Prepared

_WAITS = or_(in_state("pending"), in_state("deferred"))
_SERVERS = Prepared(select(relays.c.channel, relays.c.server))
_OVERDUE = Prepared(
    select(refusals.c.message_id, messages.c.run_id, refusals.c.answer)
    .join(messages, messages.c.id == refusals.c.message_id)
    .join(relays, relays.c.channel == refusals.c.channel)
    .where(
        refusals.c.first_at <= bindparam("before"),
        relays.c.accepted_at.is_(None),
        _WAITS,
    )
)


def accepts(connection: Connection, channel: str, server: str) -> bool:
    """Whether this server has taken a recipient."""
    own = (relays.c.channel == channel, relays.c.server == server)
    return (
        connection.execute(select(relays.c.accepted_at).where(*own)).scalar()
        is not None
    )


def servers(connection: Connection) -> dict[str, str]:
    """The server that each channel had last."""
    return dict(map(tuple, _SERVERS.rows(connection)))


def change(connection: Connection, channel: str, server: str, now: datetime) -> None:
    """The channel has this server now. What another one refused is offered to it at once."""
    values = {"server": server, "accepted_at": None}
    statement = insert_or(relays).values(channel=channel, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["channel"], set_=values)
    )
    offer_again(connection, channel, now)


def accepted(connection: Connection, channel: str, server: str, now: datetime) -> None:
    """It has taken a recipient: what it had refused before that it ever did is offered once more, and counts from now on."""
    own = (
        relays.c.channel == channel,
        relays.c.server == server,
        relays.c.accepted_at.is_(None),
    )
    connection.execute(update(relays).where(*own).values(accepted_at=now))
    offer_again(connection, channel, now)


def sent(connection: Connection, channel: str) -> None:
    """It has taken a message: what it refused until then stands, and refusals are counted anew."""
    connection.execute(delete(refusals).where(refusals.c.channel == channel))


def doubt(connection: Connection, channel: str) -> set[int]:
    """It has refused too many in a row: it has to show anew that it takes anybody. The contacts whom it refused."""
    connection.execute(
        update(relays).where(relays.c.channel == channel).values(accepted_at=None)
    )
    return refused_by(connection, channel)


def offer_again(connection: Connection, channel: str, now: datetime) -> None:
    """Messages of a channel that wait because they were refused are due at once, as if they had not been."""
    own = refusals.c.channel == channel
    waiting = select(messages.c.id).where(
        messages.c.id.in_(select(refusals.c.message_id).where(own)), _WAITS
    )
    connection.execute(
        update(messages)
        .where(messages.c.id.in_(waiting), messages.c.due_at > now)
        .values(due_at=now)
    )
    connection.execute(delete(refusals).where(own, refusals.c.message_id.in_(waiting)))


def refused(
    connection: Connection,
    channel: str,
    message_id: int,
    contact_id: int,
    answer: str,
    now: datetime,
) -> int:
    """Notes a refusal; how many different recipients were refused since the server last took somebody."""
    row = {
        "message_id": message_id,
        "channel": channel,
        "contact_id": contact_id,
        "answer": answer,
        "first_at": now,
    }
    statement = insert_or(refusals).values(row)
    newer = {"answer": statement.excluded.answer}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["message_id"], set_=newer)
    )
    count = select(func.count(distinct(refusals.c.contact_id))).where(
        refusals.c.channel == channel
    )
    return int(connection.execute(count).scalar_one())


def refused_by(connection: Connection, channel: str) -> set[int]:
    """The contacts whom the channel's server has refused since it last took somebody."""
    return set(
        connection.scalars(
            select(refusals.c.contact_id).where(refusals.c.channel == channel)
        )
    )


@dataclass(frozen=True, slots=True)
class Overdue:
    """A message that waits, its run, and with which answer it was refused last."""

    message_id: int
    run_id: int
    answer: str


def overdue(connection: Connection, before: datetime) -> list[Overdue]:
    """Messages that wait and were refused provisionally before an instant, for the first time."""
    return [Overdue(*row) for row in _OVERDUE.rows(connection, before=to_ms(before))]


def forget(connection: Connection, message_ids: Collection[int]) -> None:
    """These refusals are for a person to settle."""
    connection.execute(delete(refusals).where(refusals.c.message_id.in_(message_ids)))


def deaths(connection: Connection, message_id: int) -> int:
    """How many sessions ended while the outcome of this message was open."""
    found = connection.execute(
        select(func.count()).where(session_deaths.c.message_id == message_id)
    )
    return int(found.scalar_one())


def died(connection: Connection, message_id: int, now: datetime) -> None:
    """One more did."""
    number = deaths(connection, message_id) + 1
    connection.execute(
        insert(session_deaths).values(message_id=message_id, number=number, at=now)
    )


@dataclass(frozen=True, slots=True)
class Doubted:
    """A server that has refused so many messages of a channel and taken nobody yet."""

    channel: str
    server: str
    messages: int


def doubted(connection: Connection) -> list[Doubted]:
    """The servers whose refusals prove nothing yet."""
    count = func.count(refusals.c.message_id)
    found = (
        select(relays.c.channel, relays.c.server, count)
        .join(refusals, refusals.c.channel == relays.c.channel)
        .join(messages, messages.c.id == refusals.c.message_id)
        .where(relays.c.accepted_at.is_(None), _WAITS)
    )
    return [
        Doubted(*row)
        for row in connection.execute(found.group_by(relays.c.channel, relays.c.server))
    ]


def known_to_work(
    connection: Connection, channel: str, contact_ids: list[int]
) -> int | None:
    """One of these contacts to whom a message has left by this channel before; None if there is none."""
    own = (
        messages.c.contact_id.in_(contact_ids),
        messages.c.channel == channel,
        messages.c.state == "sent",
    )
    found: int | None = connection.execute(
        select(messages.c.contact_id).where(*own).limit(1)
    ).scalar()
    return found
