"""From a step and a contact's facts to the rendered message: links signed, sender chosen, letterhead put on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection

from drip.core.campaign import Campaign, Send, Settings
from drip.core.message import Mailbox, Message
from drip.core.token import Link, sign
from drip.engine.facts import Batch
from drip.errors import DripError
from drip.rendering.messages import Letterhead, RenderError, Request, render, unsubscribe_links
from drip.rendering.templates import Templates
from drip.storage.database import link_keys, workspace_id
from drip.storage.people import Contact, Event, Record


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


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what a message is about. `run_id` is 0 for a test copy."""

    contact: Contact
    record: Record | None
    event: Event | None
    run_id: int
    occurrence: str


def compose(
    templates: Templates,
    facts: Batch,
    mine: Identity,
    campaign: Campaign,
    step: Send,
    about: Subject,
    channel: str,
    now: datetime,
) -> Message:
    """The message of a step for one contact. Raises RenderError."""
    settings = facts.settings
    sender = _sender(templates, settings, step, about.contact)
    token = sign(Link("unsubscribe", about.contact.id, campaign.topic), mine.key_id, mine.secret)
    web, mail = unsubscribe_links(settings.public_url, token, sender)
    topic = settings.topics.get(campaign.topic or "")
    letterhead = None
    if topic and not step.transactional:
        letterhead = Letterhead(settings.business_name, settings.business_address, topic.title)
    request = Request(
        template=step.template,
        content=templates.content(step.content, about.occurrence) if step.content else None,
        channel=channel,
        locale=about.contact.locale or settings.locale,
        own_locale=settings.locale,
        to=Mailbox(_name(about.contact), about.contact.email or ""),
        sender=sender,
        reply_to=step.reply_to,
        subject=step.subject,
        preheader=step.preheader,
        values=facts.context(about.contact, about.record, about.event, now),
        message_id=message_id(mine.workspace, about.run_id, step.id, channel, sender),
        date=now,
        letterhead=letterhead,
        topic=campaign.topic,
        unsubscribe_url=web,
        unsubscribe_mail=mail,
    )
    return render(templates, request)


def message_id(workspace: str, run_id: int, step: str, channel: str, sender: Mailbox) -> str:
    """The same for every attempt at the same message, so that a resend can be recognised."""
    digest = sha256(f"{workspace}/{run_id}/{step}/{channel}".encode()).hexdigest()[:32]
    return f"{digest}@{sender.address.rpartition('@')[2]}"


def _sender(templates: Templates, settings: Settings, step: Send, contact: Contact) -> Mailbox:
    """The step's or the campaign's sender, else the template's, else the settings' default."""
    if step.sender:
        return step.sender
    try:
        named = templates.get(step.template, contact.locale or settings.locale).sender
    except DripError as error:
        raise RenderError(error.sentence, help=error.help, place=error.place) from None
    return settings.senders.get(named or "default", settings.senders["default"])


def _name(contact: Contact) -> str:
    names = (contact.attributes.get("first_name"), contact.attributes.get("last_name"))
    return " ".join(str(name) for name in names if name)[:120]
