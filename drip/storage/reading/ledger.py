"""The ledger: what was decided and done, as the rows that `log`, `preview` and `explain` show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, cast, literal, null, select, union_all

from drip.storage.base.columns import Instant
from drip.storage.base.schema import (
    contacts,
    judgements,
    messages,
    reasons,
    records,
    runs,
    tasks,
)
from drip.storage.base.schema_operating import data_mails

NO_INSTANT = cast(null(), Instant)
# Stands where other lines have their campaign: what somebody asked for on a page.
OWN_DATA = "(own data)"


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One line of the ledger. `zone` is the contact's, None for the workspace's.

    `filled_by` are the campaigns that filled a cap, with commas.
    """

    at: datetime
    outcome: str
    campaign: str
    step: str | None
    contact: str
    record: str | None
    occurrence: str
    channel: str | None
    code: str | None
    sentence: str | None
    place: str | None
    until: datetime | None
    zone: str | None
    filled_by: str | None = None


def entries(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    contact: str | None = None,
    campaigns: tuple[str, ...] = (),
) -> Iterator[LedgerRow]:
    """The ledger from `since` up to and including `until`, oldest first, in a stable order."""
    parts = [
        _part(
            statement.where(runs.c.campaign.in_(campaigns)) if campaigns else statement,
            at,
            since,
            until,
            contact,
        )
        for statement, at in (
            _entered(),
            _sent(),
            _settled(),
            _judged(),
            _given(),
            _exited(),
        )
    ]
    if not campaigns or OWN_DATA in campaigns:
        parts.append(_part(*_answered(), since, until, contact))
    union = union_all(*parts).subquery()
    order = (
        union.c.at,
        union.c.contact,
        union.c.campaign,
        union.c.rank,
        union.c.number,
    )
    columns = [column for column in union.c if column.name not in ("rank", "number")]
    for row in connection.execute(select(*columns).order_by(*order)):
        yield LedgerRow(*row)


def _part(
    statement: Select[Any],
    at: Any,
    since: datetime | None,
    until: datetime | None,
    contact: str | None,
) -> Select[Any]:
    statement = statement.where(at.is_not(None))
    if since is not None:
        statement = statement.where(at >= since)
    if until is not None:
        statement = statement.where(at <= until)
    if contact is not None:
        statement = statement.where(contacts.c.key == contact)
    return statement


def _columns(
    at: Any,
    outcome: Any,
    *,
    step: Any,
    channel: Any,
    reason: Any,
    until: Any,
    rank: int,
    number: Any,
) -> tuple[Any, ...]:
    return (
        at.label("at"),
        outcome.label("outcome"),
        runs.c.campaign.label("campaign"),
        step.label("step"),
        contacts.c.key.label("contact"),
        records.c.key.label("record"),
        runs.c.occurrence.label("occurrence"),
        channel.label("channel"),
        reason.code.label("code"),
        reason.sentence.label("sentence"),
        reason.place.label("place"),
        until.label("until"),
        contacts.c.zone.label("zone"),
        getattr(reason, "filled_by", null()).label("filled_by"),
        literal(rank).label("rank"),
        number.label("number"),
    )


def _of_run(statement: Select[Any]) -> Select[Any]:
    return statement.join(contacts, contacts.c.id == runs.c.contact_id).outerjoin(
        records, records.c.id == runs.c.record_id
    )


class _NoReason:
    """Columns of nothing, for what needs no reason."""

    code = null()
    sentence = null()
    place = null()


def _entered() -> tuple[Select[Any], Any]:
    at = runs.c.started_at
    columns = _columns(
        at,
        literal("entered"),
        step=null(),
        channel=null(),
        reason=_NoReason,
        until=NO_INSTANT,
        rank=0,
        number=runs.c.id,
    )
    return _of_run(select(*columns).select_from(runs)), at


def _exited() -> tuple[Select[Any], Any]:
    at = runs.c.ended_at
    columns = _columns(
        at,
        literal("exited"),
        step=null(),
        channel=null(),
        reason=runs.c,
        until=NO_INSTANT,
        rank=5,
        number=runs.c.id,
    )
    return _of_run(
        select(*columns).select_from(runs).where(runs.c.code.is_not(None))
    ), at


class _Task:
    """A task's title, where other lines have their reason."""

    code = null()
    sentence = tasks.c.title
    place = tasks.c.place


def _given() -> tuple[Select[Any], Any]:
    at = tasks.c.created_at
    columns = _columns(
        at,
        literal("task"),
        step=tasks.c.step,
        channel=null(),
        reason=_Task,
        until=NO_INSTANT,
        rank=3,
        number=tasks.c.id,
    )
    # Those that a message became are told of as that message.
    own = tasks.c.notes.is_(None)
    statement = (
        select(*columns)
        .select_from(tasks)
        .join(runs, runs.c.id == tasks.c.run_id)
        .where(own)
    )
    return _of_run(statement), at


def _sent() -> tuple[Select[Any], Any]:
    at = messages.c.sent_at
    columns = _columns(
        at,
        messages.c.state,
        step=messages.c.step,
        channel=messages.c.channel,
        reason=_NoReason,
        until=NO_INSTANT,
        rank=2,
        number=messages.c.id,
    )
    statement = (
        select(*columns)
        .select_from(messages)
        .join(runs, runs.c.id == messages.c.run_id)
    )
    return _of_run(statement.where(messages.c.state == "sent")), at


def _settled() -> tuple[Select[Any], Any]:
    at = messages.c.settled_at
    columns = _columns(
        at,
        messages.c.state,
        step=messages.c.step,
        channel=messages.c.channel,
        reason=messages.c,
        until=NO_INSTANT,
        rank=4,
        number=messages.c.id,
    )
    statement = (
        select(*columns)
        .select_from(messages)
        .join(runs, runs.c.id == messages.c.run_id)
    )
    return _of_run(statement.where(messages.c.state.in_(("failed", "held")))), at


def _judged() -> tuple[Select[Any], Any]:
    at = judgements.c.at
    outcome = case((judgements.c.until.is_(None), "skipped"), else_="deferred")
    columns = _columns(
        at,
        outcome,
        step=messages.c.step,
        channel=messages.c.channel,
        reason=reasons.c,
        until=judgements.c.until,
        rank=1,
        number=judgements.c.id,
    )
    statement = (
        select(*columns)
        .select_from(judgements)
        .join(reasons, reasons.c.id == judgements.c.reason_id)
        .join(messages, messages.c.id == judgements.c.message_id)
        .join(runs, runs.c.id == messages.c.run_id)
    )
    return _of_run(statement), at


def _answered() -> tuple[Select[Any], Any]:
    """Mails that no campaign sent: they have the columns of the others, and mostly nothing in them."""
    mail, at = data_mails.c, data_mails.c.ended_at
    failed = mail.state == "failed"
    columns = {
        "at": at,
        "outcome": mail.state,
        "campaign": literal(OWN_DATA),
        "step": null(),
        "contact": contacts.c.key,
        "record": null(),
        "occurrence": literal(""),
        "channel": literal("email"),
        "code": case((failed, mail.state)),
        "sentence": case((failed, mail.answer)),
        "place": null(),
        "until": NO_INSTANT,
        "zone": contacts.c.zone,
        "filled_by": null(),
        "rank": literal(2),
        "number": mail.id,
    }
    named = [column.label(name) for name, column in columns.items()]
    return select(*named).join_from(
        data_mails, contacts, contacts.c.id == mail.contact_id
    ), at
