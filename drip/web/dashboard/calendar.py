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
from drip.preview.report import COLOURS, calendar_weeks, step_rows
from drip.storage import pressure
from drip.storage.pressure import Pressure
from drip.web.dashboard.board import Board, board_of
from drip.web.dashboard.forecasts import Forecast

PAST = timedelta(days=30)
HOUR = timedelta(hours=1)
# Shades of the heat map.
SHADES = 4


async def calendar(request: Request) -> Response:
    """The calendar of the coming time: how many messages of which campaign leave on which day, and what does not leave."""
    board = board_of(request)
    working = await run_sync(board.forecasts.look)
    newest = board.forecasts.newest
    values = {"working": working, "trouble": board.forecasts.trouble, "forecast": None}
    return await board.show(
        request, "calendar.html", values | ({"forecast": _calendar(board, newest)} if newest else {})
    )


def _calendar(board: Board, forecast: Forecast) -> dict[str, Any]:
    found, timezone = forecast.sums.summary, board.site.settings.timezone
    start, end = (local(at, zone(timezone)).date() for at in (forecast.since, forecast.until))
    return {
        "since": forecast.since, "until": forecast.until, "people": found.people,
        "messages": sum(each.count for each in found.sent),
        "campaigns": _campaigns(board, sorted(found.campaigns)),
        "weeks": calendar_weeks(found, start, end, timezone), "steps": step_rows(found, timezone),
        "reasons": sorted(found.refused, key=lambda each: -each.count),
        "waits": sorted(found.waits, key=lambda each: -each.count),
    }  # fmt: skip


def _campaigns(board: Board, names: list[str]) -> dict[str, dict[str, str]]:
    known = board.site.book.campaigns
    return {
        name: {"title": known[name].title if name in known else name, "colour": COLOURS[n % len(COLOURS)]}
        for n, name in enumerate(names)
    }


async def caps(request: Request) -> Response:
    """Who displaces whom under the caps and who is at a limit: in the coming time, and in the past, day by day."""
    board = board_of(request)
    working, now = await run_sync(board.forecasts.look), board.site.clock()
    here = zone(board.site.settings.timezone)
    start = at_minute(local(now, here).date() - PAST, 0, here)

    def look(connection: Connection) -> tuple[Pressure, list[dict[str, Any]]]:
        days = _by_day(pressure.stretches(connection, start, now, HOUR), here)
        return pressure.pressure(connection, start, now), days

    past, days = await board.site.read(look)
    newest = board.forecasts.newest
    values = {
        "working": working, "trouble": board.forecasts.trouble, "days": days, "past": _pressure(past),
        "coming": _pressure(newest.sums.pressure) if newest else None,
        "caps": [{"cap": str(each.place), "scope": each.scope, "name": each.name, "text": each.text} for each in board.site.settings.caps],
    }  # fmt: skip
    return await board.show(request, "caps.html", values)


def _by_day(hours: list[pressure.Stretch], here: ZoneInfo) -> list[dict[str, Any]]:
    """The hours of each day of the wall clock together, of which there are not always 24."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    for each in hours:
        days[local(each.start, here).date()].update(sent=each.sent, skipped=each.skipped, deferred=each.deferred)
    return [
        {"start": day, "sent": each["sent"], "skipped": each["skipped"], "deferred": each["deferred"]}
        for day, each in days.items()
    ]


def _pressure(found: Pressure) -> dict[str, Any]:
    """As rows: counters with two keys are no JSON."""
    # A handful is no heat.
    most = max(5, *found.displaced.values()) if found.displaced else 1
    return {
        "losers": sorted({loser for loser, _ in found.displaced}),
        "winners": sorted({winner for _, winner in found.displaced}),
        "displaced": [
            {"displaced": loser, "by": winner, "messages": count, "shade": round(count / most * SHADES)}
            for (loser, winner), count in sorted(found.displaced.items())
        ],
        "limits": [
            {"cap": place, "people": people, "skipped": found.held_back[place, "skipped"],
             "deferred": found.held_back[place, "deferred"]}
            for place, people in sorted(found.limits.items(), key=lambda each: -each[1])
        ],
        "campaigns": [
            {"campaign": name, "sent": found.sent[name], "skipped": found.skipped[name], "deferred": found.deferred[name]}
            for name in sorted(Counter(found.sent) | found.skipped | found.deferred)
        ],
    }  # fmt: skip
