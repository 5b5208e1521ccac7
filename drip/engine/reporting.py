"""What a campaign achieved: its messages step by step, the goals of those who got it beside those who were held out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.campaign import Campaign
from drip.core.fields import parse_number
from drip.core.lift import Lift, Share
from drip.core.settings import Settings
from drip.core.steps import Split
from drip.engine.goals import met
from drip.storage.people.events import Event
from drip.storage.reading import outcomes, pressure
from drip.storage.reading.outcomes import Period, RunOutcome
from drip.storage.reading.pressure import Stretch

STATES = ("sent", "failed", "skipped", "held")
KINDS = ("delivered", "bounce", "complaint", "opened", "clicked")
WEEK = timedelta(days=7)
COLUMNS = ("campaign", "step", "channel", *STATES, "waiting", *KINDS)


@dataclass(frozen=True, slots=True)
class StepReport:
    """The messages of a step by one channel: by how they ended, and what came back of those that left."""

    step: str
    channel: str
    ends: dict[str, int]
    back: dict[str, int]


@dataclass(frozen=True, slots=True)
class Side:
    """People who got the campaign, or did not, and what they did: `value` is the sum of a field of the goal's event."""

    goals: Share
    value: float


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One arm of a split, counted from 1."""

    split: str
    arm: int
    side: Side


@dataclass(frozen=True, slots=True)
class CapsReport:
    """How often caps kept a campaign's messages back in a time, for which campaigns' sake, and week by week."""

    skipped: int
    deferred: int
    displaced_by: tuple[tuple[str, int], ...]
    weeks: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Of the runs that began in a time. `lift` is None without a goal, or without anybody on either side.

    `not_sent` says how often which code kept a message from leaving; `caps` is about the messages of the time.
    """

    campaign: str
    began: int
    steps: tuple[StepReport, ...]
    not_sent: tuple[tuple[str, int], ...]
    treated: Side | None
    held_out: Side | None
    arms: tuple[ArmReport, ...]
    caps: CapsReport

    @property
    def lift(self) -> Lift | None:
        """How many more of those who got it met the goal."""
        if self.treated is None or self.held_out is None:
            return None
        both = self.treated.goals, self.held_out.goals
        return Lift(*both) if all(each.count for each in both) else None


def report(
    connection: Connection,
    settings: Settings,
    campaign: Campaign,
    period: Period,
    value: str,
    now: datetime,
) -> CampaignReport:
    """`value` names the field of the goal's event that is summed up; what has none, or no number there, counts as 0."""
    came = outcomes.begun(connection, period)
    reached = dict[int, Event]()
    if campaign.goal:
        place = {id(each): number for number, each in enumerate(came)}
        reached = {
            place[id(each)]: event
            for each, event in met(connection, settings, campaign.goal, came, now)
        }

    def side(chosen: list[int]) -> Side:
        good = [reached[number] for number in chosen if number in reached]
        return Side(
            Share(len(good), len(chosen)), sum(_number(event, value) for event in good)
        )

    got = [number for number, each in enumerate(came) if not each.held_out]
    rest = [number for number, each in enumerate(came) if each.held_out]
    return CampaignReport(
        campaign.key,
        len(came),
        _steps(connection, campaign, period),
        tuple(outcomes.not_sent(connection, period)),
        side(got) if campaign.goal else None,
        side(rest) if campaign.goal and rest else None,
        tuple(
            ArmReport(split, arm, side(chosen))
            for split, arm, chosen in _arms(campaign, came)
        ),
        _caps(connection, period),
    )


def _caps(connection: Connection, period: Period) -> CapsReport:
    about = (period.since, period.until, (period.campaign,))
    found = pressure.pressure(connection, *about)
    displaced_by = Counter(
        {winner: count for (_, winner), count in found.displaced.items()}
    )
    weeks = pressure.stretches(
        connection, period.since, period.until, WEEK, (period.campaign,)
    )
    counts = (found.skipped[period.campaign], found.deferred[period.campaign])
    return CapsReport(*counts, tuple(displaced_by.most_common()), tuple(weeks))


def rows(found: CampaignReport) -> Iterator[dict[str, object]]:
    """Its steps as a table of `COLUMNS`."""
    for each in found.steps:
        waiting = sum(
            count for state, count in each.ends.items() if state not in STATES
        )
        yield {
            "campaign": found.campaign,
            "step": each.step,
            "channel": each.channel,
            **{state: each.ends.get(state, 0) for state in STATES},
            "waiting": waiting,
            **{kind: each.back.get(kind, 0) for kind in KINDS},
        }


def _steps(
    connection: Connection, campaign: Campaign, period: Period
) -> tuple[StepReport, ...]:
    """In the order in which the campaign has them."""
    ends: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    back: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for step, channel, state, count in outcomes.ends(connection, period):
        ends[step, channel][state] = count
    for step, channel, kind, count in outcomes.came_back(connection, period):
        back[step, channel][kind] = count
    order = {step.id: number for number, step in enumerate(campaign.steps)}
    places = sorted(ends, key=lambda each: (order.get(each[0], len(order)), each))
    return tuple(
        StepReport(*place, dict(ends[place]), dict(back[place])) for place in places
    )


def _arms(
    campaign: Campaign, came: list[RunOutcome]
) -> list[tuple[str, int, list[int]]]:
    """Each arm of each split, with the numbers of the runs that went through it."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, each in enumerate(came):
        for split, arm in each.arms.items():
            found[split, arm].append(number)
    splits = [step.id for step in campaign.steps if isinstance(step, Split)]
    return [
        (split, arm + 1, chosen)
        for (split, arm), chosen in sorted(found.items())
        if split in splits
    ]


def _number(event: Event, field: str) -> float:
    try:
        return parse_number(event.fields.get(field, ""))
    except ValueError:
        return 0.0
