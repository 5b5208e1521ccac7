"""The ledger in sums: what went out when, and what did not and why. As `ledger`, but for a million lines at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Integer,
    Select,
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


@dataclass(frozen=True, slots=True)
class Leaving:
    """So many messages of a step that left at one instant to people of one zone (None: the workspace's)."""

    campaign: str
    step: str
    at: datetime
    zone: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Why:
    """So many lines of a campaign with one reason, about so many people. The rest is the first one's."""

    campaign: str
    code: str
    place: str
    count: int
    people: int
    at: datetime
    contact: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The ledger of a time. `people` got something; `refused` ended without, `waits` were put off."""

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
    for each in (*some, *others):
        key = (each.campaign, each.code, each.place)
        known = found.get(key, each)
        first = min(known, each, key=lambda why: (why.at, why.contact))
        both = known is not each
        count, people = (
            (known.count + each.count, known.people + each.people)
            if both
            else (each.count, each.people)
        )
        found[key] = replace(first, count=count, people=people)
    return tuple(found[key] for key in sorted(found))


def summary(
    connection: Connection,
    since: datetime,
    until: datetime,
    campaigns: tuple[str, ...] = (),
) -> Summary:
    """The sums of the ledger from `since` up to and including `until`."""
    part = _Part(since, until, campaigns)
    m = messages.c
    left = and_(m.state == "sent", part.holds(m.sent_at, m.campaign))
    columns = (m.campaign, m.step, m.sent_at, contacts.c.zone)
    joined = messages.join(contacts, contacts.c.id == m.contact_id)
    sent = (
        select(*columns, func.count())
        .select_from(joined)
        .where(left)
        .group_by(*columns)
        .order_by(*columns)
    )
    people = connection.execute(
        select(func.count(m.contact_id.distinct())).where(left)
    ).scalar_one()
    skipped = and_(
        judgements.c.until.is_(None), part.holds(judgements.c.at, m.campaign)
    )
    settled = and_(
        m.state.in_(("failed", "held")), part.holds(m.settled_at, m.campaign)
    )
    ended = and_(runs.c.code.is_not(None), part.holds(runs.c.ended_at, runs.c.campaign))
    waits = and_(
        judgements.c.until.is_not(None), part.holds(judgements.c.at, m.campaign)
    )
    return Summary(
        people=people,
        sent=tuple(Leaving(*row) for row in connection.execute(sent)),
        refused=tuple(
            _reasons(
                connection,
                _lines(JUDGED, skipped),
                _lines(SETTLED, settled),
                _lines(ENDED, ended),
            )
        ),
        waits=tuple(_reasons(connection, _lines(JUDGED, waits))),
        campaigns=frozenset(
            connection.scalars(select(part.lines().subquery().c.campaign).distinct())
        ),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of the ledger that is asked for."""

    since: datetime
    until: datetime
    campaigns: tuple[str, ...]

    def holds(
        self, at: ColumnElement[Any], campaign: ColumnElement[Any]
    ) -> ColumnElement[bool]:
        inside = and_(at >= self.since, at <= self.until)
        return and_(inside, campaign.in_(self.campaigns)) if self.campaigns else inside

    def lines(self) -> CompoundSelect[Any]:
        """The campaign and contact of every line."""
        m = messages.c
        of_run, of_message = (
            (runs.c.campaign, runs.c.contact_id),
            (m.campaign, m.contact_id),
        )
        judged = judgements.join(messages, m.id == judgements.c.message_id)
        given = tasks.join(runs, runs.c.id == tasks.c.run_id)
        return union_all(
            select(*of_run).where(self.holds(runs.c.started_at, runs.c.campaign)),
            select(*of_run).where(
                runs.c.code.is_not(None), self.holds(runs.c.ended_at, runs.c.campaign)
            ),
            select(*of_message).where(
                m.state == "sent", self.holds(m.sent_at, m.campaign)
            ),
            select(*of_message).where(
                m.state.in_(("failed", "held")), self.holds(m.settled_at, m.campaign)
            ),
            select(*of_message)
            .select_from(judged)
            .where(self.holds(judgements.c.at, m.campaign)),
            select(*of_run)
            .select_from(given)
            .where(
                tasks.c.notes.is_(None), self.holds(tasks.c.created_at, runs.c.campaign)
            ),
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where lines with a reason come from: the rows, what tells them apart, when and about whom they are."""

    rows: FromClause
    number: ColumnElement[int]
    at: ColumnElement[Any]
    campaign: ColumnElement[str]
    contact_id: ColumnElement[int]
    told: Table


JUDGED = _Kind(
    judgements.join(messages, messages.c.id == judgements.c.message_id).join(
        reasons, reasons.c.id == judgements.c.reason_id
    ),
    judgements.c.id,
    judgements.c.at,
    messages.c.campaign,
    messages.c.contact_id,
    reasons,
)
SETTLED = _Kind(
    messages,
    messages.c.id,
    messages.c.settled_at,
    messages.c.campaign,
    messages.c.contact_id,
    messages,
)
ENDED = _Kind(
    runs, runs.c.id, runs.c.ended_at, runs.c.campaign, runs.c.contact_id, runs
)
KINDS = {"1": JUDGED, "2": SETTLED, "3": ENDED}


def _lines(kind: _Kind, where: ColumnElement[bool]) -> Select[Any]:
    """The lines of a kind: what they are grouped by, whom they are about, and what says which one was first."""
    mark = next(mark for mark, each in KINDS.items() if each is kind)
    told = (
        func.coalesce(kind.told.c[name], "").label(name) for name in ("code", "place")
    )
    # Instants of our age have as many digits.
    first = (
        type_coerce(kind.at, Integer).cast(Text) + f"/{mark}/" + kind.number.cast(Text)
    )
    columns = (
        kind.campaign.label("campaign"),
        *told,
        kind.contact_id.label("contact_id"),
        first.label("first"),
    )
    return select(*columns).select_from(kind.rows).where(where)


def _reasons(connection: Connection, *lines: Select[Any]) -> Iterator[Why]:
    """These lines by campaign, code and place."""
    each = union_all(*lines).subquery().c
    key = (each.campaign, each.code, each.place)
    sums = select(
        *key, func.count(), func.count(each.contact_id.distinct()), func.min(each.first)
    )
    for campaign, code, place, count, people, first in connection.execute(
        sums.group_by(*key).order_by(*key)
    ):
        yield Why(campaign, code, place, count, people, *_first(connection, first))


def _first(connection: Connection, first: str) -> tuple[datetime, str, str]:
    """When a line is from, whom it is about, and its sentence."""
    at, mark, number = first.split("/")
    kind = KINDS[mark]
    whose = kind.rows.join(contacts, contacts.c.id == kind.contact_id)
    statement = (
        select(contacts.c.key, kind.told.c.sentence)
        .select_from(whose)
        .where(kind.number == int(number))
    )
    contact, sentence = connection.execute(statement).one()
    return from_millis(int(at)), contact, sentence or ""


def busiest(
    connection: Connection,
    since: datetime,
    until: datetime,
    campaigns: tuple[str, ...],
    most: int,
) -> list[str]:
    """The contacts about whom the ledger has most to say in this time, in order of their keys."""
    each = _Part(since, until, campaigns).lines().subquery()
    named = (
        select(contacts.c.key)
        .join(each, each.c.contact_id == contacts.c.id)
        .group_by(contacts.c.id, contacts.c.key)
    )
    return sorted(
        connection.scalars(
            named.order_by(func.count().desc(), contacts.c.key).limit(most)
        )
    )
