"""The one place that reads what planning, the last check and texts need: eagerly, for a whole batch at once, into values.

What campaigns ask about contacts (`core.asks`) is worked out beforehand, and each kind of it is one query for all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from drip.core.asks import Asks, all_of, entry_asks, text_asks
from drip.core.campaign import Campaign
from drip.core.caps import Cap, Use, longest_memory
from drip.core.conditions import first_instant
from drip.core.derived import KEPT, Known, Total
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon
from drip.engine.campaign_set import CampaignSet
from drip.engine.deriving import Owner, origins_of
from drip.engine.facts import CodeKey, ContactFacts
from drip.engine.reserving import Coming, coming_of
from drip.engine.splits import winners
from drip.storage.base.database import link_keys, workspace_id
from drip.storage.campaigns import runs
from drip.storage.campaigns.runs import Run
from drip.storage.operating import control
from drip.storage.operating.control import Lost
from drip.storage.people import consents, history, loyalty, people, segments, sign_ups
from drip.storage.people.loyalty import Code, InStock
from drip.storage.people.people import Contact, Event, Record
from drip.storage.sending import outbox
from drip.storage.sending.outbox import OutboxMessage
from drip.storage.sending.usage import near_a_limit, uses_of

# Contacts that are judged together: what one of them gets counts for all of them.
Group = tuple[int, ...]
CampaignsOfRuns = Mapping[tuple[str, str], Campaign | None]
NOTHING = Asks()


@dataclass(frozen=True, slots=True)
class Batch:
    """All that is known of the contacts of some groups.

    `runs` are those to be looked at, by contact; `campaigns` theirs, by key and version (None: today's settings do not
    fit it); `messages` theirs, by run and step. `waiting` are the runs and steps of deferred messages, and `usage` what
    caps count, by contact; `coming` are the occurrences for which slots are kept. `lost` is the time of which the
    ledger was lost.
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
) -> Batch:
    """What is due for these groups at `now`, and all that judging it takes."""
    ids = list(chain.from_iterable(groups))
    deferred = outbox.deferred(connection, ids)
    due_again = [message.run_id for message in deferred if message.due_at <= now]
    found = runs.due_runs(connection, ids, now, due_again)
    campaigns = campaigns_of(connection, campaign_set, found)
    coming = _coming(connection, campaign_set, campaigns, ids, now)
    facts = facts_of_runs(connection, campaign_set, found, campaigns, ids, now, coming)
    lost = control.lost(connection)
    by_contact = _by_contact(found)
    waiting: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for message in deferred:
        waiting[message.contact_id].append((message.run_id, message.step))
    caps = _caps(campaign_set, campaigns)
    memory = now - longest_memory(caps)
    looked_at: Collection[int] = ids
    if not campaign_set.reserves() and lost is None:
        several = _several(groups, by_contact, waiting)
        alone = set(ids) - several
        limits = _limits(caps, now)
        looked_at = [
            *(contact for contact in ids if contact in several),
            *near_a_limit(connection, alone, memory, limits),
        ]
    return Batch(
        groups,
        by_contact,
        campaigns,
        _messages(connection, found),
        waiting,
        uses_of(connection, looked_at, memory, now),
        facts,
        coming,
        lost,
    )


def _by_contact(found: Sequence[Run]) -> dict[int, list[Run]]:
    by_contact: dict[int, list[Run]] = defaultdict(list)
    for run in found:
        by_contact[run.contact_id].append(run)
    return by_contact


def _messages(
    connection: Connection, found: Sequence[Run]
) -> dict[int, dict[str, OutboxMessage]]:
    """What became of the messages of these runs, by run and step."""
    messages: dict[int, dict[str, OutboxMessage]] = defaultdict(dict)
    for message in outbox.of_runs(connection, [run.id for run in found]):
        messages[message.run_id][message.step] = message
    return messages


def _caps(campaign_set: CampaignSet, campaigns: CampaignsOfRuns) -> list[Cap]:
    """A run obeys the caps of its own version, which today's may lack."""
    own = (campaign.caps for campaign in campaigns.values() if campaign)
    return [*campaign_set.settings.caps, *chain.from_iterable(own)]


def _several(
    groups: Sequence[Group],
    by_contact: Mapping[int, Sequence[Run]],
    waiting: Mapping[int, Sequence[tuple[int, str]]],
) -> set[int]:
    """Who can get more than one message out of this batch, or shares what is used with others.

    Of all others it is enough to know whether a cap is so full already that one message more could break it: most have
    had so few that none is, and a look at each of their messages is spared.
    """
    return {
        contact
        for group in groups
        for contact in group
        if len(group) > 1
        or len(by_contact.get(contact, ())) + len(waiting.get(contact, ())) > 1
    }


