"""The outbox: what was granted, what waits, what was handed over."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from drip.core.calendar import from_millis
from drip.core.settings import CHANNELS
from drip.storage.base.columns import Instant, from_ms, to_ms
from drip.storage.base.schema import (
    daemons,
    in_state,
    judgements,
    messages,
    reasons,
    runs,
)
from drip.storage.base.sql import Prepared, later, listed_in, numbers, texts_in


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
    state: str
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
_CHANGE = Prepared(
    update(messages)
    .values({name: bindparam(f"new_{name}") for name in CHANGING})
    .where(messages.c.id == bindparam("number"))
)


@dataclass(slots=True)
class Judgement:
    """A decision that was not Send. `message` has its id once the messages are stored; without `until` it is skipped."""

    message: OutboxMessage
    at: datetime
    code: str
    sentence: str
    place: str
    filled_by: str | None
    until: datetime | None


# What every beat asks, built once: building a statement costs as much as running it.
_DEFERRED = Prepared(
    select(messages)
    .where(messages.c.contact_id.in_(listed_in("ids")), messages.c.state == "deferred")
    .order_by(messages.c.id)
)
_INSERT = Prepared(insert(messages).inline())
# What a message has of its own: a blast's are alike in all the rest.
OWN = ("id", "run_id", "contact_id")
COLUMNS = tuple(column.name for column in messages.columns)
ALIKE = tuple(name for name in COLUMNS if name not in OWN)
_alike = attrgetter(*ALIKE)
# From so many on they are inserted by one statement.
MANY = 20


def _insert_alike() -> ClauseElement:
    own: dict[str, ColumnElement[Any]] = {
        "id": bindparam("newest", type_=BigInteger)
        + func.row_number().over(order_by=runs.c.id),
        "run_id": runs.c.id,
        "contact_id": runs.c.contact_id,
    }
    values = [
        own[c.name]
        if c.name in own
        else bindparam(f"new_{c.name}", type_=c.type).label(c.name)
        for c in messages.columns
    ]
    found = select(*values).where(runs.c.id.in_(listed_in("ids")))
    return insert(messages).from_select(
        list(messages.columns), found, include_defaults=False
    )


_INSERT_ALIKE = Prepared(_insert_alike())
_JUDGED = Prepared(
    insert(judgements)
    .values(
        {name: bindparam(name) for name in ("message_id", "at", "reason_id", "until")}
    )
    .inline()
)
_NEWEST = select(func.max(messages.c.id))
_REASON = Prepared(insert(reasons).inline())
_NEWEST_REASON = select(func.max(reasons.c.id))
_REASONS = Prepared(
    select(reasons.c.id, reasons.c.sentence, reasons.c.place, reasons.c.code).where(
        reasons.c.sentence.in_(texts_in("sentences"))
    )
)
_HIGHEST = Prepared(
    select(func.max(messages.c.priority)).where(
        in_state("pending"),
        messages.c.channel == bindparam("channel"),
        messages.c.priority < bindparam("below"),
    )
)
_PENDING = Prepared(
    select(messages)
    .where(
        in_state("pending"),
        messages.c.channel == bindparam("channel"),
        messages.c.priority == bindparam("priority"),
        messages.c.due_at <= bindparam("now"),
        messages.c.contact_id % bindparam("parts", type_=BigInteger)
        == bindparam("part"),
    )
    .order_by(messages.c.due_at, messages.c.id)
    .limit(bindparam("most"))
)
# Above every priority, which are from 0 to 100.
ABOVE_ALL = 1000
_STILL_PENDING = Prepared(
    select(messages)
    .where(messages.c.id.in_(listed_in("ids")), messages.c.state == "pending")
    .order_by(messages.c.priority.desc(), messages.c.planned_at, messages.c.id)
)
_GIVE_BACK_STALE = (
    update(messages)
    .where(
        in_state("pending"), messages.c.granted_at < bindparam("before", type_=Instant)
    )
    .values(
        state="deferred",
        due_at=later(messages.c.due_at, bindparam("now", type_=Instant)),
        granted_at=None,
    )
)
_PUT_OFF = Prepared(
    update(messages)
    .values(due_at=bindparam("new_due_at"))
    .where(messages.c.id == bindparam("number"))
)
_GRANTED = Prepared(
    select(messages.c.id, messages.c.channel, messages.c.granted_at).where(
        messages.c.id.in_(listed_in("ids")), messages.c.state == "pending"
    )
)
_BEGIN = Prepared(
    update(messages)
    .where(messages.c.id.in_(listed_in("ids")))
    .values(
        state="sending",
        fence=bindparam("number"),
        sent_at=bindparam("now"),
        attempts=messages.c.attempts + 1,
    )
)
_SETTLE_SENT = Prepared(
    update(messages)
    .where(
        messages.c.id.in_(listed_in("ids")),
        messages.c.state == "sending",
        messages.c.fence == bindparam("number"),
    )
    .values(state="sent", code=null(), sentence=null(), settled_at=bindparam("now"))
)
_LEFT_BEHIND = (
    select(messages)
    .where(
        in_state("sending"),
        or_(
            messages.c.fence == bindparam("mine"),
            messages.c.fence.in_(
                select(daemons.c.number).where(daemons.c.ended_at.is_not(None))
            ),
        ),
    )
    .order_by(messages.c.id)
)
_OF_RUNS = Prepared(
    select(messages)
    .where(messages.c.run_id.in_(listed_in("ids")))
    .order_by(messages.c.id)
)


def deferred(
    connection: Connection, contact_ids: Collection[int]
) -> list[OutboxMessage]:
    """The messages of these contacts that wait to be judged again."""
    return [
        _outgoing(row) for row in _DEFERRED.rows(connection, ids=numbers(contact_ids))
    ]


def of_runs(connection: Connection, run_ids: Collection[int]) -> list[OutboxMessage]:
    """Every message of these runs, in whatever state."""
    return [_outgoing(row) for row in _OF_RUNS.rows(connection, ids=numbers(run_ids))]


def _outgoing(row: Sequence[Any]) -> OutboxMessage:
    (
        id_,
        run,
        step,
        campaign,
        contact,
        topic,
        channel,
        counted,
        priority,
        state,
        planned,
        due,
        granted,
        fence,
        attempts,
        sent,
        settled,
        maybe_left,
        code,
        sentence,
        place,
    ) = row
    return OutboxMessage(
        id_,
        run,
        step,
        campaign,
        contact,
        topic,
        channel,
        bool(counted),
        priority,
        state,
        from_millis(planned),
        from_millis(due),
        from_ms(granted),
        fence,
        attempts,
        from_ms(sent),
        from_ms(settled),
        from_ms(maybe_left),
        code,
        sentence,
        place,
    )


def _row(message: OutboxMessage) -> tuple[Any, ...]:
    """A message as its table has it."""
    m = message
    return (
        m.id,
        m.run_id,
        m.step,
        m.campaign,
        m.contact_id,
        m.topic,
        m.channel,
        m.counted,
        m.priority,
        m.state,
        to_ms(m.planned_at),
        to_ms(m.due_at),
        to_ms(m.granted_at),
        m.fence,
        m.attempts,
        to_ms(m.sent_at),
        to_ms(m.settled_at),
        to_ms(m.maybe_left_at),
        m.code,
        m.sentence,
        m.place,
    )


def save_messages(connection: Connection, changed: Sequence[OutboxMessage]) -> None:
    """Stores new messages (which get their ids) and changed ones. Needs the write lock, for the ids."""
    fresh = [each for each in changed if not each.id]
    if fresh:
        newest = connection.execute(_NEWEST).scalar() or 0
        _insert(connection, fresh, newest)
    known = changed if not fresh else [each for each in changed if each.id <= newest]
    _CHANGE.many(
        connection,
        [
            (
                m.channel,
                m.state,
                to_ms(m.planned_at),
                to_ms(m.due_at),
                to_ms(m.granted_at),
                to_ms(m.sent_at),
                to_ms(m.settled_at),
                m.code,
                m.sentence,
                m.place,
                m.id,
            )
            for m in known
        ],
    )


def _insert(
    connection: Connection, fresh: Sequence[OutboxMessage], newest: int
) -> None:
    """Numbers and stores new messages, of which each is in a run of its own or at a step of its own."""
    groups: dict[tuple[Any, ...], list[OutboxMessage]] = defaultdict(list)
    for each in fresh:
        groups[_alike(each)].append(each)
    few: list[OutboxMessage] = []
    for members in groups.values():
        members.sort(key=attrgetter("run_id"))
        for number, each in enumerate(members, newest + 1):
            each.id = number
        if len(members) < MANY:
            few += members
        else:
            row = dict(zip(COLUMNS, _row(members[0]), strict=True))
            values = {f"new_{name}": row[name] for name in ALIKE}
            _INSERT_ALIKE.count(
                connection,
                ids=numbers([each.run_id for each in members]),
                newest=newest,
                **values,
            )
        newest += len(members)
    _INSERT.many(connection, [_row(each) for each in few])


def save_judgements(connection: Connection, made: Sequence[Judgement]) -> None:
    """Appends decisions; their messages are stored already. Needs the write lock, for the reasons' ids."""
    if not made:
        return
    known = _numbered(
        connection,
        {(each.sentence, each.place, each.code): each.filled_by for each in made},
    )
    _JUDGED.many(
        connection,
        [
            (
                each.message.id,
                to_ms(each.at),
                known[each.sentence, each.place, each.code],
                to_ms(each.until),
            )
            for each in made
        ],
    )


