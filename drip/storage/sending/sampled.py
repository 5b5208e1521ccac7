"""What a rehearsal asks to hand over many messages at once.

That is what differs between them as far as their texts go.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    Select,
    Text,
    and_,
    bindparam,
    exists,
    func,
    null,
    or_,
    select,
    type_coerce,
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

_contact = contacts.c

_consent = consents.c
_date = dates.c
_message = messages.c
_run = runs.c


class Granted(NamedTuple):
    """A granted message that is due, with all that says which values its text has.

    `sure` says that nothing has happened to its contact since it was granted.
    Attributes, fields and what was heard are JSON texts as they are stored: what is
    alike is alike as text, and most are never read.
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
    channel: str
    locale: str | None
    no_email: bool
    no_phone: bool
    no_country: bool
    days: str | None
    record_kind: str | None
    record_attributes: str | None
    event: str | None
    event_fields: str | None
    heard: str | None
    coupons: int


def _granted() -> Select[Any]:
    now = cast(ColumnElement[Any], bindparam("now"))
    return (
        select(*_of_message(now), *_of_text())
        .select_from(_joined())
        .where(
            in_state("pending"),
            _message.due_at <= now,
        )
        # As the index has them.
        .order_by(_message.channel, _message.priority, _message.due_at, _message.id)
        .limit(bindparam("most"))
    )


def _of_message(now: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    held_back = exists().where(
        pauses.c.contact_id == _message.contact_id,
        pauses.c.topic == _message.topic,
        pauses.c.until > now,
    )
    taken_back = exists().where(
        _consent.contact_id == _message.contact_id,
        _consent.topic == _message.topic,
        _consent.channel == _message.channel,
        _consent.given.is_(False),
    )
    return (
        _message.id,
        _message.run_id,
        _message.campaign,
        _run.version,
        _message.step,
        _run.active,
        _run.position,
        _run.occurrence,
        and_(
            _message.granted_at == now,
            ~held_back,
            ~taken_back,
        ).label("sure"),
    )


def _of_text() -> tuple[ColumnElement[Any], ...]:
    return (
        type_coerce(_contact.attributes, Text).label("attributes"),
        _message.channel,
        _contact.locale,
        _contact.email.is_(None).label("no_email"),
        _contact.phone.is_(None).label("no_phone"),
        _contact.country.is_(None).label("no_country"),
        _days().label("days"),
        records.c.kind.label("record_kind"),
        type_coerce(records.c.attributes, Text).label("record_attributes"),
        events.c.name.label("event"),
        type_coerce(events.c.fields, Text).label("event_fields"),
        type_coerce(_run.heard, Text).label("heard"),
        _coupons().label("coupons"),
    )


def _joined() -> FromClause:
    joined = messages.join(runs, _run.id == _message.run_id)
    joined = joined.join(contacts, _contact.id == _message.contact_id)
    joined = joined.outerjoin(records, records.c.id == _run.record_id)
    return joined.outerjoin(events, events.c.id == _run.event_id)


def _days() -> ScalarSelect[Any]:
    """The dates there are, derived ones too.

    A birthday without its year is a shorter one.
    """
    of_run = or_(
        _date.record_id == 0,
        _date.record_id == _run.record_id,
    )
    whose = and_(_date.contact_id == _run.contact_id, of_run)
    known = func.group_concat(_date.field + func.length(_date.day), type_=Text)
    return select(known).where(whose).scalar_subquery()


def _coupons() -> ScalarSelect[int]:
    of_run = coupons.c.run_id == _run.id
    return select(func.count()).where(of_run).scalar_subquery()


_GRANTED = Prepared(_granted(), into=Granted)
_SENT = Prepared(
    update(messages)
    .values(
        state="sent",
        fence=bindparam("fence"),
        attempts=_message.attempts + 1,
        sent_at=bindparam("sent"),
        settled_at=bindparam("settled"),
        code=null(),
        sentence=null(),
    )
    .where(_message.id.in_(listed_in("ids")), _message.state == "pending")
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
    .where(_run.id.in_(listed_in("ids")))
)


def granted(connection: Connection, now: datetime, most: int) -> list[Granted]:
    """Some of the granted messages that are due."""
    return _GRANTED.rows(connection, now=to_ms(now), most=most)


def sent(
    connection: Connection,
    ids: Collection[int],
    fence: int,
    now: datetime,
) -> None:
    """These left, and it was known at once."""
    at = to_ms(now)
    _SENT.count(connection, ids=numbers(ids), fence=fence, sent=at, settled=at)


def through(
    connection: Connection,
    run_ids: Collection[int],
    position: int,
    now: datetime,
) -> None:
    """These runs are done: `position` is behind their last step."""
    ids = numbers(run_ids)
    _THROUGH.count(connection, ids=ids, new_position=position, now=to_ms(now))
