"""Which arms of splits have won: the arm in which most runs met the goal, once a split
has learned enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection

from drip.core.calendar import later, zone
from drip.core.campaign import Campaign
from drip.core.settings import Settings
from drip.core.steps import Split
from drip.engine.goals import met
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import Run


def winners(
    connection: Connection,
    settings: Settings,
    found: Iterable[Run],
    campaigns: Mapping[tuple[str, str], Campaign | None],
    now: datetime,
) -> dict[tuple[str, str], int | None]:
    """The arm, by campaign and split, that all who come now get; None while it is too
    early to tell.

    Only of splits that one of these runs can still come to: those who came to one are
    counted all over again, and steps lead on only.
    """
    found_out: dict[tuple[str, str], int | None] = {}
    for run in found:
        campaign = campaigns[run.campaign, run.version]
        for split in _ahead(campaign, run) if campaign else ():
            key = (run.campaign, split.id)
            if campaign and key not in found_out:
                found_out[key] = _winner(
                    connection,
                    settings,
                    campaign,
                    split,
                    now,
                )
    return found_out


def _ahead(campaign: Campaign, run: Run) -> Iterator[Split]:
    for step in campaign.steps[run.position :]:
        if isinstance(step, Split) and step.winner_after:
            yield step


def _winner(
    connection: Connection,
    settings: Settings,
    campaign: Campaign,
    split: Split,
    now: datetime,
) -> int | None:
    """The arm in which most runs met the goal, once the split has learned enough; none
    if two are equal."""
    goal = campaign.goal
    came = runs.in_split(connection, campaign.key, split.id)
    if goal is None or not came:
        return None
    if _learns_until(split, came[0].came_at, settings) > now:
        return None
    good = met(
        connection,
        settings,
        goal,
        came,
        now,
    )
    return _best(
        Counter(run.arm for run in came),
        Counter(run.arm for run, _ in good),
        len(split.arms),
    )


def _learns_until(
    split: Split,
    first: datetime,
    settings: Settings,
) -> datetime:
    assert split.winner_after
    where = zone(settings.timezone)
    return later(
        first,
        split.winner_after,
        where,
        settings.holidays,
    )


def _best(
    came: Counter[int],
    good: Counter[int],
    arms: int,
) -> int | None:
    """The arm with the highest rate. An arm that the split had in another version is
    none any more."""
    rates = [(good[arm] / came[arm], arm) for arm in came if arm < arms]
    rates.sort(reverse=True)
    if len(rates) < 2 or rates[0][0] == rates[1][0]:
        return None
    return rates[0][1]
