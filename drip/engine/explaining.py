"""Why a contact gets nothing from a campaign: the first thing that stands in the way, read live."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from drip.core.campaign import Campaign, DateTrigger, EventTrigger
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.engine.book import Book
from drip.engine.facts import Batch
from drip.storage import audience, people
from drip.storage.people import Contact, Record


def why_nothing(connection: Connection, book: Book, campaign: Campaign, contact: Contact, now: datetime) -> Reason:
    """The reason why nothing of a campaign is in sight for a contact."""
    paused = book.paused(campaign)
    if paused:
        return paused
    facts = Batch(connection, book.settings, [contact.id])
    person = facts.contacts[contact.id]
    records: list[Record | None] = [None]
    if campaign.for_each:
        records = list(people.records_of(connection, [contact.id], campaign.for_each))
        if not records:
            return Reason("not-in-audience", f"there is no {campaign.for_each} of this contact", campaign.place)
    failures = [
        campaign.audience and why_not(campaign.audience, facts.facts(person, each, None, now)) for each in records
    ]
    if all(failures) and failures[0]:
        return Reason("not-in-audience", failures[0].sentence, failures[0].place)
    closed = facts.person(person).closed.get(("email", campaign.topic))
    if closed:
        return closed
    return _no_occasion(connection, campaign, facts, person, now)


def _no_occasion(connection: Connection, campaign: Campaign, facts: Batch, contact: Contact, now: datetime) -> Reason:
    match campaign.trigger:
        case DateTrigger(date=date_field):
            known = audience.dates_of(connection, date_field.field, [contact.id])
            sentence = "the date is not near" if known else f"{date_field.field} is unknown"
        case EventTrigger(event=name, where=where):
            happened = people.events_of(connection, [contact.id], [name]).get(contact.id)
            if not happened:
                return Reason("not-due", f"{name} never happened", campaign.place)
            failure = where and why_not(where, facts.facts(contact, None, happened[-1], now))
            if failure:
                return Reason("not-due", f"of the last {name}, {failure.sentence}", failure.place)
            sentence = f"no {name} has happened since the campaign looked last"
        case _:
            sentence = "no occurrence of its schedule is near"
    return Reason("not-due", sentence, campaign.place)
