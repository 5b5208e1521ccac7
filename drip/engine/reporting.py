"""What a campaign achieved: its messages step by step, the goals of those who got it
beside those who were held out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
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
# A step, and a channel by which its messages go.
StepKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StepReport:
    """The messages of a step by one channel: by how they ended, and what came back of
    those that left."""

    step: str
    channel: str
    ends: dict[str, int]
    back: dict[str, int]


@dataclass(frozen=True, slots=True)
class Side:
    """People who got the campaign, or did not, and what they did: `value` is the sum of
    a field of the goal's event."""

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
    """How often caps kept a campaign's messages back in a time, for which campaigns'
    sake, and week by week."""

    skipped: int
    deferred: int
    displaced_by: tuple[tuple[str, int], ...]
    weeks: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Of the runs that began in a time. `lift` is None without a goal, or without
    anybody on either side.

    `not_sent` says how often which code kept a message from leaving; `caps` is about
    the messages of the time.
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
        treated, held_out = self.treated.goals, self.held_out.goals
        # A share of nobody is no number.
        if not treated.count or not held_out.count:
            return None
        return Lift(treated, held_out)


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """The runs that began in a time, and the events by which some met the goal.

    These have the numbers of the runs, in the order in which they began. `value` is the
    field of the event that is summed up.
    """

    runs: list[RunOutcome]
    goals: Mapping[int, Event]
    value: str

    def side(self, chosen: Iterable[int]) -> Side:
        """What the people of these runs did."""
        numbers = list(chosen)
        events = [self.goals[number] for number in numbers if number in self.goals]
        total = sum(_number(event, self.value) for event in events)
        return Side(Share(len(events), len(numbers)), total)

    def held_out(self, held_out: bool) -> list[int]:
        """The runs of those who were held out, or of those who were not."""
        return [
            number for number, run in enumerate(self.runs) if run.held_out == held_out
        ]

    def _by_arm(self) -> dict[tuple[str, int], list[int]]:
        """The runs by split and arm."""
        chosen: dict[tuple[str, int], list[int]] = defaultdict(list)
        for number, run in enumerate(self.runs):
            for split, arm in run.arms.items():
                chosen[split, arm].append(number)
        return chosen

    def arms(self, campaign: Campaign) -> Iterator[ArmReport]:
        """Each arm of each split, by the runs that went through it."""
        chosen = self._by_arm()
        # A split that the file has no more is no part of the report.
        splits = {step.id for step in campaign.steps if isinstance(step, Split)}
        for split, arm in sorted(chosen):
            if split in splits:
                yield ArmReport(
                    split,
                    arm + 1,
                    self.side(chosen[split, arm]),
                )


def report(
    connection: Connection,
    settings: Settings,
    campaign: Campaign,
    period: Period,
    value: str,
    now: datetime,
) -> CampaignReport:
    """`value` names the field of the goal's event that is summed up.

    What has none, or no number there, counts as 0.
    """
    came = outcomes.begun(connection, period)
    goals = _goals(
        connection,
        settings,
        campaign,
        came,
        now,
    )
    found = _Outcomes(came, goals, value)
    treated, held_out = found.held_out(False), found.held_out(True)
    return CampaignReport(
        campaign.key,
        began=len(came),
        steps=_steps(connection, campaign, period),
        not_sent=tuple(outcomes.not_sent(connection, period)),
        treated=found.side(treated) if campaign.goal else None,
        held_out=found.side(held_out) if campaign.goal and held_out else None,
        arms=tuple(found.arms(campaign)),
        caps=_caps(connection, period),
    )


def _goals(
    connection: Connection,
    settings: Settings,
    campaign: Campaign,
    came: list[RunOutcome],
    now: datetime,
) -> dict[int, Event]:
    """The events by which runs met the goal, by the runs' numbers."""
    if campaign.goal is None:
        return {}
    # Two runs can be equal in all that is known here: they are told apart by identity.
    numbers = {id(run): number for number, run in enumerate(came)}
    reached = met(
        connection,
        settings,
        campaign.goal,
        came,
        now,
    )
    return {numbers[id(run)]: event for run, event in reached}


def _caps(connection: Connection, period: Period) -> CapsReport:
    campaigns = (period.campaign,)
    found = pressure.pressure(
        connection,
        period.since,
        period.until,
        campaigns,
    )
    displaced_by = Counter(
        {winner: count for (_, winner), count in found.displaced.items()}
    )
    weeks = pressure.stretches(
        connection,
        period.since,
        period.until,
        WEEK,
        campaigns,
    )
    return CapsReport(
        found.skipped[period.campaign],
        found.deferred[period.campaign],
        tuple(displaced_by.most_common()),
        tuple(weeks),
    )


def rows(found: CampaignReport) -> Iterator[dict[str, object]]:
    """Its steps as a table of `COLUMNS`."""
    for step in found.steps:
        waiting = [count for state, count in step.ends.items() if state not in STATES]
        yield {
            "campaign": found.campaign,
            "step": step.step,
            "channel": step.channel,
            **{state: step.ends.get(state, 0) for state in STATES},
            "waiting": sum(waiting),
            **{kind: step.back.get(kind, 0) for kind in KINDS},
        }


def _steps(
    connection: Connection,
    campaign: Campaign,
    period: Period,
) -> tuple[StepReport, ...]:
    """In the order in which the campaign has them."""
    ends = _counts(outcomes.ends(connection, period))
    back = _counts(outcomes.came_back(connection, period))
    order = {step.id: number for number, step in enumerate(campaign.steps)}

    def place(key: StepKey) -> tuple[int, StepKey]:
        step, _ = key
        return order.get(step, len(order)), key

    return tuple(
        StepReport(
            *key,
            ends[key],
            back.get(key, {}),
        )
        for key in sorted(ends, key=place)
    )


def _counts(
    found: Iterable[tuple[str, str, str, int]],
) -> dict[StepKey, dict[str, int]]:
    """How often what came of the messages of each step, by channel."""
    counts: dict[StepKey, dict[str, int]] = defaultdict(dict)
    for step, channel, what, count in found:
        counts[step, channel][what] = count
    return counts


def _number(event: Event, field: str) -> float:
    try:
        return parse_number(event.fields.get(field, ""))
    except ValueError:
        # Fields are whatever a shop sends: one slip of it may not cost the whole
        # report.
        return 0.0
