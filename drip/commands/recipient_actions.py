"""What people say by the links of their messages: topics on and off, a subscription
confirmed, a survey answered.

A link proves whom it was written for (`core.token`). Saying a thing twice changes
nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.campaign import step_of
from drip.core.channels import CHANNELS
from drip.core.characters import without_hidden
from drip.core.fields import ERASED
from drip.core.meanings import ANSWERED, CLICKED, CONFIRMED, OPENED, REQUESTED
from drip.core.settings import Settings
from drip.core.token import Link
from drip.engine.campaign_set import CampaignSet
from drip.engine.composing import TRAP
from drip.engine.deriving import date_fields, refresh
from drip.importing.event_rows import EventRow, take_events
from drip.storage.campaigns import runs
from drip.storage.operating import webhook_outbox
from drip.storage.people import (
    change_marks,
    consents,
    contacts,
    events,
    pauses,
    sign_ups,
)
from drip.storage.people.consents import Consent, Word
from drip.storage.people.contacts import Contact, address_of
from drip.storage.sending import deliveries, links, outbox
from drip.storage.sending.deliveries import Delivery
from drip.storage.sending.outbox import OutboxMessage

# How long "pause" pauses.
PAUSE = timedelta(days=30)
PAUSED = "preferences page"
COMMENT_LENGTH, NAME_LENGTH = 2_000, 60
# How many requests of an address for one topic are taken, so that nobody's inbox is
# filled by strangers: one in an hour, and two in a week for a topic that asks back.
ASK_AGAIN, LATELY, MOST_ASKED = timedelta(hours=1), timedelta(days=7), 2
# How long a sign-up can be confirmed, unless the campaign that asks for it waits for
# another time.
UNCONFIRMED = timedelta(days=7)
# Of an answer that was sent as the page was left.
UNFINISHED = "unfinished"
# In digits.
LONGEST_SCORE = 3
# Programs that look for viruses follow links as a mail comes in, and all of them at
# once.
AT_ONCE, TOGETHER, MANY = timedelta(seconds=3), timedelta(seconds=10), 3


def contact_of(connection: Connection, link: Link) -> Contact | None:
    """Whom a link was written for; None for somebody who is not here any more, or was
    erased."""
    found = contacts.contacts_by_id(connection, [link.contact]).get(link.contact)
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
    """Switches the link's topic off for mails, or all topics on all channels.

    A link of a campaign without a topic stands for all topics.
    """
    contact = contact_of(connection, link)
    if contact is None:
        return
    topics = [link.topic] if link.topic and not everything else list(settings.topics)
    channels = tuple(CHANNELS) if everything else ("email",)
    said = [
        Consent(contact.id, topic, channel, False, now)
        for topic in topics
        for channel in channels
    ]
    # Of what was never said yes to nothing has to be taken back, but a no stays when a
    # yes is imported later.
    _record(connection, contact, said, source, now)


def confirm(
    connection: Connection,
    settings: Settings,
    link: Link,
    now: datetime,
    proof: Mapping[str, str],
) -> bool:
    """Confirms a subscription (double opt-in), once; whether there is still somebody to
    confirm it. The campaign that asked hears of it as an event.

    `proof` is what is kept of it: the address of the computer, the hash of the exact
    words."""
    contact = contact_of(connection, link)
    if contact is None or link.topic is None:
        return False
    name, fields = f"{link.topic}.{CONFIRMED}", _known(proof)
    key = f"{link.topic}-{link.run}-{contact.id}"
    if take_events(connection, settings, [_event(contact, name, key, now, fields)]):
        said = [Consent(contact.id, link.topic, "email", True, now)]
        _record(connection, contact, said, "confirmed", now, fields)
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
    """Answers a survey by the link's detail, `survey:score`; the score that counts now,
    None for a survey that is no more.

    Only what was left unfinished can be said anew; a comment may come later.
    """
    contact, asked = contact_of(connection, link), asked_by(settings, link)
    if contact is None or asked is None:
        return None
    survey, score = asked
    key = f"{survey}-{link.run}-{contact.id}"
    fields = _answer_fields(survey, score, comment, finished=finished)
    event = _event(contact, ANSWERED, key, now, fields)
    if not take_events(connection, settings, [event]):
        before = events.fields_of(connection, ANSWERED, key)
        changed = _said_anew(before, fields)
        if changed is None:
            return int(before.get("score", score))
        events.say_anew(connection, ANSWERED, key, changed)
        fields = {**fields, **changed}
    payload = {"contact": contact.key, "topic": link.topic, **fields}
    webhook_outbox.add(connection, ANSWERED, [(contact.id, payload)], now)
    return int(fields["score"])


def _answer_fields(
    survey: str,
    score: int,
    comment: str,
    *,
    finished: bool,
) -> dict[str, str]:
    fields = {
        "survey": survey,
        "score": str(score),
        "comment": _one_line(comment)[:COMMENT_LENGTH],
        UNFINISHED: "" if finished else "yes",
    }
    return _known(fields)


def _one_line(text: str) -> str:
    # Anybody can type it in, and operators read it in a terminal and in mails.
    return " ".join(without_hidden(text).split())


def _said_anew(
    before: Mapping[str, str], fields: Mapping[str, str]
) -> Mapping[str, str] | None:
    """What an answer says from now on, of whom there is one `before`; None if that one
    stays."""
    if UNFINISHED in before:
        return fields
    comment = fields.get("comment")
    # What was said once stays: whoever gets the link later could take it back.
    if comment is None or "comment" in before:
        return None
    return {**before, "comment": comment}


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
    contact = contact_of(connection, link)
    run = runs.runs_by_id(connection, [link.run]).get(link.run)
    message = _sent_by(connection, link)
    if contact is None or run is None or message is None:
        return
    if run.contact_id != contact.id:
        return
    machine = _is_machine(connection, message, name, now)
    who = "machine" if machine else "person"
    # A program that comes again is known again, but not each time.
    source = f"{name}:{now:%Y-%m-%dT%H:%M}" if name == TRAP else f"{name}:{who}"
    kind = "clicked" if name else "opened"
    delivery = Delivery(message.id, kind, now, who, "", name, source)
    if not deliveries.record(connection, delivery) or machine:
        return
    campaign = campaign_set.version(connection, run.campaign, run.version)
    step = step_of(campaign, message.step)
    fields = {
        "campaign": message.campaign,
        "step": message.step,
        "link": name,
        "template": step.template if step else "",
    }
    event_name = CLICKED if name else OPENED
    key = f"{message.id}-{name}"
    event = _event(contact, event_name, key, now, _known(fields))
    take_events(connection, campaign_set.settings, [event])


def _sent_by(connection: Connection, link: Link) -> OutboxMessage | None:
    """The message that a link was in, if it has left."""
    for message in outbox.of_runs(connection, [link.run]):
        # Without the time at which it left nobody can say whether a click came too
        # soon.
        if message.step == link.detail and message.sent_at:
            return message
    return None


def _is_machine(
    connection: Connection,
    message: OutboxMessage,
    name: str,
    now: datetime,
) -> bool:
    """Whether it was a program that looks for viruses: too soon, by the trap, or many
    links at once."""
    assert message.sent_at
    if name == TRAP or now - message.sent_at < AT_ONCE:
        return True
    if not name:
        return False
    lately = links.clicked_lately(connection, message.id, now - TOGETHER)
    return TRAP in lately or len(lately) + 1 >= MANY


def _event(
    contact: Contact,
    name: str,
    key: str,
    now: datetime,
    fields: Mapping[str, str],
) -> EventRow:
    """Something that a contact did by a link."""
    return {
        "contact_id": contact.id,
        "record_id": 0,
        "name": name,
        "key": key,
        "at": now,
        "fields": fields,
    }


def _known(fields: Mapping[str, str]) -> dict[str, str]:
    """Those that say something."""
    return {name: text for name, text in fields.items() if text}


def asked_by(settings: Settings, link: Link) -> tuple[str, int] | None:
    """The survey and the score that a link answers with; None for one that there is not
    any more."""
    survey, _, text = (link.detail or "").partition(":")
    if not text.isdecimal() or len(text) > LONGEST_SCORE:
        return None
    # In a mail that was sent long ago: the survey may have other scores by now.
    score = int(text)
    return (survey, score) if score in settings.scores(survey) else None


@dataclass(frozen=True, slots=True)
class Choice:
    """One topic on one channel: whether it is on, and since when by the contact's own
    word (None: nobody has said anything)."""

    topic: str
    channel: str
    on: bool
    since: datetime | None


def choices(
    connection: Connection,
    settings: Settings,
    contact: Contact,
) -> list[Choice]:
    """All topics, on the channels that the workspace has and the contact can be reached
    by."""
    latest = consents.latest(connection, contact.id)
    words = {(word.topic, word.channel): word for word in latest}
    implied = not _signed_up(connection, contact)
    channels = _channels_to(contact, settings)
    found = []
    for topic in settings.topics.values():
        unsaid = topic.opt_in == "implied" and implied
        for channel in channels:
            word = words.get((topic.key, channel))
            on, since = (word.given, word.at) if word else (unsaid, None)
            found.append(Choice(topic.key, channel, on, since))
    return found


def _channels_to(contact: Contact, settings: Settings) -> list[str]:
    # What cannot reach them is no choice: a switch that does nothing would mislead.
    return [
        channel
        for channel in CHANNELS
        if channel in settings.transports and address_of(contact, channel)
    ]


def choose(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    wanted: Collection[tuple[str, str]],
    now: datetime,
    proof: Mapping[str, str],
) -> None:
    """Topics and channels that are wanted are on, all others off."""
    # Of a sign-up every word is kept: what nobody implied yet is not to be on once the
    # contact is an ordinary one.
    every = _signed_up(connection, contact)
    said = []
    for choice in choices(connection, settings, contact):
        on = (choice.topic, choice.channel) in wanted
        if every or choice.on != on:
            said.append(Consent(contact.id, choice.topic, choice.channel, on, now))
    _record(connection, contact, said, "preferences", now, proof)
    if wanted:
        # Whoever has the link has the mailbox. A mere no leaves a stranger's address
        # what it is.
        sign_ups.make_ordinary(connection, [contact.id])


def speak(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    locale: str,
) -> None:
    """The contact reads this language from now on."""
    if contact.locale != locale:
        contact.locale = locale
        contacts.save_contacts(connection, [contact], date_fields(settings, "contact"))


def pause(
    connection: Connection,
    settings: Settings,
    contact: Contact,
    now: datetime,
) -> None:
    """Nothing about any topic for a while."""
    until = now + PAUSE
    rows = [_pause_row(contact, topic, until) for topic in settings.topics]
    pauses.pause(connection, rows)
    _look_again(connection, contact)


def _pause_row(contact: Contact, topic: str, until: datetime) -> dict[str, object]:
    return {
        "contact_id": contact.id,
        "topic": topic,
        "until": until,
        # Under this name only the contact ends it: a campaign has pauses of its own.
        "place": PAUSED,
    }


def go_on(connection: Connection, contact: Contact) -> None:
    """The contact's own pause is over."""
    pauses.end_pauses(connection, contact.id, PAUSED)
    _look_again(connection, contact)


