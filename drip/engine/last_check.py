"""The last check right before a message begins: whether all that it was granted for
still holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from drip.core.campaign import Campaign
from drip.core.decide import Candidate, permitted
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.candidates import candidate_of
from drip.engine.facts import ContactFacts
from drip.storage.campaigns.runs import Run
from drip.storage.operating import daemons
from drip.storage.people import consents
from drip.storage.people.contacts import Contact, address_of
from drip.storage.sending.outbox import OutboxMessage

# So long after the last check a message is not begun any more: its lease would hardly
# outlast it.
TURN = daemons.LEASE / 4


@dataclass
class Ready:
    """A granted message with all that rendering and the last check need."""

    message: OutboxMessage
    run: Run
    campaign: Campaign
    step: SendStep
    contact: Contact
    facts: ContactFacts
    taken_at: datetime | None = None

    @property
    def id(self) -> int:
        """The message's number."""
        return self.message.id

    @property
    def address(self) -> str | None:
        """Where it goes, as far as that is known still."""
        return address_of(self.contact, self.message.channel)

    @property
    def domain(self) -> str:
        """The domain that it goes to; none by other channels than e-mail."""
        return domain_of(self.contact, self.message.channel)


@dataclass(frozen=True, slots=True)
class LastCheck:
    """What the last check looked at, and when it was made."""

    candidate: Candidate
    at: datetime


def domain_of(contact: Contact, channel: str) -> str:
    """The domain of a contact's address; none by other channels than e-mail."""
    address = contact.email if channel == "email" else None
    # RFC 5321 section 2.4: domains are the same in capitals and small letters.
    return address.rpartition("@")[2].lower() if address else ""


def last_checks(
    connection: Connection,
    campaign_set: CampaignSet,
    batch: Sequence[Ready],
    now: datetime,
) -> dict[int, LastCheck]:
    """Those of these messages that may begin, by their numbers."""
    checks: dict[int, LastCheck] = {}
    for ready, same in zip(
        batch,
        _unchanged(connection, batch),
        strict=True,
    ):
        # Anew, by the holds of this moment: `drip stop` works at once.
        candidate = _candidate(campaign_set, ready)
        if (
            same
            and _granted_by(ready, now)
            and _permitted(
                ready,
                candidate,
                now,
            )
        ):
            checks[ready.id] = LastCheck(candidate, now)
    return checks


def _candidate(campaign_set: CampaignSet, ready: Ready) -> Candidate:
    return candidate_of(
        campaign_set,
        ready.facts,
        ready.contact,
        ready.campaign,
        ready.step,
        ready.message.planned_at,
        has_content=True,
    )


def _unchanged(connection: Connection, batch: Sequence[Ready]) -> Iterator[bool]:
    """Whether of each what was asked of its contact is as when its facts were fetched.

    That is address, zone, consent and suppressions.
    """
    known = [
        ready.facts.standing(
            ready.contact,
            ready.message.topic,
            ready.message.channel,
        )
        for ready in batch
    ]
    standing_now = consents.standings(connection, known)
    for before, after in zip(known, standing_now, strict=True):
        yield before == after


def _permitted(ready: Ready, candidate: Candidate, now: datetime) -> bool:
    person = ready.facts.person(ready.contact)
    return permitted(candidate, person, ready.message.channel, now)


def _granted_by(ready: Ready, now: datetime) -> bool:
    """Whether it was granted by now.

    Before that other messages fill the windows: the clock was set back.
    """
    granted_at = ready.message.granted_at
    return granted_at is not None and granted_at <= now


def in_time(ready: Ready, check: LastCheck, now: datetime) -> bool:
    """Whether a message may begin `now` by a check that was made before."""
    # A clock that was set back is as bad as one that went on while the program stood
    # still.
    fresh = check.at - TURN < now < check.at + TURN
    return fresh and _permitted(ready, check.candidate, now)
