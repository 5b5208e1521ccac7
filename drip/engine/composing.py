"""From a step and a contact's facts to the rendered message: links signed, sender chosen, letterhead put on."""

from __future__ import annotations

import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from markupsafe import Markup
from sqlalchemy import Connection

from drip.core.addresses import ascii_domain
from drip.core.campaign import Campaign
from drip.core.message import Mailbox, Message
from drip.core.settings import Settings
from drip.core.steps import SendStep
from drip.core.token import Link, message_name, sign
from drip.engine.facts import ContactFacts
from drip.rendering.links import links_in
from drip.rendering.messages import Letterhead, Request, render, signed_links
from drip.rendering.templates import Templates
from drip.storage.base.database import link_keys, workspace_id
from drip.storage.campaigns.runs import Run
from drip.storage.people.loyalty import Code
from drip.storage.people.people import Contact, Event, Record, address_of

# As many hex digits name a link.
LINK_NAME = 20
# The link that no person sees: only programs follow it.
TRAP = sha256(b"trap").hexdigest()[:LINK_NAME]


@dataclass(frozen=True, slots=True)
class Identity:
    """What this workspace signs with and derives Message-IDs from."""

    workspace: str
    key_id: str
    secret: bytes


def identity(connection: Connection) -> Identity:
    """The workspace's id and its newest key."""
    key_id, secret = list(link_keys(connection).items())[-1]
    return Identity(workspace_id(connection), key_id, secret)


def nobody() -> Identity:
    """Signs links that are good for nothing: those of a message that is only looked at."""
    return Identity("nobody", "nobody", secrets.token_bytes(32))


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what a message is about. `run_id` is 0 for a test copy."""

    contact: Contact
    record: Record | None
    heard: Mapping[str, Event]
    codes: tuple[Code, ...]
    run_id: int
    occurrence: str


def compose(
    templates: Templates,
    facts: ContactFacts,
    mine: Identity,
    campaign: Campaign,
    step: SendStep,
    about: Subject,
    channel: str,
    now: datetime,
) -> Message:
    """The message of a step for one contact. Raises DripError."""
    settings = facts.settings
    content = (
        templates.content(step.content, about.occurrence) if step.content else None
    )
    locale = about.contact.locale or settings.locale
    compiled = templates.get(step.template, locale, channel, content)
    # The step's or the campaign's sender, else the template's, else the settings' default.
    default = settings.senders["default"]
    sender = step.sender or settings.senders.get(compiled.sender or "default", default)
    asked = compiled.links | links_in(step.subject or "", step.preheader or "")
    links = MessageLinks(settings, mine, sender, campaign, step, about)
    web, mail = links.to("unsubscribe")
    name = message_name(mine.workspace, about.run_id, step.id, channel)
    tracked = Tracked(links) if settings.track_clicks and channel == "email" else None
    topic = settings.topics.get(campaign.topic or "")
    letterhead = None
    if topic and not step.transactional and channel == "email":
        letterhead = Letterhead(
            settings.business_name, settings.business_address, topic.title
        )
    request = Request(
        template=step.template,
        content=content,
        channel=channel,
        locale=locale,
        own_locale=settings.locale,
        to=Mailbox(
            name_of(about.contact.attributes), address_of(about.contact, channel) or ""
        ),
        sender=sender,
        reply_to=step.reply_to,
        subject=step.subject,
        preheader=step.preheader,
        values={
            **facts.context(about.contact, about.record, about.heard, about.codes),
            **links.values(web or mail, asked),
            **({"tracked": tracked} if tracked else {}),
        },
        attach=step.attach,
        message_id=f"{name}@{ascii_domain(sender.address).rpartition('@')[2]}",
        date=now,
        letterhead=letterhead,
        topic=campaign.topic,
        unsubscribe_url=web,
        unsubscribe_mail=mail,
        dot=links.page("o", "open", step.id)
        if settings.track_opens and channel == "email"
        else None,
        trap=links.page(f"c/{TRAP}", "click", step.id) if tracked else None,
    )
    message = render(templates, request)
    return (
        replace(message, links=tracked.links) if tracked and tracked.links else message
    )


def compose_for_run(
    templates: Templates,
    facts: ContactFacts,
    mine: Identity,
    campaign: Campaign,
    step: SendStep,
    run: Run,
    channel: str,
    now: datetime,
) -> Message:
    """The message of a run's step; what `facts` know of the run is there already. Raises DripError."""
    record, heard = (
        facts.records.get(run.record_id),
        facts.heard(run.event_id, run.heard),
    )
    codes = tuple(facts.codes.get(run.id, ()))
    about = Subject(
        facts.contacts[run.contact_id], record, heard, codes, run.id, run.occurrence
    )
    return compose(templates, facts, mine, campaign, step, about, channel, now)


