"""What a rehearsal asks to hand over many messages at once: what differs between them as far as their texts go."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    exists,
    func,
    null,
    or_,
    select,
    update,
)

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import (
    consents,
    contacts,
    coupons,
    dates,
    events,
    in_state,
    messages,
    pauses,
    records,
    runs,
)
from drip.storage.base.sql import Prepared, listed_in, numbers


@dataclass(frozen=True, slots=True)
class Granted:
    """A granted message that is due.

    `told` is everything that says which values its text has: columns that are NULL or not, attributes and fields as JSON.
    `sure` says that nothing has happened to its contact since it was granted.
    """

    id: int
    run_id: int
    campaign: str
    version: str
    step: str
    active: bool
    position: int
    occurrence: str
    sure: bool
    attributes: str
    told: tuple[Any, ...]


def _granted() -> Select[Any]:
    m, now = messages.c, cast(ColumnElement[Any], bindparam("now"))
    held_back = exists().where(
        pauses.c.contact_id == m.contact_id,
        pauses.c.topic == m.topic,
        pauses.c.until > now,
    )
    taken_back = exists().where(
        consents.c.contact_id == m.contact_id,
        consents.c.topic == m.topic,
        consents.c.channel == m.channel,
        consents.c.given.is_(False),
    )
    columns = (
        m.id,
        m.run_id,
        m.campaign,
        runs.c.version,
        m.step,
        runs.c.active,
        runs.c.position,
        runs.c.occurrence,
        and_(m.granted_at == now, ~held_back, ~taken_back),
        contacts.c.attributes,
        m.channel,
        contacts.c.locale,
        contacts.c.email.is_(None),
        contacts.c.phone.is_(None),
        contacts.c.country.is_(None),
        _days(),
        records.c.kind,
        records.c.attributes,
        events.c.name,
        events.c.fields,
        runs.c.heard,
        _coupons(),
    )
    joined = messages.join(runs, runs.c.id == m.run_id).join(
        contacts, contacts.c.id == m.contact_id
    )
    joined = joined.outerjoin(records, records.c.id == runs.c.record_id)
    joined = joined.outerjoin(events, events.c.id == runs.c.event_id)
    return (
        select(*columns)
        .select_from(joined)
        .where(in_state("pending"), m.due_at <= now)
        # As the index has them.
        .order_by(m.channel, m.priority, m.due_at, m.id)
        .limit(bindparam("most"))
    )


def _days() -> ScalarSelect[Any]:
    """The dates there are, derived ones too; a birthday without its year is a shorter one."""
    whose = and_(
        dates.c.contact_id == runs.c.contact_id,
        or_(dates.c.record_id == 0, dates.c.record_id == runs.c.record_id),
    )
    return (
        select(func.group_concat(dates.c.field + func.length(dates.c.day)))
        .where(whose)
        .scalar_subquery()
    )


def _coupons() -> ColumnElement[Any]:
    return select(func.count()).where(coupons.c.run_id == runs.c.id).scalar_subquery()


_GRANTED = Prepared(_granted())
_SENT = Prepared(
    update(messages)
    .values(
        state="sent",
        fence=bindparam("fence"),
        attempts=messages.c.attempts + 1,
        sent_at=bindparam("sent"),
        settled_at=bindparam("settled"),
        code=null(),
        sentence=null(),
    )
    .where(messages.c.id.in_(listed_in("ids")))
)
_THROUGH = Prepared(
    update(runs)
    .values(
        position=bindparam("new_position"),
        active=False,
        wake=null(),
        due_at=null(),
        ended_at=bindparam("now"),
    )
    .where(runs.c.id.in_(listed_in("ids")))
)


def granted(connection: Connection, now: datetime, most: int) -> Iterator[Granted]:
    """Some of the granted messages that are due."""
    for row in _GRANTED.rows(connection, now=to_ms(now), most=most):
        (
            number,
            run,
            campaign,
            version,
            step,
            active,
            position,
            occurrence,
            sure,
            attributes,
            *told,
        ) = row
        yield Granted(
            number,
            run,
            campaign,
            version,
            step,
            bool(active),
            position,
            occurrence,
            bool(sure),
            attributes,
            tuple(told),
        )


def sent(
    connection: Connection, ids: Collection[int], fence: int, now: datetime
) -> None:
    """These left, and it was known at once."""
    _SENT.count(
        connection, ids=numbers(ids), fence=fence, sent=to_ms(now), settled=to_ms(now)
    )


def through(
    connection: Connection, run_ids: Collection[int], position: int, now: datetime
) -> None:
    """These runs are done: `position` is behind their last step."""
    _THROUGH.count(
        connection, ids=numbers(run_ids), new_position=position, now=to_ms(now)
    )
