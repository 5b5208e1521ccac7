"""A message as it would be written now, for any step and any contact, from the files as they are at this moment."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from drip.core.message import Message, with_pictures
from drip.core.segments import segments
from drip.core.settings import CHANNELS
from drip.core.steps import Send
from drip.engine.again import written_for
from drip.engine.composing import nobody
from drip.errors import DripError, Problem
from drip.storage import people
from drip.web.dashboard.board import Board, board_of, wants_json
from drip.web.recipients import VIEW
from drip.workspace import Workspace

# In a frame of ours: no script, no links, nothing that leads out of it.
FRAME = VIEW | {
    "Content-Security-Policy": VIEW["Content-Security-Policy"].partition("; sandbox")[0].replace(
        "frame-ancestors 'none'", "frame-ancestors 'self'"
    ) + "; sandbox",
    "X-Frame-Options": "SAMEORIGIN",
}  # fmt: skip
# Messages that were written last, so that both frames show the same.
KEPT = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page shows. `locale` None is the contact's own."""

    campaign: str
    step: str
    contact: str
    channel: str
    locale: str | None

    @property
    def query(self) -> str:
        """As an address has it."""
        named = {"campaign": self.campaign, "step": self.step, "contact": self.contact, "channel": self.channel,
                 "locale": self.locale or ""}  # fmt: skip
        return urlencode(named)


@dataclass(frozen=True, slots=True)
class Written:
    """A message, or why there is none: the problems of its campaign's file, or of its template. `version` is that of the files."""

    version: str
    message: Message | None
    problems: tuple[dict[str, Any], ...] = ()


class Live:
    """Reads the files whenever they have changed, and keeps the messages of this reading."""

    def __init__(self, board: Board) -> None:
        self._site = board.site
        self._workspace: Workspace | None = None
        self._fingerprint: object = None
        self._written: OrderedDict[Asked, Written] = OrderedDict()
        # Requests are answered in threads.
        self._lock = threading.RLock()
        self.version = ""

    def look(self) -> Workspace:
        """The workspace as it is now. Raises DripError if there is none any more."""
        seen = self._site.workspace.fingerprint()
        with self._lock:
            if self._workspace is None or seen != self._fingerprint:
                self._workspace = Workspace(self._site.workspace.root, self._site.workspace.environment)
                self._written.clear()
                self._fingerprint, self.version = seen, sha256(repr(seen).encode()).hexdigest()[:16]
            return self._workspace

    def forget(self) -> None:
        """What is known of people may have changed: messages are written anew."""
        with self._lock:
            self._written.clear()

    def written(self, asked: Asked) -> Written:
        """The message that is asked for."""
        with self._lock:
            workspace = self.look()
            if asked not in self._written:
                self._written[asked] = self._write(workspace, asked)
                if len(self._written) > KEPT:
                    self._written.popitem(last=False)
            return self._written[asked]

    def _write(self, workspace: Workspace, asked: Asked) -> Written:
        loaded = workspace.loaded
        broken = [each for each in loaded.problems if each.level == "error"]
        campaign = loaded.campaigns.get(asked.campaign)
        if campaign is None or loaded.settings is None:
            own = [each for each in broken if each.place.file.endswith((f"/{asked.campaign}.yaml", "_settings.yaml"))]
            return Written(self.version, None, tuple(_told(each) for each in own or broken))
        step = next((each for each in campaign.steps if isinstance(each, Send) and each.id == asked.step), None)
        if step is None:
            sentence = f"There is no step `{asked.step}` any more."
            return Written(self.version, None, ({"place": str(campaign.place), "sentence": sentence, "help": None},))
        try:
            with self._site.database.read() as connection:
                contact = people.contact_of_key(connection, asked.contact)
                contact = replace(contact, locale=asked.locale) if asked.locale else contact
                about = (campaign, step, contact, asked.channel, self._site.clock(), nobody())
                return Written(self.version, written_for(connection, loaded.settings, workspace.templates, *about))
        except DripError as error:
            place = str(error.place) if error.place else None
            return Written(self.version, None, ({"place": place, "sentence": error.sentence, "help": error.help},))


