"""The campaigns in force: the files as they are now, and the versions that runs started
with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from drip.core.asks import Asks, asks_of
from drip.core.campaign import Campaign, SegmentTrigger
from drip.core.conditions import Condition, Member, Rank, leaves
from drip.core.decide import Reason
from drip.core.derived import Total
from drip.core.settings import Settings
from drip.core.steps import ACTIONS, SetFields, Split, Step, conditions_of
from drip.engine.deriving import refresh_all, settle_zones
from drip.language.files import Loaded, load_text
from drip.storage.base.database import index_contacts
from drip.storage.campaigns import runs, versions
from drip.storage.operating import holds, webhook_outbox
from drip.storage.operating.holds import Hold
from drip.storage.people import attribute_indexes


@dataclass
class CampaignSet:
    """Settings and campaigns as one reading of the files gave them.

    A file that cannot be read leaves its last good version in force (`kept` names
    those).
    """

    settings: Settings
    campaigns: dict[str, Campaign]
    kept: set[str] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)
    _versions: dict[tuple[str, str], Campaign | None] = field(default_factory=dict)
    _sets: dict[str, Condition | Rank] | None = None
    _versions_read: bool = False
    _reserves: bool | None = None
    _asks: dict[tuple[str, str], Asks] = field(default_factory=dict)

    def refresh(self, connection: Connection) -> None:
        """Reads anew what the operator holds back."""
        self.holds = holds.held_scopes(connection)

    def version(
        self,
        connection: Connection,
        key: str,
        version: str,
    ) -> Campaign | None:
        """The version a run started with; None if today's settings do not fit it any
        more."""
        current = self.campaigns.get(key)
        if current and current.version == version:
            return current
        if (key, version) not in self._versions:
            # One that cannot be read is kept as None: every run in it asks.
            text = versions.version_text(connection, key, version)
            self._versions[key, version] = (
                load_text(key, text, self.settings) if text is not None else None
            )
        return self._versions[key, version]

    def asks(self, campaign: Campaign) -> Asks:
        """What runs of a campaign ask about contacts, worked out once for each of its
        versions."""
        key = (campaign.key, campaign.version)
        if key not in self._asks:
            self._asks[key] = asks_of(campaign)
        return self._asks[key]

    def paused(self, running: Campaign) -> Reason | None:
        """Why nothing of a campaign may go at present, if so."""
        current = self.campaigns.get(running.key)
        if holds.EVERYTHING in self.holds:
            return Reason(
                "paused", "everything is stopped by `drip stop`", running.place
            )
        if running.key in self.holds:
            reason = self.holds[running.key].reason
            by = f" by `drip hold {running.key}`"
            sentence = f"the campaign is held{f': {reason}' if reason else by}"
            return Reason("paused", sentence, running.place)
        if current is None:
            return Reason("paused", "the campaign's file is gone", running.place)
        if current.status != "live":
            return Reason(
                "paused", f"the campaign is `status: {current.status}`", current.place
            )
        return None

    def running(self) -> Iterator[Campaign]:
        """The campaigns in force, and those of their versions that somebody is in, as
        far as these were read."""
        yield from self.campaigns.values()
        yield from filter(None, self._versions.values())

    def sets(self) -> dict[str, Condition | Rank]:
        """Every segment and rank that something asks for, each after those that it is
        made of. Worked out once."""
        if self._sets is None:
            found: dict[str, Condition | Rank] = {}
            for condition in self.conditions():
                _collect(self.settings, condition, found)
            for campaign in self.campaigns.values():
                if isinstance(campaign.trigger, SegmentTrigger):
                    _collect_segment(self.settings, campaign.trigger.segment, found)
            self._sets = found
        return self._sets

    def acts(self) -> bool:
        """Whether steps change anything about people beside sending to them."""
        return any(isinstance(step, ACTIONS) for step in self._running_steps())

    def sets_fields(self) -> bool:
        """Whether a step changes what is known of people, such as a date or where they
        live."""
        return any(isinstance(step, SetFields) for step in self._running_steps())

    def reserves(self) -> bool:
        """Whether some campaign keeps its slots free ahead."""
        if self._reserves is None:
            self._reserves = any(
                campaign.reserve is not None for campaign in self.campaigns.values()
            )
        return self._reserves

    def alone(self) -> tuple[str, ...] | None:
        """If what happens to a contact hangs on nobody else: the events that are needed
        of everybody all the same.

        Those are what ranks are made of. None if it hangs on others: on a stock of
        coupons, a brake, an A/B winner, or a rank by what steps can change. The
        versions that somebody is in count if they were read (`read_versions`).
        """
        if self._hangs_on_others():
            return None
        names = set()
        for rank in self.sets().values():
            if not isinstance(rank, Rank):
                continue
            total = self.settings.derived.get(rank.field)
            if not isinstance(total, Total):
                return None
            names.add(total.event)
        return tuple(sorted(names))

    def _hangs_on_others(self) -> bool:
        """Whether a stock of coupons, a brake, or an A/B winner is everybody's."""
        coupons = self.settings.coupons.values()
        stocked = any(coupon.codes == "list" for coupon in coupons)
        campaigns = self.campaigns.values()
        braked = any(campaign.max_audience is not None for campaign in campaigns)
        return stocked or braked or any(map(_learns, self._running_steps()))

    def _running_steps(self) -> Iterator[Step]:
        for campaign in self.running():
            yield from campaign.steps

    def read_versions(self, connection: Connection) -> None:
        """Reads every version that somebody is in, once: their conditions are asked
        too."""
        if not self._versions_read:
            for key, version in runs.active_versions(connection):
                self.version(connection, key, version)
            self._versions_read, self._sets = True, None

    def conditions(self) -> list[Condition]:
        """Every condition that the campaigns in force and the segments ask."""
        found = [segment.condition for segment in self.settings.segments.values()]
        for campaign in self.running():
            found += _conditions_of(campaign)
        return found

    def entering(self) -> list[Campaign]:
        """The campaigns that new people may enter now, in order of their names."""
        return [
            campaign
            for _, campaign in sorted(self.campaigns.items())
            if not self.paused(campaign)
        ]


