"""A step's message as `core.decide` sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from drip.core.campaign import Campaign
from drip.core.caps import Cap
from drip.core.decide import Candidate, Reason
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import ContactFacts
from drip.engine.passages import Passage
from drip.storage.operating.lost_time import Lost
from drip.storage.people.contacts import Contact
from drip.storage.sending.outbox import OutboxMessage

# What candidates have in common that differ in nothing but whose they are: campaign,
# version, step, when it is due, and whether there is content.
Alike = tuple[str, str, str, datetime, bool]


@dataclass(slots=True)
class Candidates:
    """Makes the candidates of a batch.

    Most of a batch get the same message, so that one candidate stands for all of them.
    """

    campaign_set: CampaignSet
    has_content: Callable[[str, str], bool]
    lost: Lost | None
    _known: dict[Alike, Candidate] = field(default_factory=dict)

    def of(
        self,
        passage: Passage,
        step: SendStep,
        message: OutboxMessage | None,
        planned_at: datetime,
        ended: Reason | None,
    ) -> Candidate:
        """The candidate of a run's message; `ended` is why nothing of the run goes any
        more."""
        campaign = passage.campaign
        content = step.content is None or self._content(step.content, passage)
        if ended or self._is_own(passage):
            return candidate_of(
                self.campaign_set,
                passage.facts,
                passage.contact,
                campaign,
                step,
                planned_at,
                content,
                ended,
                _ready_at(
                    passage,
                    step,
                    message,
                    planned_at,
                ),
            )
        key = (campaign.key, campaign.version, step.id, planned_at, content)
        known = self._known.get(key)
        if known is None:
            known = candidate_of(
                self.campaign_set,
                passage.facts,
                passage.contact,
                campaign,
                step,
                planned_at,
                content,
            )
            self._known[key] = known
        return known

    def _content(self, folder: str, passage: Passage) -> bool:
        """Whether there is content for the run's occurrence."""
        return self.has_content(folder, passage.run.occurrence)

    def _is_own(self, passage: Passage) -> bool:
        """Whether the candidate hangs on whose it is: on when it could have left, or on
        a pause."""
        campaign = passage.campaign
        if campaign.when_late != "send" or self.lost is not None:
            return True
        facts = passage.facts
        return facts.paused(passage.contact, campaign.topic) is not None


def _ready_at(
    passage: Passage,
    step: SendStep,
    message: OutboxMessage | None,
    planned_at: datetime,
) -> datetime:
    """A deferred message could leave when its wait was over, any other when the window
    was open."""
    ready = message.due_at if message else planned_at
    if step.transactional:
        return ready
    person = passage.facts.person(passage.contact)
    return person.next_allowed(step.window, ready) or ready


def candidate_of(
    campaign_set: CampaignSet,
    facts: ContactFacts,
    contact: Contact,
    campaign: Campaign,
    step: SendStep,
    planned_at: datetime,
    has_content: bool,
    ended: Reason | None = None,
    ready_at: datetime | None = None,
) -> Candidate:
    """A step's message as `decide` sees it.

    `ended` is why nothing of its run goes any more, and `ready_at` from when on nothing
    kept it but nobody looking; without one it is when the message is due.
    """
    paused, until = campaign_set.paused(campaign), None
    if paused is None and not step.transactional:
        held_back = facts.paused(contact, campaign.topic)
        if held_back:
            until, paused = held_back
    return Candidate(
        campaign=campaign.key,
        step=step.id,
        topic=campaign.topic,
        channels=step.channels,
        planned_at=planned_at,
        ready_at=ready_at or planned_at,
        when_late=campaign.when_late,
        grace=step.grace,
        window=step.window,
        window_place=step.window_place,
        transactional=step.transactional,
        caps=_caps(campaign_set, campaign, step),
        wait_when_capped=campaign.wait_when_capped,
        place=step.place,
        topic_place=campaign.topic_place,
        paused=paused,
        paused_until=until,
        ended=ended,
        has_content=has_content,
    )


def _caps(
    campaign_set: CampaignSet,
    campaign: Campaign,
    step: SendStep,
) -> tuple[Cap, ...]:
    """The caps that count a message on any of its channels."""
    if step.transactional or not campaign.obeys_caps:
        return ()
    caps = (*campaign_set.settings.caps, *campaign.caps)
    return tuple(cap for cap in caps if _counts(cap, campaign, step))


def _counts(
    cap: Cap,
    campaign: Campaign,
    step: SendStep,
) -> bool:
    topic, key = campaign.topic, campaign.key
    return any(cap.counts(channel, topic, key) for channel in step.channels)
