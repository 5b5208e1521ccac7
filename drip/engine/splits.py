"""Which arms of splits have won: the arm in which most runs met the goal, once a split has learned enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
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
    """The arm, by campaign and split, that all who come now get; None while it is too early to tell.

    Only of splits that one of these runs can still come to: those who came to one are counted all over again, and
    steps lead on only.
    """
    splits: dict[tuple[str, str], tuple[Campaign, Split]] = {}
    for run in found:
        campaign = campaigns[run.campaign, run.version]
        ahead = campaign.steps[run.position :] if campaign else ()
        for step in ahead:
            if campaign and isinstance(step, Split):
                splits.setdefault((campaign.key, step.id), (campaign, step))
    return {
        key: _winner(connection, settings, campaign, split, now)
        for key, (campaign, split) in splits.items()
    }


def _winner(
    connection: Connection,
    settings: Settings,
    campaign: Campaign,
    split: Split,
    now: datetime,
) -> int | None:
    """The best arm, once the time that the split gives itself is over; none if two are equal."""
    goal, holidays = campaign.goal, settings.holidays
    if split.winner_after is None or goal is None:
        return None
    came = runs.in_split(connection, campaign.key, split.id)
    if not came:
        return None
    where = zone(settings.timezone)
    if later(came[0].came_at, split.winner_after, where, holidays) > now:
        return None
    reached = Counter(run.arm for run in came)
    good = Counter(run.arm for run, _ in met(connection, settings, goal, came, now))
    rates = sorted(
        ((good[arm] / reached[arm], arm) for arm in reached if arm < len(split.arms)),
        reverse=True,
    )
    beaten = len(rates) > 1 and rates[0][0] > rates[1][0]
    return rates[0][1] if beaten else None
