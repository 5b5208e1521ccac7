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
from drip.web.app import status_of, told_where
from drip.web.guard import RequestGuard


def make_figures(registry: CollectorRegistry, tasks: Sequence[Repeating]) -> Starlette:
    """Answers `/health`, and every other address with the figures."""
    # They are read for one at a time; meanwhile `/health` answers.
    one = anyio.CapacityLimiter(1)

    async def health(request: Request) -> Response:
        late = [each for task in tasks if (each := task.late)]
        return PlainTextResponse(
            "\n".join([*(late or ["ok"]), ""]), 503 if late else 200
        )

    async def figures(request: Request) -> Response:
        encoded, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(
            await run_sync(encoded, registry, limiter=one),
            headers={"Content-Type": kind},
        )

    routes = [Route("/health", health), Route("/{path:path}", figures)]
    return Starlette(
        routes=routes, middleware=[Middleware(RequestGuard, failed=_failed)]
    )


def _failed(scope: Scope, error: Exception) -> ASGIApp:
    told_where(scope, error)
    return PlainTextResponse(
        "The figures cannot be read; the log has what failed.\n", status_of(error)
    )