def _told(problem: Problem) -> dict[str, Any]:
    return {"place": str(problem.place), "sentence": problem.sentence, "help": problem.help}


async def live(request: Request) -> Response:
    """Which message to look at, and the message."""
    board = board_of(request)
    keeper: Live = request.app.state.live
    keeper.forget()
    workspace = await run_sync(keeper.look, limiter=board.few)
    steps = [
        {"campaign": key, "step": step.id, "channels": step.channels}
        for key, campaign in sorted(workspace.loaded.campaigns.items())
        for step in campaign.steps
        if isinstance(step, Send)
    ]
    asked = await _asked(request, board, steps)
    names = await board.site.read(lambda connection: people.search(connection, "", 20))
    values = {
        "steps": steps, "asked": asked, "contacts": [each.key for each in names],
        "locales": _locales(workspace), **(await _shown(board, keeper, asked) if asked else {"message": None}),
    }  # fmt: skip
    return await board.show(request, "live.html", values)


async def live_message(request: Request) -> Response:
    """The message alone, for a page that asks again and again; nothing (204) while the files are as that page has them."""
    board = board_of(request)
    keeper: Live = request.app.state.live
    await run_sync(keeper.look, limiter=board.few)
    if request.query_params.get("seen") == keeper.version and not wants_json(request):
        return Response(status_code=204)
    asked = await _asked(request, board, [])
    if asked is None:
        return Response(status_code=204)
    return await board.show(request, "_message.html", {"asked": asked, **await _shown(board, keeper, asked)})


async def live_page(request: Request) -> Response:
    """The HTML of the message, for a frame."""
    board = board_of(request)
    asked = await _asked(request, board, [])
    keeper: Live = request.app.state.live
    found = await run_sync(partial(keeper.written, asked), limiter=board.few) if asked else None
    html = with_pictures(found.message) if found and found.message else None
    return HTMLResponse(html or "", headers=FRAME, status_code=200 if html else 404)


async def _asked(request: Request, board: Board, steps: list[dict[str, Any]]) -> Asked | None:
    """What the address names; else the first step there is, for the first contact."""
    query = {name: value[:300] for name, value in request.query_params.items()}
    both = query.get("what", "").partition("\t")
    campaign, step = (both[0], both[2]) if both[1] else (query.get("campaign", ""), query.get("step", ""))
    if not campaign and steps:
        campaign, step = steps[0]["campaign"], steps[0]["step"]
    contact = query.get("contact") or next(
        (each.key for each in await board.site.read(lambda connection: people.search(connection, "", 1))), ""
    )
    if not (campaign and contact):
        return None
    channels = next((each["channels"] for each in steps if (each["campaign"], each["step"]) == (campaign, step)), None)
    channel = query.get("channel", "")
    if channel not in CHANNELS:
        channel = ""
    if channels and channel not in channels:
        channel = channels[0]
    return Asked(campaign, step, contact, channel or "email", query.get("locale") or None)


async def _shown(board: Board, keeper: Live, asked: Asked) -> dict[str, Any]:
    """The message as pages have it."""
    found = await run_sync(partial(keeper.written, asked), limiter=board.few)
    message = found.message
    told: dict[str, Any] = {
        "version": found.version,
        "query": asked.query,
        "problems": found.problems,
        "message": None,
    }
    if message:
        told["message"] = {
            "channel": message.channel, "subject": message.subject, "from": f"{message.sender.name} <{message.sender.address}>",
            "to": message.to.address, "text": message.text, "html": message.html is not None,
            "html_bytes": len((message.html or "").encode()), "attachments": [each.name for each in message.attachments if not each.content_id],
            "segments": segments(message.text) if message.channel == "sms" else None,
        }  # fmt: skip
    return told


def _locales(workspace: Workspace) -> list[str]:
    """Those in which there are texts, and the workspace's own."""
    own = [workspace.loaded.settings.locale] if workspace.loaded.settings else []
    return sorted({locale for each in workspace.templates.variants().values() for locale in each if locale} | set(own))
