"""Campaigns: their steps as a picture, the people at each, what came of them; and held ones."""

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
from drip.core.sheets import ENCODING, write_sheet
from drip.core.steps import Branch, SendStep, Split, Step, WaitFor, leads_to
from drip.engine.reporting import COLUMNS, CampaignReport, rows
from drip.engine.reporting import report as report_of
from drip.storage.campaigns import runs
from drip.storage.operating import holds as hold_store
from drip.storage.operating.holds import Hold
from drip.storage.reading.outcomes import Period
from drip.storage.reading.pressure import Stretch
from drip.storage.sending import outbox
from drip.web.dashboard.state import DashboardState, back, board_of

SPANS = (7, 30, 90, 365)
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
    """All campaigns: their state, how many people are in them, their messages."""
    board = board_of(request)
    campaign_set = board.site.campaign_set
    counts, inside, holds = await board.site.read(
        lambda connection: (
            outbox.count_by_state(connection),
            runs.runs_per_campaign(connection),
            hold_store.held_scopes(connection),
        )
    )
    names = sorted({*campaign_set.campaigns, *inside, *(name for name, _ in counts)})
    listed = [
        {
            "campaign": name,
            "title": campaign_set.campaigns[name].title
            if name in campaign_set.campaigns
            else name,
            "state": _state(board, campaign_set.campaigns.get(name), name in holds),
            "inside": inside.get(name, 0),
            "messages": {
                state: counts.get((name, state), 0)
                for state in (
                    "sent",
                    "deferred",
                    "pending",
                    "skipped",
                    "failed",
                    "held",
                )
            },
        }
        for name in names
    ]
    problems = [
        each for each in board.site.workspace.loaded.problems if each.level == "error"
    ]
    return await board.show(
        request,
        "campaigns.html",
        {"campaigns": listed, "problems": [_problem(each) for each in problems]},
    )


def _state(board: DashboardState, campaign: Campaign | None, held: bool) -> str:
    if campaign is None:
        return "gone"
    if held:
        return "held"
    return (
        "broken"
        if campaign.key in board.site.workspace.loaded.broken
        else campaign.status
    )


def _problem(problem: Any) -> dict[str, Any]:
    return {
        "place": str(problem.place),
        "sentence": problem.sentence,
        "help": problem.help,
    }


async def campaign(request: Request) -> Response:
    """One campaign: its steps drawn from the YAML with the people at each, the funnel, goal and lift, and why not."""
    board, key = board_of(request), request.path_params["key"]
    campaign_set = board.site.campaign_set
    found = campaign_set.campaigns.get(key)
    if found is None:
        return await board.show(
            request,
            "wrong.html",
            {
                "error": f"There is no campaign `{key}`.",
                "help": "they are files in campaigns/",
            },
            404,
        )
    days, now = _days(request), board.site.clock()

    def look(
        connection: Connection,
    ) -> tuple[Counter[str], int, CampaignReport, Hold | None]:
        at, others = Counter[str](), 0
        for version, position, count in runs.positions(connection, key):
            running = campaign_set.version(connection, key, version)
            step = (
                running.steps[position].id
                if running and position < len(running.steps)
                else None
            )
            if step is None or found.position_of(step) is None:
                others += count
            else:
                at[step] += count
        period = Period(key, now - timedelta(days=days), now)
        report = report_of(connection, board.site.settings, found, period, "total", now)
        return at, others, report, hold_store.held_scopes(connection).get(key)

    at, others, reported, held = await board.site.read(look)
    loaded = board.site.workspace.loaded
    values = {
        "campaign": {
            "key": key,
            "title": found.title,
            "topic": found.topic,
            "version": found.version[:12],
            "place": str(found.place),
            "holdout": found.holdout,
            "goal": found.goal.event if found.goal else None,
        },
        "state": _state(board, found, held is not None),
        "hold": held,
        "steps": _drawn(found, at),
        "elsewhere": others,
        "days": days,
        "spans": SPANS,
        "report": _report(board, reported),
        "yaml": loaded.texts.get(found.version, ""),
        "problems": [
            _problem(each)
            for each in loaded.problems
            if each.place.file == found.place.file
        ],
    }
    return await board.show(request, "campaign.html", values)


