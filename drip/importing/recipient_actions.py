"""What people say by the links of their messages: topics on and off, a subscription confirmed, a survey answered.

A link proves whom it was written for (`core.token`). Saying a thing twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.campaign import step_of
from drip.core.characters import without_hidden
from drip.core.fields import ERASED
from drip.core.meanings import ANSWERED, CLICKED, CONFIRMED, OPENED, REQUESTED
from drip.core.settings import CHANNELS, Settings
from drip.core.token import Link
from drip.engine.campaign_set import CampaignSet
from drip.engine.composing import TRAP
from drip.engine.deriving import date_fields, refresh
from drip.importing.importer import take_events
from drip.storage.campaigns import runs
from drip.storage.operating import webhook_outbox
from drip.storage.people import consents, history, people, sign_ups
from drip.storage.people.consents import Consent
from drip.storage.people.people import Contact, address_of
from drip.storage.sending import deliveries, links, outbox
from drip.storage.sending.deliveries import Delivery

# How long "pause" pauses.
PAUSE = timedelta(days=30)
PAUSED = "preferences page"
COMMENT_LENGTH, NAME_LENGTH = 2_000, 60
# How many requests of an address for one topic are taken, so that nobody's inbox is filled by strangers: one in an hour, and
# two in a week for a topic that asks back.
ASK_AGAIN, LATELY, MOST_ASKED = timedelta(hours=1), timedelta(days=7), 2
# How long a sign-up can be confirmed, unless the campaign that asks for it waits for another time.
UNCONFIRMED = timedelta(days=7)
# Of an answer that was sent as the page was left.
UNFINISHED = "unfinished"
# Programs that look for viruses follow links as a mail comes in, and all of them at once.
AT_ONCE, TOGETHER, MANY = timedelta(seconds=3), timedelta(seconds=10), 3


def contact_of(connection: Connection, link: Link) -> Contact | None:
    """Whom a link was written for; None for somebody who is not here any more, or was erased."""
    found = people.contacts_by_id(connection, [link.contact]).get(link.contact)
    return found if found and found.erased_at is None else None


def unsubscribe(
    connection: Connection,
    settings: Settings,
    link: Link,
    now: datetime,
    source: str,
    *,
    everything: bool = False,
) -> None:
    """Switches the link's topic off for mails, or all topics on all channels (G4).

    A link of a campaign without a topic stands for all topics.
    """
    contact = contact_of(connection, link)
    if contact is None:
        return
    topics = [link.topic] if link.topic and not everything else list(settings.topics)
    channels = CHANNELS if everything else ("email",)
    said = [
        Consent(contact.id, topic, channel, False, now)
        for topic in topics
        for channel in channels
    ]
    # Of what was never said yes to nothing has to be taken back, but a no stays when a yes is imported later.
    _record(connection, contact, said, source, now)


def confirm(
    connection: Connection,
    settings: Settings,
    link: Link,
    now: datetime,
    proof: Mapping[str, str],
) -> bool:
    """Confirms a subscription (double opt-in), once; whether there is still somebody to confirm it. The campaign that asked
    hears of it as an event.

    `proof` is what is kept of it: the address of the computer, the hash of the exact words.
    """
    contact = contact_of(connection, link)
    if contact is None or link.topic is None:
        return False
    fields = {name: value for name, value in proof.items() if value}
    key = f"{link.topic}-{link.run}-{contact.id}"
    event = {
        "contact_id": contact.id,
        "record_id": 0,
        "name": f"{link.topic}.{CONFIRMED}",
        "key": key,
        "at": now,
        "fields": fields,
    }
    if take_events(connection, settings, [event]):
        _record(
            connection,
            contact,
            [Consent(contact.id, link.topic, "email", True, now)],
            "confirmed",
            now,
            fields,
        )
        sign_ups.make_ordinary(connection, [contact.id])
    return True


def answer(
    connection: Connection,
    settings: Settings,
    link: Link,
    now: datetime,
    comment: str = "",
    *,
    finished: bool = True,
) -> int | None:
    """Answers a survey by the link's detail, `survey:score`; the score that counts now, None for a survey that is no more.

    Only what was left unfinished can be said anew; a comment may come later.
    """
    contact, asked = contact_of(connection, link), asked_by(settings, link)
    if contact is None or asked is None:
        return None
    survey, score = asked
    key = f"{survey}-{link.run}-{contact.id}"
    said = " ".join(without_hidden(comment).split())[:COMMENT_LENGTH]
    fields = {"survey": survey, "score": str(score)} | (
        {"comment": said} if said else {}
    )
    fields |= {} if finished else {UNFINISHED: "yes"}
    event = {
        "contact_id": contact.id,
        "record_id": 0,
        "name": ANSWERED,
        "key": key,
        "at": now,
        "fields": fields,
    }
    told = {"contact": contact.key, "topic": link.topic, **fields}
    if take_events(connection, settings, [event]):
        webhook_outbox.add(connection, ANSWERED, [(contact.id, told)], now)
        return score
    before = people.fields_of(connection, ANSWERED, key)
    if UNFINISHED in before:
        people.say_anew(connection, ANSWERED, key, fields)
        webhook_outbox.add(connection, ANSWERED, [(contact.id, told)], now)
        return score
    if said and "comment" not in before:
        people.say_anew(connection, ANSWERED, key, {**before, "comment": said})
        webhook_outbox.add(
            connection,
            ANSWERED,
            [(contact.id, {**told, **before, "comment": said})],
            now,
        )
    return int(before.get("score", score))


def seen(
    connection: Connection,
    campaign_set: CampaignSet,
    link: Link,
    name: str,
    now: datetime,
) -> None:
    """Somebody followed a link of a message (`name`), or fetched its dot (`""`).

    Campaigns hear of what a person did as `message.clicked` and `message.opened`.
    """
    contact, run = (
        contact_of(connection, link),
        runs.runs_by_id(connection, [link.run]).get(link.run),
    )
    sent = [
        each
        for each in outbox.of_runs(connection, [link.run])
        if each.step == link.detail and each.sent_at
    ]
    if contact is None or run is None or run.contact_id != contact.id or not sent:
        return
    message, kind = sent[0], "clicked" if name else "opened"
    assert message.sent_at
    machine = now - message.sent_at < AT_ONCE or name == TRAP
    if name and not machine:
        lately = links.clicked_lately(connection, message.id, now - TOGETHER)
        machine = TRAP in lately or len(lately) + 1 >= MANY
    who = "machine" if machine else "person"
    # A program that comes again is known again, but not each time.
    source = f"{name}:{now:%Y-%m-%dT%H:%M}" if name == TRAP else f"{name}:{who}"
    made = Delivery(message.id, kind, now, who, "", name, source)
    if not deliveries.record(connection, made) or machine:
        return
    step = step_of(
        campaign_set.version(connection, run.campaign, run.version), message.step
    )
    fields = {
        "campaign": message.campaign,
        "step": message.step,
        "link": name,
        "template": step.template if step else "",
    }
    event = {
        "contact_id": contact.id,
        "record_id": 0,
        "name": CLICKED if name else OPENED,
        "key": f"{message.id}-{name}",
        "at": now,
        "fields": {key: value for key, value in fields.items() if value},
    }
    take_events(connection, campaign_set.settings, [event])


def asked_by(settings: Settings, link: Link) -> tuple[str, int] | None:
    """The survey and the score that a link answers with; None for one that there is not any more."""
    name, _, score = (link.detail or "").partition(":")
    if (
        not score.isdecimal()
        or len(score) > 3
        or int(score) not in settings.scores(name)
    ):
        return None
    return name, int(score)


@dataclass(frozen=True, slots=True)
class Choice:
    """One topic on one channel: whether it is on, and since when by the contact's own word (None: nobody has said anything)."""

    topic: str
    channel: str
    on: bool
    since: datetime | None


