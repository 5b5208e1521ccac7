"""Messages that are being handed over: how one begins, and how an attempt ended.

Only the daemon whose number a message bears may say how it ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, null, or_, select, update

from drip.core.lifecycle import MessageState, Outcome
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import daemons, in_state, messages
from drip.storage.base.sql import Prepared, listed_in, numbers
from drip.storage.sending.outbox import TAKEN_BACK, OutboxMessage

m = messages.c
_AMONG_IDS = m.id.in_(listed_in("ids"))
_GRANTED = Prepared(
    select(
        m.id,
        m.channel,
        m.granted_at,
    ).where(
        _AMONG_IDS,
        m.state == "pending",
    )
)
_BEGIN = Prepared(
    update(messages)
    .where(_AMONG_IDS, m.state == "pending")
    .values(
        state="sending",
        fence=bindparam("number"),
        sent_at=bindparam("now"),
        attempts=m.attempts + 1,
    )
)
_SETTLE_SENT = Prepared(
    update(messages)
    .where(
        _AMONG_IDS,
        m.state == "sending",
        m.fence == bindparam("number"),
    )
    .values(state="sent", code=null(), sentence=null(), settled_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that did not end with `sent`.

    `message` is as it was before; `answer` is the other side's; `due_at` is for one
    that comes again.
    """

    message: OutboxMessage
    outcome: Outcome
    answer: str
    due_at: datetime | None = None


def begin(
    connection: Connection,
    granted: Collection[OutboxMessage],
    fence: int,
    now: datetime,
) -> set[int]:
    """Marks messages as being handed over; returns those whose grant still stood.

    Needs the write lock.
    """
    if not granted:
        return set()
    mine = _still_granted(connection, granted)
    if mine:
        _BEGIN.count(
            connection,
            ids=numbers(mine),
            number=fence,
            now=to_ms(now),
        )
    return mine


def _still_granted(
    connection: Connection, granted: Collection[OutboxMessage]
) -> set[int]:
    # A planner beside us may have judged it again: then it is another grant.
    ids = numbers([message.id for message in granted])
    stands = {tuple(row) for row in _GRANTED.rows(connection, ids=ids)}
    return {
        message.id
        for message in granted
        if (message.id, message.channel, to_ms(message.granted_at)) in stands
    }


def settle_sent(
    connection: Connection,
    ids: Collection[int],
    fence: int,
    now: datetime,
) -> None:
    """Records that these arrived at the other side."""
    if ids:
        _SETTLE_SENT.count(
            connection,
            ids=numbers(ids),
            number=fence,
            now=to_ms(now),
        )


def settle(connection: Connection, attempt: Attempt, fence: int, now: datetime) -> None:
    """Records how handing over ended, unless another daemon has the message
    meanwhile."""
    # Not its number alone: whoever stood still past the lease is too late.
    mine = (
        m.id == attempt.message.id,
        m.state == "sending",
        m.fence == fence,
    )
    values = _settled(attempt, now)
    connection.execute(update(messages).where(*mine).values(values))


def _settled(attempt: Attempt, now: datetime) -> dict[str, Any]:
    outcome = attempt.outcome
    values: dict[str, Any] = {
        "state": outcome.state,
        "code": outcome.code,
        "sentence": attempt.answer,
        "settled_at": now,
    }
    if outcome.maybe_left:
        values["maybe_left_at"] = m.sent_at
    # What may have left counts in every window from that moment on.
    if outcome.state != MessageState.HELD:
        values["sent_at"] = None
    if outcome.state == MessageState.DEFERRED:
        values["granted_at"] = None
    if attempt.due_at is not None:
        values["due_at"] = attempt.due_at
    if not outcome.counts:
        values["attempts"] = attempt.message.attempts
    return values


# --- what nobody knows the end of

_LEFT_BEHIND = Prepared(
    select(messages)
    .where(
        in_state("sending"),
        or_(
            m.fence == bindparam("mine"),
            m.fence.in_(
                select(daemons.c.number).where(daemons.c.ended_at.is_not(None))
            ),
        ),
    )
    .order_by(m.id),
    into=OutboxMessage,
)
ENDED_BEFORE = "the program ended while this was being handed over, so it may have left"


def hold(
    connection: Connection,
    message: OutboxMessage,
    now: datetime,
    code: str,
    sentence: str,
) -> None:
    """Holds a granted message that cannot be handed over (a template that fails).

    `message.place` is where that is to be mended.
    """
    granted = (m.id == message.id, m.state == "pending")
    values = {**_held(code, sentence, now), "place": message.place}
    connection.execute(update(messages).where(*granted).values(values))


def hold_waiting(
    connection: Connection,
    sentences: Mapping[int, str],
    now: datetime,
    code: str,
) -> None:
    """Holds messages that wait, each with what was said of it."""
    for number, sentence in sentences.items():
        waits = (m.id == number, m.state.in_(("pending", "deferred")))
        values = _held(code, sentence, now)
        connection.execute(update(messages).where(*waits).values(values))


def left_behind(connection: Connection, fence: int) -> list[OutboxMessage]:
    """Messages that this daemon, or one that has ended, was handing over.

    No end of theirs was recorded.
    """
    return _LEFT_BEHIND.rows(connection, mine=fence)


def settle_left_behind(
    connection: Connection,
    ids: Collection[int],
    now: datetime,
    *,
    resend: bool,
) -> None:
    """What may have left is held for a person, or goes once more (`resend`).

    That is for its campaign to say; then it is judged as one that has left.
    """
    values = _once_more(now) if resend else _held("unknown", ENDED_BEFORE, now)
    begun = (m.id.in_(ids), m.state == "sending")
    connection.execute(update(messages).where(*begun).values(values))


def _once_more(now: datetime) -> dict[str, Any]:
    return {
        **TAKEN_BACK,
        "due_at": now,
        "sent_at": None,
        "fence": None,
        # Caps count it from then on, as if it had left.
        "maybe_left_at": m.sent_at,
    }


def _held(code: str, sentence: str, now: datetime) -> dict[str, Any]:
    return {"state": "held", "code": code, "sentence": sentence, "settled_at": now}
