"""The application: which address leads where, and what a visitor sees when something
fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from drip.core.clock import Clock, Stopwatch
from drip.core.shortage import shortage
from drip.storage.base.database import Database
from drip.web import api, hooks, personal_data, recipients, redirects
from drip.web.app_state import HERE, AppState, state_of
from drip.web.guard import RequestGuard
from drip.worker.worker import MESSAGES, Limits, Worker
from drip.workspace import Workspace

# Style and script never change under their address.
FOR_LONG = {"Cache-Control": "public, max-age=31536000, immutable"}
BOTH = ["GET", "POST"]
log = logging.getLogger("drip.web")


def make_app(
    workspace: Workspace,
    database: Database,
    clock: Clock,
    passed_s: Stopwatch,
    messages: Limits = MESSAGES,
) -> Starlette:
    """The pages of one workspace. `passed_s` is a stopwatch, `messages` what writing
    one may take. Raises DripError if its files cannot be read."""
    state = AppState(workspace, database, clock, passed_s)
    views = Worker(
        "The message", workspace.root, workspace.environment, passed_s, messages
    )

    def close() -> None:
        views.close()
        state.writer.close()

    app = Starlette(
        routes=_for_recipients() + _for_programs(),
        middleware=[Middleware(RequestGuard, failed=_failed)],
        exception_handlers={HTTPException: _refused},
        lifespan=partial(kept_fresh, state, close),
    )
    app.state.app_state = state
    app.state.views = views
    return app


@asynccontextmanager
async def kept_fresh(
    state: AppState,
    close: Callable[[], None],
    _: Starlette,
) -> AsyncIterator[None]:
    """While an application runs: keys and files are looked at beside the requests.
    `close` ends what worked for it."""
    async with anyio.create_task_group() as beside:
        beside.start_soon(state.keep_fresh)
        yield
        beside.cancel_scope.cancel()
    close()


def _for_recipients() -> list[Route]:
    return [
        Route("/unsubscribe/{token}", recipients.unsubscribe, methods=BOTH),
        Route("/confirm/{token}", recipients.confirm, methods=BOTH),
        Route("/survey/{token}", recipients.survey, methods=BOTH),
        Route("/view/{token}", recipients.view),
        Route("/preferences/{token}", recipients.preferences, methods=BOTH),
        Route("/preferences/{token}/data", personal_data.ask_for_data, methods=BOTH),
        Route("/data/{token}", personal_data.download),
        Route("/preferences/{token}/erase", personal_data.erase, methods=BOTH),
        Route("/c/{name}/{token}", redirects.click),
        Route("/o/{token}", redirects.dot),
        Route("/sign-up/{topic}", recipients.sign_up, methods=BOTH),
        Route("/static/pages.css", _style),
        Route("/static/survey.js", _script),
    ]


def _for_programs() -> list[Route]:
    return [
        Route("/api/events", api.taking("events", api.events), methods=["POST"]),
        Route("/api/contacts", api.taking("contacts", api.contacts), methods=["POST"]),
        Route(
            "/api/coupons/{code}/redeem",
            api.taking("coupons", api.coupon),
            methods=["POST"],
        ),
        Route("/api/openapi.json", api.description),
        Route("/hooks/{provider}", hooks.take, methods=["POST"]),
        Route("/health", _health),
    ]


async def _style(request: Request) -> Response:
    state = state_of(request)
    return Response(state.style, media_type="text/css", headers=FOR_LONG)


async def _script(request: Request) -> Response:
    text = (HERE / "static" / "survey.js").read_text("utf-8")
    return Response(
        text,
        media_type="text/javascript",
        headers={"Cache-Control": "public, max-age=3600"},
    )


async def _health(request: Request) -> Response:
    """For load balancers: 503 with a sentence for whatever does not go well, among what
    is done again and again too."""
    state = state_of(request)
    return health_answer(state.troubles())


def health_answer(troubles: Sequence[str]) -> Response:
    """A line for each trouble; `ok` where there is none."""
    lines = troubles or ["ok"]
    return PlainTextResponse("\n".join([*lines, ""]), 503 if troubles else 200)


async def _refused(request: Request, error: Exception) -> Response:
    """What there is not, and what may not be asked so."""
    assert isinstance(error, HTTPException)
    state = state_of(request)
    if error.status_code == 404:
        return state.page("gone.html", state.language(request), 404)
    return PlainTextResponse(
        f"{error.detail}\n", error.status_code, headers=error.headers
    )


def log_failure(scope: Scope, error: Exception) -> None:
    """Tells the log which page failed, and of what kind the failure was: its words can
    be about people. What the machine lacks is about nobody."""
    where = getattr(scope.get("route"), "path", "a page")
    log.error(
        "%s failed: %s",
        where,
        shortage(error) or type(error).__name__,
        extra={"action": "page-failed"},
    )


def _failed(scope: Scope, error: Exception) -> ASGIApp:
    """Nothing of what failed is shown to a visitor; the log has which page it was,
    without names, addresses or tokens."""
    log_failure(scope, error)
    request = Request(scope)
    state = state_of(request)
    return state.page("failed.html", state.language(request), status_of(error))


def status_of(error: Exception) -> int:
    """Of the answer to whoever asked: it is worth another try where something was
    lacking for a moment."""
    return 503 if shortage(error) else 500
