"""A message as it would be written now, for any step and any contact, from the files as
they are at this moment.

It is written by a worker (`drip.worker`), since a template may hang or want all the
memory there is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from drip.core.channels import CHANNELS
from drip.errors import DripError
from drip.storage.people import contacts
from drip.web.dashboard.state import DashboardState, dashboard_of, wants_json
from drip.web.recipients import VIEW
from drip.worker.answers import Asked, version_of
from drip.worker.values import problem_row
from drip.worker.worker import Busy

# In a frame of ours: no script, no links, nothing that leads out of it.
FRAME = VIEW | {
    "Content-Security-Policy": VIEW["Content-Security-Policy"]
    .partition("; sandbox")[0]
    .replace("frame-ancestors 'none'", "frame-ancestors 'self'")
    + "; sandbox",
    "X-Frame-Options": "SAMEORIGIN",
}
NO_MESSAGE: Mapping[str, Any] = {"message": None}
# As a worker has them: `campaign`, `step` and `channels`.
Steps = Sequence[Mapping[str, Any]]


async def live(request: Request) -> Response:
    """Which message to look at, and the message.

    `steps` and `locales` are what there is to choose from, `contacts` some people;
    `asked` is what was chosen, `message` null where `problems` says why.
    """
    dashboard = dashboard_of(request)
    try:
        found = await dashboard.messages.ask("steps", await _version(dashboard))
    except DripError as error:
        return await dashboard.show_error(request, error, 503)
    asked = await _asked(request, dashboard, found["steps"])
    some = await dashboard.state.read(contacts.search, "", 20)
    message = await _shown(dashboard, asked, anew=True) if asked else NO_MESSAGE
    values = {
        **found,
        "asked": asked,
        "contacts": [contact.key for contact in some],
        **message,
    }
    return await dashboard.show(request, "live.html", values)


async def live_message(request: Request) -> Response:
    """The message alone, for a page that asks again and again; nothing (204) while the
    files are as that page has them."""
    dashboard = dashboard_of(request)
    seen = request.query_params.get("seen")
    if seen == await _version(dashboard) and not wants_json(request):
        return Response(status_code=204)
    asked = await _asked(request, dashboard, [])
    if asked is None:
        return Response(status_code=204)
    values = {"asked": asked, **await _shown(dashboard, asked)}
    return await dashboard.show(request, "_message.html", values)


async def live_page(request: Request) -> Response:
    """The HTML of the message, for a frame; 404 and nothing, where there is none."""
    dashboard = dashboard_of(request)
    asked = await _asked(request, dashboard, [])
    html = await _html(dashboard, asked)
    return HTMLResponse(html, 200 if html else 404, FRAME)


async def _html(dashboard: DashboardState, asked: Asked | None) -> bytes:
    """Empty if there is none."""
    if asked is None:
        return b""
    about = _template_of(await _version(dashboard), asked)
    now = dashboard.state.clock().isoformat()
    # What is wrong is said by the page around it.
    with contextlib.suppress(DripError):
        html: bytes = await dashboard.messages.ask(
            "page",
            about,
            asked=asdict(asked),
            now=now,
        )
        return html
    return b""


async def _version(dashboard: DashboardState) -> str:
    """Of the files, as they are now."""
    fingerprint = dashboard.state.workspace.fingerprint
    return version_of(await run_sync(fingerprint, limiter=dashboard.few))


# --- what is asked for


async def _asked(
    request: Request,
    dashboard: DashboardState,
    steps: Steps,
) -> Asked | None:
    """What the address names; else the first step there is, for the first contact.
    None where there is neither a step nor a contact."""
    query = {name: value[:300] for name, value in request.query_params.items()}
    campaign, step = _step(query, steps)
    contact = query.get("contact") or await _first_contact(dashboard)
    if not (campaign and contact):
        return None
    channel = _channel(query.get("channel", ""), _channels(steps, (campaign, step)))
    return Asked(campaign, step, contact, channel, query.get("locale") or None)


def _step(query: Mapping[str, str], steps: Steps) -> tuple[str, str]:
    """Campaign and step. A list in a form has both in one value."""
    campaign, both, step = query.get("what", "").partition("\t")
    if not both:
        campaign = query.get("campaign", "")
        step = query.get("step", "")
    if not campaign and steps:
        return steps[0]["campaign"], steps[0]["step"]
    return campaign, step


async def _first_contact(dashboard: DashboardState) -> str:
    """Empty if there is none."""
    found = await dashboard.state.read(contacts.search, "", 1)
    return found[0].key if found else ""


def _channels(steps: Steps, chosen: tuple[str, str]) -> Sequence[str]:
    """By which a step sends; none if the step is not known here."""
    for known in steps:
        if (known["campaign"], known["step"]) == chosen:
            return list(known["channels"])
    return []


def _channel(asked: str, channels: Sequence[str]) -> str:
    """The one that is asked for, if the step sends by it; else the step's first."""
    if channels and asked not in channels:
        return channels[0]
    return asked if asked in CHANNELS else "email"


# --- the message


async def _shown(
    dashboard: DashboardState,
    asked: Asked,
    *,
    anew: bool = False,
) -> dict[str, Any]:
    """The message as pages have it; `anew`, since what is known of people may have
    changed."""
    version = await _version(dashboard)
    try:
        found = await dashboard.messages.ask(
            "message",
            _template_of(version, asked),
            asked=asdict(asked),
            now=dashboard.state.clock().isoformat(),
            anew=anew,
        )
    except DripError as error:
        # Whoever had to wait asks again; what was ended is looked at again once the
        # files have changed.
        found = {
            **NO_MESSAGE,
            "version": "" if isinstance(error, Busy) else version,
            "problems": [problem_row(error)],
        }
    return {**found, "query": _query(asked)}


def _template_of(version: str, asked: Asked) -> tuple[str, ...]:
    """What rests if it had to be ended: it, in this version of the files, for whichever
    contact."""
    return (version, asked.campaign, asked.step, asked.channel, asked.locale or "")


def _query(asked: Asked) -> str:
    """As an address has it."""
    return urlencode(asdict(asked) | {"locale": asked.locale or ""})
