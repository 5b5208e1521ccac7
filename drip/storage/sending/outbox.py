"""The outbox: what was granted, what waits, what was handed over.

Every change of a message's state says from which states it may come, so that what was
settled in the meantime stays as it is. `core.lifecycle` has the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    ColumnElement,
    Connection,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from drip.core.channels import CHANNELS
from drip.core.lifecycle import MessageState, may_come_from
from drip.storage.base.columns import Instant, to_ms
from drip.storage.base.schema import in_state, messages, runs
from drip.storage.base.sql import Prepared, later, listed_in, numbers

# Columns are named as they are in SQL.
m = messages.c
# That states follow one another by the table is a condition of each statement here and
# no trigger of the database: that took 6 µs more for each message that leaves (SQLite,
# 15 µs instead of 9), and a rehearsal goes from `pending` to `sent` in one step.


@dataclass(slots=True)
class OutboxMessage:
    """A message as stored. `id` is 0 until it is."""

    id: int
    run_id: int
    step: str
    campaign: str
    contact_id: int
    topic: str | None
    channel: str
    counted: bool
    priority: int
    state: MessageState
    planned_at: datetime
    due_at: datetime
    granted_at: datetime | None = None
    fence: int | None = None
    attempts: int = 0
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    maybe_left_at: datetime | None = None
    code: str | None = None
    sentence: str | None = None
    place: str | None = None


_IS_DEFERRED, _IS_PENDING = in_state("deferred"), in_state("pending")
_IS_HELD = in_state("held")
_IS_UNSENT = or_(_IS_DEFERRED, _IS_PENDING)
_AMONG_IDS = m.id.in_(listed_in("ids"))


# --- by contact and run

# What every tick asks is built once: building a statement costs as much as running it.
_DEFERRED = Prepared(
    select(messages)
    .where(m.contact_id.in_(listed_in("ids")), m.state == "deferred")
    .order_by(m.id),
    into=OutboxMessage,
)
_OF_RUNS = Prepared(
    select(messages).where(m.run_id.in_(listed_in("ids"))).order_by(m.id),
    into=OutboxMessage,
)


def deferred(
    connection: Connection, contact_ids: Collection[int]
) -> list[OutboxMessage]:
    """The messages of these contacts that wait to be judged again."""
    return _DEFERRED.rows(connection, ids=numbers(contact_ids))


def of_runs(connection: Connection, run_ids: Collection[int]) -> list[OutboxMessage]:
    """Every message of these runs, in whatever state."""
    return _OF_RUNS.rows(connection, ids=numbers(run_ids))


# --- what judging stores


def _as_it_is(value: Any) -> Any:
    return value


# What judging can change of a message, in the order of the columns.
CHANGING = (
    "channel",
    "state",
    "planned_at",
    "due_at",
    "granted_at",
    "sent_at",
    "settled_at",
    "code",
    "sentence",
    "place",
)
# What has begun to leave is the dispatcher's: judging changes nothing about it.
_CHANGE = Prepared(
    update(messages)
    .values({name: bindparam(f"new_{name}") for name in CHANGING})
    .where(m.id == bindparam("number"), _IS_UNSENT)
)
_INSERT = Prepared(insert(messages).inline())
_NEWEST = select(func.max(m.id))
# What a message has of its own: a blast's are alike in all the rest.
OWN = ("id", "run_id", "contact_id")
COLUMNS = tuple(column.name for column in messages.columns)
ALIKE = tuple(name for name in COLUMNS if name not in OWN)
_alike = attrgetter(*ALIKE)
_AS_STORED: Mapping[str, Callable[[Any], Any]] = {
    column.name: to_ms if isinstance(column.type, Instant) else _as_it_is
    for column in messages.columns
} | {"state": str}
# From so many on they are inserted by one statement.
MANY = 20


def _shared(name: str) -> ColumnElement[Any]:
    given = bindparam(f"new_{name}", type_=messages.c[name].type)
    return given.label(name)


def _insert_alike() -> ClauseElement:
    number = func.row_number().over(order_by=runs.c.id)
    own: dict[str, ColumnElement[Any]] = {
        "id": bindparam("newest", type_=BigInteger) + number,
        "run_id": runs.c.id,
        "contact_id": runs.c.contact_id,
    }
    values = [own[name] if name in own else _shared(name) for name in COLUMNS]
    found = select(*values).where(runs.c.id.in_(listed_in("ids")))
    columns = list(messages.columns)
    return insert(messages).from_select(
        columns,
        found,
        include_defaults=False,
    )


_INSERT_ALIKE = Prepared(_insert_alike())


def save_messages(connection: Connection, changed: Sequence[OutboxMessage]) -> None:
    """Stores new messages (which get their ids) and changed ones.

    Of those that are stored only what has not begun to leave is changed. Needs the
    write lock, for the ids.
    """
    fresh = [message for message in changed if not message.id]
    known = [message for message in changed if message.id]
    if fresh:
        _insert(connection, fresh)
    _CHANGE.many(
        connection,
        [_stored(message, (*CHANGING, "id")) for message in known],
    )


def _stored(message: OutboxMessage, names: Iterable[str]) -> tuple[Any, ...]:
    """Values of a message as its table has them."""
    return tuple(
        _AS_STORED[name](
            getattr(
                message,
                name,
            )
        )
        for name in names
    )


def _insert(connection: Connection, fresh: Sequence[OutboxMessage]) -> None:
    """Numbers and stores new messages.

    Each is in a run of its own, or at a step of its own.
    """
    # Numbered here and not by the database: a statement that gives numbers back is run
    # row by row.
    newest = connection.execute(_NEWEST).scalar() or 0
    few: list[OutboxMessage] = []
    for members in _grouped(fresh):
        _number(members, newest + 1)
        if len(members) < MANY:
            few += members
        else:
            _insert_many(connection, members, newest)
        newest += len(members)
    _INSERT.many(connection, [_stored(message, COLUMNS) for message in few])


def _number(members: Iterable[OutboxMessage], first: int) -> None:
    for number, message in enumerate(members, first):
        message.id = number


def _grouped(fresh: Sequence[OutboxMessage]) -> Iterable[list[OutboxMessage]]:
    """Those that are alike together, in the order of their runs."""
    groups: dict[tuple[Any, ...], list[OutboxMessage]] = defaultdict(list)
    for message in fresh:
        groups[_alike(message)].append(message)
    for members in groups.values():
        members.sort(key=attrgetter("run_id"))
        yield members


def _insert_many(
    connection: Connection,
    members: Sequence[OutboxMessage],
    newest: int,
) -> None:
    alike = zip(ALIKE, _stored(members[0], ALIKE), strict=True)
    shared = {f"new_{name}": value for name, value in alike}
    run_ids = numbers([message.run_id for message in members])
    _INSERT_ALIKE.count(connection, ids=run_ids, newest=newest, **shared)


# --- what may leave

# Above every priority, which are from 0 to 100.
ABOVE_ALL = 1000
_HIGHEST = Prepared(
    select(func.max(m.priority)).where(
        _IS_PENDING,
        m.channel == bindparam("channel"),
        m.priority < bindparam("below"),
    )
)
# Each of several senders has its own contacts: none takes what another has in hand.
_IN_SHARE = m.contact_id % bindparam(
    "parts",
    type_=BigInteger,
) == bindparam("part")
_PENDING = Prepared(
    select(messages)
    .where(
        _IS_PENDING,
        m.channel == bindparam("channel"),
        m.priority == bindparam("priority"),
        m.due_at <= bindparam("now"),
        _IN_SHARE,
    )
    .order_by(m.due_at, m.id)
    .limit(bindparam("most")),
    into=OutboxMessage,
)
_STILL_PENDING = Prepared(
    select(messages)
    .where(_AMONG_IDS, m.state == "pending")
    .order_by(m.priority.desc(), m.planned_at, m.id),
    into=OutboxMessage,
)


@dataclass(frozen=True, slots=True)
class Queue:
    """A channel's messages that could leave now, and since when the oldest could."""

    channel: str
    count: int
    oldest: datetime


