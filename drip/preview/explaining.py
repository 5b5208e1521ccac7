"""Why a contact gets nothing from a campaign: the first thing that stands in the way, read live."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from drip.core.campaign import Campaign, CounterTrigger, DateTrigger, EventTrigger, SegmentTrigger
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.core.steps import Send
from drip.engine.book import Book
from drip.engine.facts import Batch
from drip.storage import audience, people
from drip.storage.people import Contact, Event, Record


def why_nothing(connection: Connection, book: Book, campaign: Campaign, contact: Contact, now: datetime) -> Reason:
    """The reason why nothing of a campaign is in sight for a contact."""
    paused = book.paused(campaign)
    if paused:
        return paused
    facts = Batch(connection, book.settings, [contact.id], now)
    person = facts.contacts[contact.id]
    records: list[Record | None] = [None]
    if campaign.for_each:
        records = list(people.records_of(connection, [contact.id], campaign.for_each))
        if not records:
            return Reason("not-in-audience", f"there is no {campaign.for_each} of this contact", campaign.place)
    failures = [campaign.audience and why_not(campaign.audience, facts.facts(person, each, {})) for each in records]
    if all(failures) and failures[0]:
        return Reason("not-in-audience", failures[0].sentence, failures[0].place)
    closed = _all_closed(campaign, facts, person)
    if closed:
        return closed
    return _no_occasion(connection, campaign, facts, person)


def _all_closed(campaign: Campaign, facts: Batch, contact: Contact) -> Reason | None:
    """Why none of the campaign's messages can reach the contact, if so."""
    closed = facts.person(contact).closed
    first: Reason | None = None
    for step in campaign.steps:
        for channel in step.channels if isinstance(step, Send) else ():
            reason = closed(channel, None if isinstance(step, Send) and step.transactional else campaign.topic)
            if reason is None:
                return None
            first = first or reason
    return first


def _no_occasion(connection: Connection, campaign: Campaign, facts: Batch, contact: Contact) -> Reason:
    match campaign.trigger:
        case DateTrigger(date=date_field):
            known = audience.dates_of(connection, date_field.field, [contact.id])
            sentence = "the date is not near" if known else f"{date_field.field} is unknown"
        case EventTrigger(event=name, where=where):
            happened = people.events_of(connection, [contact.id], [name]).get(contact.id)
            if not happened:
                return Reason("not-due", f"{name} never happened", campaign.place)
            failure = where and why_not(where, facts.facts(contact, None, _heard(happened[-1])))
            if failure:
                return Reason("not-due", f"of the last {name}, {failure.sentence}", failure.place)
            sentence = f"no {name} has happened since the campaign looked last"
        case SegmentTrigger(segment=name):
            inside = name in facts.sets(contact.id)
            sentence = f"entered {name} before" if inside else f"not in the segment {name}"
        case CounterTrigger(counter=name, reaches=numbers):
            stands = facts.balances(contact.id).get(name, 0)
            sentence = f"{name} stands at {stands}, and runs start at {', '.join(map(str, numbers))}"
        case _:
            sentence = "no occurrence of its schedule is near"
    return Reason("not-due", sentence, campaign.place)


def _heard(event: Event) -> dict[str, Event]:
    return {"event": event, event.name.partition(".")[0]: event}
