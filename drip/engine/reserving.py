"""Slots kept free: what campaigns with `reserve:` are going to send to the contacts of
a batch.

Monday's promotion must not eat the slot that Thursday's birthday card needs. So when
something of a lower priority is judged, the messages that such a campaign has coming
within its `reserve` count already, each at the first moment from when it is due at
which its send window is open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from drip.core.calendar import millis
from drip.core.campaign import Campaign, DateTrigger
from drip.core.caps import Use
from drip.core.conditions import why_not
from drip.core.decide import Person
from drip.core.fields import Value
from drip.core.lifecycle import Wake
from drip.core.steps import chance_of
from drip.engine.campaign_set import CampaignSet
from drip.engine.dates import anchor_date, entry_instant
from drip.engine.facts import ContactFacts, date_value
from drip.engine.passages import Passage, passage_of
from drip.engine.stepping import AtMessage
from drip.engine.walking import coming
from drip.storage.campaigns import audience, runs
from drip.storage.campaigns.runs import Run


class Reservation(NamedTuple):
    """A message to come, and the priority below which others make way for it."""

    priority: int
    use: Use


# A contact, its record (0 is none), and the date that an occurrence hangs on.
Near = tuple[int, int, date]


@dataclass(frozen=True, slots=True)
class Coming:
    """One occurrence of a reserving campaign: whose, the date that it hangs on, and
    what became of its messages so far, by step (None: of the run)."""

    campaign: Campaign
    contact_id: int
    record_id: int
    anchor: date
    became: Mapping[str | None, str | None]


def coming_of(
    connection: Connection,
    campaign_set: CampaignSet,
    contact_ids: Collection[int],
    now: datetime,
) -> dict[int, list[Coming]]:
    """The occurrences near enough to keep slots for, by contact."""
    found: dict[int, list[Coming]] = defaultdict(list)
    for campaign in campaign_set.entering():
        # What obeys no cap is displaced by nobody, and what none counts takes no slot.
        if campaign.reserve is None or not campaign.obeys_caps or not campaign.counted:
            continue
        near = list(
            _near(
                connection,
                campaign_set,
                campaign,
                contact_ids,
                now,
            )
        )
        for occurrence in _known(connection, campaign, near):
            found[occurrence.contact_id].append(occurrence)
    return found


def _known(
    connection: Connection,
    campaign: Campaign,
    near: Sequence[Near],
) -> Iterator[Coming]:
    """These occurrences with what became of their messages."""
    became = runs.messages_by_occurrence(
        connection,
        campaign.key,
        {contact for contact, _, _ in near},
        {anchor.isoformat() for _, _, anchor in near},
    )
    for contact, record, anchor in near:
        own = became.get((contact, record, anchor.isoformat()), {})
        yield Coming(
            campaign,
            contact,
            record,
            anchor,
            own,
        )


def _near(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    contact_ids: Collection[int],
    now: datetime,
) -> Iterator[Near]:
    """The dates that the campaign hangs on, if these are near."""
    trigger = campaign.trigger
    assert isinstance(trigger, DateTrigger)
    field, settings = trigger.date.field, campaign_set.settings
    known = audience.dates_of(connection, field, contact_ids)
    for (contact_id, record_id), day in known.items():
        value = date_value(settings, field, day)
        if value is None or bool(record_id) != bool(campaign.for_each):
            continue
        for anchor in _anchors(
            campaign,
            trigger,
            value,
            now,
        ):
            yield contact_id, record_id, anchor


def _anchors(
    campaign: Campaign,
    trigger: DateTrigger,
    value: Value,
    now: datetime,
) -> Iterator[date]:
    """The days near enough on which a run of this date would begin."""
    assert campaign.reserve is not None
    reach = campaign.lookback() + campaign.reserve
    # Around New Year what is near can belong to the year before or after.
    years = (now.year - 1, now.year, now.year + 1) if trigger.yearly else (0,)
    for year in years:
        anchor = anchor_date(trigger, value, year)
        if anchor is not None and abs(anchor - now.date()) <= reach:
            yield anchor


def reservations(
    ahead: Iterable[Coming],
    facts: ContactFacts,
    now: datetime,
) -> Iterator[Reservation]:
    """What is kept free for a contact."""
    for occurrence in ahead:
        yield from _reserved(occurrence, facts, now)


def _reserved(
    occurrence: Coming,
    facts: ContactFacts,
    now: datetime,
) -> Iterator[Reservation]:
    """The messages of an occurrence that will be due within `reserve`, if they can
    reach the contact at all."""
    if runs.ENDED in occurrence.became.values():
        return
    passage = _passage(occurrence, facts)
    # Whoever is held out gets nothing: a slot would only keep other messages back.
    if _held_out(passage):
        return
    person, asked = facts.person(passage.contact), False
    for ahead in coming(passage):
        use = _use(
            ahead,
            occurrence,
            person,
            now,
        )
        if use is None:
            continue
        # Asked only where something is coming: that is much rarer than a date that is
        # near.
        if not asked and _outside(passage):
            return
        asked = True
        yield Reservation(ahead.step.priority, use)


def _passage(occurrence: Coming, facts: ContactFacts) -> Passage:
    """The run that will be, at its first step."""
    campaign, contact_id = occurrence.campaign, occurrence.contact_id
    zone_name = facts.zone_of(facts.contacts[contact_id])
    starts = entry_instant(campaign, occurrence.anchor, zone_name)
    anchor = occurrence.anchor.isoformat()
    run = Run(
        id=0,
        campaign=campaign.key,
        version=campaign.version,
        contact_id=contact_id,
        record_id=occurrence.record_id,
        occurrence=anchor,
        event_id=None,
        anchor=anchor,
        position=0,
        since=starts,
        wake=Wake.NEW,
        due_at=starts,
        active=True,
        started_at=starts,
        ended_at=None,
        code=None,
        sentence=None,
        place=None,
    )
    return passage_of(
        run,
        campaign,
        facts,
        {},
    )


def _held_out(passage: Passage) -> bool:
    campaign = passage.campaign
    return (
        campaign.holdout > 0
        and chance_of(passage.contact.key, campaign.key, "holdout") < campaign.holdout
    )


def _outside(passage: Passage) -> bool:
    """Whether the contact will not be in the audience, as things are."""
    audience_ = passage.campaign.audience
    values = passage.facts.facts(passage.contact, passage.record, {})
    return audience_ is not None and why_not(audience_, values) is not None


def _use(
    ahead: AtMessage,
    occurrence: Coming,
    person: Person,
    now: datetime,
) -> Use | None:
    """The slot that a message will use; None if it is not near enough, has gone, counts
    for nothing or can't go."""
    campaign, step = occurrence.campaign, ahead.step
    assert campaign.reserve is not None
    became = occurrence.became.get(step.id, runs.WAITS)
    if step.transactional or became != runs.WAITS:
        return None
    at = person.next_allowed(step.window, ahead.planned_at)
    if at is None or not now < at <= now + campaign.reserve:
        return None
    topic, leaves = campaign.topic, millis(at)
    for channel in step.channels:
        if person.closed(channel, topic) is None:
            return Use(
                leaves,
                leaves,
                channel,
                topic,
                campaign.key,
                reserved=True,
            )
    return None