def paused_until(
    connection: Connection,
    contact: Contact,
    now: datetime,
) -> datetime | None:
    """Until when the contact has paused everything, if so."""
    until = pauses.paused_from(connection, contact.id, PAUSED)
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
    """Somebody asks for a topic, maybe with another one's address. A `double` topic's
    campaign asks back (the event `TOPIC.requested`), a `single` one is on at once, but
    for whoever has said no to it: that is theirs alone to take back. Whoever was not
    known before stays a sign-up (`storage.people.sign_ups`)."""
    double = settings.topics[topic].opt_in == "double"
    contact = contacts.contact_by_email(connection, email) or _stranger(
        connection,
        settings,
        email,
        first_name,
        locale,
        now,
    )
    if not double and _said_no(connection, contact, topic):
        return
    name = f"{topic}.{REQUESTED}"
    if _asked_enough(connection, contact, name, double, now):
        return
    fields = _known(proof)
    key = f"{contact.id}-{now.isoformat()}"
    take_events(connection, settings, [_event(contact, name, key, now, fields)])
    if not double:
        said = [Consent(contact.id, topic, "email", True, now)]
        _record(connection, contact, said, "sign-up page", now, fields)
        sign_ups.take_at_word(connection, contact.id)


def _asked_enough(
    connection: Connection,
    contact: Contact,
    name: str,
    double: bool,
    now: datetime,
) -> bool:
    """Whether nobody's inbox is to be filled by one request more."""
    asked = events.events_of(connection, [contact.id], [name]).get(contact.id, [])
    if asked and now - asked[-1].at < ASK_AGAIN:
        return True
    # A topic without a question sends nothing back, and fills nobody's inbox.
    lately = [event for event in asked if now - event.at < LATELY]
    return double and len(lately) >= MOST_ASKED


