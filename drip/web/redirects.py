"""Links that lead on, and the picture of one dot: what is known of a message once it is
read."""

from __future__ import annotations

import base64

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from drip.commands import recipient_actions
from drip.core.token import Link
from drip.engine.composing import TRAP
from drip.storage.sending import links
from drip.web.app_state import AppState, state_of

# GIF, one transparent dot.
DOT = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


async def click(request: Request) -> Response:
    """Leads on to where the link led when it was written: only there, and only for
    links that were in a message."""
    state = state_of(request)
    name = request.path_params["name"]
    link = state.link(request.path_params["token"], "click")
    if name == TRAP:
        await _seen(state, link, name)
        return Response(status_code=204)
    address = await state.read(links.address_of, name)
    if address is None:
        return state.page("gone.html", state.language(request), 404)
    if request.method == "GET":
        await _seen(state, link, name)
    return RedirectResponse(address, 302)


async def dot(request: Request) -> Response:
    """Always the same picture, whoever asks."""
    state = state_of(request)
    if request.method == "GET":
        link = state.link(request.path_params["token"], "open")
        await _seen(state, link, "")
    # Of another site's page it is a part.
    return Response(
        DOT,
        media_type="image/gif",
        headers={"Cross-Origin-Resource-Policy": "cross-origin"},
    )


async def _seen(
    state: AppState,
    link: Link | None,
    name: str,
) -> None:
    """Nothing happens by a link that is not ours."""
    # Whoever makes links up can fill no table with what they say.
    if link is None:
        return

    def work(connection: Connection) -> None:
        recipient_actions.seen(
            connection, state.campaign_set, link, name, state.clock()
        )

    await state.writer.do(work)
