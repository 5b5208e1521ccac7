"""What campaigns achieved: as a page, as a sheet, and as rows for the page of one."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.core.calendar import local, zone
from drip.core.lift import Lift
from drip.core.sheets import ENCODING, write_sheet
from drip.engine.reporting import COLUMNS, CampaignReport, CapsReport, Side, rows
from drip.engine.reporting import report as report_of
from drip.storage.reading.outcomes import Period
from drip.storage.reading.pressure import Stretch
from drip.web.dashboard.state import DashboardState, dashboard_of

SPANS = (7, 30, 90, 365)


async def reports(request: Request) -> Response:
    """What all campaigns achieved in the last `days`, which can be 7, 30, 90 or 365.

    `reports`: one each, with its steps, sides, lift and what caps did to it.
    """
    dashboard = dashboard_of(request)
    days = days_of(request)
    found = await dashboard.state.read(_reports, dashboard, days)
    here = zone(dashboard.state.settings.timezone)
    values = {
        "days": days,
        "spans": SPANS,
        "reports": [report_row(report, here) for report in found],
    }
    return await dashboard.show(request, "reports.html", values)


async def reports_csv(request: Request) -> Response:
    """The messages of all campaigns, step by step, for a spreadsheet."""
    dashboard = dashboard_of(request)
    found = await dashboard.state.read(_reports, dashboard, days_of(request))
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
    settings = dashboard.state.settings
    now = dashboard.state.clock()
    reports = []
    for key, campaign in sorted(dashboard.state.campaign_set.campaigns.items()):
        period = Period(key, now - timedelta(days=days), now)
        reports.append(report_of(connection, settings, campaign, period, "total", now))
    return reports


def days_of(request: Request) -> int:
    """How many are asked for. Any other number than `SPANS` has would let a visitor
    choose how long the database works."""
    asked = request.query_params.get("days", "")
    return int(asked) if asked in map(str, SPANS) else 30


def report_row(found: CampaignReport, here: ZoneInfo) -> dict[str, Any]:
    """A report as pages and programs read it; weeks begin on the wall clock of
    `here`. `treated` and `held_out` are null where nothing is counted."""
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
        "caps": _caps(found.caps, here),
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
    """None where there is nobody on one of the sides."""
    if lift is None:
        return None
    return {
        "difference": lift.difference,
        "interval": lift.interval,
        "sure": lift.sure,
    }


def _caps(caps: CapsReport, here: ZoneInfo) -> dict[str, Any]:
    """What caps kept back, and whose messages took the place."""
    return {
        "skipped": caps.skipped,
        "deferred": caps.deferred,
        "displaced_by": dict(caps.displaced_by),
        "weeks": [_local(week, here) for week in caps.weeks],
    }


def _local(stretch: Stretch, here: ZoneInfo) -> dict[str, Any]:
    """A stretch by the day on which it begins here."""
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
