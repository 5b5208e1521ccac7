"""Campaigns: their steps as a picture, the people at each, what came of them; and held
ones."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.commands import holding
from drip.core.calendar import zone
from drip.core.campaign import Campaign
from drip.engine.reporting import report as report_of
from drip.errors import DripError
from drip.language.files import Loaded
from drip.storage.campaigns import runs
from drip.storage.operating import holds as hold_store
from drip.storage.reading.outcomes import Period
from drip.storage.sending import outbox
from drip.web.dashboard.drawing import drawn
from drip.web.dashboard.holds import hold_of
from drip.web.dashboard.ordering import order_of
from drip.web.dashboard.reports import SPANS, days_of, report_row
from drip.web.dashboard.state import DashboardState, back, dashboard_of
from drip.worker.values import problem_row

STATES = ("sent", "deferred", "pending", "skipped", "failed", "held")


async def campaigns(request: Request) -> Response:
    """All campaigns: their state, how many people are in them, their messages.

    `campaigns`: a row each, with the number of messages by state; `problems`: what is
    wrong in the files (place, sentence, help).
    """
    dashboard = dashboard_of(request)
    problems = dashboard.state.workspace.loaded.problems
    errors = [problem for problem in problems if problem.level == "error"]
    listed = await dashboard.state.read(_listed, dashboard)
    values = {"campaigns": listed, "problems": list(map(problem_row, errors))}
    return await dashboard.show(request, "campaigns.html", values)


def _listed(connection: Connection, dashboard: DashboardState) -> list[dict[str, Any]]:
    """The campaigns in force, and those of which there is still something."""
    known = dashboard.state.campaign_set.campaigns
    counts = outbox.count_by_state(connection)
    inside = runs.runs_per_campaign(connection)
    holds = hold_store.held_scopes(connection)
    names = {*known, *inside, *(name for name, _ in counts)}
    return [
        {
            "campaign": name,
            "title": known[name].title if name in known else name,
            "state": _state(dashboard, known.get(name), name in holds),
            "inside": inside.get(name, 0),
            "messages": {state: counts.get((name, state), 0) for state in STATES},
        }
        for name in sorted(names)
    ]


def _state(
    dashboard: DashboardState,
    campaign: Campaign | None,
    held: bool,
) -> str:
    if campaign is None:
        return "gone"
    if held:
        return "held"
    if campaign.key in dashboard.state.workspace.loaded.broken:
        return "broken"
    return campaign.status


async def campaign(request: Request) -> Response:
    """One campaign: its steps drawn from the YAML with the people at each, the funnel,
    goal and lift, and why not.

    `steps` are as `charts.flow` has them, `elsewhere` counts people at steps that are
    no more, `report` is of the last `days`, `hold` says since when it is held, if it
    is.
    """
    dashboard = dashboard_of(request)
    key = request.path_params["key"]
    found = dashboard.state.campaign_set.campaigns.get(key)
    if found is None:
        why = DripError(
            f"There is no campaign `{key}`.", help="they are files in campaigns/"
        )
        return await dashboard.show_error(request, why, 404)
    days = days_of(request)
    known = await dashboard.state.read(_known_of, dashboard, found, days)
    values = {
        "campaign": _facts(found),
        "days": days,
        "spans": SPANS,
        **known,
        **_file(dashboard.state.workspace.loaded, found),
    }
    return await dashboard.show(request, "campaign.html", values)


def _known_of(
    connection: Connection,
    dashboard: DashboardState,
    campaign: Campaign,
    days: int,
) -> dict[str, Any]:
    """What the database knows of a campaign."""
    state = dashboard.state
    now = state.clock()
    at, others = _people_at_steps(connection, dashboard, campaign)
    period = Period(campaign.key, now - timedelta(days=days), now)
    report = report_of(connection, state.settings, campaign, period, "total", now)
    held = hold_of(connection, campaign.key)
    return {
        "state": _state(dashboard, campaign, held is not None),
        "hold": held,
        "steps": drawn(campaign, at),
        "elsewhere": others,
        "report": report_row(report, zone(state.settings.timezone)),
    }


def _people_at_steps(
    connection: Connection,
    dashboard: DashboardState,
    campaign: Campaign,
) -> tuple[Counter[str], int]:
    """How many are at each step, and at steps that are no more: a run keeps the version
    that it began by."""
    at = Counter[str]()
    others = 0
    for version, position, count in runs.positions(connection, campaign.key):
        running = dashboard.state.campaign_set.version(
            connection, campaign.key, version
        )
        step = _step_at(running, position)
        if step is None or campaign.position_of(step) is None:
            others += count
        else:
            at[step] += count
    return at, others


def _step_at(campaign: Campaign | None, position: int) -> str | None:
    """None at the end, and of a version that is not known any more."""
    if campaign is None or position >= len(campaign.steps):
        return None
    return campaign.steps[position].id


def _facts(campaign: Campaign) -> dict[str, Any]:
    """As the head of its page shows it."""
    return {
        "key": campaign.key,
        "title": campaign.title,
        "topic": campaign.topic,
        "version": campaign.version[:12],
        "place": campaign.place,
        "holdout": campaign.holdout,
        "goal": campaign.goal.event if campaign.goal else None,
    }


def _file(loaded: Loaded, campaign: Campaign) -> dict[str, Any]:
    """A campaign's text, and what is wrong with it."""
    own = [
        problem
        for problem in loaded.problems
        if problem.place.file == campaign.place.file
    ]
    text = loaded.texts.get(campaign.version, "")
    return {"yaml": text, "problems": list(map(problem_row, own))}


async def hold(request: Request) -> Response:
    """Holds one campaign, or lets it go on."""
    dashboard = dashboard_of(request)
    key = request.path_params["key"]
    order = order_of(request)
    off = request.state.form.get("do") == "go-on"

    def work(connection: Connection) -> None:
        if off:
            holding.let_go(connection, order, key)
        else:
            holding.hold(connection, order, key)

    # Else a hold would lie in wait for whatever campaign is called so one day.
    if key in dashboard.state.campaign_set.campaigns:
        await dashboard.state.writer.do(work)
    return back(request, f"/campaigns/{quote(key)}")