def reason(connection: Connection, code: str, sentence: str, place: str) -> int:
    """The number of a reason. Needs the write lock."""
    return _numbered(connection, {(sentence, place, code): None})[sentence, place, code]


def _numbered(
    connection: Connection, wanted: Mapping[tuple[str, str, str], str | None]
) -> dict[tuple[str, str, str], int]:
    """The numbers of reasons (sentence, place, code), of which those that are new are stored with what filled the cap."""
    sentences = json.dumps(sorted({sentence for sentence, _, _ in wanted}))
    known = {
        tuple(row[1:]): row[0] for row in _REASONS.rows(connection, sentences=sentences)
    }
    missing = [key for key in wanted if key not in known]
    newest = (connection.execute(_NEWEST_REASON).scalar() or 0) if missing else 0
    fresh = {key: newest + n for n, key in enumerate(missing, 1)}
    _REASON.many(
        connection,
        [(id_, key[2], key[0], key[1], wanted[key]) for key, id_ in fresh.items()],
    )
    return known | fresh


def prune(connection: Connection, before: datetime) -> int:
    """Forgets decisions from before an instant, and the reasons that nothing names any more; how many decisions."""
    gone = connection.execute(
        delete(judgements).where(judgements.c.at < before)
    ).rowcount
    if gone:
        connection.execute(
            delete(reasons).where(reasons.c.id.not_in(select(judgements.c.reason_id)))
        )
    return gone


