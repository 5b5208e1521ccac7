"""What is coming, by day and campaign; and the pressure of caps, coming and past."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.core.calendar import at_minute, local, zone
from drip.core.caps import Cap
from drip.preview.report import COLOURS
from drip.storage.reading import pressure
from drip.storage.reading.pressure import Stretch
from drip.web.dashboard.state import DashboardState, dashboard_of
from drip.worker.answers import pressure_rows

PAST = timedelta(days=30)
HOUR = timedelta(hours=1)


async def calendar(request: Request) -> Response:
    """The calendar of the coming time: how many messages of which campaign leave on
    which day, and what does not leave.

    `forecast` is the newest there is, or null; `working` says whether the next one is
    being made, `trouble` why the last one failed.
    """
    dashboard = dashboard_of(request)
    values = {**await _at_work(dashboard), "forecast": _forecast(dashboard)}
    return await dashboard.show(request, "calendar.html", values)


async def _at_work(dashboard: DashboardState) -> dict[str, Any]:
    """Whether the next forecast is being made, and what was wrong with the last one."""
    working = await run_sync(dashboard.forecasts.look)
    return {"working": working, "trouble": dashboard.forecasts.trouble}


def _forecast(dashboard: DashboardState) -> dict[str, Any] | None:
    newest = dashboard.forecasts.newest
    if newest is None:
        return None
    forecast: dict[str, Any] = newest["calendar"]
    campaigns = _campaigns(dashboard, forecast["campaigns"])
    return forecast | {"campaigns": campaigns}


def _campaigns(
    dashboard: DashboardState, names: list[str]
) -> dict[str, dict[str, str]]:
    # A forecast can be older than the files, and have campaigns that are gone.
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
    in the past, day by day.

    `past` is of the last 30 days, and `days` has each of them; `coming` is of the
    newest forecast, or null; `caps` are the rules.
    """
    dashboard = dashboard_of(request)
    at_work = await _at_work(dashboard)
    newest = dashboard.forecasts.newest
    here = zone(dashboard.state.settings.timezone)
    values = {
        **at_work,
        "coming": newest["pressure"] if newest else None,
        "caps": [_cap_row(cap) for cap in dashboard.state.settings.caps],
        **await dashboard.state.read(_past, dashboard.state.clock(), here),
    }
    return await dashboard.show(request, "caps.html", values)


def _cap_row(cap: Cap) -> dict[str, Any]:
    return {
        "cap": str(cap.place),
        "scope": cap.scope,
        "name": cap.name,
        "text": cap.text,
    }


def _past(
    connection: Connection,
    now: datetime,
    here: ZoneInfo,
) -> dict[str, Any]:
    # From a midnight: of a day that is counted in part, the bar would look like a quiet
    # one.
    start = at_minute(local(now, here).date() - PAST, 0, here)
    hours = pressure.stretches(connection, start, now, HOUR)
    return {
        "past": pressure_rows(pressure.pressure(connection, start, now)),
        "days": _by_day(hours, here),
    }


def _by_day(hours: Sequence[Stretch], here: ZoneInfo) -> list[dict[str, Any]]:
    """The hours of each day of the wall clock together, of which there are not always
    24."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    for hour in hours:
        day = local(hour.start, here).date()
        days[day]["sent"] += hour.sent
        days[day]["skipped"] += hour.skipped
        days[day]["deferred"] += hour.deferred
    return [{"start": day, **counts} for day, counts in days.items()]
