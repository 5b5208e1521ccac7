"""A message as it would be written now: once more for whoever looks at it in a browser,
or for anybody, to try it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from drip.core.asks import text_asks
from drip.core.campaign import Campaign, EventTrigger, step_of
from drip.core.message import Message
from drip.core.settings import Settings
from drip.core.steps import IssueCoupon, SendStep
from drip.engine.actions import last_day
from drip.engine.campaign_set import CampaignSet
from drip.engine.composing import Identity, Subject, compose, compose_for_run, identity
from drip.engine.fetching import facts_of
from drip.engine.loading import campaigns_of, facts_of_messages
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage.campaigns import runs
from drip.storage.people import events, records
from drip.storage.people.contacts import Contact
from drip.storage.people.coupons import Code
from drip.storage.people.events import Event
from drip.storage.people.records import Record


def rerender(
    connection: Connection,
    campaign_set: CampaignSet,
    templates: Templates,
    run_id: int,
    step_id: str,
    channel: str,
    now: datetime,
) -> Message | None:
    """The message of a run's step; None if there is no such run or step any more.
    Raises DripError if it cannot be written."""
    run = runs.runs_by_id(connection, [run_id]).get(run_id)
    if run is None:
        return None
    campaigns = campaigns_of(connection, campaign_set, [run])
    facts = facts_of_messages(
        connection,
        campaign_set,
        [run],
        campaigns,
        now,
    )
    campaign = campaigns[run.campaign, run.version]
    step = step_of(campaign, step_id)
    if campaign is None or step is None or run.contact_id not in facts.contacts:
        return None
    return compose_for_run(
        templates,
        facts,
        identity(connection),
        campaign,
        step,
        run,
        channel,
        now,
    )


def render_for(
    connection: Connection,
    settings: Settings,
    templates: Templates,
    campaign: Campaign,
    step: SendStep,
    contact: Contact,
    channel: str,
    now: datetime,
    mine: Identity,
) -> Message:
    """The message that a contact would get from a step, whether or not the contact is
    in the campaign: about the first record of its kind, after the newest events. Its
    links are signed by `mine`. Raises DripError if it cannot be written, or there is no
    such record or event."""
    record = _record(connection, campaign, contact)
    heard = _heard(connection, campaign, contact)
    facts = facts_of(
        connection,
        settings,
        [contact.id],
        now,
        text_asks(settings),
        records=[record.id] if record else [],
    )
    zone_name = facts.zone_of(contact)
    issuing = (other for other in campaign.steps if isinstance(other, IssueCoupon))
    codes = tuple(
        _sample(coupon, contact, last_day(coupon, now, zone_name, settings), now)
        for coupon in issuing
    )
    occurrence = (
        _newest_content(templates, step.content)
        if step.content
        else now.date().isoformat()
    )
    about = Subject(
        contact,
        record,
        heard,
        codes,
        0,
        occurrence,
    )
    return compose(
        templates,
        facts,
        mine,
        campaign,
        step,
        about,
        channel,
        now,
    )


def _sample(
    step: IssueCoupon,
    contact: Contact,
    expires: str | None,
    now: datetime,
) -> Code:
    """A code that stands where one would, and is good for nothing."""
    return Code(
        coupon=step.coupon,
        code="SAMPLE",
        contact_id=contact.id,
        run_id=0,
        step=step.id,
        issued_at=now,
        expires=expires,
        redeemed_at=None,
    )


def _record(
    connection: Connection,
    campaign: Campaign,
    contact: Contact,
) -> Record | None:
    if not campaign.for_each:
        return None
    owned = records.records_of(connection, [contact.id], campaign.for_each)
    if not owned:
        raise _has_none(contact, campaign.for_each)
    return owned[0]


def _has_none(contact: Contact, kind: str) -> DripError:
    return DripError(
        f"`{contact.key}` has no {kind}.",
        help="name a contact who has one",
    )


def _heard(
    connection: Connection,
    campaign: Campaign,
    contact: Contact,
) -> dict[str, Event]:
    """The newest event of each name that the campaign's texts can ask about."""
    names = campaign.event_prefixes()
    happened = events.events_of(connection, [contact.id], list(names.values())).get(
        contact.id, []
    )
    newest = {event.name: event for event in happened}
    heard = {prefix: newest[name] for prefix, name in names.items() if name in newest}
    if isinstance(campaign.trigger, EventTrigger):
        name = campaign.trigger.event
        if name not in newest:
            raise DripError(
                f"`{contact.key}` has no event {name}.",
                help="name a contact who has one",
            )
        heard["event"] = newest[name]
    return heard


def _newest_content(templates: Templates, folder: str) -> str:
    newest = templates.newest_content(folder)
    if newest is None:
        raise DripError(
            f"There is no content in templates/{folder}/.",
            help="write 2026-11-26-title.md there",
        )
    return newest