def choices(
    connection: Connection, settings: Settings, contact: Contact
) -> list[Choice]:
    """All topics, on the channels that the workspace has and the contact can be reached by."""
    channels = [
        each
        for each in CHANNELS
        if each in settings.transports and address_of(contact, each)
    ]
    said = {
        (each.topic, each.channel): each
        for each in consents.latest(connection, contact.id)
    }
    implied = not _signed_up(connection, contact)
    found = []
    for topic in settings.topics.values():
        for channel in channels:
            word = said.get((topic.key, channel))
            on = word.given if word else topic.opt_in == "implied" and implied
            found.append(Choice(topic.key, channel, on, word.at if word else None))
    return found


def choose(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    wanted: Collection[tuple[str, str]],
    now: datetime,
    proof: Mapping[str, str],
) -> None:
    """Topics and channels that are wanted are on, all others off."""
    # Of a sign-up every word is kept: what nobody implied yet is not to be on once the contact is an ordinary one.
    every = _signed_up(connection, contact)
    said = [
        Consent(
            contact.id,
            each.topic,
            each.channel,
            (each.topic, each.channel) in wanted,
            now,
        )
        for each in choices(connection, settings, contact)
        if every or each.on != ((each.topic, each.channel) in wanted)
    ]
    _record(connection, contact, said, "preferences", now, proof)
    if wanted:
        # Whoever has the link has the mailbox. A mere no leaves a stranger's address what it is.
        sign_ups.make_ordinary(connection, [contact.id])


