"""Who starts a run: what is the same whatever the trigger.

That is the audience, entering again, holding some out, the brake, and the occurrence
that makes it happen once. The trigger says who could: `triggers`, a file each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from drip.core.asks import entry_asks
from drip.core.calendar import Duration, later, zone
from drip.core.campaign import Campaign
from drip.core.conditions import Condition, why_not
from drip.core.lifecycle import Wake
from drip.core.steps import chance_of
from drip.engine.alarming import alarm
from drip.engine.campaign_set import CampaignSet
from drip.engine.facts import ContactFacts
from drip.engine.fetching import facts_of
from drip.engine.triggers.kind import Ahead, Look, Start, StartOfAll
from drip.engine.triggers.table import TriggerKinds
from drip.storage.campaigns import audience
from drip.storage.campaigns import cursors as cursor_store
from drip.storage.campaigns import starts as start_store
from drip.storage.campaigns.cursors import Cursor
from drip.storage.operating import holds
from drip.storage.people import audience_sql, condition_sql
from drip.storage.people import records as record_store

DAY = timedelta(days=1)
log = logging.getLogger("drip.entry")


class Enroller:
    """Lets people into campaigns.

    Kept from tick to tick, since triggers remember what the coming hours bring.
    """

    def __init__(self) -> None:
        self._kinds = TriggerKinds()

    def enter(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        now: datetime,
    ) -> None:
        """Starts every run whose time has come since the last look."""
        # In the transaction in which runs start: a program that dies loses both or
        # neither.
        cursors = cursor_store.cursors_of(connection)
        newest = cursor_store.newest(connection, now)
        moved: dict[str, Cursor] = {}
        for campaign in campaign_set.entering():
            before = cursors.get(campaign.key)
            look = self._look(
                connection,
                campaign_set,
                campaign,
                before,
                newest,
            )
            # Without it the next look starts where this one did: who is in stays, by
            # the occurrence key, and nobody is left out.
            if self._enter(look):
                moved[campaign.key] = look.now
        cursor_store.move_cursors(connection, moved)

    def _look(
        self,
        connection: Connection,
        campaign_set: CampaignSet,
        campaign: Campaign,
        before: Cursor | None,
        newest: Cursor,
    ) -> Look:
        kind = self._kinds.of(campaign)
        counted = kind.counts(campaign)
        rules = f"{counted}/{campaign.version}/{campaign_set.settings.version}"
        number = kind.stands_at(connection, newest)
        if before and not before.rules.startswith(f"{counted}/"):
            # Its trigger was another one, which counted in other numbers: this is the
            # first look.
            before = None
        now = replace(newest, rules=rules, event_id=number)
        return Look(connection, campaign_set, campaign, before, now)

    def _enter(self, look: Look) -> bool:
        """Starts a campaign's runs.

        False if its brake was pulled, so that those who are left are looked at again.
        """
        for found in self._kinds.of(look.campaign).starts(look):
            if isinstance(found, StartOfAll) and _all_alike(look.campaign):
                _start_everybody(look, found)
                continue
            for starts in _in_batches(look, found):
                rows = _rows(look, starts)
                if _brakes(look, rows):
                    return False
                start_store.start_runs(look.connection, rows)
        return True


def coming_entries(ahead: Ahead) -> set[datetime]:
    """Every instant at which someone could enter, as things are."""
    return set(TriggerKinds().of(ahead.campaign).coming(ahead))


# --- everybody at once


def _narrowed(campaign: Campaign) -> Condition | None:
    """The part of the audience that the database can look at first.

    That is what does not hang on whose day it is.
    """
    condition = campaign.audience
    if campaign.for_each or condition is None:
        return None
    return None if condition_sql.hangs_on_today(condition) else condition


def _all_alike(campaign: Campaign) -> bool:
    """Whether the database can say by itself who enters.

    Then nothing about anybody has to be worked out. Both readers of conditions agree,
    so what the database finds needs no second look.
    """
    if campaign.re_entry != "always" or campaign.for_each is not None:
        return False
    if campaign.holdout or campaign.max_audience is not None:
        return False
    return _narrowed(campaign) is campaign.audience


def _start_everybody(look: Look, found: StartOfAll) -> None:
    settings, now = look.campaign_set.settings, look.now.at
    narrow = audience_sql.where(
        settings,
        _narrowed(look.campaign),
        now,
    )
    start = Start(0, 0, found.occurrence, found.since)
    row = _row(
        look.campaign,
        start,
        max(found.since, now),
    )
    start_store.start_everybody(
        look.connection,
        row,
        found.zones,
        narrow,
    )


def _in_batches(look: Look, found: list[Start] | StartOfAll) -> Iterator[list[Start]]:
    lists = _expanded(look, found) if isinstance(found, StartOfAll) else [found]
    for starts in lists:
        # Facts of all at once would take as much memory as there are people.
        for first in range(0, len(starts), audience.BATCH):
            yield starts[first : first + audience.BATCH]


def _expanded(look: Look, found: StartOfAll) -> Iterable[list[Start]]:
    """Everybody in the zones, some at a time; with records, each of theirs."""
    settings = look.campaign_set.settings
    narrow = audience_sql.where(
        settings,
        _narrowed(look.campaign),
        look.now.at,
    )
    for ids in audience.contacts_in(
        look.connection,
        found.zones,
        narrow,
    ):
        yield [
            Start(contact_id, record_id, found.occurrence, found.since)
            for contact_id, record_id in _with_records(look, ids)
        ]


def _with_records(look: Look, contact_ids: list[int]) -> list[tuple[int, int]]:
    kind = look.campaign.for_each
    if kind is None:
        return [(contact_id, 0) for contact_id in contact_ids]
    records = record_store.records_of(look.connection, contact_ids, kind)
    return [(record.contact_id, record.id) for record in records]


# --- who may


def _rows(look: Look, starts: Sequence[Start]) -> list[dict[str, Any]]:
    """The runs of those who are in the audience and may enter (again)."""
    campaign = look.campaign
    facts = _facts(look, starts)
    last = _last_starts(look, starts)
    rows = []
    for start in starts:
        whose = (start.contact_id, start.record_id)
        # Nobody enters in the past, however old what started it is.
        enters = max(start.since, look.now.at)
        if _may_enter(
            campaign,
            facts,
            start,
            last.get(whose),
            enters,
        ):
            # Of two starts in one batch the second is judged by the first.
            last[whose] = enters
            contact = facts.contacts[start.contact_id]
            row = _row(campaign, start, enters)
            rows.append(
                row
                | _held_out(
                    campaign,
                    contact.key,
                    enters,
                )
            )
    return rows


def _facts(look: Look, starts: Sequence[Start]) -> ContactFacts:
    contact_ids = {start.contact_id for start in starts}
    return facts_of(
        look.connection,
        look.campaign_set.settings,
        contact_ids,
        look.now.at,
        entry_asks(look.campaign),
        records={start.record_id for start in starts},
        events={start.event_id for start in starts},
    )


def _last_starts(
    look: Look, starts: Sequence[Start]
) -> dict[tuple[int, int], datetime]:
    """When each contact (and record) last entered, where that matters."""
    campaign = look.campaign
    if campaign.re_entry == "always":
        return {}
    contact_ids = {start.contact_id for start in starts}
    return start_store.last_starts(look.connection, campaign.key, contact_ids)


def _may_enter(
    campaign: Campaign,
    facts: ContactFacts,
    start: Start,
    last: datetime | None,
    now: datetime,
) -> bool:
    """Whether a contact, who entered last at `last`, may enter now."""
    contact = facts.contacts[start.contact_id]
    # Nothing begins for whoever was erased, whatever still points there.
    if contact.erased_at is not None:
        return False
    if facts.unconfirmed(contact):
        asked = campaign.asks_back and facts.confirmable(contact)
        if not asked:
            return False
    if last is not None:
        where = zone(facts.zone_of(contact))
        if not _may_again(campaign, last, where, now):
            return False
    holds = (campaign.audience, start.where)
    conditions = [condition for condition in holds if condition]
    if not conditions:
        return True
    record = facts.records.get(start.record_id)
    known = facts.facts(
        contact,
        record,
        facts.heard(start.event_id, None),
    )
    return all(why_not(condition, known) is None for condition in conditions)


def _may_again(
    campaign: Campaign,
    last: datetime,
    where: ZoneInfo,
    now: datetime,
) -> bool:
    if isinstance(campaign.re_entry, Duration):
        return now >= later(last, campaign.re_entry, where)
    return campaign.re_entry == "always"


# --- the brake


def _brakes(look: Look, rows: Sequence[dict[str, Any]]) -> bool:
    """Holds a campaign into which more people come within a day than it allows."""
    most = look.campaign.max_audience
    if most is None or not rows:
        return False
    # Counted before they start: a campaign that is held afterwards has written already.
    fresh = _fresh(look, rows)
    today = fresh and start_store.count_starts(
        look.connection, look.campaign.key, look.now.at - DAY
    )
    if today + fresh <= most:
        return False
    _hold(look, today + fresh)
    return True


def _fresh(look: Look, rows: Sequence[dict[str, Any]]) -> int:
    """How many of these come in: whoever was in already does not come in now."""
    ids = {row["contact_id"] for row in rows}
    taken = start_store.occurrences(
        look.connection,
        look.campaign.key,
        ids,
    )
    wanted = [(row["contact_id"], row["record_id"], row["occurrence"]) for row in rows]
    return sum(key not in taken for key in wanted)


def _hold(look: Look, count: int) -> None:
    campaign, now = look.campaign, look.now.at
    reason = _too_many(campaign, count)
    holds.hold(
        look.connection,
        campaign.key,
        now,
        reason,
    )
    look.campaign_set.refresh(look.connection)
    sentence = f"{campaign.key} is held: {reason}."
    alarm(
        look.connection,
        log,
        "brake",
        campaign.key,
        sentence,
        now,
    )


def _too_many(campaign: Campaign, count: int) -> str:
    return (
        f"more than {campaign.max_audience:,} people would enter in a day "
        f"(max_audience, {campaign.max_audience_place}); {count:,} so far. Look at the "
        "audience; then raise the number, or let it go on another day"
    )


# --- how a run begins


def _row(campaign: Campaign, start: Start, enters: datetime) -> dict[str, Any]:
    return {
        "campaign": campaign.key,
        "version": campaign.version,
        "contact_id": start.contact_id,
        "record_id": start.record_id,
        "occurrence": start.occurrence,
        "event_id": start.event_id,
        "anchor": start.anchor,
        "position": 0,
        "since": start.since,
        "wake": Wake.NEW.value,
        "due_at": enters,
        "active": True,
        "started_at": enters,
        "ended_at": None,
        "code": None,
        "sentence": None,
        "place": None,
    }


def _held_out(campaign: Campaign, contact: str, enters: datetime) -> dict[str, Any]:
    """How the run of one who gets nothing, for comparison, ends as it begins.

    Nothing for the others.
    """
    if not campaign.holdout:
        return {}
    if (
        chance_of(
            contact,
            campaign.key,
            "holdout",
        )
        >= campaign.holdout
    ):
        return {}
    return _ended_by_holdout(campaign, enters)


def _ended_by_holdout(campaign: Campaign, enters: datetime) -> dict[str, Any]:
    percent = f"{campaign.holdout * 100:g}%"
    return {
        "wake": None,
        "due_at": None,
        "active": False,
        "ended_at": enters,
        "code": "holdout",
        "sentence": (
            f"one of the {percent} who get nothing, so that the difference can be "
            "measured"
        ),
        "place": str(campaign.place),
    }