def _conditions_of(campaign: Campaign) -> Iterator[Condition]:
    if campaign.audience:
        yield campaign.audience
    yield from campaign.exit_conditions
    for step in campaign.steps:
        yield from conditions_of(step)


def _learns(step: Step) -> bool:
    return isinstance(step, Split) and step.winner_after is not None


def _collect(
    settings: Settings,
    condition: Condition,
    found: dict[str, Condition | Rank],
) -> None:
    members = [leaf for leaf in leaves(condition) if isinstance(leaf, Member)]
    for member in members:
        if member.rank:
            found.setdefault(member.name, member.rank)
        else:
            _collect_segment(settings, member.name, found)


def _collect_segment(
    settings: Settings,
    key: str,
    found: dict[str, Condition | Rank],
) -> None:
    segment = settings.segments.get(key)
    if segment and key not in found:
        _collect(settings, segment.condition, found)
        found[key] = segment.condition


def open_campaign_set(
    connection: Connection,
    loaded: Loaded,
    now: datetime,
) -> CampaignSet:
    """The set of what was read, of which the database keeps each good version and is
    made ready for its questions."""
    # Runs go on by the version that they began with, when the file is another one.
    for key, campaign in loaded.campaigns.items():
        versions.keep_version(
            connection,
            key,
            campaign.version,
            loaded.texts[campaign.version],
            now,
        )
    campaign_set = campaign_set_of(connection, loaded)
    index_contacts(
        connection,
        attribute_indexes.attribute_indexes(
            campaign_set.settings, campaign_set.conditions()
        ),
    )
    refresh_all(connection, campaign_set.settings)
    settle_zones(connection)
    webhook_outbox.want(
        connection,
        {key: hook.kinds for key, hook in campaign_set.settings.webhooks.items()},
    )
    return campaign_set


def campaign_set_of(connection: Connection, loaded: Loaded) -> CampaignSet:
    """The set of what was read; the last good version of a broken file is in it.
    Changes nothing."""
    assert loaded.settings
    campaigns = dict(loaded.campaigns)
    kept: set[str] = set()
    for key in loaded.broken:
        text = versions.newest_version(connection, key)
        last_good = load_text(key, text, loaded.settings) if text is not None else None
        if last_good:
            campaigns[key] = last_good
            kept.add(key)
    return CampaignSet(loaded.settings, campaigns, kept)
