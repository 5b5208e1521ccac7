"""One's own data, and its end: it is sent to the contact's own address, and erased by
whoever types that."""

from __future__ import annotations

import hmac

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from drip.commands import own_data, recipient_actions
from drip.core.token import is_over
from drip.storage.people import data_mails
from drip.storage.people.contacts import Contact
from drip.storage.reading import exporting
from drip.web.app_state import AppState, form_of, state_of, whose
from drip.web.linked import no_such_link, token_of, too_often, whose_preferences
from drip.web.words import language_for

# The status of each answer to whoever asks for their data.
ASKED = {
    "asked": 200,
    "lately": 429,
    "no-address": 409,
    "dead": 409,
    "no-mail": 503,
}


async def ask_for_data(request: Request) -> Response:
    """GET asks; POST has a link to one's data (GDPR articles 15 and 20) sent to the
    contact's own address.

    It is not shown here: a message may have been passed on, and its links with it.
    """
    state = state_of(request)
    _, contact = await whose_preferences(state, request)
    if contact is None:
        return no_such_link(state, request)
    language = state.language(request, contact.locale)
    if request.method != "POST":
        return state.page("own-data.html", language, asked=None)
    await form_of(request)
    asked = await _asked_for_data(state, contact)
    return state.page(
        "own-data.html",
        language,
        ASKED[asked],
        asked=asked,
    )


async def _asked_for_data(state: AppState, contact: Contact) -> str:
    """Which of `ASKED` it is."""
    settings = state.settings
    language = language_for(contact.locale, else_=settings.locale)
    written = state.text("own-data.txt", language, link=data_mails.LINK)
    subject, _, said = written.partition("\n")
    text = said.strip() + "\n"

    def work(connection: Connection) -> str:
        now = state.clock()
        return own_data.ask(connection, settings, contact, subject, text, now)

    return await state.writer.do(work)


async def download(request: Request) -> Response:
    """All that is known of the person, as JSON, by a link that was sent to the address
    and is good for a short time."""
    state = state_of(request)
    link = state.data_link(token_of(request))
    contact = await state.read(recipient_actions.contact_of, link) if link else None
    if link is None or contact is None:
        return no_such_link(state, request)
    if is_over(link, state.clock()):
        language = state.language(request, contact.locale)
        return state.page(
            "own-data.html",
            language,
            410,
            asked="over",
        )
    data = await state.read(exporting.of_contact, contact.id)
    return JSONResponse(
        data, headers={"Content-Disposition": 'attachment; filename="my-data.json"'}
    )


async def erase(request: Request) -> Response:
    """Erases the person, who types the address to show that it is meant (a message may
    have been passed on)."""
    state = state_of(request)
    _, contact = await whose_preferences(state, request)
    if contact is None:
        return no_such_link(state, request)
    language = state.language(request, contact.locale)
    if request.method != "POST":
        return state.page(
            "erase.html",
            language,
            done=False,
            wrong=False,
        )
    form = dict(await form_of(request))
    if not _is_own_address(contact, form.get("address", "")):
        if not state.wrong_links.spend(whose(request)):
            return too_often()
        return state.page(
            "erase.html",
            language,
            422,
            done=False,
            wrong=True,
        )
    # In a thread: to write a large database anew takes seconds, and other pages are
    # asked for meanwhile.
    await run_sync(state.forget, contact)
    return state.page(
        "erase.html",
        language,
        done=True,
        wrong=False,
    )


def _is_own_address(contact: Contact, typed: str) -> bool:
    own = (contact.email or contact.phone or "").casefold()
    said = typed.strip().casefold()
    # As long for any address: nobody learns a letter of it by the time that it takes.
    return bool(own) and hmac.compare_digest(said.encode(), own.encode())
