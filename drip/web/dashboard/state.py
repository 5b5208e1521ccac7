"""What the pages of the dashboard share: how an answer is made, for a browser or a program, and who asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from drip.core.calendar import local, zone
from drip.engine.health import SILENT
from drip.storage.campaigns import tasks
from drip.storage.operating import daemons, holds
from drip.storage.sending import outbox
from drip.web.app_state import AppState, digest
from drip.web.dashboard.charts import CHARTS
from drip.web.dashboard.forecasts import Forecasts
from drip.web.dashboard.tries import Tries
from drip.worker.values import plain
from drip.worker.worker import MESSAGES, TIMELINES, Limits, Worker

HERE = Path(__file__).parent
# So many looks at once at whether files have changed.
AT_ONCE = 2


class DashboardState:
    """The dashboard of one workspace. What templates are filled in for is done by workers: `messages` of the live preview,
    `timelines` of contacts, and one for the forecast."""

    def __init__(
        self, site: AppState, messages: Limits = MESSAGES, timelines: Limits = TIMELINES
    ) -> None:
        self.site = site
        about = (site.workspace.root, site.workspace.environment, site.passed_s)
        self.messages = Worker("The message", *about, messages)
        self.timelines = Worker("The simulation", *about, timelines)
        self.forecasts = Forecasts(site)
        self.tries = Tries(site.passed_s)
        self.few = CapacityLimiter(AT_ONCE)
        self.style = (HERE / "static" / "dashboard.css").read_text("utf-8")
        self.script = (HERE / "static" / "htmx.min.js").read_text("utf-8")

    def close(self) -> None:
        """Ends what works beside the requests."""
        for each in (self.messages, self.timelines, self.forecasts, self.site.writer):
            each.close()

    @cached_property
    def pages(self) -> Environment:
        made = Environment(
            loader=FileSystemLoader(HERE / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.filters |= {
            "when": self.when,
            "day": _day,
            "ago": self._ago,
            "number": lambda count: f"{count:,}",
        }
        made.globals |= CHARTS
        return made

    async def show(
        self, request: Request, name: str, values: Mapping[str, Any], status: int = 200
    ) -> Response:
        """The page, or the same values as JSON for whoever asks for that."""
        told = plain(values)
        if wants_json(request):
            return JSONResponse(told, status)
        session = request.state.session
        shared = {
            "business": self.site.settings.business_name,
            "here": name.removesuffix(".html"),
            "path": request.url.path,
            "operator": session.operator.name,
            "csrf": session.csrf,
            "top": plain(await self.site.read(self._top)),
            "style": f"/static/dashboard.css?{digest(self.style)}",
            "script": f"/static/htmx.js?{digest(self.script)}",
            "now": plain(self.site.clock()),
        }
        return HTMLResponse(self.pages.get_template(name).render(shared | told), status)

    def when(self, text: str | None, zone_name: str | None = None) -> str:
        """An instant of JSON on the wall clock of a zone; the workspace's, if none is named."""
        if text is None:
            return ""
        wall = local(
            datetime.fromisoformat(text), zone(zone_name or self.site.settings.timezone)
        )
        return f"{wall:%a %-d %b %Y %H:%M}"

    def _ago(self, text: str) -> str:
        passed = self.site.clock() - datetime.fromisoformat(text)
        for size, name in (
            (86_400, "day"),
            (3_600, "hour"),
            (60, "minute"),
            (1, "second"),
        ):
            if (count := int(passed.total_seconds()) // size) > 0:
                return f"{count} {name}{'s' if count > 1 else ''} ago"
        return "just now"

    def _top(self, connection: Connection) -> dict[str, Any]:
        """What stands above every page."""
        last, now = daemons.last_daemon(connection), self.site.clock()
        alive = bool(
            last and last.ended_at is None and now - last.heartbeat_at <= SILENT
        )
        return {
            "alive": alive,
            "trouble": last.trouble if last and alive else None,
            "held": outbox.count_held(connection),
            "stopped": holds.held_scopes(connection).get(holds.EVERYTHING),
            "tasks": tasks.count_open(connection),
        }


def wants_json(request: Request) -> bool:
    """Whether a program asks."""
    accepted = request.headers.get("accept", "")
    return request.query_params.get("format") == "json" or (
        "application/json" in accepted and "html" not in accepted
    )


def back(request: Request, to: str) -> Response:
    """After a button: the page once more, as it is now."""
    return (
        JSONResponse({"done": True})
        if wants_json(request)
        else RedirectResponse(to, 303)
    )


def _day(text: str) -> str:
    return f"{date.fromisoformat(text[:10]):%a %-d %b}"


def board_of(request: Request) -> DashboardState:
    """The dashboard that a request is for."""
    board: DashboardState = request.app.state.board
    return board
