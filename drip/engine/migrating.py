"""Moving the people in a campaign to its newest version, by the ids of the steps at which they stand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection

from drip.core.campaign import Campaign
from drip.core.lifecycle import Wake
from drip.engine.campaign_set import CampaignSet
from drip.errors import Place
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import Run


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of those who stand at one step of one older version. `to` is None if it has no such step."""

    version: str
    step: str
    count: int
    to: Place | None


@dataclass
class Plan:
    """Every move there is to make, and the runs that it is about."""

    campaign: Campaign
    moves: list[Move] = field(default_factory=list)
    _runs: list[tuple[Run, int]] = field(default_factory=list)

    @property
    def stuck(self) -> list[Move]:
        """Those who cannot be moved: the new version has no step of that id, or the old one cannot be read."""
        return [move for move in self.moves if move.to is None]

    @property
    def movable(self) -> int:
        return len(self._runs)

    def carry_out(self, connection: Connection) -> None:
        """Moves those who can be moved; the planner looks at them anew."""
        for run, position in self._runs:
            run.version, run.position = self.campaign.version, position
            run.wake, run.due_at = Wake.LOOKS_AGAIN, None
        moved = [run for run, _ in self._runs]
        runs.move_runs(connection, moved)
        runs.save_runs(connection, moved)


def plan_moves(
    connection: Connection, campaign_set: CampaignSet, campaign: Campaign
) -> Plan:
    """Who is in an older version of the campaign, and where they would stand in the newest one."""
    plan = Plan(campaign)
    counted: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], Place | None] = {}
    for run in runs.active_in(connection, campaign.key):
        if run.version == campaign.version:
            continue
        old = campaign_set.version(connection, campaign.key, run.version)
        step = (
            old.steps[run.position].id if old and run.position < len(old.steps) else "?"
        )
        position = campaign.position_of(step)
        counted[run.version, step] += 1
        places[run.version, step] = (
            campaign.steps[position].place if position is not None else None
        )
        if position is not None:
            plan._runs.append((run, position))
    plan.moves = [
        Move(version, step, count, places[version, step])
        for (version, step), count in sorted(counted.items())
    ]
    return plan