def _limits(caps: Iterable[Cap], now: datetime) -> dict[datetime, int]:
    """The smallest limit of those caps that look back up to the same instant."""
    limits: dict[datetime, int] = {}
    for cap in caps:
        earliest = now - longest_memory([cap])
        limits[earliest] = min(cap.limit, limits.get(earliest, cap.limit))
    return limits


def _coming(
    connection: Connection,
    campaign_set: CampaignSet,
    campaigns: CampaignsOfRuns,
    ids: Collection[int],
    now: datetime,
) -> dict[int, list[Coming]]:
    """The occurrences for which slots are kept, if a campaign at hand has to leave them free."""
    caps = _caps(campaign_set, campaigns)
    obeying = any(campaign and campaign.obeys_caps for campaign in campaigns.values())
    if not campaign_set.reserves() or not caps or not obeying:
        return {}
    return coming_of(connection, campaign_set, ids, now)


# --- campaigns and facts of runs


def campaigns_of(
    connection: Connection, campaign_set: CampaignSet, found: Iterable[Run]
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
    """What walking these runs asks about these contacts."""
    known = [campaign for campaign in campaigns.values() if campaign]
    ahead = list(chain.from_iterable(coming.values()))
    reserving = {kept.campaign.key: kept.campaign for kept in ahead}
    asks = all_of(
        [
            *(campaign_set.asks(campaign) for campaign in known),
            *(entry_asks(campaign) for campaign in reserving.values()),
        ]
    )
    facts = facts_of(
        connection,
        campaign_set.settings,
        ids,
        now,
        asks,
        records={run.record_id for run in found} | {kept.record_id for kept in ahead},
        events=_events_of(found),
    )
    settings = campaign_set.settings
    more: dict[str, Any] = {}
    if asks.coupons:
        more["codes"] = _codes(connection, found, campaigns)
        more["stock"] = _stock(connection, settings, asks, found, campaigns)
        more["code_key"] = _code_key(connection, settings, asks)
    if asks.moves_counters:
        run_ids = [run.id for run in found]
        more["counted"] = loyalty.counted_steps(connection, run_ids)
    if asks.splits:
        more["winners"] = winners(connection, settings, found, campaigns, now)
    return replace(facts, **more) if more else facts


def facts_of_messages(
    connection: Connection,
    campaign_set: CampaignSet,
    found: Sequence[Run],
    campaigns: CampaignsOfRuns,
    now: datetime,
    contacts: Mapping[int, Contact] | None = None,
) -> ContactFacts:
    """What the last check and the texts of these runs' messages ask about their `contacts`, which may be known already."""
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
    """The events that these runs know: those that started them, and those that they waited for."""
    numbers: set[int] = set()
    for run in found:
        if run.event_id:
            numbers.add(run.event_id)
        if run.heard:
            numbers.update(run.heard.values())
    return numbers


def _codes(
    connection: Connection, found: Iterable[Run], campaigns: CampaignsOfRuns
) -> dict[int, list[Code]]:
    """The coupons' codes that were issued in these runs, by run."""
    issuing = {
        run.id: campaign
        for run in found
        if (campaign := campaigns[run.campaign, run.version]) and _issues(campaign)
    }
    codes = loyalty.codes_of_runs(connection, list(issuing)) if issuing else {}
    for run_id, own in codes.items():
        position = issuing[run_id].position_of
        # No step comes twice in a run, so the order of the steps is that in which codes were issued.
        own.sort(key=lambda code: position(code.step or "") or 0)
    return codes


def _issues(campaign: Campaign) -> bool:
    return any(isinstance(step, IssueCoupon) for step in campaign.steps)


def _stock(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    found: Iterable[Run],
    campaigns: CampaignsOfRuns,
) -> dict[str, list[InStock]]:
    """As many codes of each stock as these runs can take."""
    most: Counter[str] = Counter()
    for run in found:
        campaign = campaigns[run.campaign, run.version]
        steps = campaign.steps if campaign else ()
        most.update(step.coupon for step in steps if isinstance(step, IssueCoupon))
    return {
        coupon: loyalty.stock(connection, coupon, most[coupon])
        for coupon in asks.coupons
        if settings.coupons[coupon].codes == "list"
    }


def _code_key(connection: Connection, settings: Settings, asks: Asks) -> CodeKey | None:
    if all(settings.coupons[coupon].codes == "list" for coupon in asks.coupons):
        return None
    secret = list(link_keys(connection).values())[-1]
    return CodeKey(secret, workspace_id(connection))


# --- facts


def facts_of(
    connection: Connection,
    settings: Settings,
    contact_ids: Collection[int],
    now: datetime,
    asks: Asks = NOTHING,
    *,
    records: Collection[int] = (),
    events: Iterable[int | None] = (),
    contacts: Mapping[int, Contact] | None = None,
) -> ContactFacts:
    """What is asked about these contacts, and these records (0 is none) and events (None is none)."""
    ids = list(contact_ids)
    if contacts is None:
        contacts = people.contacts_by_id(connection, ids)
    key = people.suppression_key(connection)
    things = _records(connection, records)
    numbers = {number for number in events if number}
    happened, by_number = _happened(connection, ids, asks)
    missing = numbers - set(by_number)
    if missing:
        by_number |= people.events_by_id(connection, missing)
    return ContactFacts(
        settings,
        now,
        contacts,
        consents.of_contacts(connection, ids),
        sign_ups.of_contacts(connection, ids),
        history.pauses_of(connection, ids),
        key,
        _suppressed(connection, settings, contacts, key),
        things,
        by_number,
        asks.events,
        happened,
        **_asked_for(connection, settings, asks, ids, now),
        kept=_kept(connection, settings, asks, ids),
        origins=_origins(connection, settings, asks, contacts, things),
        totals=_totals(connection, settings, asks, ids, things, now),
    )


def _asked_for(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    ids: list[int],
    now: datetime,
) -> dict[str, Any]:
    """What only some campaigns ask, by the names of the facts' fields."""
    found: dict[str, Any] = {}
    if asks.tags:
        found["tags_by_contact"] = history.tags_of(connection, ids)
    if asks.sets:
        found["sets_by_contact"] = segments.sets_of(connection, ids)
    if asks.holds_coupons:
        found["held_codes"] = loyalty.codes_of_contacts(connection, ids)
    if "counter" in asks.owners:
        found["balances_by_contact"] = loyalty.balances_of(connection, ids)
    topics = (settings.topics.get(topic) for topic in asks.topics)
    if any(topic and topic.expires for topic in topics):
        found["last_events"] = history.last_event(connection, ids)
    return found


def _records(connection: Connection, ids: Collection[int]) -> dict[int, Record]:
    named = {number for number in ids if number}
    return people.records_by_id(connection, named) if named else {}


def _suppressed(
    connection: Connection,
    settings: Settings,
    contacts: Mapping[int, Contact],
    key: bytes,
) -> dict[str, str]:
    """Which of the contacts' addresses are suppressed, and why, by their digests."""
    if not people.any_suppressed(connection):
        return {}
    addresses = (
        people.address_of(contact, channel)
        for contact in contacts.values()
        for channel in settings.transports
    )
    digests = [people.digest(key, address) for address in addresses if address]
    return people.suppressed(connection, digests)


def _happened(
    connection: Connection, ids: list[int], asks: Asks
) -> tuple[dict[tuple[int, str], list[Event]], dict[int, Event]]:
    """The events of the names that are asked for, by contact and name, and by number."""
    by_name: dict[tuple[int, str], list[Event]] = defaultdict(list)
    by_number: dict[int, Event] = {}
    if asks.events:
        found = people.events_of(connection, ids, asks.events)
        for contact, own in found.items():
            for event in own:
                by_name[contact, event.name].append(event)
                by_number[event.id] = event
    return by_name, by_number


def _kept(
    connection: Connection, settings: Settings, asks: Asks, ids: list[int]
) -> Mapping[Owner, Mapping[str, date]]:
    """The derived dates that are kept of fields that are asked for."""
    names = [
        full
        for full, derived in settings.derived.items()
        if isinstance(derived, KEPT) and full.partition(".")[0] in asks.owners
    ]
    return history.kept_dates(connection, names, ids) if names else {}


def _origins(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    contacts: Mapping[int, Contact],
    records: Mapping[int, Record],
) -> dict[Owner, Known]:
    """What kept dates are made of, where a step can set what they follow from."""
    if not asks.sets_fields:
        return {}
    found = origins_of(
        connection, settings, "contact", {(number, 0): {} for number in contacts}
    )
    for kind in {record.kind for record in records.values()}:
        own: dict[Owner, dict[str, Any]] = {
            (record.contact_id, record.id): {}
            for record in records.values()
            if record.kind == kind
        }
        found |= origins_of(connection, settings, kind, own)
    return found


def _totals(
    connection: Connection,
    settings: Settings,
    asks: Asks,
    contact_ids: list[int],
    records: Mapping[int, Record],
    now: datetime,
) -> dict[str, Mapping[int, float]]:
    """The counts and sums that are asked for, by field, then by contact or record."""
    found: dict[str, Mapping[int, float]] = {}
    for full, derived in settings.derived.items():
        kind = full.partition(".")[0]
        if not isinstance(derived, Total) or kind not in asks.owners:
            continue
        of_records, owners = kind != "contact", contact_ids
        if of_records:
            owners = [record.id for record in records.values() if record.kind == kind]
        since = None
        if derived.span:
            since = first_instant(derived.span, now, settings.timezone)
        found[full] = (
            history.totals(connection, derived, owners, of_records, since, now)
            if owners
            else {}
        )
    return found
