"""The pressure that caps put on campaigns, from the ledger: who displaced whom, who was at a limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    func,
    literal_column,
    select,
    type_coerce,
)

from drip.core.calendar import millis
from drip.storage.base.columns import Number
from drip.storage.base.schema import judgements, messages, reasons


@dataclass
class Pressure:
    """What caps did in a time.

    `displaced` counts messages that a cap held back, by their campaign and a campaign that had filled it; one message can
    be displaced by several. `limits` are how many people were at each cap, by its place; `held_back` counts by place and
    outcome (`skipped`, `deferred`); `sent`, `skipped` and `deferred` count messages by campaign, the latter two those of
    caps only.
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


def pressure(
    connection: Connection,
    since: datetime,
    until: datetime,
    campaigns: tuple[str, ...] = (),
) -> Pressure:
    """The pressure from `since` up to and including `until`; of some campaigns if they are named."""
    found = Pressure()
    m, j = messages.c, judgements.c
    of = [m.campaign.in_(campaigns)] if campaigns else []
    capped = (reasons.c.code == "cap", j.at >= since, j.at <= until, *of)
    joined = judgements.join(messages, m.id == j.message_id).join(
        reasons, reasons.c.id == j.reason_id
    )
    waits = j.until.is_not(None)
    columns = (m.campaign, reasons.c.place, reasons.c.filled_by, waits)
    counted = (
        select(*columns, func.count())
        .select_from(joined)
        .where(*capped)
        .group_by(*columns)
    )
    for campaign, place, filled_by, deferred, count in connection.execute(counted):
        (found.deferred if deferred else found.skipped)[campaign] += count
        found.held_back[place, "deferred" if deferred else "skipped"] += count
        for other in (filled_by or "").split(","):
            if other:
                found.displaced[campaign, other] += count
    people = (
        select(reasons.c.place, func.count(m.contact_id.distinct()))
        .select_from(joined)
        .where(*capped)
    )
    found.limits = {
        row[0]: row[1] for row in connection.execute(people.group_by(reasons.c.place))
    }
    left = select(m.campaign, func.count()).where(
        m.state == "sent", m.sent_at >= since, m.sent_at <= until, *of
    )
    found.sent = Counter(
        {row[0]: row[1] for row in connection.execute(left.group_by(m.campaign))}
    )
    return found


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a time, from `start` on: messages that left, and what caps skipped and put off."""

    start: datetime
    sent: int
    skipped: int
    deferred: int


def stretches(
    connection: Connection,
    since: datetime,
    until: datetime,
    length: timedelta,
    campaigns: tuple[str, ...] = (),
) -> list[Stretch]:
    """The time from `since` to `until` in parts of one length, the last of which may be shorter."""
    m, j = messages.c, judgements.c
    of = [m.campaign.in_(campaigns)] if campaigns else []
    joined = judgements.join(messages, m.id == j.message_id).join(
        reasons, reasons.c.id == j.reason_id
    )
    part = _part_of(j.at, since, length)
    waits = j.until.is_not(None)
    held = select(part, waits, func.count()).select_from(joined)
    held = held.where(
        reasons.c.code == "cap", j.at >= since, j.at < until, *of
    ).group_by(part, waits)
    counts: Counter[tuple[int, str]] = Counter()
    for number, deferred, count in connection.execute(held):
        counts[number, "deferred" if deferred else "skipped"] += count
    part = _part_of(m.sent_at, since, length)
    left = select(part, func.count()).where(
        m.state == "sent", m.sent_at >= since, m.sent_at < until, *of
    )
    for number, count in connection.execute(left.group_by(part)):
        counts[number, "sent"] += count
    parts = -(-(until - since) // length)
    return [
        Stretch(
            since + n * length,
            *(counts[n, what] for what in ("sent", "skipped", "deferred")),
        )
        for n in range(parts)
    ]


def _part_of(
    at: ColumnElement[datetime], since: datetime, length: timedelta
) -> ColumnElement[int]:
    """The number of the part in which an instant lies."""
    # Written out: a server does not see that two parameters are the same number, and what is grouped by has to be.
    first = literal_column(str(millis(since)), Number)
    return (type_coerce(at, Number) - first) // literal_column(
        str(length // timedelta(milliseconds=1)), Number
    )
