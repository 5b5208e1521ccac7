"""Which address of the dashboard leads where."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from drip.core.clock import Clock, Stopwatch
from drip.storage.base.database import Database
from drip.web.app import BOTH, FOR_LONG, kept_fresh, log_failure, status_of
from drip.web.app_state import AppState
from drip.web.dashboard import calendar, campaigns, live, operating, people, reports
from drip.web.dashboard.entrance import Page, log_in, log_out, staff
from drip.web.dashboard.state import DashboardState, dashboard_of
from drip.web.guard import HEADERS, RequestGuard
from drip.worker.worker import MESSAGES, TIMELINES, Limits
from drip.workspace import Workspace

# Frames of our own, in which messages are shown. A form has to say which site it comes
# from, which it does not where nothing at all may be said of it (Fetch standard,
# "serializing a request origin").
OWN = HEADERS | {
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace(
        "; connect-src", "; frame-src 'self'; connect-src"
    ),
}
POST = ["POST"]


def make_dashboard(
    workspace: Workspace,
    database: Database,
    clock: Clock,
    passed_s: Stopwatch,
    messages: Limits = MESSAGES,
    timelines: Limits = TIMELINES,
) -> Starlette:
    """The dashboard of one workspace. `passed_s` is a stopwatch, `messages` and
    `timelines` are what writing one and simulating one may take. Raises DripError if
    its files cannot be read."""
    dashboard = DashboardState(
        AppState(workspace, database, clock, passed_s), messages, timelines
    )

    app = Starlette(
        routes=_look() + _act() + _entrance(),
        middleware=[Middleware(RequestGuard, failed=_failed, headers=OWN)],
        exception_handlers={HTTPException: _refused},
        lifespan=partial(kept_fresh, dashboard.state, dashboard.close),
    )
    app.state.dashboard = dashboard
    return app


def _page(path: str, page: Page, methods: Sequence[str] = ("GET",)) -> Route:
    """One that nobody sees who may not come in."""
    return Route(path, staff(page), methods=methods)


def _look() -> list[Route]:
    return [
        _page("/", calendar.calendar),
        _page("/contacts", people.contacts),
        _page("/contacts/{key:path}", people.contact),
        _page("/campaigns", campaigns.campaigns),
        _page("/campaigns/{key}", campaigns.campaign),
        _page("/live", live.live),
        _page("/live/message", live.live_message),
        _page("/live/page", live.live_page),
        _page("/caps", calendar.caps),
        _page("/reports", reports.reports),
        _page("/reports.csv", reports.reports_csv),
        _page("/health", operating.health),
    ]


def _act() -> list[Route]:
    return [
        _page("/campaigns/{key}/hold", campaigns.hold, POST),
        _page("/tasks", operating.tasks, BOTH),
        _page("/held", operating.held, BOTH),
        _page("/stop", operating.stop, POST),
    ]


def _entrance() -> list[Route]:
    return [
        Route("/login", log_in, methods=BOTH),
        _page("/logout", log_out, POST),
        Route("/static/dashboard.css", _style),
        Route("/static/htmx.js", _script),
    ]


async def _style(request: Request) -> Response:
    return Response(
        dashboard_of(request).style, media_type="text/css", headers=FOR_LONG
    )


async def _script(request: Request) -> Response:
    return Response(
        dashboard_of(request).script, media_type="text/javascript", headers=FOR_LONG
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(
        f"{error.detail}\n", error.status_code, headers=error.headers
    )


def _failed(scope: Scope, error: Exception) -> ASGIApp:
    log_failure(scope, error)
    if scope["path"] == "/health":
        return PlainTextResponse(
            "Who asks cannot be looked up: the database cannot be read.\n", 503
        )
    return PlainTextResponse(
        "Something went wrong. The log has which page it was.\n", status_of(error)
    )
