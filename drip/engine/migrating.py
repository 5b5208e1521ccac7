"""Moving the people in a campaign to its newest version, by the ids of the steps at
which they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection

from drip.core.campaign import Campaign, step_at
from drip.core.lifecycle import Wake
from drip.engine.campaign_set import CampaignSet
from drip.errors import Place
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import Run


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of those who stand at one step of one older version. `to` is None if
    it has no such step."""

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
        """Those who cannot be moved: the new version has no step of that id, or the old
        one cannot be read."""
        return [move for move in self.moves if move.to is None]

    def take(self, run: Run, step_id: str) -> None:
        """This run is to be moved to the step of that id, if there is one."""
        position = self.campaign.position_of(step_id)
        if position is not None:
            self._runs.append((run, position))

    @property
    def movable(self) -> int:
        return len(self._runs)

    def carry_out(self, connection: Connection) -> None:
        """Moves those who can be moved; the planner has them walk on from there, as
        everybody."""
        for run, position in self._runs:
            run.version, run.position = self.campaign.version, position
            run.wake, run.due_at = Wake.LOOKS_AGAIN, None
        moved = [run for run, _ in self._runs]
        runs.move_runs(connection, moved)
        runs.save_runs(connection, moved)


def plan_moves(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
) -> Plan:
    """Who is in an older version of the campaign, and where they would stand in the
    newest one."""
    plan = Plan(campaign)
    counted: Counter[tuple[str, str]] = Counter()
    for run in runs.active_in(connection, campaign.key):
        if run.version != campaign.version:
            step_id = _stands_at(connection, campaign_set, run)
            counted[run.version, step_id] += 1
            plan.take(run, step_id)
    plan.moves += _moves(campaign, counted)
    return plan


def _moves(campaign: Campaign, counted: Counter[tuple[str, str]]) -> Iterator[Move]:
    # In order, so that two looks at the same people read the same.
    for (version, step_id), count in sorted(counted.items()):
        place = _place(campaign, step_id)
        yield Move(
            version,
            step_id,
            count,
            place,
        )


def _stands_at(
    connection: Connection,
    campaign_set: CampaignSet,
    run: Run,
) -> str:
    """The id of the step at which a run stands in its own version; `?` if that cannot
    be read, or it is through."""
    own = campaign_set.version(connection, run.campaign, run.version)
    step = step_at(own, run.position) if own else None
    return step.id if step else "?"


def _place(campaign: Campaign, step_id: str) -> Place | None:
    """Where the newest version has such a step."""
    position = campaign.position_of(step_id)
    step = None if position is None else campaign.steps[position]
    return step.place if step else None
