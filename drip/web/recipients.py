"""Pages that links of messages lead to. No login: a link is signed, and good for what
it was made for.

Looking at a page changes nothing, since programs that look for viruses look at every
link; a button does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from drip.commands import recipient_actions
from drip.core.settings import Settings
from drip.core.token import Link
from drip.errors import DripError
from drip.importing.values import parse_email
from drip.storage.people.contacts import Contact
from drip.web.app_state import AppState, address_of_reader, form_of, state_of, whose
from drip.web.linked import (
    no_such_link,
    proof_of,
    token_of,
    too_often,
    topic_of,
    whose_preferences,
)
from drip.web.words import languages
from drip.worker.worker import Busy, Ended, Worker

# A message as a page: its own styles and pictures, no script, in a sandbox.
VIEW = {
    "Content-Security-Policy": "default-src 'none'; img-src https: data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-popups-to-escape-sandbox"
}


async def unsubscribe(request: Request) -> Response:
    """GET asks; POST does it, for a person's button and for a mail program's (RFC
    8058). The answer tells nothing about the link."""
    state = state_of(request)
    language = state.language(request)
    topic = topic_of(state, request)
    if request.method != "POST":
        return state.page(
            "unsubscribe.html",
            language,
            topic=topic,
            done=False,
        )
    form = dict(await form_of(request))
    everything = "everything" in form
    link = state.link(token_of(request), "unsubscribe", "preferences")
    if link is not None:
        await _unsubscribe(state, link, everything=everything)
    elif not state.wrong_links.spend(whose(request)):
        return too_often()
    left = None if everything else topic
    return state.page(
        "unsubscribe.html",
        language,
        topic=left,
        done=True,
    )


async def _unsubscribe(
    state: AppState,
    link: Link,
    *,
    everything: bool,
) -> None:
    def work(connection: Connection) -> None:
        recipient_actions.unsubscribe(
            connection,
            state.settings,
            link,
            state.clock(),
            "unsubscribe page",
            everything=everything,
        )

    await state.writer.do(work)


async def confirm(request: Request) -> Response:
    """Double opt-in: GET asks, POST confirms, with a proof. The answer tells nothing
    about a link that is not ours; to whom one of ours comes too late, and is erased, it
    does not say that they are in."""
    state = state_of(request)
    language = state.language(request)
    topic = topic_of(state, request)
    if request.method != "POST":
        return state.page(
            "confirm.html",
            language,
            topic=topic,
            done=False,
        )
    await form_of(request)
    link = state.link(token_of(request), "confirm")
    if link is not None:
        proof = proof_of(state, request, language, topic)
        if not await _confirmed(state, link, proof):
            return state.page("gone.html", language, 410)
    elif not state.wrong_links.spend(whose(request)):
        return too_often()
    return state.page(
        "confirm.html",
        language,
        topic=topic,
        done=True,
    )


async def _confirmed(
    state: AppState,
    link: Link,
    proof: Mapping[str, str],
) -> bool:
    def work(connection: Connection) -> bool:
        return recipient_actions.confirm(
            connection, state.settings, link, state.clock(), proof
        )

    return await state.writer.do(work)


async def view(request: Request) -> Response:
    """The message as a page, as it would be written now: by a worker, since a template
    may hang."""
    state = state_of(request)
    link = state.link(token_of(request), "view")
    if link is None or link.detail is None:
        return no_such_link(state, request)
    views: Worker = request.app.state.views
    about = {
        "run": link.run,
        "step": link.detail,
        "now": state.clock().isoformat(),
    }
    try:
        html = await views.ask("view", link.detail, **about)
    except (Busy, Ended):
        answer = state.page("failed.html", state.language(request), 503)
        answer.headers["Retry-After"] = "60"
        return answer
    except DripError:
        # It could be written once; the data or the template has changed since.
        html = b""
    return HTMLResponse(html, headers=VIEW) if html else no_such_link(state, request)


# --- surveys


@dataclass(frozen=True, slots=True)
class _SurveyPage:
    """A page of one survey: `scores` are those that can be chosen, `score` the one that
    was clicked."""

    link: Link
    name: str
    score: int
    scores: Sequence[int]
    question: str | None
    language: str

    def page(
        self,
        state: AppState,
        score: int,
        *,
        done: bool,
    ) -> Response:
        return state.page(
            "survey.html",
            self.language,
            score=score,
            done=done,
            question=self.question,
            scores=self.scores,
        )

    def chosen(self, form: Mapping[str, str]) -> int:
        """What the person says now; what was clicked, if that is no score."""
        said = form.get("score", "")
        if said.isdecimal() and len(said) < 4 and int(said) in self.scores:
            return int(said)
        return self.score


async def survey(request: Request) -> Response:
    """One click answers: GET shows the score that was clicked, and what a person does
    there sends it, with a comment or none."""
    state = state_of(request)
    asked = await _survey(state, request)
    if asked is None:
        return no_such_link(state, request)
    if request.method != "POST":
        return asked.page(state, asked.score, done=False)
    form = dict(await form_of(request))
    score = asked.chosen(form)
    counts = await _answered(state, asked, score, form)
    return asked.page(state, counts or score, done=True)


async def _survey(state: AppState, request: Request) -> _SurveyPage | None:
    link = state.link(token_of(request), "survey")
    asked = recipient_actions.asked_by(state.settings, link) if link else None
    if link is None or asked is None:
        return None
    name, score = asked
    known = state.settings.surveys.get(name)
    contact = await state.read(recipient_actions.contact_of, link)
    return _SurveyPage(
        link,
        name,
        score,
        scores=state.settings.scores(name),
        question=known.question if known else None,
        language=state.language(request, contact.locale if contact else None),
    )


async def _answered(
    state: AppState,
    asked: _SurveyPage,
    score: int,
    form: Mapping[str, str],
) -> int | None:
    """The score that counts now."""
    link = replace(asked.link, detail=f"{asked.name}:{score}")

    def work(connection: Connection) -> int | None:
        return recipient_actions.answer(
            connection,
            state.settings,
            link,
            state.clock(),
            form.get("comment", ""),
            finished="unfinished" not in form,
        )

    return await state.writer.do(work)


# --- preferences


async def preferences(request: Request) -> Response:
    """Topics, channels, language, a pause; why one gets this. POST saves, and shows
    what holds now."""
    state = state_of(request)
    link, contact = await whose_preferences(state, request)
    if link is None or contact is None:
        return no_such_link(state, request)
    notice = None
    if request.method == "POST":
        if not state.choices.spend(str(contact.id)):
            return too_often()
        notice = await _save(state, request, link)
        # As they are now.
        _, contact = await whose_preferences(state, request)
        if contact is None:
            return no_such_link(state, request)
    return await _preferences(state, request, contact, notice)


async def _preferences(
    state: AppState,
    request: Request,
    contact: Contact,
    notice: str | None,
) -> Response:
    def look(connection: Connection) -> dict[str, Any]:
        settings = state.settings
        now = state.clock()
        return {
            "choices": recipient_actions.choices(connection, settings, contact),
            "paused": recipient_actions.paused_until(connection, contact, now),
        }

    values = await state.read(look)
    topics = {key: topic.title for key, topic in state.settings.topics.items()}
    return state.page(
        "preferences.html",
        state.language(request, contact.locale),
        notice=notice,
        topics=topics,
        token=token_of(request),
        **values,
    )


async def _save(
    state: AppState,
    request: Request,
    link: Link,
) -> str | None:
    """Does what the button says; which one it was."""
    form = await form_of(request, 200)
    proof = {"address": address_of_reader(request), "page": "preferences"}
    choice = _PreferencesForm(
        do=dict(form).get("do"),
        ticked=_ticked(form),
        language=_chosen_language(dict(form)),
        proof=proof,
    )

    def work(connection: Connection) -> str | None:
        contact = recipient_actions.contact_of(connection, link)
        if contact is None:
            return None
        choice.store(connection, state.settings, link, contact, state.clock())
        return choice.do or "save"

    return await state.writer.do(work)


def _ticked(form: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Topics and channels."""
    parts = [value.partition("/") for name, value in form if name == "on"]
    return {(topic, channel) for topic, _, channel in parts}


