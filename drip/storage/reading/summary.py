"""The ledger in sums: what went out when, and what did not and why.

As `ledger`, but for a million lines at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Integer,
    Table,
    Text,
    and_,
    func,
    select,
    type_coerce,
    union_all,
)

from drip.core.calendar import from_millis
from drip.storage.base.schema import (
    contacts,
    judgements,
    messages,
    reasons,
    runs,
    tasks,
)
from drip.storage.base.sql import Readable, one_row, typed_rows

_contact = contacts.c

_judgement = judgements.c
_message = messages.c
_run = runs.c


@dataclass(frozen=True, slots=True)
class Leaving:
    """So many messages of a step that left at one instant to people of one zone.

    None is the workspace's zone.
    """

    campaign: str
    step: str
    at: datetime
    zone: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Why:
    """So many lines of a campaign with one reason, about so many people.

    The rest is the first one's.
    """

    campaign: str
    code: str
    place: str
    count: int
    people: int
    at: datetime
    contact: str
    sentence: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What lines are counted by."""
        return self.campaign, self.code, self.place

    def with_others(self, other: Why) -> Why:
        """Both together, where nobody is in both."""
        first = min(self, other, key=lambda why: (why.at, why.contact))
        count, people = self.count + other.count, self.people + other.people
        return replace(first, count=count, people=people)


@dataclass(frozen=True, slots=True)
class Summary:
    """The ledger of a time.

    `people` got something; `refused` ended without, `waits` were put off.
    """

    people: int
    sent: tuple[Leaving, ...]
    refused: tuple[Why, ...]
    waits: tuple[Why, ...]
    campaigns: frozenset[str]

    def __add__(self, other: Summary) -> Summary:
        """The sums of two ledgers that have nobody in common."""
        return Summary(
            self.people + other.people,
            (*self.sent, *other.sent),
            _together(self.refused, other.refused),
            _together(self.waits, other.waits),
            self.campaigns | other.campaigns,
        )


def _together(some: Iterable[Why], others: Iterable[Why]) -> tuple[Why, ...]:
    found: dict[tuple[str, str, str], Why] = {}
    for why in (*some, *others):
        known = found.get(why.key)
        found[why.key] = known.with_others(why) if known else why
    return tuple(found[key] for key in sorted(found))