async def hold(request: Request) -> Response:
    """Holds one campaign, or lets it go on."""
    board, key = board_of(request), request.path_params["key"]
    now, off = board.site.clock(), request.state.form.get("do") == "go-on"

    def work(connection: Connection) -> None:
        if off:
            hold_store.let_go(connection, key)
            outbox.wake_paused(connection, key, now)
        else:
            hold_store.hold(connection, key, now)

    if key in board.site.campaign_set.campaigns:
        await board.site.writer.do(work)
    return back(request, f"/campaigns/{quote(key)}")


async def reports(request: Request) -> Response:
    """What all campaigns achieved."""
    board, days = board_of(request), _days(request)
    found = await _reports(board, days)
    return await board.show(
        request,
        "reports.html",
        {
            "days": days,
            "spans": SPANS,
            "reports": [_report(board, each) for each in found],
        },
    )


async def reports_csv(request: Request) -> Response:
    """The messages of all campaigns, step by step, for a spreadsheet."""
    board = board_of(request)
    text = io.StringIO(newline="")
    found = await _reports(board, _days(request))
    write_sheet(text, COLUMNS, (row.values() for each in found for row in rows(each)))
    headers = {"Content-Disposition": 'attachment; filename="report.csv"'}
    return Response(
        text.getvalue().encode(ENCODING), media_type="text/csv", headers=headers
    )


async def _reports(board: DashboardState, days: int) -> list[CampaignReport]:
    known, now, settings = (
        board.site.campaign_set.campaigns,
        board.site.clock(),
        board.site.settings,
    )
    since = now - timedelta(days=days)
    return await board.site.read(
        lambda connection: [
            report_of(connection, settings, each, Period(key, since, now), "total", now)
            for key, each in sorted(known.items())
        ]
    )


def _days(request: Request) -> int:
    asked = request.query_params.get("days", "")
    return int(asked) if asked in {str(each) for each in SPANS} else 30


def _report(board: DashboardState, found: CampaignReport) -> dict[str, Any]:
    lift = found.lift
    return {
        "campaign": found.campaign,
        "began": found.began,
        "steps": list(rows(found)),
        "not_sent": [
            {"code": code, "messages": count} for code, count in found.not_sent
        ],
        "treated": _side(found.treated),
        "held_out": _side(found.held_out),
        "lift": {
            "difference": lift.difference,
            "interval": lift.interval,
            "sure": lift.sure,
        }
        if lift
        else None,
        "caps": {
            "skipped": found.caps.skipped,
            "deferred": found.caps.deferred,
            "displaced_by": dict(found.caps.displaced_by),
            "weeks": [_local(board, each) for each in found.caps.weeks],
        },
        "arms": [
            {"split": each.split, "arm": each.arm, "side": _side(each.side)}
            for each in found.arms
        ],
    }


def _local(board: DashboardState, stretch: Stretch) -> dict[str, Any]:
    """A stretch by the day on which it begins here."""
    day = local(stretch.start, zone(board.site.settings.timezone)).date()
    return {
        "start": day,
        "sent": stretch.sent,
        "skipped": stretch.skipped,
        "deferred": stretch.deferred,
    }


def _side(side: Any) -> dict[str, Any] | None:
    if side is None:
        return None
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
    depths = [0] * len(campaign.steps)
    for n, step in enumerate(campaign.steps):
        if len(leads_to(step)) > 1:
            # Arms lie between a step and the one that follows them all.
            for inner in range(n + 1, min(step.next, len(depths))):
                depths[inner] += 1
    return [
        {
            "id": step.id,
            "kind": KINDS.get(type(step).__name__, "action"),
            "depth": depths[n],
            "people": people[step.id],
            "only_if": _said(step.only_if),
            "place": str(step.place),
            "leads": _leads(step),
            "href": f"/live?campaign={quote(campaign.key)}&step={quote(step.id)}"
            if isinstance(step, SendStep)
            else None,
        }
        for n, step in enumerate(campaign.steps)
    ]


def _leads(step: Step) -> list[tuple[int, str]]:
    """Where a run goes on after a step, and when it goes there."""
    match step:
        case Branch(arms=arms, otherwise=otherwise):
            return [(to, f"if {_said(condition)}") for condition, to in arms] + [
                (otherwise, "else")
            ]
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
            return " and ".join(_said(each) or "" for each in parts)
        case FieldCondition(field=field, text=text):
            return f"{field}: {text}"
        case Not(text=text):
            return f"not {text}"
        case _:
            return condition.text
