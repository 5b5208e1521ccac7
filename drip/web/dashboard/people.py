"""Contacts: who there is, and what one of them got, will get, and does not get,
because."""

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
from drip.storage.people.contacts import Contact
from drip.web.dashboard.state import DashboardState, dashboard_of

MOST = 50


async def contacts(request: Request) -> Response:
    """A search by key, address or phone number.

    `contacts`: the first 50 that were found; `more` says whether there are others,
    `count` how many people there are in all.
    """
    dashboard = dashboard_of(request)
    # As long as an address may be (RFC 3696, section 3).
    asked = request.query_params.get("q", "").strip()[:320]

    values = await dashboard.state.read(_found, asked)
    return await dashboard.show(request, "contacts.html", values)


def _found(connection: Connection, asked: str) -> dict[str, Any]:
    # One more than are shown: so it is known that there are more.
    found = contact_store.search(connection, asked, MOST + 1)
    return {
        "q": asked,
        "count": contact_store.count(connection),
        "contacts": [_row(contact) for contact in found[:MOST]],
        "more": len(found) > MOST,
    }


def _row(contact: Contact) -> dict[str, Any]:
    return {
        "key": contact.key,
        "email": contact.email,
        "phone": contact.phone,
        "attributes": contact.attributes,
    }


async def contact(request: Request) -> Response:
    """One contact's timeline: past, coming, and for every other campaign what stands in
    the way.

    404 for a key that nobody has, 503 where the simulation takes too long. `days` says
    how far `coming` reaches; `consents` and `tasks` are the contact's own.
    """
    dashboard = dashboard_of(request)
    key = request.path_params["key"]
    state = dashboard.state
    try:
        person = await state.read(contact_store.contact_of_key, key)
    except DripError as error:
        return await dashboard.show_error(request, error, 404)
    try:
        timeline = await _timeline(dashboard, key)
    except DripError as error:
        return await dashboard.show_error(request, error, 503)
    campaigns = state.campaign_set.campaigns.values()
    values = {
        "contact": _row_of_one(person),
        **timeline,
        "days": AHEAD.days,
        "titles": {campaign.key: campaign.title for campaign in campaigns},
        **await state.read(_known_of, person),
    }
    return await dashboard.show(request, "contact.html", values)


async def _timeline(dashboard: DashboardState, key: str) -> dict[str, Any]:
    """Raises DripError."""
    state = dashboard.state
    files = await run_sync(state.workspace.fingerprint, limiter=dashboard.few)
    timeline: dict[str, Any] = await dashboard.timelines.ask(
        "timeline",
        (files, key),
        contact=key,
        now=state.clock().isoformat(),
    )
    return timeline


def _known_of(connection: Connection, contact: Contact) -> dict[str, Any]:
    return {
        "consents": consents.log_of(connection, contact.id),
        "tasks": tasks.of_contact(connection, contact.id),
    }


def _row_of_one(contact: Contact) -> dict[str, Any]:
    return {
        "key": contact.key,
        "email": contact.email,
        "phone": contact.phone,
        "locale": contact.locale,
        "country": contact.country,
        "zone": contact.zone,
        "attributes": contact.attributes,
    }
