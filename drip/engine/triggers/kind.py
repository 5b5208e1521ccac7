"""What every kind of trigger can say: who starts now, what is coming, and why nobody
does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Connection

from drip.core.campaign import Campaign
from drip.core.conditions import Condition
from drip.core.decide import Reason
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import ContactFacts
from drip.storage.campaigns.cursors import Cursor
from drip.storage.people.contacts import Contact

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Start:
    """A run that could begin: whose, for which occurrence, since when its first step
    counts.

    `record_id` is 0 for a run that is about no record. `where` has to hold besides the
    campaign's audience.
    """

    contact_id: int
    record_id: int
    occurrence: str
    since: datetime
    anchor: str | None = None
    event_id: int | None = None
    where: Condition | None = None


@dataclass(frozen=True, slots=True)
class StartOfAll:
    """An occurrence for everybody who lives in these zones.

    None among the zones is the workspace's; None instead of them: wherever they live.
    """

    occurrence: str
    since: datetime
    zones: Collection[str | None] | None


@dataclass(frozen=True, slots=True)
class Look:
    """A campaign is looked at: `before` is how far the look before went, None at the
    first.

    `now` is how far this one goes.
    """

    connection: Connection
    campaign_set: CampaignSet
    campaign: Campaign
    before: Cursor | None
    now: Cursor

    @property
    def after(self) -> int:
        """The number of what the look before saw last."""
        return self.before.event_id if self.before else 0

    @property
    def since(self) -> datetime:
        """What is older does not count: at the first look, what is too old to matter.

        What came in since the look before counts however old it is.
        """
        return EPOCH if self.before else self.now.at - self.campaign.lookback()

    def occurrence(self, key: str) -> str:
        """What an occurrence is called, of which `key` says which one it is."""
        return "once" if self.campaign.re_entry == "never" else key


@dataclass(frozen=True, slots=True)
class Ahead:
    """A campaign in the time after `start` up to `end`, in which no data comes in.

    With `after` it is about those alone about whom something is new since that change
    number.
    """

    connection: Connection
    campaign_set: CampaignSet
    campaign: Campaign
    start: datetime
    end: datetime
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Absentee:
    """A contact in a campaign's audience, no run of whom is in sight."""

    connection: Connection
    campaign: Campaign
    facts: ContactFacts
    contact: Contact

    def because(self, sentence: str) -> Reason:
        return Reason("not-due", sentence, self.campaign.place)


class TriggerKind(Protocol):
    """One kind of trigger. It may remember what it found out: a daemon keeps it."""

    def counts(self, campaign: Campaign) -> str:
        """What its cursor counts. Once that is another thing, the next look is the
        first."""
        ...

    def stands_at(self, connection: Connection, newest: Cursor) -> int:
        """The number of the newest of what it counts."""
        ...

    def starts(self, look: Look) -> Iterable[list[Start] | StartOfAll]:
        """Who could start since the look before; whoever is in already does not."""
        ...

    def coming(self, ahead: Ahead) -> Iterable[datetime]:
        """Every instant at which someone could start, as far as that can be
        foreseen."""
        ...

    def why_nobody(self, absentee: Absentee) -> Reason:
        """What has to come about first."""
        ...
