"""The one place that reads what planning, the last check and texts need: eagerly, for a
whole batch at once, into values.

What campaigns ask about contacts (`core.asks`) is worked out beforehand, and each kind
of it is one query for all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from drip.core.asks import Asks, all_of, entry_asks, text_asks
from drip.core.campaign import Campaign
from drip.core.caps import Cap, Use, longest_memory
from drip.core.lifecycle import Wake
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import CodeKey, ContactFacts
from drip.engine.fetching import facts_of
from drip.engine.reserving import Coming, coming_of
from drip.engine.splits import winners
from drip.storage.base.database import link_keys, workspace_id
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import Run
from drip.storage.operating import lost_time
from drip.storage.operating.lost_time import Lost
from drip.storage.people import counters, coupons
from drip.storage.people.contacts import Contact
from drip.storage.people.coupons import Code, InStock
from drip.storage.sending import outbox
from drip.storage.sending.outbox import OutboxMessage
from drip.storage.sending.usage import near_a_limit, uses_of

# Contacts that are judged together: what one of them gets counts for all of them.
Group = tuple[int, ...]
CampaignsOfRuns = Mapping[tuple[str, str], Campaign | None]


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """All that is known of the contacts of some groups.

    `runs` are those to be looked at, by contact; `campaigns` theirs, by key and version
    (None: today's settings do not fit it); `messages` theirs, by run and step.
    `waiting` are the runs and steps of deferred messages, and `usage` what caps count,
    by contact; `coming` are the occurrences for which slots are kept. `lost` is the
    time of which the ledger was lost.
    """

    groups: Sequence[Group]
    runs: Mapping[int, Sequence[Run]]
    campaigns: CampaignsOfRuns
    messages: Mapping[int, Mapping[str, OutboxMessage]]
    waiting: Mapping[int, Sequence[tuple[int, str]]]
    usage: Mapping[int, list[Use]]
    facts: ContactFacts
    coming: Mapping[int, Sequence[Coming]]
    lost: Lost | None


def groups_of(contact_ids: Iterable[int]) -> list[Group]:
    """Those who are judged together. Today everybody is for himself."""
    return [(contact_id,) for contact_id in contact_ids]


def load(
    connection: Connection,
    campaign_set: CampaignSet,
    groups: Sequence[Group],
    now: datetime,
) -> LoadedBatch:
    """What is due for these groups at `now`, and all that judging it takes."""
    ids = list(chain.from_iterable(groups))
    deferred = outbox.deferred(connection, ids)
    again = [message.run_id for message in deferred if message.due_at <= now]
    found = runs.due_runs(
        connection,
        ids,
        now,
        again,
    )
    campaigns = campaigns_of(connection, campaign_set, found)
    caps = _caps(campaign_set, campaigns)
    coming = _coming(
        connection,
        campaign_set,
        campaigns,
        ids,
        now,
    )
    lost = lost_time.lost(connection)
    by_contact = _runs_by_contact(found)
    waiting = _waiting_by_contact(deferred)
    looked_at: Collection[int] = ids
    if lost is None and not campaign_set.reserves():
        several = _several(groups, by_contact, waiting)
        looked_at = _near_a_limit(
            connection,
            ids,
            several,
            caps,
            now,
        )
    return LoadedBatch(
        groups=groups,
        runs=by_contact,
        campaigns=campaigns,
        messages=_messages(connection, found),
        waiting=waiting,
        usage=uses_of(
            connection,
            looked_at,
            now - longest_memory(caps),
            now,
        ),
        facts=facts_of_runs(
            connection,
            campaign_set,
            found,
            campaigns,
            ids,
            now,
            coming,
        ),
        coming=coming,
        lost=lost,
    )


def _runs_by_contact(found: Iterable[Run]) -> dict[int, list[Run]]:
    by_contact: dict[int, list[Run]] = defaultdict(list)
    for run in found:
        by_contact[run.contact_id].append(run)
    return by_contact


def _waiting_by_contact(
    deferred: Iterable[OutboxMessage],
) -> dict[int, list[tuple[int, str]]]:
    waiting: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for message in deferred:
        waiting[message.contact_id].append((message.run_id, message.step))
    return waiting


def _messages(
    connection: Connection, found: Iterable[Run]
) -> dict[int, dict[str, OutboxMessage]]:
    """What became of the messages of these runs, by run and step. One that is new has
    none."""
    before = [run.id for run in found if run.wake != Wake.NEW]
    messages: dict[int, dict[str, OutboxMessage]] = defaultdict(dict)
    for message in outbox.of_runs(connection, before) if before else ():
        messages[message.run_id][message.step] = message
    return messages


# --- what caps count


def _caps(campaign_set: CampaignSet, campaigns: CampaignsOfRuns) -> list[Cap]:
    """A run obeys the caps of its own version, which today's may lack."""
    caps = list(campaign_set.settings.caps)
    for campaign in campaigns.values():
        if campaign:
            caps += campaign.caps
    return caps


def _several(
    groups: Sequence[Group],
    by_contact: Mapping[int, Sequence[Run]],
    waiting: Mapping[int, Sequence[tuple[int, str]]],
) -> set[int]:
    """Who can get more than one message out of this batch, or shares what is used with
    others."""
    several = {
        contact
        for contact, own in by_contact.items()
        if len(own) + len(waiting.get(contact, ())) > 1
    }
    shared = (group for group in groups if len(group) > 1)
    return several.union(*shared)


def _near_a_limit(
    connection: Connection,
    ids: Sequence[int],
    several: Collection[int],
    caps: Sequence[Cap],
    now: datetime,
) -> list[int]:
    """The contacts whose earlier messages have to be looked at one by one, because a
    cap may be full for them.

    Most have had so few that none can be, if one message more is all that can come of
    this batch.
    """
    alone = [contact for contact in ids if contact not in several]
    since = now - longest_memory(caps)
    near = near_a_limit(
        connection,
        set(alone),
        since,
        _limits(caps, now),
    )
    return [*several, *near]


def _limits(caps: Iterable[Cap], now: datetime) -> dict[datetime, int]:
    """The smallest limit of those caps that look back up to the same instant."""
    limits: dict[datetime, int] = {}
    for cap in caps:
        earliest = now - longest_memory([cap])
        known = limits.get(earliest, cap.limit)
        limits[earliest] = min(cap.limit, known)
    return limits


def _coming(
    connection: Connection,
    campaign_set: CampaignSet,
    campaigns: CampaignsOfRuns,
    ids: Collection[int],
    now: datetime,
) -> dict[int, list[Coming]]:
    """The occurrences for which slots are kept, if a campaign at hand has to leave them
    free."""
    if not campaign_set.reserves() or not _caps(campaign_set, campaigns):
        return {}
    known = (campaign for campaign in campaigns.values() if campaign)
    if not any(campaign.obeys_caps for campaign in known):
        return {}
    return coming_of(
        connection,
        campaign_set,
        ids,
        now,
    )


# --- campaigns and facts of runs


def campaigns_of(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Iterable[Run],
) -> CampaignsOfRuns:
    """The campaigns of these runs, each in the version with which the run started."""
    return {
        key: campaign_set.version(connection, *key)
        for key in {(run.campaign, run.version) for run in found}
    }


def facts_of_runs(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Sequence[Run],
    campaigns: CampaignsOfRuns,
    ids: Collection[int],
    now: datetime,
    coming: Mapping[int, Sequence[Coming]],
) -> ContactFacts:
    """What walking these runs asks about these contacts, and looking at the occurrences
    that are `coming`."""
    settings = campaign_set.settings
    ahead = list(chain.from_iterable(coming.values()))
    asks = _asks(campaign_set, campaigns, ahead)
    records = {run.record_id for run in found}
    records.update(occurrence.record_id for occurrence in ahead)
    facts = facts_of(
        connection,
        settings,
        ids,
        now,
        asks,
        records=records,
        events=_events_of(found),
    )
    more: dict[str, Any] = {}
    if asks.coupons:
        more["codes"] = _codes(connection, found, campaigns)
        more["stock"] = _stock(
            connection,
            settings,
            found,
            campaigns,
        )
        more["code_key"] = _code_key(connection, settings, asks)
    if asks.moves_counters:
        run_ids = [run.id for run in found]
        more["counted"] = counters.counted_steps(connection, run_ids)
    if asks.splits:
        more["winners"] = winners(
            connection,
            settings,
            found,
            campaigns,
            now,
        )
    return replace(facts, **more) if more else facts


def _asks(
    campaign_set: CampaignSet,
    campaigns: CampaignsOfRuns,
    ahead: Iterable[Coming],
) -> Asks:
    asks = [campaign_set.asks(campaign) for campaign in campaigns.values() if campaign]
    reserving = {occurrence.campaign.key: occurrence.campaign for occurrence in ahead}
    asks += [entry_asks(campaign) for campaign in reserving.values()]
    return all_of(asks)


def facts_of_messages(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Sequence[Run],
    campaigns: CampaignsOfRuns,
    now: datetime,
    contacts: Mapping[int, Contact] | None = None,
) -> ContactFacts:
    """What the last check and the texts of these runs' messages ask about their
    `contacts`, which may be known already."""
    facts = facts_of(
        connection,
        campaign_set.settings,
        {run.contact_id for run in found},
        now,
        text_asks(campaign_set.settings),
        records={run.record_id for run in found},
        events=_events_of(found),
        contacts=contacts,
    )
    return replace(facts, codes=_codes(connection, found, campaigns))


def _events_of(found: Iterable[Run]) -> set[int]:
    """The events that these runs know: those that started them, and those that they
    waited for."""
    numbers: set[int] = set()
    for run in found:
        if run.event_id:
            numbers.add(run.event_id)
        if run.heard:
            numbers.update(run.heard.values())
    return numbers


def _codes(
    connection: Connection,
    found: Iterable[Run],
    campaigns: CampaignsOfRuns,
) -> dict[int, list[Code]]:
    """The coupons' codes that were issued in these runs, by run, in the order of the
    steps.

    No step comes twice in a run, so that this is the order in which they were issued.
    """
    issuing: dict[int, Campaign] = {}
    for run in found:
        campaign = campaigns[run.campaign, run.version]
        if campaign and _coupons(campaign):
            issuing[run.id] = campaign
    codes = coupons.codes_of_runs(connection, list(issuing)) if issuing else {}
    for run_id, own in codes.items():
        position = issuing[run_id].position_of
        own.sort(key=lambda code: position(code.step or "") or 0)
    return codes


def _coupons(campaign: Campaign | None) -> list[str]:
    """The coupons of a campaign's steps, each as often as a code of it is issued."""
    steps = campaign.steps if campaign else ()
    return [step.coupon for step in steps if isinstance(step, IssueCoupon)]


def _stock(
    connection: Connection,
    settings: Settings,
    found: Iterable[Run],
    campaigns: CampaignsOfRuns,
) -> dict[str, list[InStock]]:
    """As many codes of each stock as these runs can take."""
    most: Counter[str] = Counter()
    for run in found:
        most.update(_coupons(campaigns[run.campaign, run.version]))
    return {
        coupon: coupons.stock(connection, coupon, count)
        for coupon, count in most.items()
        if settings.coupons[coupon].codes == "list"
    }


def _code_key(
    connection: Connection,
    settings: Settings,
    asks: Asks,
) -> CodeKey | None:
    if not _makes_codes(settings, asks):
        return None
    secret = list(link_keys(connection).values())[-1]
    return CodeKey(secret, workspace_id(connection))


def _makes_codes(settings: Settings, asks: Asks) -> bool:
    """Whether codes of some coupon are made here, not taken from an imported list."""
    return any(settings.coupons[coupon].codes != "list" for coupon in asks.coupons)