@dataclass(frozen=True, slots=True)
class Queue:
    """A channel's messages that could leave now, and since when the oldest could."""

    channel: str
    count: int
    oldest: datetime


def queues(connection: Connection, now: datetime) -> list[Queue]:
    """The channels by which messages wait."""
    statement = (
        select(messages.c.channel, func.count(), func.min(messages.c.due_at))
        .where(in_state("pending"), messages.c.due_at <= now)
        .group_by(messages.c.channel)
        .order_by(messages.c.channel)
    )
    return [Queue(*row) for row in connection.execute(statement)]


def channels_waiting(
    connection: Connection, now: datetime, share: tuple[int, int]
) -> list[str]:
    """The channels by which granted messages of a share have to leave now."""
    return [
        channel
        for channel in CHANNELS
        if pending(connection, channel, now, 1, (), share)
    ]


def pending(
    connection: Connection,
    channel: str,
    now: datetime,
    limit: int,
    without: Collection[int],
    share: tuple[int, int],
) -> list[OutboxMessage]:
    """A channel's granted messages whose time to leave has come: higher priority first, then the one due longer.

    `share` is the part of so many parts of the contacts.
    """
    part, parts = share
    found: list[OutboxMessage] = []
    priority = ABOVE_ALL
    while len(found) < limit:
        ((highest,),) = _HIGHEST.rows(connection, channel=channel, below=priority)
        if highest is None:
            break
        priority, most = highest, limit - len(found) + len(without)
        rows = _PENDING.rows(
            connection,
            channel=channel,
            priority=priority,
            now=to_ms(now),
            most=most,
            part=part,
            parts=parts,
        )
        found += [_outgoing(row) for row in rows if row[0] not in without]
    return found[:limit]