def speak(
    connection: Connection, settings: Settings, contact: Contact, locale: str
) -> None:
    """The contact reads this language from now on."""
    if contact.locale != locale:
        contact.locale = locale
        people.save_contacts(connection, [contact], date_fields(settings, "contact"))


def pause(
    connection: Connection, settings: Settings, contact: Contact, now: datetime
) -> None:
    """Nothing about any topic for a while."""
    until = now + PAUSE
    rows = [
        {"contact_id": contact.id, "topic": topic, "until": until, "place": PAUSED}
        for topic in settings.topics
    ]
    history.pause(connection, rows)
    _look_again(connection, contact)


def go_on(connection: Connection, contact: Contact) -> None:
    """The contact's own pause is over."""
    history.end_pauses(connection, contact.id, PAUSED)
    _look_again(connection, contact)


def paused_until(
    connection: Connection, contact: Contact, now: datetime
) -> datetime | None:
    """Until when the contact has paused everything, if so."""
    until = history.paused_from(connection, contact.id, PAUSED)
    return until if until and until > now else None


def sign_up(
    connection: Connection,
    settings: Settings,
    topic: str,
    email: str,
    first_name: str,
    locale: str,
    now: datetime,
    proof: Mapping[str, str],
) -> None:
    """Somebody asks for a topic, maybe with another one's address. A `double` topic's campaign asks back (the event
    `TOPIC.requested`), a `single` one is on at once, but for whoever has said no to it: that is theirs alone to take back. Whoever was not known before stays a sign-up (`storage.sign_ups`)."""
    double = settings.topics[topic].opt_in == "double"
    contact = people.contact_by_email(connection, email) or _stranger(
        connection, settings, email, first_name, locale, now
    )
    if not double and _said_no(connection, contact, topic):
        return
    name = f"{topic}.{REQUESTED}"
    asked = people.events_of(connection, [contact.id], [name]).get(contact.id, [])
    lately = [each for each in asked if now - each.at < LATELY]
    if (asked and now - asked[-1].at < ASK_AGAIN) or (
        double and len(lately) >= MOST_ASKED
    ):
        return
    fields = {key: value for key, value in proof.items() if value}
    event = {
        "contact_id": contact.id,
        "record_id": 0,
        "name": name,
        "key": f"{contact.id}-{now.isoformat()}",
        "at": now,
        "fields": fields,
    }
    take_events(connection, settings, [event])
    if not double:
        _record(
            connection,
            contact,
            [Consent(contact.id, topic, "email", True, now)],
            "sign-up page",
            now,
            fields,
        )
        sign_ups.take_at_word(connection, contact.id)


def _said_no(connection: Connection, contact: Contact, topic: str) -> bool:
    words = consents.latest(connection, contact.id)
    return any(
        (word.topic, word.channel, word.given) == (topic, "email", False)
        for word in words
    )


def _stranger(
    connection: Connection,
    settings: Settings,
    email: str,
    first_name: str,
    locale: str,
    now: datetime,
) -> Contact:
    """A contact of whom nothing is known but the sign-up."""
    # An address may begin with the reserved word; its key may not.
    key = f"mail-{email}" if email.casefold().startswith(ERASED) else email
    contact = Contact(key, email, locale=locale)
    name = " ".join(without_hidden(first_name).split())[:NAME_LENGTH]
    contact.attributes |= (
        {"first_name": name}
        if name and "first_name" in settings.fields["contact"]
        else {}
    )
    if contact.key in people.contacts_by_key(connection, [contact.key]):
        # The key is taken by somebody with another address.
        contact.key = f"{key}-{now:%Y%m%d%H%M%S}"
    people.save_contacts(connection, [contact], date_fields(settings, "contact"))
    sign_ups.begin(connection, contact.id, now + UNCONFIRMED)
    refresh(connection, settings, [(contact.id, 0)])
    return contact


def _signed_up(connection: Connection, contact: Contact) -> bool:
    """Whether nothing is known of a contact but a sign-up, which implies nothing."""
    return contact.id in sign_ups.of_contacts(connection, [contact.id])


def _look_again(connection: Connection, contact: Contact) -> None:
    people.touch(connection, [contact.id])
    people.wake_runs(connection, [contact.id])


def _record(
    connection: Connection,
    contact: Contact,
    said: list[Consent],
    source: str,
    now: datetime,
    proof: Mapping[str, str] | None = None,
) -> None:
    """Each word with the address of its channel."""
    for channel in dict.fromkeys(each.channel for each in said):
        words = [each for each in said if each.channel == channel]
        addresses = {contact.id: address_of(contact, channel)}
        consents.record(connection, words, source, addresses, now, proof)
