"""The ledger: what was decided and done.

Its rows are those that `log`, `preview` and `explain` show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    case,
    cast,
    literal,
    null,
    select,
    type_coerce,
    union_all,
)

from drip.storage.base.columns import Instant, Words
from drip.storage.base.schema import (
    contacts,
    data_mails,
    judgements,
    messages,
    reasons,
    records,
    runs,
    tasks,
)
from drip.storage.base.sql import stream_rows

_contact = contacts.c

_judgement = judgements.c
_message = messages.c
_run = runs.c
_task = tasks.c

# Stands where other lines have their campaign: what somebody asked for on a page.
OWN_DATA = "(own data)"
_NO_WORDS = type_coerce(null(), Words)
# PostgreSQL takes a bare NULL of a union for a text.
_NO_INSTANT = cast(null(), Instant)


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


# What a line has where nothing else is said.
_NOTHING: Mapping[str, ColumnElement[Any]] = {
    "step": _NO_WORDS,
    "record": _NO_WORDS,
    "channel": _NO_WORDS,
    "code": _NO_WORDS,
    "sentence": _NO_WORDS,
    "place": _NO_WORDS,
    "until": _NO_INSTANT,
    "filled_by": _NO_WORDS,
}
_OF_RUN: Mapping[str, ColumnElement[Any]] = {
    "campaign": _run.campaign,
    "contact": _contact.key,
    "record": records.c.key,
    "occurrence": _run.occurrence,
    "zone": _contact.zone,
}
_OF_MESSAGE: Mapping[str, ColumnElement[Any]] = {
    "step": _message.step,
    "channel": _message.channel,
}
_SHOWN = tuple(LedgerRow.__slots__)
# Lines of one instant about one contact come in the order in which they came about:
# first by the rank of their kind, then by their number in it.
_COLUMNS = (*_SHOWN, "rank", "number")


@dataclass(frozen=True, slots=True)
class _LedgerLines:
    """Lines of one kind, and the column that says when each of them was."""

    statement: Select[Any]
    at: ColumnElement[Any]

    def within(
        self,
        since: datetime | None,
        until: datetime | None,
        contact: str | None,
    ) -> Select[Any]:
        found = self.statement.where(self.at.is_not(None))
        if since is not None:
            found = found.where(self.at >= since)
        if until is not None:
            found = found.where(self.at <= until)
        if contact is not None:
            found = found.where(_contact.key == contact)
        return found


def entries(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    contact: str | None = None,
    campaigns: tuple[str, ...] = (),
) -> Iterator[LedgerRow]:
    """The ledger from `since` up to and including `until`, oldest first.

    The order is stable.
    """
    parts = [lines.within(since, until, contact) for lines in _of_runs()]
    if campaigns:
        parts = [part.where(_run.campaign.in_(campaigns)) for part in parts]
    if not campaigns or OWN_DATA in campaigns:
        parts.append(_answered().within(since, until, contact))
    return stream_rows(connection, _in_order(parts), into=LedgerRow)


def _of_runs() -> tuple[_LedgerLines, ...]:
    return (
        _entered(),
        _sent(),
        _settled(),
        _judged(),
        _given(),
        _exited(),
    )


def _in_order(parts: Sequence[Select[Any]]) -> Select[Any]:
    # Each part is narrowed by columns of its own, of which an index knows.
    line = union_all(*parts).subquery().c
    order = (
        line.at,
        line.contact,
        line.campaign,
        line.rank,
        line.number,
    )
    return select(*(line[name] for name in _SHOWN)).order_by(*order)


def _lines(
    rows: FromClause,
    at: ColumnElement[Any],
    outcome: ColumnElement[str],
    rank: int,
    number: ColumnElement[int],
    columns: Mapping[str, ColumnElement[Any]],
) -> _LedgerLines:
    own = {
        "at": at,
        "outcome": outcome,
        "rank": literal(rank),
        "number": number,
    }
    known = {**_NOTHING, **columns, **own}
    named = (known[name].label(name) for name in _COLUMNS)
    return _LedgerLines(select(*named).select_from(rows), at)


def _with_contact(rows: FromClause) -> FromClause:
    """Rows of runs, beside whom and what they are about."""
    joined = rows.join(contacts, _contact.id == _run.contact_id)
    return joined.outerjoin(records, records.c.id == _run.record_id)


def _reason(table: Table) -> Mapping[str, ColumnElement[Any]]:
    columns = table.c
    return {
        "code": columns.code,
        "sentence": columns.sentence,
        "place": columns.place,
    }


def _entered() -> _LedgerLines:
    return _lines(
        _with_contact(runs),
        _run.started_at,
        literal("entered"),
        rank=0,
        number=_run.id,
        columns=_OF_RUN,
    )


def _judged() -> _LedgerLines:
    rows = (
        judgements.join(reasons, reasons.c.id == _judgement.reason_id)
        .join(messages, _message.id == _judgement.message_id)
        .join(runs, _run.id == _message.run_id)
    )
    until = _judgement.until
    why = {
        **_reason(reasons),
        "filled_by": reasons.c.filled_by,
        "until": until,
    }
    return _lines(
        _with_contact(rows),
        _judgement.at,
        case((until.is_(None), "skipped"), else_="deferred"),
        rank=1,
        number=_judgement.id,
        columns={**_OF_RUN, **_OF_MESSAGE, **why},
    )


def _sent() -> _LedgerLines:
    lines = _lines(
        _with_contact(messages.join(runs, _run.id == _message.run_id)),
        _message.sent_at,
        _message.state,
        rank=2,
        number=_message.id,
        columns={**_OF_RUN, **_OF_MESSAGE},
    )
    sent = lines.statement.where(_message.state == "sent")
    return _LedgerLines(sent, lines.at)


def _given() -> _LedgerLines:
    """Tasks. Their title stands where other lines have their reason."""
    title = {
        "sentence": _task.title,
        "place": _task.place,
    }
    lines = _lines(
        _with_contact(tasks.join(runs, _run.id == _task.run_id)),
        _task.created_at,
        literal("task"),
        rank=3,
        number=_task.id,
        columns={
            **_OF_RUN,
            **title,
            "step": _task.step,
        },
    )
    # Those that a message became have the line of that message.
    return _LedgerLines(
        lines.statement.where(_task.notes.is_(None)),
        lines.at,
    )


def _settled() -> _LedgerLines:
    lines = _lines(
        _with_contact(messages.join(runs, _run.id == _message.run_id)),
        _message.settled_at,
        _message.state,
        rank=4,
        number=_message.id,
        columns={**_OF_RUN, **_OF_MESSAGE, **_reason(messages)},
    )
    settled = lines.statement.where(_message.state.in_(("failed", "held")))
    return _LedgerLines(settled, lines.at)


def _exited() -> _LedgerLines:
    lines = _lines(
        _with_contact(runs),
        _run.ended_at,
        literal("exited"),
        rank=5,
        number=_run.id,
        columns={**_OF_RUN, **_reason(runs)},
    )
    return _LedgerLines(
        lines.statement.where(_run.code.is_not(None)),
        lines.at,
    )


def _answered() -> _LedgerLines:
    """Mails that no campaign sent, with somebody's own data."""
    mail = data_mails.c
    failed = mail.state == "failed"
    columns: Mapping[str, ColumnElement[Any]] = {
        "campaign": literal(OWN_DATA),
        "contact": _contact.key,
        "occurrence": literal(""),
        "channel": literal("email"),
        "code": case((failed, mail.state)),
        "sentence": case((failed, mail.answer)),
        "zone": _contact.zone,
    }
    return _lines(
        data_mails.join(contacts, _contact.id == mail.contact_id),
        mail.ended_at,
        mail.state,
        rank=2,
        number=mail.id,
        columns=columns,
    )
