"""What pages share that links of messages lead to: whose link it is, and what is shown
for one that is nobody's."""

from __future__ import annotations

from hashlib import sha256

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from drip.commands import recipient_actions
from drip.core.token import Link, topic_said
from drip.storage.people.contacts import Contact
from drip.web.app_state import AppState, address_of_reader, whose
from drip.web.words import catalogue


def token_of(request: Request) -> str:
    """What a link ends with."""
    token: str = request.path_params["token"]
    return token


def topic_of(state: AppState, request: Request) -> str | None:
    """The title of the topic that a link names, whether or not we signed it: the page
    looks the same."""
    topic = state.settings.topics.get(topic_said(token_of(request)) or "")
    return topic.title if topic else None


def proof_of(
    state: AppState,
    request: Request,
    language: str,
    topic: str | None,
) -> dict[str, str]:
    """What is kept of a yes: the address of the computer, and which words it was said
    to."""
    sentence = catalogue(language).ugettext("Yes, send me %(topic)s")
    said = sentence % {"topic": topic or state.settings.business_name}
    return {
        "address": address_of_reader(request),
        "language": language,
        "wording": sha256(said.encode()).hexdigest(),
    }


def no_such_link(state: AppState, request: Request) -> Response:
    """The same for a link that is no more and for one that never was."""
    if not state.wrong_links.spend(whose(request)):
        return too_often()
    return state.page("gone.html", state.language(request), 404)


def too_often() -> Response:
    """What a visitor gets who comes again and again."""
    return PlainTextResponse(
        "Too many requests. Try again in a minute.\n",
        429,
        headers={"Retry-After": "60"},
    )


async def whose_preferences(
    state: AppState, request: Request
) -> tuple[Link | None, Contact | None]:
    """The link of a preferences page, and whose it is."""
    link = state.link(token_of(request), "preferences")
    if link is None:
        return None, None
    return link, await state.read(recipient_actions.contact_of, link)
