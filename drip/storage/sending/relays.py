"""Whether the server behind a channel has ever taken a recipient, and whom it refused.

A server that takes nobody may mean us: that it refuses somebody proves nothing about
the recipient. Also which messages connections broke off at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    distinct,
    func,
    insert,
    or_,
    select,
    update,
)

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import (
    in_state,
    messages,
    refusals,
    relays,
    session_deaths,
)
from drip.storage.base.sql import (
    Prepared,
    first_row,
    one_row,
    select_as,
    typed_rows,
    upsert,
)

_message = messages.c
_refusal = refusals.c
_relay = relays.c


class _ChannelServer(NamedTuple):
    channel: str
    server: str


class _AcceptedAt(NamedTuple):
    accepted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """A message that waits, its run, and with which answer it was refused last."""

    message_id: int
    run_id: int
    answer: str


_WAITS = or_(in_state("pending"), in_state("deferred"))
_SERVERS = Prepared(select_as(relays, _ChannelServer), into=_ChannelServer)
_OVERDUE = Prepared(
    select(
        _refusal.message_id,
        _message.run_id,
        _refusal.answer,
    )
    .join(messages, _message.id == _refusal.message_id)
    .join(relays, _relay.channel == _refusal.channel)
    .where(
        _refusal.first_at <= bindparam("before"),
        _relay.accepted_at.is_(None),
        _WAITS,
    ),
    into=Overdue,
)
_CHANGE = upsert(relays, "server", "accepted_at")
_REFUSED = upsert(refusals, "answer")


def accepts(connection: Connection, channel: str, server: str) -> bool:
    """Whether this server has taken a recipient."""
    own = (
        _relay.channel == channel,
        _relay.server == server,
    )
    asked = select(_relay.accepted_at).where(*own)
    found = first_row(connection, asked, into=_AcceptedAt)
    return found is not None and found.accepted_at is not None


def servers(connection: Connection) -> dict[str, str]:
    """The server that each channel had last."""
    return dict(_SERVERS.rows(connection))


def change(connection: Connection, channel: str, server: str, now: datetime) -> None:
    """The channel has this server now.

    What another one refused is offered to it at once.
    """
    row = {"channel": channel, "server": server, "accepted_at": None}
    # That the one before took recipients says nothing of this one.
    connection.execute(_CHANGE, row)
    offer_again(connection, channel, now)


def accepted(connection: Connection, channel: str, server: str, now: datetime) -> None:
    """It has taken a recipient.

    What it had refused before that it ever did is offered once more, and counts from
    now on.
    """
    first = update(relays).where(
        _relay.channel == channel,
        _relay.server == server,
        _relay.accepted_at.is_(None),
    )
    connection.execute(first.values(accepted_at=now))
    offer_again(connection, channel, now)


def sent(connection: Connection, channel: str) -> None:
    """It has taken a message.

    What it refused until then stands, and refusals are counted anew.
    """
    connection.execute(delete(refusals).where(_refusal.channel == channel))


def doubt(connection: Connection, channel: str) -> set[int]:
    """It has refused too many in a row: it has to show anew that it takes anybody.

    Returns the contacts whom it refused.
    """
    own = update(relays).where(_relay.channel == channel)
    connection.execute(own.values(accepted_at=None))
    return refused_by(connection, channel)


def offer_again(connection: Connection, channel: str, now: datetime) -> None:
    """Messages of a channel that wait because they were refused are due at once.

    It is as if they had not been.
    """
    own = _refusal.channel == channel
    waiting = _refused_and_waiting(own)
    later = update(messages).where(
        _message.id.in_(waiting),
        _message.due_at > now,
    )
    connection.execute(later.values(due_at=now))
    connection.execute(delete(refusals).where(own, _refusal.message_id.in_(waiting)))


def _refused_and_waiting(own: ColumnElement[bool]) -> Select[Any]:
    was_refused = _message.id.in_(select(_refusal.message_id).where(own))
    return select(_message.id).where(was_refused, _WAITS)


def refused(
    connection: Connection,
    channel: str,
    message_id: int,
    contact_id: int,
    answer: str,
    now: datetime,
) -> int:
    """Notes a refusal.

    Returns how many different recipients were refused since the server last took
    somebody.
    """
    row = {
        "message_id": message_id,
        "channel": channel,
        "contact_id": contact_id,
        "answer": answer,
        "first_at": now,
    }
    # The instant of the first refusal stays: three days are counted from there.
    connection.execute(_REFUSED, row)
    # By people and not by messages: one dead address is refused at every try.
    recipients = func.count(distinct(_refusal.contact_id))
    asked = select(recipients).where(_refusal.channel == channel)
    return one_row(connection, asked, into=int)


def refused_by(connection: Connection, channel: str) -> set[int]:
    """The contacts whom the channel's server refused since it last took somebody."""
    asked = select(_refusal.contact_id).where(_refusal.channel == channel)
    return set(typed_rows(connection, asked, into=int))


def overdue(connection: Connection, before: datetime) -> list[Overdue]:
    """Messages that wait, and were first refused provisionally before an instant."""
    return _OVERDUE.rows(connection, before=to_ms(before))


def forget(connection: Connection, message_ids: Collection[int]) -> None:
    """These refusals are for a person to settle."""
    connection.execute(delete(refusals).where(_refusal.message_id.in_(message_ids)))


def deaths(connection: Connection, message_id: int) -> int:
    """How many sessions ended while the outcome of this message was open."""
    own = session_deaths.c.message_id == message_id
    return one_row(connection, select(func.count()).where(own), into=int)


def died(connection: Connection, message_id: int, now: datetime) -> None:
    """One more did."""
    number = deaths(connection, message_id) + 1
    row = {"message_id": message_id, "number": number, "at": now}
    connection.execute(insert(session_deaths).values(row))


@dataclass(frozen=True, slots=True)
class Doubted:
    """A server that has refused so many messages of a channel and taken nobody yet."""

    channel: str
    server: str
    messages: int


def doubted(connection: Connection) -> list[Doubted]:
    """The servers whose refusals prove nothing yet."""
    key = (_relay.channel, _relay.server)
    refused_messages = func.count(_refusal.message_id).label("messages")
    by_server = (
        select(*key, refused_messages)
        .join(refusals, _refusal.channel == _relay.channel)
        .join(messages, _message.id == _refusal.message_id)
        .where(_relay.accepted_at.is_(None), _WAITS)
        .group_by(*key)
    )
    return typed_rows(connection, by_server, into=Doubted)


def known_to_work(
    connection: Connection,
    channel: str,
    contact_ids: list[int],
) -> int | None:
    """One of these contacts to whom a message has left by this channel before.

    None if there is none.
    """
    left = select(_message.contact_id).where(
        _message.contact_id.in_(contact_ids),
        _message.channel == channel,
        _message.state == "sent",
    )
    return first_row(connection, left.limit(1), into=int)