def _chosen_language(form: Mapping[str, str]) -> str | None:
    """Whoever reads another language than there is has chosen none by saving."""
    language = form.get("language")
    if language in languages() and language != form.get("shown"):
        return language
    return None


@dataclass(frozen=True, slots=True)
class _PreferencesForm:
    """What somebody does on the page of preferences: `do` is the button."""

    do: str | None
    ticked: set[tuple[str, str]]
    language: str | None
    proof: Mapping[str, str]

    def store(
        self,
        connection: Connection,
        settings: Settings,
        link: Link,
        contact: Contact,
        now: datetime,
    ) -> None:
        match self.do:
            case "nothing":
                recipient_actions.unsubscribe(
                    connection,
                    settings,
                    link,
                    now,
                    "preferences",
                    everything=True,
                )
            case "pause":
                recipient_actions.pause(connection, settings, contact, now)
            case "go-on":
                recipient_actions.go_on(connection, contact)
            case _:
                self._store_ticks(connection, settings, contact, now)

    def _store_ticks(
        self,
        connection: Connection,
        settings: Settings,
        contact: Contact,
        now: datetime,
    ) -> None:
        recipient_actions.choose(
            connection, settings, contact, self.ticked, now, self.proof
        )
        if self.language:
            recipient_actions.speak(connection, settings, contact, self.language)


# --- signing up


async def sign_up(request: Request) -> Response:
    """A form for a topic. Whoever is in already and whoever is not get the same answer:
    look into your inbox."""
    state = state_of(request)
    language = state.language(request)
    topic = state.settings.topics.get(request.path_params["topic"])
    if topic is None or topic.opt_in == "implied":
        return state.page("gone.html", language, 404)
    page = partial(
        state.page,
        "sign-up.html",
        language,
        topic=topic.title,
        double=topic.opt_in == "double",
    )
    if request.method != "POST":
        return page(done=False, wrong=None)
    if not state.sign_ups.spend(whose(request)):
        return too_often()
    form = dict(await form_of(request))
    try:
        email = parse_email(form.get("email", ""))
    except ValueError:
        return page(
            status=422,
            done=False,
            wrong=form.get("email", "")[:320],
        )
    # People do not see this field; programs fill in everything.
    if not form.get("website"):
        proof = proof_of(state, request, language, topic.title)
        person = (email, form.get("first_name", ""), language)
        await _sign_up(state, topic.key, person, proof)
    return page(done=True, wrong=None)


async def _sign_up(
    state: AppState,
    topic: str,
    person: tuple[str, str, str],
    proof: Mapping[str, str],
) -> None:
    """`person`: address, first name and language."""

    def work(connection: Connection) -> None:
        recipient_actions.sign_up(
            connection, state.settings, topic, *person, state.clock(), proof
        )

    await state.writer.do(work)
