"""Links that lead on, and the picture of one dot: what is known of a message once it is read."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from drip.commands import recipient_actions
from drip.core.token import Link
from drip.engine.composing import TRAP
from drip.storage.sending import links
from drip.web.app_state import AppState

# GIF, one transparent dot.
DOT = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


async def click(request: Request) -> Response:
    """Leads on to where the link led when it was written: only there, and only for links that were in a message."""
    site: AppState = request.app.state.site
    name = request.path_params["name"]
    if name == TRAP:
        caught = site.link(request.path_params["token"], "click")
        if caught is not None:
            await _seen(site, caught, name)
        return Response(status_code=204)
    address = await site.read(lambda connection: links.address_of(connection, name))
    if address is None:
        return site.page("gone.html", site.language(request), 404)
    link = site.link(request.path_params["token"], "click")
    if link is not None and request.method == "GET":
        await _seen(site, link, name)
    return RedirectResponse(address, 302)


async def dot(request: Request) -> Response:
    """Always the same picture, whoever asks."""
    site: AppState = request.app.state.site
    link = site.link(request.path_params["token"], "open")
    if link is not None and request.method == "GET":
        await _seen(site, link, "")
    # Of another site's page it is a part.
    return Response(
        DOT,
        media_type="image/gif",
        headers={"Cross-Origin-Resource-Policy": "cross-origin"},
    )


async def _seen(site: AppState, link: Link, name: str) -> None:
    await site.writer.do(
        lambda connection: recipient_actions.seen(
            connection, site.campaign_set, link, name, site.clock()
        )
    )
