"""Pages that links of messages lead to. No login: a link is signed, and good for what it was made for.

Looking at a page changes nothing, since programs that look for viruses look at every link; a button does.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from drip.core.token import Link, is_over, topic_said
from drip.errors import DripError
from drip.importing import own_data, recipient_actions
from drip.importing.values import parse_email
from drip.storage.people import data_mails
from drip.storage.people.contacts import Contact
from drip.storage.reading import exporting
from drip.web.app_state import AppState, address_of_reader, form_of, whose
from drip.web.words import catalogue, language_for, languages
from drip.worker.worker import Busy, Ended, Worker

# A message as a page: its own styles and pictures, no script, in a sandbox.
VIEW = {
    "Content-Security-Policy": "default-src 'none'; img-src https: data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-popups-to-escape-sandbox"
}

# The status of each answer to whoever asks for their data.
ASKED = {"asked": 200, "lately": 429, "no-address": 409, "dead": 409, "no-mail": 503}


async def unsubscribe(request: Request) -> Response:
    """GET asks; POST does it, for a person's button and for a mail program's (RFC 8058). The answer tells nothing about the link."""
    site: AppState = request.app.state.site
    token = request.path_params["token"]
    language, topic = site.language(request), _topic_of(site, token)
    if request.method != "POST":
        return site.page("unsubscribe.html", language, topic=topic, done=False)
    form = dict(await form_of(request))
    link = site.link(token, "unsubscribe", "preferences")
    if link is None and not site.wrong_links.spend(whose(request)):
        return _too_often()
    everything = "everything" in form
    if link is not None:
        known = link
        await site.writer.do(
            lambda connection: recipient_actions.unsubscribe(
                connection,
                site.settings,
                known,
                site.clock(),
                "unsubscribe page",
                everything=everything,
            )
        )
    return site.page(
        "unsubscribe.html", language, topic=None if everything else topic, done=True
    )


async def confirm(request: Request) -> Response:
    """Double opt-in: GET asks, POST confirms, with a proof. The answer tells nothing about a link that is not ours; to whom one
    of ours comes too late, and is erased, it does not say that they are in."""
    site: AppState = request.app.state.site
    token = request.path_params["token"]
    language, topic = site.language(request), _topic_of(site, token)
    if request.method != "POST":
        return site.page("confirm.html", language, topic=topic, done=False)
    await form_of(request)
    link = site.link(token, "confirm")
    if link is None and not site.wrong_links.spend(whose(request)):
        return _too_often()
    if link is not None:
        known, proof = link, _proof(site, request, language, topic)
        if not await site.writer.do(
            lambda connection: recipient_actions.confirm(
                connection, site.settings, known, site.clock(), proof
            )
        ):
            return site.page("gone.html", language, 410)
    return site.page("confirm.html", language, topic=topic, done=True)


async def survey(request: Request) -> Response:
    """One click answers: GET shows the score that was clicked, and what a person does there sends it, with a comment or none."""
    site: AppState = request.app.state.site
    link = site.link(request.path_params["token"], "survey")
    asked = recipient_actions.asked_by(site.settings, link) if link else None
    if link is None or asked is None:
        return _no_such_link(site, request)
    contact = await site.read(
        lambda connection: recipient_actions.contact_of(connection, link)
    )
    language = site.language(request, contact.locale if contact else None)
    name, score = asked
    known, scores = site.settings.surveys.get(name), site.settings.scores(name)
    values: dict[str, Any] = {
        "question": known.question if known else None,
        "scores": scores,
    }
    if request.method != "POST":
        return site.page("survey.html", language, score=score, done=False, **values)
    form = dict(await form_of(request))
    chosen = form.get("score", "")
    if chosen.isdecimal() and len(chosen) < 4 and int(chosen) in scores:
        score = int(chosen)
    answered, comment = (
        Link("survey", link.contact, link.topic, link.run, f"{name}:{score}"),
        form.get("comment", ""),
    )
    finished = "unfinished" not in form
    counts = await site.writer.do(
        lambda connection: recipient_actions.answer(
            connection,
            site.settings,
            answered,
            site.clock(),
            comment,
            finished=finished,
        )
    )
    return site.page(
        "survey.html", language, score=counts or score, done=True, **values
    )


async def view(request: Request) -> Response:
    """The message as a page, as it would be written now: by a worker, since a template may hang."""
    site: AppState = request.app.state.site
    views: Worker = request.app.state.views
    link = site.link(request.path_params["token"], "view")
    if link is None or link.detail is None:
        return _no_such_link(site, request)
    try:
        html = await views.ask(
            "view",
            link.detail,
            run=link.run,
            step=link.detail,
            now=site.clock().isoformat(),
        )
    except (Busy, Ended):
        answer = site.page("failed.html", site.language(request), 503)
        answer.headers["Retry-After"] = "60"
        return answer
    except DripError:
        # It could be written once; the data or the template has changed since.
        html = b""
    return HTMLResponse(html, headers=VIEW) if html else _no_such_link(site, request)


# --- preferences


async def preferences(request: Request) -> Response:
    """Topics, channels, language, a pause; why one gets this. POST saves, and shows what holds now."""
    site: AppState = request.app.state.site
    link, contact = await _whose(site, request)
    if link is None or contact is None:
        return _no_such_link(site, request)
    notice = None
    if request.method == "POST":
        if not site.choices.spend(str(contact.id)):
            return _too_often()
        form = await form_of(request, 200)
        ticked = [value.partition("/") for name, value in form if name == "on"]
        wanted, asked = {(topic, channel) for topic, _, channel in ticked}, dict(form)
        proof = {"address": address_of_reader(request), "page": "preferences"}
        notice = await site.writer.do(
            lambda connection: _saved(
                connection, site, link, asked, wanted, site.clock(), proof
            )
        )
        _, contact = await _whose(site, request)
        if contact is None:
            return _no_such_link(site, request)
    known = contact

    def look(connection: Connection) -> dict[str, Any]:
        return {
            "choices": recipient_actions.choices(connection, site.settings, known),
            "paused": recipient_actions.paused_until(connection, known, site.clock()),
        }

    language = site.language(request, known.locale)
    values = await site.read(look)
    topics = {key: topic.title for key, topic in site.settings.topics.items()}
    return site.page(
        "preferences.html",
        language,
        notice=notice,
        topics=topics,
        token=request.path_params["token"],
        **values,
    )


def _saved(
    connection: Connection,
    site: AppState,
    link: Link,
    asked: Mapping[str, str],
    wanted: set[tuple[str, str]],
    now: datetime,
    proof: Mapping[str, str],
) -> str | None:
    """Does what the button says; which one it was."""
    contact = recipient_actions.contact_of(connection, link)
    if contact is None:
        return None
    match asked.get("do"):
        case "nothing":
            recipient_actions.unsubscribe(
                connection, site.settings, link, now, "preferences", everything=True
            )
        case "pause":
            recipient_actions.pause(connection, site.settings, contact, now)
        case "go-on":
            recipient_actions.go_on(connection, contact)
        case _:
            recipient_actions.choose(
                connection, site.settings, contact, wanted, now, proof
            )
            # Whoever reads another language than there is has chosen none by saving.
            if asked.get("language") in languages() and asked["language"] != asked.get(
                "shown"
            ):
                recipient_actions.speak(
                    connection, site.settings, contact, asked["language"]
                )
    return asked.get("do") or "save"


async def ask_for_data(request: Request) -> Response:
    """GET asks; POST has a link to one's data (GDPR articles 15 and 20) sent to the contact's own address.

    It is not shown here: a message may have been passed on, and its links with it.
    """
    site: AppState = request.app.state.site
    _, contact = await _whose(site, request)
    if contact is None:
        return _no_such_link(site, request)
    language, known, settings = (
        site.language(request, contact.locale),
        contact,
        site.settings,
    )
    if request.method != "POST":
        return site.page("own-data.html", language, asked=None)
    await form_of(request)
    written = site.text(
        "own-data.txt",
        language_for(contact.locale, else_=settings.locale),
        link=data_mails.LINK,
    )
    subject, _, said = written.partition("\n")
    asked = await site.writer.do(
        lambda connection: own_data.ask(
            connection, settings, known, subject, said.strip() + "\n", site.clock()
        )
    )
    return site.page("own-data.html", language, ASKED[asked], asked=asked)


async def download(request: Request) -> Response:
    """All that is known of the person, as JSON, by a link that was sent to the address and is good for a short time."""
    site: AppState = request.app.state.site
    link = site.data_link(request.path_params["token"])
    contact = (
        await site.read(
            lambda connection: recipient_actions.contact_of(connection, link)
        )
        if link
        else None
    )
    if link is None or contact is None:
        return _no_such_link(site, request)
    if is_over(link, site.clock()):
        return site.page(
            "own-data.html", site.language(request, contact.locale), 410, asked="over"
        )
    found = await site.read(
        lambda connection: exporting.of_contact(connection, contact.id)
    )
    return JSONResponse(
        found, headers={"Content-Disposition": 'attachment; filename="my-data.json"'}
    )


async def erase(request: Request) -> Response:
    """Erases the person, who types the address to show that it is meant (a message may have been passed on)."""
    site: AppState = request.app.state.site
    _, contact = await _whose(site, request)
    if contact is None:
        return _no_such_link(site, request)
    language = site.language(request, contact.locale)
    if request.method != "POST":
        return site.page("erase.html", language, done=False, wrong=False)
    typed = dict(await form_of(request)).get("address", "").strip().casefold()
    own = (contact.email or contact.phone or "").casefold()
    if not own or not hmac.compare_digest(typed.encode(), own.encode()):
        if not site.wrong_links.spend(whose(request)):
            return _too_often()
        return site.page("erase.html", language, 422, done=False, wrong=True)
    await run_sync(site.forget, contact)
    return site.page("erase.html", language, done=True, wrong=False)


async def _whose(
    site: AppState, request: Request
) -> tuple[Link | None, Contact | None]:
    link = site.link(request.path_params["token"], "preferences")
    if link is None:
        return None, None
    return link, await site.read(
        lambda connection: recipient_actions.contact_of(connection, link)
    )


# --- signing up


async def sign_up(request: Request) -> Response:
    """A form for a topic. Whoever is in already and whoever is not get the same answer: look into your inbox."""
    site: AppState = request.app.state.site
    topic = site.settings.topics.get(request.path_params["topic"])
    language = site.language(request)
    if topic is None or topic.opt_in == "implied":
        return site.page("gone.html", language, 404)
    values: dict[str, Any] = {"topic": topic.title, "double": topic.opt_in == "double"}
    if request.method != "POST":
        return site.page("sign-up.html", language, done=False, wrong=None, **values)
    if not site.sign_ups.spend(whose(request)):
        return _too_often()
    form = dict(await form_of(request))
    try:
        email = parse_email(form.get("email", ""))
    except ValueError:
        return site.page(
            "sign-up.html",
            language,
            422,
            done=False,
            wrong=form.get("email", "")[:320],
            **values,
        )
    # People do not see this field; programs fill in everything.
    if not form.get("website"):
        key, proof = topic.key, _proof(site, request, language, topic.title)
        name = form.get("first_name", "")
        await site.writer.do(
            lambda connection: recipient_actions.sign_up(
                connection,
                site.settings,
                key,
                email,
                name,
                language,
                site.clock(),
                proof,
            )
        )
    return site.page("sign-up.html", language, done=True, wrong=None, **values)


# --- what they share


def _topic_of(site: AppState, token: str) -> str | None:
    """The title of the topic that a link names, whether or not we signed it: the page looks the same."""
    topic = site.settings.topics.get(topic_said(token) or "")
    return topic.title if topic else None


def _proof(
    site: AppState, request: Request, language: str, topic: str | None
) -> dict[str, str]:
    """What is kept of a yes: the address of the computer, and which words it was said to."""
    said = catalogue(language).ugettext("Yes, send me %(topic)s") % {
        "topic": topic or site.settings.business_name
    }
    return {
        "address": address_of_reader(request),
        "language": language,
        "wording": sha256(said.encode()).hexdigest(),
    }


def _no_such_link(site: AppState, request: Request) -> Response:
    """The same for a link that is no more and for one that never was."""
    if not site.wrong_links.spend(whose(request)):
        return _too_often()
    return site.page("gone.html", site.language(request), 404)


def _too_often() -> Response:
    return PlainTextResponse(
        "Too many requests. Try again in a minute.\n",
        429,
        headers={"Retry-After": "60"},
    )