def queues(connection: Connection, now: datetime) -> list[Queue]:
    """The channels by which messages wait."""
    statement = (
        select(
            m.channel,
            func.count(),
            func.min(m.due_at),
        )
        .where(_IS_PENDING, m.due_at <= now)
        .group_by(m.channel)
        .order_by(m.channel)
    )
    return [Queue(*row) for row in connection.execute(statement)]


def channels_waiting(
    connection: Connection,
    now: datetime,
    share: tuple[int, int],
) -> list[str]:
    """The channels by which granted messages of a share have to leave now."""
    return [
        channel
        for channel in CHANNELS
        if pending(
            connection,
            channel,
            now,
            1,
            (),
            share,
        )
    ]


def pending(
    connection: Connection,
    channel: str,
    now: datetime,
    limit: int,
    without: Collection[int],
    share: tuple[int, int],
) -> list[OutboxMessage]:
    """A channel's granted messages whose time to leave has come.

    Higher priority comes first, then what has been due longer. `share` is the part of
    so many parts of the contacts.
    """
    part, parts = share
    found: list[OutboxMessage] = []
    priority = _highest(connection, channel, ABOVE_ALL)
    while priority is not None and len(found) < limit:
        same_priority = _PENDING.rows(
            connection,
            channel=channel,
            priority=priority,
            now=to_ms(now),
            most=limit - len(found) + len(without),
            part=part,
            parts=parts,
        )
        found += [message for message in same_priority if message.id not in without]
        if len(found) < limit:
            priority = _highest(connection, channel, priority)
    return found[:limit]


