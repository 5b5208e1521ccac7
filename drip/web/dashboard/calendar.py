"""What is coming, by day and campaign; and the pressure of caps, coming and past."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.core.calendar import at_minute, local, zone
from drip.preview.report import COLOURS
from drip.storage.reading import pressure
from drip.storage.reading.pressure import Pressure
from drip.web.dashboard.state import DashboardState, dashboard_of
from drip.worker.answers import pressure_rows

PAST = timedelta(days=30)
HOUR = timedelta(hours=1)


async def calendar(request: Request) -> Response:
    """The calendar of the coming time: how many messages of which campaign leave on
    which day, and what does not leave."""
    dashboard = dashboard_of(request)
    working = await run_sync(dashboard.forecasts.look)
    newest = dashboard.forecasts.newest
    found = newest and newest["calendar"]
    forecast = found and found | {
        "campaigns": _campaigns(dashboard, found["campaigns"])
    }
    values = {
        "working": working,
        "trouble": dashboard.forecasts.trouble,
        "forecast": forecast,
    }
    return await dashboard.show(request, "calendar.html", values)


def _campaigns(
    dashboard: DashboardState, names: list[str]
) -> dict[str, dict[str, str]]:
    known = dashboard.state.campaign_set.campaigns
    return {
        name: {
            "title": known[name].title if name in known else name,
            "colour": COLOURS[n % len(COLOURS)],
        }
        for n, name in enumerate(names)
    }


async def caps(request: Request) -> Response:
    """Who displaces whom under the caps and who is at a limit: in the coming time, and
    in the past, day by day."""
    dashboard = dashboard_of(request)
    working, now = await run_sync(dashboard.forecasts.look), dashboard.state.clock()
    here = zone(dashboard.state.settings.timezone)
    start = at_minute(local(now, here).date() - PAST, 0, here)

    def look(connection: Connection) -> tuple[Pressure, list[dict[str, Any]]]:
        days = _by_day(pressure.stretches(connection, start, now, HOUR), here)
        return pressure.pressure(connection, start, now), days

    past, days = await dashboard.state.read(look)
    newest = dashboard.forecasts.newest
    values = {
        "working": working,
        "trouble": dashboard.forecasts.trouble,
        "days": days,
        "past": pressure_rows(past),
        "coming": newest["pressure"] if newest else None,
        "caps": [
            {
                "cap": str(each.place),
                "scope": each.scope,
                "name": each.name,
                "text": each.text,
            }
            for each in dashboard.state.settings.caps
        ],
    }
    return await dashboard.show(request, "caps.html", values)


def _by_day(hours: list[pressure.Stretch], here: ZoneInfo) -> list[dict[str, Any]]:
    """The hours of each day of the wall clock together, of which there are not always
    24."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    for each in hours:
        days[local(each.start, here).date()].update(
            sent=each.sent, skipped=each.skipped, deferred=each.deferred
        )
    return [
        {
            "start": day,
            "sent": each["sent"],
            "skipped": each["skipped"],
            "deferred": each["deferred"],
        }
        for day, each in days.items()
    ]
