"""The pressure that caps put on campaigns, from the ledger.

Who displaced whom, and who was at a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    func,
    literal_column,
    select,
    type_coerce,
)

from drip.core.calendar import MILLISECOND, millis
from drip.storage.base.columns import Number
from drip.storage.base.schema import judgements, messages, reasons
from drip.storage.base.sql import typed_rows

_judgement = judgements.c
_message = messages.c
_reason = reasons.c


@dataclass
class Pressure:
    """What caps did in a time.

    `displaced` counts messages that a cap held back, by their campaign and a campaign
    that had filled it; one message can be displaced by several. `limits` are how many
    people were at each cap, by its place; `held_back` counts by place and outcome
    (`skipped`, `deferred`); `sent`, `skipped` and `deferred` count messages by
    campaign, the latter two those of caps only.
    """

    displaced: Counter[tuple[str, str]] = field(default_factory=Counter)
    limits: dict[str, int] = field(default_factory=dict)
    held_back: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    deferred: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Pressure) -> Pressure:
        """That of two ledgers that have nobody in common."""
        return Pressure(
            self.displaced + other.displaced,
            dict(Counter(self.limits) + Counter(other.limits)),
            self.held_back + other.held_back,
            self.sent + other.sent,
            self.skipped + other.skipped,
            self.deferred + other.deferred,
        )


class _Capped(NamedTuple):
    campaign: str
    place: str
    filled_by: str | None
    waits: bool
    messages: int

    @property
    def outcome(self) -> str:
        return "deferred" if self.waits else "skipped"


class _AtLimit(NamedTuple):
    place: str
    people: int


class _SentByCampaign(NamedTuple):
    campaign: str
    messages: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """The part of the ledger that is asked for: some campaigns, or all for none."""

    since: datetime
    until: datetime
    campaigns: tuple[str, ...]

    def capped(self) -> list[ColumnElement[bool]]:
        at = _judgement.at
        by_cap = _reason.code == "cap"
        return [
            by_cap,
            at >= self.since,
            at <= self.until,
            *self._of_campaigns(),
        ]

    def sent(self) -> list[ColumnElement[bool]]:
        at = _message.sent_at
        return [
            _message.state == "sent",
            at >= self.since,
            at <= self.until,
            *self._of_campaigns(),
        ]

    def _of_campaigns(self) -> list[ColumnElement[bool]]:
        return [_message.campaign.in_(self.campaigns)] if self.campaigns else []


_JUDGED = judgements.join(messages, _message.id == _judgement.message_id).join(
    reasons, _reason.id == _judgement.reason_id
)


def pressure(
    connection: Connection,
    since: datetime,
    until: datetime,
    campaigns: tuple[str, ...] = (),
) -> Pressure:
    """The pressure from `since` up to and including `until`.

    It is of some campaigns if they are named.
    """
    asked = _Asked(since, until, campaigns)
    found = Pressure()
    for row in _capped(connection, asked):
        _add(found, row)
    found.limits = _limits(connection, asked)
    found.sent = _sent(connection, asked)
    return found


def _add(found: Pressure, row: _Capped) -> None:
    by_campaign = found.deferred if row.waits else found.skipped
    by_campaign[row.campaign] += row.messages
    found.held_back[row.place, row.outcome] += row.messages
    # A cap that several have filled was filled by each: these sums overlap.
    for other in filter(None, (row.filled_by or "").split(",")):
        found.displaced[row.campaign, other] += row.messages


def _capped(connection: Connection, asked: _Asked) -> Iterable[_Capped]:
    key = (
        _message.campaign,
        _reason.place,
        _reason.filled_by,
        _judgement.until.is_not(None).label("waits"),
    )
    counted = (
        select(*key, func.count().label("messages"))
        .select_from(_JUDGED)
        .where(*asked.capped())
        .group_by(*key)
    )
    return typed_rows(connection, counted, into=_Capped)


def _limits(connection: Connection, asked: _Asked) -> dict[str, int]:
    people = func.count(_message.contact_id.distinct()).label("people")
    by_place = (
        select(_reason.place, people)
        .select_from(_JUDGED)
        .where(*asked.capped())
        .group_by(_reason.place)
    )
    return dict(typed_rows(connection, by_place, into=_AtLimit))


def _sent(connection: Connection, asked: _Asked) -> Counter[str]:
    by_campaign = (
        select(_message.campaign, func.count().label("messages"))
        .where(*asked.sent())
        .group_by(_message.campaign)
    )
    return Counter(dict(typed_rows(connection, by_campaign, into=_SentByCampaign)))


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a time, from `start` on.

    Messages that left, and what caps skipped and put off.
    """

    start: datetime
    sent: int
    skipped: int
    deferred: int


class _HeldInPart(NamedTuple):
    part: int
    waits: bool
    messages: int


class _SentInPart(NamedTuple):
    part: int
    messages: int


def stretches(
    connection: Connection,
    since: datetime,
    until: datetime,
    length: timedelta,
    campaigns: tuple[str, ...] = (),
) -> list[Stretch]:
    """The time from `since` to `until` in parts of one length.

    The last of them may be shorter.
    """
    # Without the instant at which it ends: that would begin a part of its own.
    asked = _Asked(since, until - MILLISECOND, campaigns)
    sent = _sent_in_parts(connection, asked, length)
    held = _held_in_parts(connection, asked, length)
    skipped = Counter({row.part: row.messages for row in held if not row.waits})
    deferred = Counter({row.part: row.messages for row in held if row.waits})
    # Rounded up: what remains at the end is a part too.
    parts = -(-(until - since) // length)
    return [
        Stretch(since + part * length, sent[part], skipped[part], deferred[part])
        for part in range(parts)
    ]


def _held_in_parts(
    connection: Connection,
    asked: _Asked,
    length: timedelta,
) -> list[_HeldInPart]:
    part = _part_of(
        _judgement.at,
        asked.since,
        length,
    ).label("part")
    waits = _judgement.until.is_not(None).label("waits")
    counted = (
        select(part, waits, func.count().label("messages"))
        .select_from(_JUDGED)
        .where(*asked.capped())
        .group_by(part, waits)
    )
    return typed_rows(connection, counted, into=_HeldInPart)


def _sent_in_parts(
    connection: Connection,
    asked: _Asked,
    length: timedelta,
) -> Counter[int]:
    part = _part_of(
        _message.sent_at,
        asked.since,
        length,
    ).label("part")
    counted = (
        select(part, func.count().label("messages")).where(*asked.sent()).group_by(part)
    )
    return Counter(dict(typed_rows(connection, counted, into=_SentInPart)))


def _part_of(
    at: ColumnElement[datetime],
    since: datetime,
    length: timedelta,
) -> ColumnElement[int]:
    """The number of the part in which an instant lies."""
    # Written out: a server does not see that two parameters are the same number, and
    # what is grouped by has to be.
    first = literal_column(str(millis(since)), Number)
    step = literal_column(str(length // MILLISECOND), Number)
    return (type_coerce(at, Number) - first) // step