def _said_no(connection: Connection, contact: Contact, topic: str) -> bool:
    latest = consents.latest(connection, contact.id)
    return any(_is_no_by_mail(word, topic) for word in latest)


def _is_no_by_mail(word: Word, topic: str) -> bool:
    return (word.topic, word.channel, word.given) == (topic, "email", False)


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
    if key in contacts.contacts_by_key(connection, [key]):
        # The key is taken by somebody with another address.
        key = f"{key}-{now:%Y%m%d%H%M%S}"
    contact = Contact(key, email, locale=locale)
    name = _one_line(first_name)[:NAME_LENGTH]
    if name and "first_name" in settings.fields["contact"]:
        contact.attributes["first_name"] = name
    contacts.save_contacts(connection, [contact], date_fields(settings, "contact"))
    sign_ups.begin(connection, contact.id, now + UNCONFIRMED)
    refresh(connection, settings, [(contact.id, 0)])
    return contact


def _signed_up(connection: Connection, contact: Contact) -> bool:
    """Whether nothing is known of a contact but a sign-up, which implies nothing."""
    return contact.id in sign_ups.of_contacts(connection, [contact.id])


def _look_again(connection: Connection, contact: Contact) -> None:
    change_marks.touch(connection, [contact.id])
    change_marks.wake_runs(connection, [contact.id])


def _record(
    connection: Connection,
    contact: Contact,
    said: list[Consent],
    source: str,
    now: datetime,
    proof: Mapping[str, str] | None = None,
) -> None:
    """Each word with the address of its channel."""
    for channel in dict.fromkeys(word.channel for word in said):
        words = [word for word in said if word.channel == channel]
        addresses = {contact.id: address_of(contact, channel)}
        consents.record(connection, words, source, addresses, now, proof)
