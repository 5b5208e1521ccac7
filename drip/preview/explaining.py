"""What a contact got and will get, and why nothing of the other campaigns: the first
thing that stands in the way, read live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from drip.core.asks import Asks, entry_asks
from drip.core.calendar import local
from drip.core.campaign import Campaign
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import ContactFacts
from drip.engine.fetching import facts_of
from drip.engine.triggers.kind import Absentee
from drip.engine.triggers.table import TriggerKinds
from drip.errors import DripError, nearest
from drip.preview.forecast import forecast
from drip.preview.simulator import rehearsal
from drip.storage.base.copying import CopiedPart
from drip.storage.base.database import Database
from drip.storage.people import contacts as contact_store
from drip.storage.people import records as record_store
from drip.storage.people import sign_ups, suppressions
from drip.storage.people.contacts import Contact
from drip.storage.people.records import Record
from drip.storage.people.sign_ups import SignUp
from drip.storage.people.suppressions import GivenUp
from drip.storage.reading.ledger import OWN_DATA, LedgerRow, entries
from drip.workspace import Workspace

AHEAD = timedelta(days=60)
# What some triggers look at: a segment, a counter.
TRIGGERS_ASK = Asks(owners=frozenset({"counter"}), sets=True)
TICK = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Explained:
    """A contact's lines up to an instant, and those of the `AHEAD` after it.

    The latter are for when nothing new happens. `nothing` has the reason for each
    campaign that has no line; `given_up` says which of its addresses were. `sign_up`
    says so if nothing else is known of it.
    """

    contact: Contact
    past: tuple[LedgerRow, ...]
    coming: tuple[LedgerRow, ...]
    nothing: dict[str, Reason]
    given_up: tuple[GivenUp, ...]
    sign_up: SignUp | None = None

    def known_by(self, where: ZoneInfo) -> str | None:
        """What the contact is, if nothing but a sign-up is known of it."""
        match self.sign_up:
            case SignUp("open", datetime() as until):
                return (
                    "a sign-up that nobody has confirmed: in no audience, list or "
                    f"count, and erased on {local(until, where):%a %-d %b %Y at %H:%M} "
                    "if nobody does"
                )
            case SignUp("over"):
                return "a sign-up that nobody confirmed, and erased"
            case SignUp("single"):
                return "known by a sign-up alone, which implies no other topic"
        return None


def explained(
    workspace: Workspace,
    database: Database,
    key: str,
    campaign: str | None,
    now: datetime,
    progress: Callable[[datetime], None] = lambda now: None,
) -> Explained:
    """Of all campaigns, or of one. Raises DripError for a contact or campaign that is
    not."""
    with database.read() as connection:
        contact = contact_store.contact_of_key(connection, key)
    # In a copy: a set keeps the versions that it reads, and who looks changes nothing.
    with rehearsal(
        database,
        now,
        CopiedPart(contact.id),
    ) as copy:
        campaign_set = workspace.campaign_set(copy, now)
    names = _named(campaign_set, campaign)
    with database.read() as connection:
        seen = names if campaign else (*names, OWN_DATA)
        past = tuple(
            entries(
                connection,
                until=now,
                contact=key,
                campaigns=seen,
            )
        )
    with forecast(
        workspace,
        database,
        now,
        now + AHEAD,
        key,
        since=now + TICK,
        campaigns=names,
        progress=progress,
    ) as found:
        coming = tuple(
            replace(
                row,
                contact=key,
            )
            for row in found.entries()
        )
    said_of = {row.campaign for row in (*past, *coming)}
    silent = [campaign_set.campaigns[name] for name in names if name not in said_of]
    with database.read() as connection:
        return Explained(
            contact,
            past,
            coming,
            _why_nothing(connection, campaign_set, silent, contact, now),
            tuple(suppressions.given_up(connection, contact)),
            sign_ups.of_contacts(connection, [contact.id]).get(contact.id),
        )


def _named(campaign_set: CampaignSet, campaign: str | None) -> tuple[str, ...]:
    known = campaign_set.campaigns
    if campaign is None:
        return tuple(sorted(known))
    if campaign in known:
        return (campaign,)
    raise _no_campaign(campaign, known)


def _no_campaign(campaign: str, known: Iterable[str]) -> DripError:
    return DripError(
        f"There is no campaign `{campaign}`.",
        help=nearest(campaign, known, what="campaigns"),
    )


def _why_nothing(
    connection: Connection,
    campaign_set: CampaignSet,
    silent: list[Campaign],
    contact: Contact,
    now: datetime,
) -> dict[str, Reason]:
    """The reasons why nothing of these campaigns is in sight for a contact."""
    reasons: dict[str, Reason] = {}
    for campaign in silent:
        paused = campaign_set.paused(campaign)
        if paused is None:
            records = _records(connection, campaign, contact)
            facts = facts_of(
                connection,
                campaign_set.settings,
                [contact.id],
                now,
                campaign_set.asks(campaign) | entry_asks(campaign) | TRIGGERS_ASK,
                records=[record.id for record in records],
            )
            known = facts.contacts[contact.id]
            reasons[campaign.key] = _why(
                Absentee(
                    connection,
                    campaign,
                    facts,
                    known,
                )
            )
        else:
            reasons[campaign.key] = paused
    return reasons


def _records(
    connection: Connection,
    campaign: Campaign,
    contact: Contact,
) -> list[Record]:
    """The contact's records that the campaign is about."""
    if campaign.for_each is None:
        return []
    return list(record_store.records_of(connection, [contact.id], campaign.for_each))


def _why(absentee: Absentee) -> Reason:
    """The first thing that stands in the way of a campaign that is live."""
    campaign, facts, contact = absentee.campaign, absentee.facts, absentee.contact
    # Before anything else: such a contact is in no audience.
    if facts.unconfirmed(contact):
        sentence = "nobody has confirmed this sign-up, and nothing else is known of it"
        return Reason("no-consent", sentence, campaign.place)
    return (
        _outside(absentee)
        or _all_closed(campaign, facts, contact)
        # The trigger comes last: it is the only one that time mends.
        or TriggerKinds().of(campaign).why_nobody(absentee)
    )


def _outside(absentee: Absentee) -> Reason | None:
    """Why the contact is not in the audience, if so; with records, of none of them."""
    campaign, contact = absentee.campaign, absentee.contact
    records: list[Record | None] = [None]
    if campaign.for_each:
        records = list(absentee.facts.records.values())
        if not records:
            sentence = f"there is no {campaign.for_each} of this contact"
            return Reason("not-in-audience", sentence, campaign.place)
    if campaign.audience is None:
        return None
    failures = [
        why_not(
            campaign.audience,
            absentee.facts.facts(
                contact,
                record,
                {},
            ),
        )
        for record in records
    ]
    first = failures[0]
    if first is None or not all(failures):
        return None
    return Reason("not-in-audience", first.sentence, first.place)


def _all_closed(
    campaign: Campaign,
    facts: ContactFacts,
    contact: Contact,
) -> Reason | None:
    """Why none of the campaign's messages can reach the contact, if so."""
    closed = facts.person(contact).closed
    reasons = [
        closed(
            channel,
            topic,
        )
        for channel, topic in _ways(campaign)
    ]
    return reasons[0] if reasons and all(reasons) else None


def _ways(campaign: Campaign) -> Iterator[tuple[str, str | None]]:
    """By which channel and about which topic it writes.

    What is transactional is about none.
    """
    for step in campaign.steps:
        if isinstance(step, SendStep):
            topic = None if step.transactional else campaign.topic
            for channel in step.channels:
                yield channel, topic