@dataclass(frozen=True, slots=True)
class MessageLinks:
    """The signed links of one message: pages where there is a `public_url`, mails to the sender where there is none."""

    settings: Settings
    mine: Identity
    sender: Mailbox
    campaign: Campaign
    step: SendStep
    about: Subject

    def to(self, purpose: str, detail: str | None = None) -> tuple[str | None, str]:
        """The page, if there are pages, and the mail that says the same."""
        run = 0 if purpose in ("unsubscribe", "preferences") else self.about.run_id
        link = Link(purpose, self.about.contact.id, self.campaign.topic, run, detail)
        return signed_links(
            self.settings.public_url, purpose, self._sign(link), self.sender
        )

    def page(self, address: str, purpose: str, detail: str) -> str:
        """A page that is no page: what is known once a link is followed or a picture fetched."""
        link = Link(
            purpose,
            self.about.contact.id,
            self.campaign.topic,
            self.about.run_id,
            detail,
        )
        return f"{self.settings.public_url}/{address}/{self._sign(link)}"

    def _sign(self, link: Link) -> str:
        return sign(link, self.mine.key_id, self.mine.secret)

    def values(self, unsubscribe: str, asked: Container[str]) -> dict[str, Any]:
        """What templates call them by, of those that are `asked` for. There is no mail that shows a page, so `view_link`
        needs pages."""
        values: dict[str, Any] = {
            "unsubscribe_link": unsubscribe,
            "preferences_link": unsubscribe,
        }
        if self.settings.public_url and "preferences_link" in asked:
            values["preferences_link"] = self._either("preferences")
        # Signing costs as much as filling in.
        if "confirm_link" in asked:
            values["confirm_link"] = self._either("confirm")
        if self.settings.public_url and "view_link" in asked:
            values["view_link"] = self._either("view", self.step.id)
        if self.step.survey:
            values["survey_link"] = self._survey
        return values

    def _either(self, purpose: str, detail: str | None = None) -> str:
        web, mail = self.to(purpose, detail)
        return web or mail

    def _survey(self, score: int) -> str:
        """The link that answers the step's survey with a score."""
        scores = self.settings.scores(self.step.survey or "")
        if not isinstance(score, int) or score not in scores:
            raise ValueError(
                f"survey_link takes a score from {scores[0]} to {scores[-1]}"
            )
        return self._either("survey", f"{self.step.survey}:{score}")


class Tracked:
    """What a template gives its links to: they lead over a page of ours, which knows them by short names, and on from there.

    Nobody can have that page lead anywhere else: it only knows links of messages.
    """

    def __init__(self, own: MessageLinks) -> None:
        self._own, self._tail = own, ""
        self.links: dict[str, str] = {}

    def __call__(self, address: object) -> str:
        """Where the link leads now; what is no web address, or leads to a page of ours already, stays."""
        to = address.unescape() if isinstance(address, Markup) else str(address)
        public = self._own.settings.public_url
        if (
            not to.startswith(("https://", "http://"))
            or public is None
            or to.startswith(f"{public}/")
        ):
            return to
        # Signing costs as much as filling in: once for all links of a message.
        self._tail = self._tail or self._own.page(
            "c", "click", self._own.step.id
        ).removeprefix(f"{public}/c/")
        name = sha256(to.encode("utf-8", "replace")).hexdigest()[:LINK_NAME]
        self.links[name] = to
        return f"{public}/c/{name}/{self._tail}"


def name_of(attributes: Mapping[str, Any]) -> str:
    """What mail programs show a contact as."""
    names = (attributes.get("first_name"), attributes.get("last_name"))
    return " ".join(str(name) for name in names if name)[:120]
