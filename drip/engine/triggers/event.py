"""Runs that start with an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection

from drip.core.campaign import Campaign, EventTrigger
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.engine.triggers.kind import Absentee, Ahead, Look, Start
from drip.storage.campaigns import audience
from drip.storage.campaigns.cursors import Cursor
from drip.storage.people import events as event_store
from drip.storage.people.events import Event


class StartByEvent:
    """Its cursor counts events."""

    def counts(self, campaign: Campaign) -> str:
        return f"event {_trigger(campaign).event}"

    def stands_at(self, connection: Connection, newest: Cursor) -> int:
        return newest.event_id

    def starts(self, look: Look) -> Iterable[list[Start]]:
        """By the events that came in since the look before."""
        # Most looks find nothing new, and this asks the database nothing.
        if look.before and look.before.event_id == look.now.event_id:
            return
        campaign, trigger = look.campaign, _trigger(look.campaign)
        events = audience.events_after(
            look.connection, trigger.event, look.after, look.since
        )
        yield [
            Start(
                event.contact_id,
                # Two orders of one car are two occurrences, told apart by the event's
                # key.
                event.record_id if campaign.for_each else 0,
                look.occurrence(event.key),
                event.at,
                event_id=event.id,
                where=trigger.where,
            )
            for event in events
            if event.record_id or not campaign.for_each
        ]

    def coming(self, ahead: Ahead) -> Iterable[datetime]:
        """Nobody knows what will happen."""
        return ()

    def why_nobody(self, absentee: Absentee) -> Reason:
        trigger, contact = _trigger(absentee.campaign), absentee.contact
        name = trigger.event
        happened = event_store.events_of(
            absentee.connection,
            [contact.id],
            [name],
        )
        if not happened.get(contact.id):
            return absentee.because(f"{name} never happened")
        # The one that people ask about: why did this not start anything?
        last = happened[contact.id][-1]
        facts = absentee.facts.facts(
            contact,
            None,
            _by_name(last),
        )
        failure = why_not(trigger.where, facts) if trigger.where else None
        if failure:
            sentence = f"of the last {name}, {failure.sentence}"
            return Reason("not-due", sentence, failure.place)
        return absentee.because(
            f"no {name} has happened since the campaign looked last"
        )


def _trigger(campaign: Campaign) -> EventTrigger:
    assert isinstance(campaign.trigger, EventTrigger)
    return campaign.trigger


def _by_name(event: Event) -> Mapping[str, Event]:
    """An event by what conditions call it: `event`, and `order` for `order.placed`."""
    return {"event": event, event.name.partition(".")[0]: event}
