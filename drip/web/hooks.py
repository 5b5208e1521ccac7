"""Where providers of mail post what became of messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from drip.engine.feedback import Feedback
from drip.errors import DripError
from drip.inbound.providers.protocol import Forged, Posted, ProviderEvent
from drip.web.app_state import AppState, state_of, whose

log = logging.getLogger("drip.web")


async def take(request: Request) -> Response:
    """Takes in what a provider posts: 204 once it is stored, 403 for a wrong signature,
    400 for what cannot be read.

    Anything else than 2xx has the provider try again, which changes nothing.
    """
    state = state_of(request)
    provider = state.providers.get(request.path_params["provider"])
    if provider is None:
        return PlainTextResponse("No such provider is set up.\n", 404)
    if state.wrong_tokens.spent(whose(request)):
        return PlainTextResponse(
            "Too many requests.\n", 429, headers={"Retry-After": "60"}
        )
    posted = Posted(dict(request.headers), await request.body())
    try:
        # A certificate may have to be fetched: whoever has that done in vain holds up
        # nobody but other providers.
        events = await run_sync(
            provider.events,
            posted,
            state.clock(),
            limiter=state.few,
        )
    except Forged:
        state.wrong_tokens.spend(whose(request))
        return _forged(request)
    except ValueError as wrong:
        return PlainTextResponse(f"It cannot be read: {wrong}.\n", 400)
    except DripError as error:
        return _not_asked(request, error)
    await run_sync(_store, state, events)
    return Response(status_code=204)


def _forged(request: Request) -> Response:
    log.warning(
        "What came as from %s is not signed by it.",
        request.path_params["provider"],
        extra={"action": "hook-forged"},
    )
    return PlainTextResponse("The signature is not good.\n", 403)


def _not_asked(request: Request, error: DripError) -> Response:
    log.error(
        "%s cannot be asked: %s",
        request.path_params["provider"],
        error.sentence,
        extra={"action": "hook-failed"},
    )
    return PlainTextResponse("Try again.\n", 503)


def _store(state: AppState, events: Sequence[ProviderEvent]) -> None:
    feedback = Feedback(state.database, state.clock())
    for event in events:
        feedback.take([event.finding], event.source)
