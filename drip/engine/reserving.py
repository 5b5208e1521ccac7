"""Slots kept free: what campaigns with `reserve:` are going to send to the contacts of a batch.

Monday's promotion must not eat the slot that Thursday's birthday card needs. So when something of a lower priority is
judged, the messages that such a campaign has coming within its `reserve` count already, each at the first moment
from when it is due at which its send window is open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from drip.core.calendar import at_minute, later, millis, shift, zone
from drip.core.campaign import Campaign, DateTrigger
from drip.core.caps import Use
from drip.core.conditions import why_not
from drip.core.steps import Action, SendStep, Wait, chance_of
from drip.engine.campaign_set import CampaignSet
from drip.engine.dates import anchor_date, entry_instant
from drip.engine.facts import ContactFacts, date_value
from drip.storage.campaigns import audience, runs
from drip.storage.people.contacts import Contact


class Reservation(NamedTuple):
    """A message to come, and the priority below which others make way for it."""

    priority: int
    use: Use


@dataclass(frozen=True, slots=True)
class Coming:
    """One occurrence of a reserving campaign for a contact: the date that it hangs on, and its record."""

    campaign: Campaign
    contact: Contact
    record_id: int
    anchor: date


def reservations(
    connection: Connection,
    campaign_set: CampaignSet,
    facts: ContactFacts,
    contact_ids: Collection[int],
    now: datetime,
) -> dict[int, list[Reservation]]:
    """What is reserved for these contacts, by contact."""
    found: dict[int, list[Reservation]] = defaultdict(list)
    for campaign in campaign_set.entering():
        if campaign.reserve is None or not campaign.obeys_caps or not campaign.counted:
            continue
        coming = list(
            _coming(connection, campaign_set, facts, campaign, contact_ids, now)
        )
        facts.with_records({each.record_id for each in coming})
        occurrences = {each.anchor.isoformat() for each in coming}
        told = runs.told_of(
            connection, campaign.key, {each.contact.id for each in coming}, occurrences
        )
        for each in coming:
            run = told.get(
                (each.contact.id, each.record_id, each.anchor.isoformat()), {}
            )
            found[each.contact.id] += _reserved(campaign_set, facts, each, run, now)
    return found


def _coming(
    connection: Connection,
    campaign_set: CampaignSet,
    facts: ContactFacts,
    campaign: Campaign,
    contact_ids: Collection[int],
    now: datetime,
) -> Iterator[Coming]:
    trigger = campaign.trigger
    assert isinstance(trigger, DateTrigger)
    assert campaign.reserve is not None
    known = audience.dates_of(connection, trigger.date.field, contact_ids)
    for (contact_id, record_id), day in known.items():
        value = date_value(campaign_set.settings, trigger.date.field, day)
        contact = facts.contacts[contact_id]
        if value is None or bool(record_id) != bool(campaign.for_each):
            continue
        if (
            campaign.holdout
            and chance_of(contact.key, campaign.key, "holdout") < campaign.holdout
        ):
            continue
        for year in (now.year - 1, now.year, now.year + 1) if trigger.yearly else (0,):
            anchor = anchor_date(trigger, value, year)
            if (
                anchor is not None
                and abs(anchor - now.date()) <= campaign.lookback() + campaign.reserve
            ):
                yield Coming(campaign, contact, record_id, anchor)


def _reserved(
    campaign_set: CampaignSet,
    facts: ContactFacts,
    coming: Coming,
    told: dict[str | None, str | None],
    now: datetime,
) -> Iterator[Reservation]:
    """The messages of an occurrence that will be due within `reserve`, if they can reach the contact at all."""
    campaign, contact = coming.campaign, coming.contact
    assert campaign.reserve is not None
    if runs.ENDED in told.values():
        return
    person, asked = facts.person(contact), False
    for step, due in _sends(campaign_set, coming, facts.zone_of(contact)):
        at = person.next_allowed(step.window, due)
        if (
            at is None
            or not now < at <= now + campaign.reserve
            or told.get(step.id, runs.WAITS) != runs.WAITS
        ):
            continue
        channel = next(
            (
                each
                for each in step.channels
                if person.closed(each, campaign.topic) is None
            ),
            None,
        )
        if channel is None or step.transactional:
            continue
        if not asked and campaign.audience is not None:
            values = facts.facts(contact, facts.records.get(coming.record_id), {})
            if why_not(campaign.audience, values) is not None:
                return
            asked = True
        yield Reservation(
            step.priority,
            Use(
                millis(at),
                millis(at),
                channel,
                campaign.topic,
                campaign.key,
                reserved=True,
            ),
        )


def _sends(
    campaign_set: CampaignSet, coming: Coming, zone_name: str
) -> Iterator[tuple[SendStep, datetime]]:
    """The messages that are sure to come, with their times: up to where the run's way depends on anything."""
    campaign, position = coming.campaign, 0
    where = zone(campaign.timezone or zone_name)
    since = entry_instant(campaign, coming.anchor, zone_name)
    while position < len(campaign.steps):
        step = campaign.steps[position]
        match step:
            case SendStep(at=None):
                yield step, since
            case SendStep(at=at) if at is not None:
                if (
                    isinstance(campaign.trigger, DateTrigger)
                    and at.field == campaign.trigger.name
                ):
                    since = at_minute(shift(coming.anchor, at.offset), at.opens, where)
                    yield step, since
            case Wait(duration=duration):
                since = later(
                    since, duration, zone(zone_name), campaign_set.settings.holidays
                )
            case _ if not isinstance(step, Action):
                return
        position = step.next