def summary(
    connection: Connection,
    since: datetime,
    until: datetime,
    campaigns: tuple[str, ...] = (),
) -> Summary:
    """The sums of the ledger from `since` up to and including `until`."""
    part = _Part(since, until, campaigns)
    people = select(func.count(_message.contact_id.distinct())).where(part.sent())
    line = part.lines().subquery().c
    named = select(line.campaign).distinct()
    return Summary(
        people=one_row(connection, people, into=int),
        sent=_sent(connection, part),
        refused=_reasons(connection, *_refused(part)),
        waits=_reasons(connection, _waits(part)),
        campaigns=frozenset(typed_rows(connection, named, into=str)),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of the ledger that is asked for."""

    since: datetime
    until: datetime
    campaigns: tuple[str, ...]

    def holds(
        self,
        at: ColumnElement[Any],
        campaign: ColumnElement[Any],
    ) -> ColumnElement[bool]:
        inside = and_(
            at >= self.since,
            at <= self.until,
        )
        return and_(inside, campaign.in_(self.campaigns)) if self.campaigns else inside

    def started(self) -> ColumnElement[bool]:
        return self.holds(_run.started_at, _run.campaign)

    def ended(self) -> ColumnElement[bool]:
        exited = _run.code.is_not(None)
        return and_(exited, self.holds(_run.ended_at, _run.campaign))

    def sent(self) -> ColumnElement[bool]:
        left = _message.state == "sent"
        return and_(left, self.holds(_message.sent_at, _message.campaign))

    def settled(self) -> ColumnElement[bool]:
        failed = _message.state.in_(("failed", "held"))
        return and_(failed, self.holds(_message.settled_at, _message.campaign))

    def judged(self) -> ColumnElement[bool]:
        return self.holds(_judgement.at, _message.campaign)

    def given(self) -> ColumnElement[bool]:
        # Those that a message became have the line of that message.
        own = tasks.c.notes.is_(None)
        return and_(own, self.holds(tasks.c.created_at, _run.campaign))

    def lines(self) -> CompoundSelect[Any]:
        """The campaign and contact of every line."""
        of_run = select(_run.campaign, _run.contact_id)
        of_message = select(_message.campaign, _message.contact_id)
        judged = judgements.join(messages, _message.id == _judgement.message_id)
        given = tasks.join(runs, _run.id == tasks.c.run_id)
        return union_all(
            of_run.where(self.started()),
            of_run.where(self.ended()),
            of_message.where(self.sent()),
            of_message.where(self.settled()),
            of_message.select_from(judged).where(self.judged()),
            of_run.select_from(given).where(self.given()),
        )


def _sent(connection: Connection, part: _Part) -> tuple[Leaving, ...]:
    key = (
        _message.campaign,
        _message.step,
        _message.sent_at.label("at"),
        _contact.zone,
    )
    counted = (
        select(*key, func.count().label("count"))
        .join(contacts, _contact.id == _message.contact_id)
        .where(part.sent())
        .group_by(*key)
        .order_by(*key)
    )
    return tuple(typed_rows(connection, counted, into=Leaving))


@dataclass(frozen=True, slots=True)
class _ReasonedLines:
    """Where lines with a reason come from.

    The rows, what tells them apart, when and about whom they are, and the table that
    has the reason's words. The mark names the kind in what a database compares.
    """

    mark: str
    rows: FromClause
    number: ColumnElement[int]
    at: ColumnElement[Any]
    campaign: ColumnElement[str]
    contact_id: ColumnElement[int]
    reason: Table


JUDGED = _ReasonedLines(
    "1",
    judgements.join(messages, _message.id == _judgement.message_id).join(
        reasons, reasons.c.id == _judgement.reason_id
    ),
    _judgement.id,
    _judgement.at,
    _message.campaign,
    _message.contact_id,
    reasons,
)
SETTLED = _ReasonedLines(
    "2",
    messages,
    _message.id,
    _message.settled_at,
    _message.campaign,
    _message.contact_id,
    messages,
)
ENDED = _ReasonedLines(
    "3",
    runs,
    _run.id,
    _run.ended_at,
    _run.campaign,
    _run.contact_id,
    runs,
)
KINDS = {kind.mark: kind for kind in (JUDGED, SETTLED, ENDED)}


def _refused(part: _Part) -> tuple[Readable, ...]:
    skipped = and_(_judgement.until.is_(None), part.judged())
    return (
        _lines(JUDGED, skipped),
        _lines(SETTLED, part.settled()),
        _lines(ENDED, part.ended()),
    )


def _waits(part: _Part) -> Readable:
    return _lines(JUDGED, and_(_judgement.until.is_not(None), part.judged()))


def _lines(kind: _ReasonedLines, where: ColumnElement[bool]) -> Readable:
    """The lines of a kind.

    What they are grouped by, whom they are about, and what says which one was first.
    """
    reason = kind.reason.c
    # Instants of our age have as many digits, so that the first is the least text.
    instant = type_coerce(kind.at, Integer).cast(Text)
    first = instant + f"/{kind.mark}/" + kind.number.cast(Text)
    columns = (
        kind.campaign.label("campaign"),
        func.coalesce(reason.code, "").label("code"),
        func.coalesce(reason.place, "").label("place"),
        kind.contact_id.label("contact_id"),
        first.label("first"),
    )
    return select(*columns).select_from(kind.rows).where(where)


class _CountedReason(NamedTuple):
    campaign: str
    code: str
    place: str
    lines: int
    people: int
    first: str


class _FirstLine(NamedTuple):
    contact: str
    sentence: str | None


def _reasons(connection: Connection, *lines: Readable) -> tuple[Why, ...]:
    """These lines by campaign, code and place."""
    line = union_all(*lines).subquery().c
    key = (line.campaign, line.code, line.place)
    sums = (
        func.count().label("lines"),
        func.count(line.contact_id.distinct()).label("people"),
        func.min(line.first).label("first"),
    )
    counted = select(*key, *sums).group_by(*key).order_by(*key)
    # The first line of each is asked for by its number: joined to all lines, its words
    # would be carried through the sorting.
    found = typed_rows(connection, counted, into=_CountedReason)
    return tuple(_why(connection, reason) for reason in found)


def _why(connection: Connection, reason: _CountedReason) -> Why:
    """With when its first line was, whom that was about, and its sentence."""
    at, mark, number = reason.first.split("/")
    first = _first_line(connection, KINDS[mark], int(number))
    return Why(
        reason.campaign,
        reason.code,
        reason.place,
        reason.lines,
        reason.people,
        from_millis(int(at)),
        first.contact,
        first.sentence or "",
    )


def _first_line(
    connection: Connection,
    kind: _ReasonedLines,
    number: int,
) -> _FirstLine:
    line = (
        select(
            _contact.key.label("contact"),
            kind.reason.c.sentence,
        )
        .select_from(kind.rows.join(contacts, _contact.id == kind.contact_id))
        .where(kind.number == number)
    )
    return one_row(connection, line, into=_FirstLine)


def busiest(
    connection: Connection,
    since: datetime,
    until: datetime,
    campaigns: tuple[str, ...],
    most: int,
) -> list[str]:
    """The contacts about whom the ledger has most to say in this time.

    They are in order of their keys.
    """
    line = _Part(since, until, campaigns).lines().subquery()
    by_contact = (
        select(_contact.key)
        .join(line, line.c.contact_id == _contact.id)
        .group_by(_contact.id, _contact.key)
    )
    first = by_contact.order_by(func.count().desc(), _contact.key).limit(most)
    return sorted(typed_rows(connection, first, into=str))