def still_pending(connection: Connection, ids: Collection[int]) -> list[OutboxMessage]:
    """Those of these messages that are granted and have not left, in the same order."""
    return [_outgoing(row) for row in _STILL_PENDING.rows(connection, ids=numbers(ids))]


def begin(
    connection: Connection,
    granted: Collection[OutboxMessage],
    fence: int,
    now: datetime,
) -> set[int]:
    """Marks messages as being handed over; returns those whose grant still stood. Needs the write lock."""
    if not granted:
        return set()
    stands = set(
        map(
            tuple, _GRANTED.rows(connection, ids=numbers([each.id for each in granted]))
        )
    )
    mine = {
        each.id
        for each in granted
        if (each.id, each.channel, to_ms(each.granted_at)) in stands
    }
    if mine:
        _BEGIN.count(connection, ids=numbers(mine), number=fence, now=to_ms(now))
    return mine


def settle_sent(
    connection: Connection, ids: Collection[int], fence: int, now: datetime
) -> None:
    """Records that these arrived at the other side."""
    if ids:
        _SETTLE_SENT.count(connection, ids=numbers(ids), number=fence, now=to_ms(now))


def settle(
    connection: Connection,
    message: OutboxMessage,
    fence: int,
    state: str,
    now: datetime,
    *,
    code: str,
    sentence: str,
    due_at: datetime | None = None,
    maybe_left: bool = False,
    attempts: int | None = None,
) -> None:
    """Records how handing over ended otherwise, unless another daemon has the message meanwhile.

    One that did not leave is `pending` with the time of its next try; one that has to be judged again `deferred`.
    `maybe_left` keeps the attempt counted; `attempts` takes back the count of one that never began.
    """
    values: dict[str, Any] = {
        "state": state,
        "code": code,
        "sentence": sentence,
        "settled_at": now,
    }
    if maybe_left:
        values["maybe_left_at"] = messages.c.sent_at
    if state != "held":
        values["sent_at"] = None
    if due_at is not None:
        values["due_at"] = due_at
    if state == "deferred":
        values["granted_at"] = None
    if attempts is not None:
        values["attempts"] = attempts
    mine = (
        messages.c.id == message.id,
        messages.c.state == "sending",
        messages.c.fence == fence,
    )
    connection.execute(update(messages).where(*mine).values(values))


def put_off(connection: Connection, until: Mapping[int, int]) -> None:
    """Granted messages may leave no earlier than this (milliseconds)."""
    _PUT_OFF.many(connection, [(at, number) for number, at in until.items()])


def give_back(connection: Connection, ids: Collection[int], now: datetime) -> None:
    """Granted messages that have not left are decided again."""
    if not ids:
        return
    where = (messages.c.id.in_(ids), messages.c.state == "pending")
    connection.execute(
        update(messages)
        .where(*where)
        .values(state="deferred", due_at=now, granted_at=None)
    )


