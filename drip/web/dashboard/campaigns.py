"""Campaigns: their steps as a picture, the people at each, what came of them; and held
ones."""

from __future__ import annotations

import io
from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.core.calendar import local, zone
from drip.core.campaign import Campaign
from drip.core.conditions import All, Condition, FieldCondition, Not
from drip.core.lift import Lift
from drip.core.sheets import ENCODING, write_sheet
from drip.core.steps import Branch, SendStep, Split, Step, WaitFor, leads_to
from drip.engine.reporting import COLUMNS, CampaignReport, CapsReport, Side, rows
from drip.engine.reporting import report as report_of
from drip.errors import DripError
from drip.language.files import Loaded
from drip.storage.campaigns import runs
from drip.storage.operating import control
from drip.storage.reading.outcomes import Period
from drip.storage.reading.pressure import Stretch
from drip.storage.sending import outbox
from drip.web.dashboard.state import DashboardState, back, dashboard_of
from drip.worker.values import problem_row

SPANS = (7, 30, 90, 365)
STATES = ("sent", "deferred", "pending", "skipped", "failed", "held")
KINDS = {
    "Send": "send",
    "Task": "task",
    "Wait": "wait",
    "WaitUntil": "wait",
    "WaitFor": "wait",
    "Branch": "branch",
    "Split": "split",
    "End": "end",
}


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
    holds = control.held_scopes(connection)
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

    `steps` are as `charts.flow` has them, `elsewhere` counts people at steps that are no
    more, `report` is of the last `days`, `hold` says since when it is held, if it is.
    """
    dashboard, key = dashboard_of(request), request.path_params["key"]
    found = dashboard.state.campaign_set.campaigns.get(key)
    if found is None:
        why = DripError(
            f"There is no campaign `{key}`.", help="they are files in campaigns/"
        )
        return await dashboard.show_error(request, why, 404)
    days = _days(request)
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
    state, now = dashboard.state, dashboard.state.clock()
    at, others = _people_at_steps(connection, dashboard, campaign)
    period = Period(campaign.key, now - timedelta(days=days), now)
    report = report_of(connection, state.settings, campaign, period, "total", now)
    held = control.held_scopes(connection).get(campaign.key)
    return {
        "state": _state(dashboard, campaign, held is not None),
        "hold": held,
        "steps": _drawn(campaign, at),
        "elsewhere": others,
        "report": _report(dashboard, report),
    }


def _people_at_steps(
    connection: Connection,
    dashboard: DashboardState,
    campaign: Campaign,
) -> tuple[Counter[str], int]:
    """How many are at each step, and at steps that are no more: a run keeps the version
    that it began by."""
    at, others = Counter[str](), 0
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
    dashboard, key = dashboard_of(request), request.path_params["key"]
    now, off = dashboard.state.clock(), request.state.form.get("do") == "go-on"

    def work(connection: Connection) -> None:
        if off:
            control.let_go(connection, key)
            outbox.wake_paused(connection, key, now)
        else:
            control.hold(connection, key, now)

    if key in dashboard.state.campaign_set.campaigns:
        await dashboard.state.writer.do(work)
    return back(request, f"/campaigns/{quote(key)}")


async def reports(request: Request) -> Response:
    """What all campaigns achieved in the last `days`, which can be 7, 30, 90 or 365.

    `reports`: one each, with its steps, sides, lift and what caps did to it.
    """
    dashboard, days = dashboard_of(request), _days(request)
    found = await dashboard.state.read(_reports, dashboard, days)
    values = {
        "days": days,
        "spans": SPANS,
        "reports": [_report(dashboard, report) for report in found],
    }
    return await dashboard.show(request, "reports.html", values)


async def reports_csv(request: Request) -> Response:
    """The messages of all campaigns, step by step, for a spreadsheet."""
    dashboard = dashboard_of(request)
    found = await dashboard.state.read(_reports, dashboard, _days(request))
    lines = (row.values() for report in found for row in rows(report))
    text = io.StringIO(newline="")
    write_sheet(text, COLUMNS, lines)
    headers = {"Content-Disposition": 'attachment; filename="report.csv"'}
    return Response(
        text.getvalue().encode(ENCODING), media_type="text/csv", headers=headers
    )


def _reports(
    connection: Connection,
    dashboard: DashboardState,
    days: int,
) -> list[CampaignReport]:
    """One for each campaign in force, by the same clock."""
    settings, now = dashboard.state.settings, dashboard.state.clock()
    reports = []
    for key, campaign in sorted(dashboard.state.campaign_set.campaigns.items()):
        period = Period(key, now - timedelta(days=days), now)
        reports.append(report_of(connection, settings, campaign, period, "total", now))
    return reports


def _days(request: Request) -> int:
    """How many are asked for. Any other number than `SPANS` has would let a visitor
    choose how long the database works."""
    asked = request.query_params.get("days", "")
    return int(asked) if asked in map(str, SPANS) else 30


def _report(dashboard: DashboardState, found: CampaignReport) -> dict[str, Any]:
    return {
        "campaign": found.campaign,
        "began": found.began,
        "steps": list(rows(found)),
        "not_sent": [
            {"code": code, "messages": count} for code, count in found.not_sent
        ],
        "treated": _side(found.treated),
        "held_out": _side(found.held_out),
        "lift": _lift(found.lift),
        "caps": _caps(dashboard, found.caps),
        "arms": [
            {
                "split": arm.split,
                "arm": arm.arm,
                "side": _side(arm.side),
            }
            for arm in found.arms
        ],
    }


def _lift(lift: Lift | None) -> dict[str, Any] | None:
    """None where nobody is held out, or too few are."""
    if lift is None:
        return None
    return {
        "difference": lift.difference,
        "interval": lift.interval,
        "sure": lift.sure,
    }


def _caps(dashboard: DashboardState, caps: CapsReport) -> dict[str, Any]:
    """What caps kept back, and whose messages took the place."""
    return {
        "skipped": caps.skipped,
        "deferred": caps.deferred,
        "displaced_by": dict(caps.displaced_by),
        "weeks": [_local(dashboard, week) for week in caps.weeks],
    }


def _local(dashboard: DashboardState, stretch: Stretch) -> dict[str, Any]:
    """A stretch by the day on which it begins here."""
    here = zone(dashboard.state.settings.timezone)
    return {
        "start": local(stretch.start, here).date(),
        "sent": stretch.sent,
        "skipped": stretch.skipped,
        "deferred": stretch.deferred,
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    return _side_row(side) if side else None


def _side_row(side: Side) -> dict[str, Any]:
    """How many of these people reached the goal, with the 95 % interval."""
    share = side.goals
    return {
        "people": share.count,
        "goals": share.met,
        "rate": share.rate,
        "interval": share.interval,
        "value": side.value,
    }


def _drawn(campaign: Campaign, people: Counter[str]) -> list[dict[str, Any]]:
    """The steps as `charts.flow` has them."""
    return [
        {
            "id": step.id,
            "kind": KINDS.get(type(step).__name__, "action"),
            "depth": depth,
            "people": people[step.id],
            "only_if": _said(step.only_if),
            "place": str(step.place),
            "leads": _leads(step),
            "href": _live_page(campaign, step),
        }
        for step, depth in zip(campaign.steps, _depths(campaign), strict=True)
    ]


def _depths(campaign: Campaign) -> list[int]:
    """In how many arms each step lies."""
    depths = [0] * len(campaign.steps)
    for n, step in enumerate(campaign.steps):
        if len(leads_to(step)) > 1:
            # Arms lie between a step and the one that follows them all.
            for inner in range(n + 1, min(step.next, len(depths))):
                depths[inner] += 1
    return depths


def _live_page(campaign: Campaign, step: Step) -> str | None:
    """Where its message can be looked at, if it sends one."""
    if not isinstance(step, SendStep):
        return None
    return f"/live?campaign={quote(campaign.key)}&step={quote(step.id)}"


def _leads(step: Step) -> list[tuple[int, str]]:
    """Where a run goes on after a step, and when it goes there."""
    match step:
        case Branch(arms=arms, otherwise=otherwise):
            leads = [(to, f"if {_said(condition)}") for condition, to in arms]
            return [*leads, (otherwise, "else")]
        case Split(arms=shares):
            return [(to, f"{part:.0%}") for part, to in shares]
        case WaitFor(next=after, otherwise=otherwise) if after != otherwise:
            return [(after, f"after {step.event}"), (otherwise, "if it does not come")]
        case _:
            return [(to, "") for to in dict.fromkeys(leads_to(step))]


def _said(condition: Condition | None) -> str | None:
    """A condition as it was written."""
    match condition:
        case None:
            return None
        case All(parts=parts):
            return " and ".join(_said(part) or "" for part in parts)
        case FieldCondition(field=field, text=text):
            return f"{field}: {text}"
        case Not(text=text):
            return f"not {text}"
        case _:
            return condition.text
