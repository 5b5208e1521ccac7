"""What the pages of the dashboard share: how an answer is made, for a browser or a
program, and who asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from drip.errors import DripError
from drip.storage.campaigns import tasks
from drip.storage.operating import daemons
from drip.storage.operating import holds as hold_store
from drip.storage.operating.daemons import DaemonRecord
from drip.storage.sending import outbox
from drip.web.app_state import AppState, digest
from drip.web.dashboard.charts import CHARTS
from drip.web.dashboard.forecasts import Forecasts
from drip.web.dashboard.holds import hold_of
from drip.web.dashboard.tries import Tries
from drip.worker.values import plain
from drip.worker.worker import MESSAGES, TIMELINES, Limits, Worker

HERE = Path(__file__).parent
# So many looks at once at whether files have changed.
AT_ONCE = 2
# In seconds, the longest first.
UNITS = {
    "day": 86_400,
    "hour": 3_600,
    "minute": 60,
    "second": 1,
}


class DashboardState:
    """The dashboard of one workspace. What templates are filled in for is done by
    workers: `messages` of the live preview, `timelines` of contacts, and one for the
    forecast."""

    def __init__(
        self,
        state: AppState,
        messages: Limits = MESSAGES,
        timelines: Limits = TIMELINES,
    ) -> None:
        self.state = state
        about = (state.workspace.root, state.workspace.environment, state.passed_s)
        self.messages = Worker("The message", *about, messages)
        self.timelines = Worker("The simulation", *about, timelines)
        self.forecasts = Forecasts(state)
        self.tries = Tries(state.passed_s)
        self.few = CapacityLimiter(AT_ONCE)
        self.style = (HERE / "static" / "dashboard.css").read_text("utf-8")
        self.script = (HERE / "static" / "htmx.min.js").read_text("utf-8")

    def close(self) -> None:
        """Ends what works beside the requests."""
        self.messages.close()
        self.timelines.close()
        self.forecasts.close()
        self.state.writer.close()

    @cached_property
    def pages(self) -> Environment:
        made = Environment(
            loader=FileSystemLoader(HERE / "pages"),
            # Keys, answers and free text are other people's words: as they are, they
            # could be script in an operator's browser (CWE-79).
            autoescape=True,
            # A name that is missing is an error: no page shows nothing for something.
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.filters |= self._filters()
        made.globals |= CHARTS
        return made

    def _filters(self) -> dict[str, Callable[..., str]]:
        return {
            "when": self.when,
            "day": _day,
            "ago": self._ago,
            "number": lambda count: f"{count:,}",
        }

    async def show(
        self,
        request: Request,
        name: str,
        values: Mapping[str, Any],
        status: int = 200,
    ) -> Response:
        """The page `name`, or the same values as JSON for whoever asks for that.

        Instants are ISO 8601 in UTC in both; the templates show them by `when`.
        """
        shown = plain(values)
        if wants_json(request):
            return JSONResponse(shown, status)
        frame = await self._frame(request, name)
        html = self.pages.get_template(name).render(frame | shown)
        return HTMLResponse(html, status)

    async def _frame(self, request: Request, name: str) -> dict[str, Any]:
        """What every page has."""
        session = request.state.session
        return {
            "business": self.state.settings.business_name,
            "here": name.removesuffix(".html"),
            "path": request.url.path,
            "operator": session.operator.name,
            "csrf": session.csrf,
            "top": plain(await self.state.read(self._top)),
            "style": f"/static/dashboard.css?{digest(self.style)}",
            "script": f"/static/htmx.js?{digest(self.script)}",
            "now": plain(self.state.clock()),
        }

    async def show_error(
        self,
        request: Request,
        error: DripError,
        status: int,
    ) -> Response:
        """What is wrong, and the remedy, as a page."""
        values = {"error": error.sentence, "help": error.help}
        return await self.show(request, "wrong.html", values, status)

    def when(self, text: str | None, zone_name: str | None = None) -> str:
        """An instant of JSON on the wall clock of a zone; the workspace's, if none is
        named."""
        if text is None:
            return ""
        here = zone(zone_name or self.state.settings.timezone)
        wall = local(datetime.fromisoformat(text), here)
        return f"{wall:%a %-d %b %Y %H:%M}"

    def _ago(self, text: str) -> str:
        """How long ago an instant of JSON was, in the largest unit of which there is
        one."""
        passed = self.state.clock() - datetime.fromisoformat(text)
        for name, seconds in UNITS.items():
            count = int(passed.total_seconds()) // seconds
            if count > 0:
                return f"{count} {name}{'s' if count > 1 else ''} ago"
        return "just now"

    def _top(self, connection: Connection) -> dict[str, Any]:
        """What stands above every page: whether the daemon lives, what keeps it from
        its work, whether everything is stopped, and how much waits for somebody."""
        last = daemons.last_daemon(connection)
        alive = last is not None and self._is_alive(last)
        return {
            "alive": alive,
            "trouble": last.trouble if last and alive else None,
            "held": outbox.count_held(connection),
            "stopped": hold_of(connection, hold_store.EVERYTHING),
            "tasks": tasks.count_open(connection),
        }

    def _is_alive(self, daemon: DaemonRecord) -> bool:
        silent_for = self.state.clock() - daemon.heartbeat_at
        return daemon.ended_at is None and silent_for <= SILENT


def wants_json(request: Request) -> bool:
    """Whether a program asks."""
    if request.query_params.get("format") == "json":
        return True
    # Whoever accepts HTML too is a browser, and means the page.
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "html" not in accepted


def back(request: Request, to: str) -> Response:
    """After a button: the page once more, as it is now. By GET, so that a reload does
    not press the button again (RFC 9110, section 15.4.4)."""
    if wants_json(request):
        return JSONResponse({"done": True})
    return RedirectResponse(to, 303)


def _day(text: str) -> str:
    return f"{date.fromisoformat(text[:10]):%a %-d %b}"


def dashboard_of(request: Request) -> DashboardState:
    """The dashboard that a request is for."""
    dashboard: DashboardState = request.app.state.dashboard
    return dashboard