def give_back_stale(
    connection: Connection, granted_before: datetime, now: datetime
) -> int:
    """As `give_back`, for everything granted before an instant."""
    return connection.execute(
        _GIVE_BACK_STALE, {"before": granted_before, "now": now}
    ).rowcount


def close(
    connection: Connection,
    message: OutboxMessage,
    state: str,
    now: datetime,
    code: str,
    sentence: str,
) -> None:
    """Ends a granted message that cannot be handed over at all (a template that fails)."""
    where = (messages.c.id == message.id, messages.c.state == "pending")
    values = {
        "state": state,
        "settled_at": now,
        "code": code,
        "sentence": sentence,
        "place": message.place,
    }
    connection.execute(update(messages).where(*where).values(values))


def hold_waiting(
    connection: Connection, said: Mapping[int, str], now: datetime, code: str
) -> None:
    """Messages that wait are for a person to settle, each with what was said of it."""
    for number, sentence in said.items():
        where = (messages.c.id == number, messages.c.state.in_(("pending", "deferred")))
        values = {
            "state": "held",
            "code": code,
            "sentence": sentence,
            "settled_at": now,
        }
        connection.execute(update(messages).where(*where).values(values))


def left_behind(connection: Connection, fence: int) -> list[OutboxMessage]:
    """Messages that this daemon, or one that has ended, was handing over, and of which no end was recorded."""
    return [
        OutboxMessage(*row) for row in connection.execute(_LEFT_BEHIND, {"mine": fence})
    ]


def settle_left_behind(
    connection: Connection, ids: Collection[int], now: datetime, *, resend: bool
) -> None:
    """What may have left is held for a person, or judged again (as one that has left) where its campaign says `resend`."""
    where = (messages.c.id.in_(ids), messages.c.state == "sending")
    sentence = "the program ended while this was being handed over, so it may have left"
    values: dict[str, Any] = {
        "state": "held",
        "code": "unknown",
        "sentence": sentence,
        "settled_at": now,
    }
    if resend:
        values = {
            "state": "deferred",
            "due_at": now,
            "granted_at": None,
            "sent_at": None,
            "fence": None,
        }
        values["maybe_left_at"] = messages.c.sent_at
    connection.execute(update(messages).where(*where).values(values))


def held(connection: Connection) -> list[OutboxMessage]:
    """Messages that wait for a person to settle them."""
    statement = select(messages).where(in_state("held")).order_by(messages.c.id)
    return [OutboxMessage(*row) for row in connection.execute(statement)]


def count_held(connection: Connection) -> int:
    """How many wait for a person."""
    return int(
        connection.execute(select(func.count()).where(in_state("held"))).scalar_one()
    )


def release(
    connection: Connection, ids: Collection[int], state: str, now: datetime
) -> int:
    """Settles held messages: `sent`, `deferred` (try again) or `failed` (never left, drop it)."""
    values: dict[str, Any] = {"state": state, "settled_at": now}
    if state == "sent":
        # When it left is not changed by when somebody says so.
        values = {"state": state, "code": None, "sentence": None}
    elif state == "deferred":
        values |= {"due_at": now, "granted_at": None, "sent_at": None}
    else:
        values |= {
            "code": "dropped",
            "sentence": "an operator dropped it",
            "sent_at": None,
        }
    where = (messages.c.id.in_(ids), messages.c.state == "held")
    return connection.execute(update(messages).where(*where).values(values)).rowcount


def wake_paused(connection: Connection, campaign: str | None, now: datetime) -> None:
    """Has messages that a pause holds back judged again at once."""
    where = [in_state("deferred"), messages.c.code == "paused"]
    if campaign is not None:
        where.append(messages.c.campaign == campaign)
    connection.execute(update(messages).where(*where).values(due_at=now))


def count_by_state(connection: Connection) -> dict[tuple[str, str], int]:
    """How many messages there are, by campaign and state."""
    statement = select(messages.c.campaign, messages.c.state, func.count()).group_by(
        messages.c.campaign, messages.c.state
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(statement)}
