"""The ledger: what was decided and done.

Its rows are those that `log`, `preview` and `explain` show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "campaign": runs.c.campaign,
    "contact": contacts.c.key,
    "record": records.c.key,
    "occurrence": runs.c.occurrence,
    "zone": contacts.c.zone,
}
_OF_MESSAGE: Mapping[str, ColumnElement[Any]] = {
    "step": messages.c.step,
    "channel": messages.c.channel,
}
_SHOWN = tuple(LedgerRow.__slots__)
# Lines of one instant about one contact come in the order in which they came about:
# first by the rank of their kind, then by their number in it.
_COLUMNS = (*_SHOWN, "rank", "number")


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of one kind, and the column that says when each of them was."""

    statement: Select[Any]
    at: ColumnElement[Any]

    def within(
        self, since: datetime | None, until: datetime | None, contact: str | None
    ) -> Select[Any]:
        found = self.statement.where(self.at.is_not(None))
        if since is not None:
            found = found.where(self.at >= since)
        if until is not None:
            found = found.where(self.at <= until)
        if contact is not None:
            found = found.where(contacts.c.key == contact)
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
    parts = []
    for lines in (
        _entered(),
        _sent(),
        _settled(),
        _judged(),
        _given(),
        _exited(),
    ):
        part = lines.within(since, until, contact)
        if campaigns:
            part = part.where(runs.c.campaign.in_(campaigns))
        parts.append(part)
    if not campaigns or OWN_DATA in campaigns:
        parts.append(_answered().within(since, until, contact))
    # Each part is narrowed by columns of its own, of which an index knows.
    line = union_all(*parts).subquery().c
    order = (
        line.at,
        line.contact,
        line.campaign,
        line.rank,
        line.number,
    )
    shown = select(*(line[name] for name in _SHOWN)).order_by(*order)
    return stream_rows(connection, shown, into=LedgerRow)


def _lines(
    rows: FromClause,
    at: ColumnElement[Any],
    outcome: ColumnElement[str],
    rank: int,
    number: ColumnElement[int],
    columns: Mapping[str, ColumnElement[Any]],
) -> _Lines:
    own = {
        "at": at,
        "outcome": outcome,
        "rank": literal(rank),
        "number": number,
    }
    known = {**_NOTHING, **columns, **own}
    named = (known[name].label(name) for name in _COLUMNS)
    return _Lines(select(*named).select_from(rows), at)


def _with_contact(rows: FromClause) -> FromClause:
    """Rows of runs, beside whom and what they are about."""
    joined = rows.join(contacts, contacts.c.id == runs.c.contact_id)
    return joined.outerjoin(records, records.c.id == runs.c.record_id)


def _reason(table: Table) -> Mapping[str, ColumnElement[Any]]:
    columns = table.c
    return {
        "code": columns.code,
        "sentence": columns.sentence,
        "place": columns.place,
    }


def _entered() -> _Lines:
    return _lines(
        _with_contact(runs),
        runs.c.started_at,
        literal("entered"),
        rank=0,
        number=runs.c.id,
        columns=_OF_RUN,
    )


def _judged() -> _Lines:
    rows = (
        judgements.join(reasons, reasons.c.id == judgements.c.reason_id)
        .join(messages, messages.c.id == judgements.c.message_id)
        .join(runs, runs.c.id == messages.c.run_id)
    )
    until = judgements.c.until
    why = {
        **_reason(reasons),
        "filled_by": reasons.c.filled_by,
        "until": until,
    }
    return _lines(
        _with_contact(rows),
        judgements.c.at,
        case((until.is_(None), "skipped"), else_="deferred"),
        rank=1,
        number=judgements.c.id,
        columns={**_OF_RUN, **_OF_MESSAGE, **why},
    )


def _sent() -> _Lines:
    lines = _lines(
        _with_contact(messages.join(runs, runs.c.id == messages.c.run_id)),
        messages.c.sent_at,
        messages.c.state,
        rank=2,
        number=messages.c.id,
        columns={**_OF_RUN, **_OF_MESSAGE},
    )
    sent = lines.statement.where(messages.c.state == "sent")
    return _Lines(sent, lines.at)


def _given() -> _Lines:
    """Tasks. Their title stands where other lines have their reason."""
    title = {
        "sentence": tasks.c.title,
        "place": tasks.c.place,
    }
    lines = _lines(
        _with_contact(tasks.join(runs, runs.c.id == tasks.c.run_id)),
        tasks.c.created_at,
        literal("task"),
        rank=3,
        number=tasks.c.id,
        columns={
            **_OF_RUN,
            **title,
            "step": tasks.c.step,
        },
    )
    # Those that a message became have the line of that message.
    return _Lines(
        lines.statement.where(tasks.c.notes.is_(None)),
        lines.at,
    )


def _settled() -> _Lines:
    lines = _lines(
        _with_contact(messages.join(runs, runs.c.id == messages.c.run_id)),
        messages.c.settled_at,
        messages.c.state,
        rank=4,
        number=messages.c.id,
        columns={**_OF_RUN, **_OF_MESSAGE, **_reason(messages)},
    )
    settled = lines.statement.where(messages.c.state.in_(("failed", "held")))
    return _Lines(settled, lines.at)


def _exited() -> _Lines:
    lines = _lines(
        _with_contact(runs),
        runs.c.ended_at,
        literal("exited"),
        rank=5,
        number=runs.c.id,
        columns={**_OF_RUN, **_reason(runs)},
    )
    return _Lines(
        lines.statement.where(runs.c.code.is_not(None)),
        lines.at,
    )


def _answered() -> _Lines:
    """Mails that no campaign sent, with somebody's own data."""
    mail = data_mails.c
    failed = mail.state == "failed"
    columns: Mapping[str, ColumnElement[Any]] = {
        "campaign": literal(OWN_DATA),
        "contact": contacts.c.key,
        "occurrence": literal(""),
        "channel": literal("email"),
        "code": case((failed, mail.state)),
        "sentence": case((failed, mail.answer)),
        "zone": contacts.c.zone,
    }
    return _lines(
        data_mails.join(contacts, contacts.c.id == mail.contact_id),
        mail.ended_at,
        mail.state,
        rank=2,
        number=mail.id,
        columns=columns,
    )
