"""What a contact got and will get, and why nothing of the other campaigns: the first thing that stands in the way, read live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from drip.core.asks import Asks, entry_asks
from drip.core.calendar import local
from drip.core.campaign import (
    Campaign,
    CounterTrigger,
    DateTrigger,
    EventTrigger,
    SegmentTrigger,
)
from drip.core.conditions import why_not
from drip.core.decide import Reason
from drip.core.steps import SendStep
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import ContactFacts, named
from drip.engine.fetching import facts_of
from drip.errors import DripError, nearest
from drip.preview.forecast import forecast
from drip.preview.simulator import rehearsal
from drip.storage.base.copying import CopiedPart
from drip.storage.base.database import Database
from drip.storage.campaigns import audience
from drip.storage.people import people, sign_ups
from drip.storage.people.people import Contact, GivenUp, Record
from drip.storage.people.sign_ups import SignUp
from drip.storage.reading.ledger import OWN_DATA, LedgerRow, entries
from drip.workspace import Workspace

AHEAD = timedelta(days=60)
TICK = timedelta(milliseconds=1)
# What some triggers look at: a segment, a counter.
TRIGGERS_ASK = Asks(owners=frozenset({"counter"}), sets=True)


@dataclass(frozen=True, slots=True)
class Explained:
    """A contact's lines up to an instant, those of the `AHEAD` after it if nothing new happens, for each campaign that has
    none the reason, and which of its addresses were given up. `sign_up` says so if nothing else is known of it."""

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
                end = f"erased on {local(until, where):%a %-d %b %Y at %H:%M} if nobody does"
                return f"a sign-up that nobody has confirmed: in no audience, list or count, and {end}"
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
    """Of all campaigns, or of one. Raises DripError for a contact or a campaign that there is not."""
    with database.read() as connection:
        person = people.contact_of_key(connection, key)
    with rehearsal(database, now, CopiedPart(person.id)) as copy:
        campaign_set = workspace.campaign_set(copy, now)
    if campaign and campaign not in campaign_set.campaigns:
        raise DripError(
            f"There is no campaign `{campaign}`.",
            help=nearest(campaign, campaign_set.campaigns, what="campaigns"),
        )
    names = (campaign,) if campaign else tuple(sorted(campaign_set.campaigns))
    with database.read() as connection:
        seen = names if campaign else (*names, OWN_DATA)
        past = tuple(entries(connection, until=now, contact=key, campaigns=seen))
    ahead = now + AHEAD
    with forecast(
        workspace,
        database,
        now,
        ahead,
        key,
        since=now + TICK,
        campaigns=names,
        progress=progress,
    ) as found:
        coming = tuple(replace(each, contact=key) for each in found.entries())
    told = {entry.campaign for entry in (*past, *coming)}
    with database.read() as connection:
        silent = [campaign_set.campaigns[name] for name in names if name not in told]
        nothing = {
            each.key: why_nothing(connection, campaign_set, each, person, now)
            for each in silent
        }
        given_up = tuple(people.given_up(connection, person))
        sign_up = sign_ups.of_contacts(connection, [person.id]).get(person.id)
    return Explained(person, past, coming, nothing, given_up, sign_up)


def why_nothing(
    connection: Connection,
    campaign_set: CampaignSet,
    campaign: Campaign,
    contact: Contact,
    now: datetime,
) -> Reason:
    """The reason why nothing of a campaign is in sight for a contact."""
    paused = campaign_set.paused(campaign)
    if paused:
        return paused
    records: list[Record | None] = [None]
    if campaign.for_each:
        records = list(people.records_of(connection, [contact.id], campaign.for_each))
    facts = facts_of(
        connection,
        campaign_set.settings,
        [contact.id],
        now,
        campaign_set.asks(campaign) | entry_asks(campaign) | TRIGGERS_ASK,
        records=[record.id for record in records if record],
    )
    person = facts.contacts[contact.id]
    if facts.unconfirmed(person):
        return Reason(
            "no-consent",
            "nobody has confirmed this sign-up, and nothing else is known of it",
            campaign.place,
        )
    if not records:
        return Reason(
            "not-in-audience",
            f"there is no {campaign.for_each} of this contact",
            campaign.place,
        )
    failures = [
        campaign.audience and why_not(campaign.audience, facts.facts(person, each, {}))
        for each in records
    ]
    if all(failures) and failures[0]:
        return Reason("not-in-audience", failures[0].sentence, failures[0].place)
    closed = _all_closed(campaign, facts, person)
    if closed:
        return closed
    return _no_occasion(connection, campaign, facts, person)


def _all_closed(
    campaign: Campaign, facts: ContactFacts, contact: Contact
) -> Reason | None:
    """Why none of the campaign's messages can reach the contact, if so."""
    closed = facts.person(contact).closed
    first: Reason | None = None
    for step in campaign.steps:
        for channel in step.channels if isinstance(step, SendStep) else ():
            reason = closed(
                channel,
                None
                if isinstance(step, SendStep) and step.transactional
                else campaign.topic,
            )
            if reason is None:
                return None
            first = first or reason
    return first


def _no_occasion(
    connection: Connection, campaign: Campaign, facts: ContactFacts, contact: Contact
) -> Reason:
    match campaign.trigger:
        case DateTrigger(date=date_field):
            known = audience.dates_of(connection, date_field.field, [contact.id])
            sentence = (
                "the date is not near" if known else f"{date_field.field} is unknown"
            )
        case EventTrigger(event=name, where=where):
            happened = people.events_of(connection, [contact.id], [name]).get(
                contact.id
            )
            if not happened:
                return Reason("not-due", f"{name} never happened", campaign.place)
            failure = where and why_not(
                where, facts.facts(contact, None, named(happened[-1]))
            )
            if failure:
                return Reason(
                    "not-due", f"of the last {name}, {failure.sentence}", failure.place
                )
            sentence = f"no {name} has happened since the campaign looked last"
        case SegmentTrigger(segment=name):
            inside = name in facts.sets(contact.id)
            sentence = (
                f"entered {name} before" if inside else f"not in the segment {name}"
            )
        case CounterTrigger(counter=name, reaches=numbers):
            stands = facts.balances(contact.id).get(name, 0)
            sentence = f"{name} stands at {stands}, and runs start at {', '.join(map(str, numbers))}"
        case _:
            sentence = "no occurrence of its schedule is near"
    return Reason("not-due", sentence, campaign.place)
