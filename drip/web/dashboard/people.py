"""Contacts: who there is, and what one of them got, will get, and does not get, because."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from drip.errors import DripError
from drip.preview.explaining import AHEAD
from drip.storage.campaigns import tasks
from drip.storage.people import consents
from drip.storage.people import contacts as contact_store
from drip.web.dashboard.state import board_of

MOST = 50


async def contacts(request: Request) -> Response:
    """A search by key, address or phone number."""
    board = board_of(request)
    asked = request.query_params.get("q", "").strip()[:320]

    def look(connection: Connection) -> dict[str, Any]:
        return {
            "count": contact_store.count(connection),
            "found": contact_store.search(connection, asked, MOST + 1),
        }

    values = await board.site.read(look)
    found = [
        {
            "key": each.key,
            "email": each.email,
            "phone": each.phone,
            "attributes": each.attributes,
        }
        for each in values["found"]
    ]
    return await board.show(
        request,
        "contacts.html",
        {
            "q": asked,
            "count": values["count"],
            "contacts": found[:MOST],
            "more": len(found) > MOST,
        },
    )


async def contact(request: Request) -> Response:
    """One contact's timeline: past, coming, and for every other campaign what stands in the way."""
    board, key = board_of(request), request.path_params["key"]
    site = board.site
    try:
        person = await site.read(
            lambda connection: contact_store.contact_of_key(connection, key)
        )
    except DripError as error:
        return await board.show(
            request, "wrong.html", {"error": error.sentence, "help": error.help}, 404
        )
    files = await run_sync(site.workspace.fingerprint, limiter=board.few)
    try:
        found = await board.timelines.ask(
            "timeline", (files, key), contact=key, now=site.clock().isoformat()
        )
    except DripError as error:
        return await board.show(
            request, "wrong.html", {"error": error.sentence, "help": error.help}, 503
        )

    def look(connection: Connection) -> dict[str, Any]:
        return {
            "consents": consents.log_of(connection, person.id),
            "tasks": tasks.of_contact(connection, person.id),
        }

    titles = {each.key: each.title for each in site.campaign_set.campaigns.values()}
    values = {
        "contact": {
            "key": person.key,
            "email": person.email,
            "phone": person.phone,
            "locale": person.locale,
            "country": person.country,
            "zone": person.zone,
            "attributes": person.attributes,
        },
        **found,
        "days": AHEAD.days,
        "titles": titles,
    }
    return await board.show(request, "contact.html", values | await site.read(look))
