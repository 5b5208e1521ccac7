"""A message as it would be written now, for any step and any contact, from the files as they are at this moment.

It is written by a worker (`drip.worker`), since a template may hang or want all the memory there is.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from drip.core.settings import CHANNELS
from drip.errors import DripError
from drip.storage.people import contacts
from drip.web.dashboard.state import DashboardState, board_of, wants_json
from drip.web.recipients import VIEW
from drip.worker.answers import Asked, version_of
from drip.worker.worker import Busy

# In a frame of ours: no script, no links, nothing that leads out of it.
FRAME = VIEW | {
    "Content-Security-Policy": VIEW["Content-Security-Policy"]
    .partition("; sandbox")[0]
    .replace("frame-ancestors 'none'", "frame-ancestors 'self'")
    + "; sandbox",
    "X-Frame-Options": "SAMEORIGIN",
}


async def live(request: Request) -> Response:
    """Which message to look at, and the message."""
    board = board_of(request)
    try:
        found = await board.messages.ask("steps", await _version(board))
    except DripError as error:
        return await board.show(
            request, "wrong.html", {"error": error.sentence, "help": error.help}, 503
        )
    asked = await _asked(request, board, found["steps"])
    names = await board.site.read(
        lambda connection: contacts.search(connection, "", 20)
    )
    values = {
        **found,
        "asked": asked,
        "contacts": [each.key for each in names],
        **(await _shown(board, asked, anew=True) if asked else {"message": None}),
    }
    return await board.show(request, "live.html", values)


async def live_message(request: Request) -> Response:
    """The message alone, for a page that asks again and again; nothing (204) while the files are as that page has them."""
    board = board_of(request)
    if request.query_params.get("seen") == await _version(board) and not wants_json(
        request
    ):
        return Response(status_code=204)
    asked = await _asked(request, board, [])
    if asked is None:
        return Response(status_code=204)
    return await board.show(
        request, "_message.html", {"asked": asked, **await _shown(board, asked)}
    )


async def live_page(request: Request) -> Response:
    """The HTML of the message, for a frame."""
    board = board_of(request)
    asked = await _asked(request, board, [])
    html = b""
    if asked:
        about = _template_of(await _version(board), asked)
        # What is wrong is said by the page around it.
        with contextlib.suppress(DripError):
            html = await board.messages.ask(
                "page", about, asked=asdict(asked), now=board.site.clock().isoformat()
            )
    return HTMLResponse(html, headers=FRAME, status_code=200 if html else 404)


async def _version(board: DashboardState) -> str:
    """Of the files, as they are now."""
    return version_of(
        await run_sync(board.site.workspace.fingerprint, limiter=board.few)
    )


async def _asked(
    request: Request, board: DashboardState, steps: list[dict[str, Any]]
) -> Asked | None:
    """What the address names; else the first step there is, for the first contact."""
    query = {name: value[:300] for name, value in request.query_params.items()}
    both = query.get("what", "").partition("\t")
    campaign, step = (
        (both[0], both[2])
        if both[1]
        else (query.get("campaign", ""), query.get("step", ""))
    )
    if not campaign and steps:
        campaign, step = steps[0]["campaign"], steps[0]["step"]
    contact = query.get("contact") or next(
        (
            each.key
            for each in await board.site.read(
                lambda connection: contacts.search(connection, "", 1)
            )
        ),
        "",
    )
    if not (campaign and contact):
        return None
    channels = next(
        (
            each["channels"]
            for each in steps
            if (each["campaign"], each["step"]) == (campaign, step)
        ),
        None,
    )
    channel = query.get("channel", "")
    if channel not in CHANNELS:
        channel = ""
    if channels and channel not in channels:
        channel = channels[0]
    return Asked(
        campaign, step, contact, channel or "email", query.get("locale") or None
    )


async def _shown(
    board: DashboardState, asked: Asked, *, anew: bool = False
) -> dict[str, Any]:
    """The message as pages have it; `anew`, since what is known of people may have changed."""
    version, now = await _version(board), board.site.clock().isoformat()
    try:
        found = await board.messages.ask(
            "message",
            _template_of(version, asked),
            asked=asdict(asked),
            now=now,
            anew=anew,
        )
    except DripError as error:
        place = str(error.place) if error.place else None
        wrong = {"place": place, "sentence": error.sentence, "help": error.help}
        # Whoever had to wait asks again; what was ended is looked at again once the files have changed.
        found = {
            "version": "" if isinstance(error, Busy) else version,
            "message": None,
            "problems": [wrong],
        }
    return {**found, "query": _query(asked)}


def _template_of(version: str, asked: Asked) -> tuple[str, ...]:
    """What rests if it had to be ended: it, in this version of the files, for whichever contact."""
    return (version, asked.campaign, asked.step, asked.channel, asked.locale or "")


def _query(asked: Asked) -> str:
    """As an address has it."""
    return urlencode(asdict(asked) | {"locale": asked.locale or ""})