def _highest(connection: Connection, channel: str, below: int) -> int | None:
    """The highest priority below one that a granted message of a channel has."""
    ((highest,),) = _HIGHEST.rows(connection, channel=channel, below=below)
    return None if highest is None else int(highest)


def still_pending(connection: Connection, ids: Collection[int]) -> list[OutboxMessage]:
    """Those of these messages that are granted and have not left, in the same order."""
    return _STILL_PENDING.rows(connection, ids=numbers(ids))


# Judged again, what waits is granted anew, at another time and maybe by another
# channel.
TAKEN_BACK: Mapping[str, Any] = {"state": "deferred", "granted_at": None}
_GIVE_BACK_STALE = (
    update(messages)
    .where(_IS_PENDING, m.granted_at < bindparam("before", type_=Instant))
    .values(
        **TAKEN_BACK,
        due_at=later(m.due_at, bindparam("now", type_=Instant)),
    )
)
_PUT_OFF = Prepared(
    update(messages)
    .values(due_at=bindparam("new_due_at"))
    .where(m.id == bindparam("number"), _IS_PENDING)
)


def put_off(connection: Connection, until: Mapping[int, int]) -> None:
    """Granted messages may leave no earlier than this (milliseconds)."""
    _PUT_OFF.many(
        connection,
        [(at, number) for number, at in until.items()],
    )


def give_back(connection: Connection, ids: Collection[int], now: datetime) -> None:
    """Granted messages that have not left are decided again."""
    if ids:
        granted = (m.id.in_(ids), m.state == "pending")
        given_back = (
            update(messages)
            .where(*granted)
            .values(
                **TAKEN_BACK,
                due_at=now,
            )
        )
        connection.execute(given_back)


def give_back_stale(
    connection: Connection,
    granted_before: datetime,
    now: datetime,
) -> int:
    """As `give_back`, for everything granted before an instant."""
    values = {"before": granted_before, "now": now}
    return connection.execute(_GIVE_BACK_STALE, values).rowcount


def wake_paused(connection: Connection, campaign: str | None, now: datetime) -> None:
    """Has messages that a pause holds back judged again at once."""
    where = [_IS_DEFERRED, m.code == "paused"]
    if campaign is not None:
        where.append(m.campaign == campaign)
    connection.execute(update(messages).where(*where).values(due_at=now))


# --- what a person has to settle

_HELD = Prepared(
    select(messages).where(_IS_HELD).order_by(m.id),
    into=OutboxMessage,
)


def held(connection: Connection) -> list[OutboxMessage]:
    """Messages that wait for a person to settle them."""
    return _HELD.rows(connection)


def count_held(connection: Connection) -> int:
    """How many wait for a person."""
    count = select(func.count()).select_from(messages).where(_IS_HELD)
    return int(connection.execute(count).scalar_one())


def release(
    connection: Connection,
    ids: Collection[int],
    state: str,
    now: datetime,
) -> int:
    """Settles held messages; how many.

    They are `sent`, `deferred` (try again) or `failed` (never left, drop it). Raises
    ValueError for any other state.
    """
    values = _released(MessageState(state), now)
    waits = (m.id.in_(ids), m.state == "held")
    return connection.execute(update(messages).where(*waits).values(values)).rowcount


def _released(state: MessageState, now: datetime) -> dict[str, Any]:
    if MessageState.HELD not in may_come_from(state):
        raise ValueError(f"what was held cannot be {state}")
    if state == MessageState.SENT:
        # When it left is not changed by when somebody says so.
        return {"state": state, "code": None, "sentence": None}
    if state == MessageState.DEFERRED:
        return {**TAKEN_BACK, "settled_at": now, "due_at": now, "sent_at": None}
    return {
        "state": state,
        "settled_at": now,
        "code": "dropped",
        "sentence": "an operator dropped it",
        "sent_at": None,
    }


def count_by_state(connection: Connection) -> dict[tuple[str, str], int]:
    """How many messages there are, by campaign and state."""
    key = (m.campaign, m.state)
    statement = select(
        *key,
        func.count(),
    ).group_by(*key)
    return {
        (campaign, state): count
        for campaign, state, count in connection.execute(statement)
    }
