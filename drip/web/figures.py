"""The daemon's figures for Prometheus, and whether what it does again and again goes
well: an application of its own."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from drip.engine.repeating import Repeating
from drip.web.app import health_answer, log_failure, status_of
from drip.web.guard import RequestGuard


def make_figures(registry: CollectorRegistry, tasks: Sequence[Repeating]) -> Starlette:
    """Answers `/health`, and every other address with the figures."""
    # They are read for one at a time; meanwhile `/health` answers.
    one = anyio.CapacityLimiter(1)

    async def health(request: Request) -> Response:
        return health_answer([task.late for task in tasks if task.late])

    async def figures(request: Request) -> Response:
        encoded, kind = choose_encoder(request.headers.get("accept", ""))
        text = await run_sync(encoded, registry, limiter=one)
        return Response(text, headers={"Content-Type": kind})

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/{path:path}", figures),
        ],
        middleware=[Middleware(RequestGuard, failed=_failed)],
    )


def _failed(scope: Scope, error: Exception) -> ASGIApp:
    log_failure(scope, error)
    return PlainTextResponse(
        "The figures cannot be read; the log has what failed.\n", status_of(error)
    )
