"""From a step and a contact's facts to the rendered message: links signed, sender
chosen, letterhead put on."""

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
from drip.storage.people.contacts import Contact, address_of
from drip.storage.people.coupons import Code
from drip.storage.people.events import Event
from drip.storage.people.records import Record

# As many hex digits name a link.
LINK_NAME = 20
# What such links say holds for every run.
OF_NO_RUN = ("unsubscribe", "preferences")
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
    """Signs links that are good for nothing: those of a message that is only looked
    at."""
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
    settings, contact = facts.settings, about.contact
    content = (
        templates.content(step.content, about.occurrence) if step.content else None
    )
    # A contact's own language, as far as there is a template in it.
    locale = contact.locale or settings.locale
    compiled = templates.get(
        step.template,
        locale,
        channel,
        content,
    )
    # The step's or the campaign's sender, else the template's, else the settings' own.
    default = settings.senders["default"]
    sender = step.sender or settings.senders.get(
        compiled.sender or "default",
        default,
    )
    asked = compiled.links | links_in(
        step.subject or "",
        step.preheader or "",
    )
    links = MessageLinks(
        settings,
        mine,
        sender,
        campaign,
        step,
        about,
    )
    web, mail = links.to("unsubscribe")
    tracked = Tracked(links) if settings.track_clicks and channel == "email" else None
    values = {
        **facts.context(
            contact,
            about.record,
            about.heard,
            about.codes,
        ),
        **links.values(web or mail, asked),
    }
    if tracked:
        values["tracked"] = tracked
    # The same for each attempt at a message, so that servers can tell a copy (RFC 5322
    # section 3.6.4), and a mail that comes back can be matched.
    name = message_name(
        mine.workspace,
        about.run_id,
        step.id,
        channel,
    )
    request = Request(
        template=step.template,
        content=content,
        channel=channel,
        locale=locale,
        own_locale=settings.locale,
        to=Mailbox(name_of(contact.attributes), address_of(contact, channel) or ""),
        sender=sender,
        reply_to=step.reply_to,
        subject=step.subject,
        preheader=step.preheader,
        values=values,
        attach=step.attach,
        message_id=f"{name}@{_domain(sender)}",
        date=now,
        letterhead=_letterhead(settings, campaign, step, channel),
        topic=campaign.topic,
        unsubscribe_url=web,
        unsubscribe_mail=mail,
        dot=links.dot() if settings.track_opens and channel == "email" else None,
        trap=links.trap() if tracked else None,
    )
    message = render(templates, request)
    if tracked and tracked.links:
        return replace(message, links=tracked.links)
    return message


def _domain(sender: Mailbox) -> str:
    return ascii_domain(sender.address).rpartition("@")[2]


def _letterhead(
    settings: Settings,
    campaign: Campaign,
    step: SendStep,
    channel: str,
) -> Letterhead | None:
    """The sender's address, which every mail that advertises has to name.

    CAN-SPAM, 15 U.S.C. 7704(a)(5)(A)(iii). What is transactional advertises nothing.
    """
    topic = settings.topics.get(campaign.topic or "")
    if topic is None or step.transactional or channel != "email":
        return None
    return Letterhead(settings.business_name, settings.business_address, topic.title)


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
    """The message of a run's step. Raises DripError.

    What `facts` know of the run is there already.
    """
    about = Subject(
        contact=facts.contacts[run.contact_id],
        record=facts.records.get(run.record_id),
        heard=facts.heard(run.event_id, run.heard),
        codes=tuple(facts.codes.get(run.id, ())),
        run_id=run.id,
        occurrence=run.occurrence,
    )
    return compose(
        templates,
        facts,
        mine,
        campaign,
        step,
        about,
        channel,
        now,
    )


@dataclass(frozen=True, slots=True)
class MessageLinks:
    """The signed links of one message.

    They lead to pages where there is a `public_url`, and are mails to the sender where
    there is none.
    """

    settings: Settings
    mine: Identity
    sender: Mailbox
    campaign: Campaign
    step: SendStep
    about: Subject

    def to(self, purpose: str, detail: str | None = None) -> tuple[str | None, str]:
        """The page, if there are pages, and the mail that says the same."""
        run_id = 0 if purpose in OF_NO_RUN else self.about.run_id
        token = self._token(purpose, run_id, detail)
        return signed_links(
            self.settings.public_url,
            purpose,
            token,
            self.sender,
        )

    def dot(self) -> str:
        """A picture that mail programs fetch as they show the message."""
        return self.page("o", "open", self.step.id)

    def trap(self) -> str:
        """The link that no person sees: whoever follows it is a program."""
        return self.page(
            f"c/{TRAP}",
            "click",
            self.step.id,
        )

    def page(self, address: str, purpose: str, detail: str) -> str:
        """What is known once a link is followed or a picture fetched; it shows
        nothing."""
        token = self._token(
            purpose,
            self.about.run_id,
            detail,
        )
        return f"{self.settings.public_url}/{address}/{token}"

    def _token(self, purpose: str, run_id: int, detail: str | None) -> str:
        topic, contact_id = self.campaign.topic, self.about.contact.id
        link = Link(purpose, contact_id, topic, run_id, detail)
        return sign(
            link,
            self.mine.key_id,
            self.mine.secret,
        )

    def values(self, unsubscribe: str, asked: Container[str]) -> dict[str, Any]:
        """What templates call them by, of those that are `asked` for.

        There is no mail that shows a page, so `view_link` needs pages.
        """
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
    """What a template gives its links to.

    They lead over a page of ours, which knows them by short names, and on from there.
    Nobody can have that page lead anywhere else: it only knows links of messages.
    """

    def __init__(self, own: MessageLinks) -> None:
        self._own, self._tail = own, ""
        self.links: dict[str, str] = {}

    def __call__(self, address: object) -> str:
        """Where the link leads now.

        What is no web address, or leads to a page of ours already, stays.
        """
        to = address.unescape() if isinstance(address, Markup) else str(address)
        public = self._own.settings.public_url
        if public is None or to.startswith(f"{public}/"):
            return to
        if not to.startswith(("https://", "http://")):
            return to
        name = sha256(to.encode("utf-8", "replace")).hexdigest()[:LINK_NAME]
        self.links[name] = to
        return f"{public}/c/{name}/{self._token(public)}"

    def _token(self, public: str) -> str:
        # Signing costs as much as filling in: once for all links of a message.
        if not self._tail:
            page = self._own.page(
                "c",
                "click",
                self._own.step.id,
            )
            self._tail = page.removeprefix(f"{public}/c/")
        return self._tail


def name_of(attributes: Mapping[str, Any]) -> str:
    """What mail programs show a contact as."""
    names = (attributes.get("first_name"), attributes.get("last_name"))
    return " ".join(str(name) for name in names if name)[:120]
