"""A tick of planning: what is new is followed up, who enters, and everything that is due judged in batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from drip.core.campaign import CounterTrigger
from drip.engine.campaign_set import CampaignSet
from drip.engine.catch_up import SEGMENTS, follow, follow_dates_of
from drip.engine.entry import Enroller
from drip.engine.judging import Texts, judge
from drip.engine.loading import Group, groups_of, load
from drip.engine.storing import UnitOfWork
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage.base.database import Database
from drip.storage.campaigns import audience, runs
from drip.storage.people import erasing, loyalty, people, sign_ups
from drip.storage.sending import outbox

# So many contacts are judged in one transaction, and so many of them at once: what is known about these few stays in
# the processor's cache.
BATCH = 2_000
AT_ONCE = 500
# So many are erased in one transaction, which takes about half a second: others may write in between.
FORGOTTEN_AT_ONCE = 100
log = logging.getLogger("drip.planner")
# A grant that has not left within this is judged again, so that what counts is when it really left.
GRANT_LASTS = timedelta(minutes=10)


def plan(
    database: Database,
    campaign_set: CampaignSet,
    templates: Templates,
    enroller: Enroller,
    now: datetime,
) -> None:
    """Brings the database up to `now`: afterwards nothing is due that was not judged."""
    while not _took_in(database, campaign_set, enroller, now):
        pass
    found: dict[tuple[str, str], bool] = {}

    def has_content(folder: str, occurrence: str) -> bool:
        if (folder, occurrence) not in found:
            found[folder, occurrence] = _is_there(templates, folder, occurrence)
        return found[folder, occurrence]

    texts = Texts(has_content, partial(_filled, templates))
    while True:
        with database.write() as connection:
            ids = runs.contacts_with_something_due(connection, now, BATCH)
            if not ids:
                return
            # A date may have moved since the tick began: an import works beside the daemon.
            follow_dates_of(connection, campaign_set, ids, now)
            groups = groups_of(ids)
            for n in range(0, len(groups), AT_ONCE):
                some = groups[n : n + AT_ONCE]
                _judge(connection, campaign_set, some, texts, now)


def _judge(
    connection: Connection,
    campaign_set: CampaignSet,
    groups: Sequence[Group],
    texts: Texts,
    now: datetime,
) -> None:
    """Has all that is due for these groups judged, and stores what comes of it."""
    batch = load(connection, campaign_set, groups, now)
    unit = UnitOfWork(campaign_set.settings, now, texts.fill)
    unit.add(judge(batch, campaign_set, texts, now))
    unit.store(connection)


def _took_in(
    database: Database, campaign_set: CampaignSet, enroller: Enroller, now: datetime
) -> bool:
    """Whether all was taken in that is new. First those are erased who signed up and did not confirm in time, some at a time."""
    with database.write() as connection:
        gone = sign_ups.run_out(connection, now, FORGOTTEN_AT_ONCE)
        erasing.erase_sign_ups(connection, gone, now)
        if len(gone) == FORGOTTEN_AT_ONCE:
            return False
        campaign_set.refresh(connection)
        outbox.give_back_stale(connection, now - GRANT_LASTS, now)
        follow(connection, campaign_set, now)
        enroller.enter(connection, campaign_set, now)
    return True


def _filled(templates: Templates, text: str, values: Mapping[str, Any]) -> str:
    """A task's title; as it is written where it cannot be filled in, since the work has to be done all the same."""
    try:
        return templates.fill(text, values)
    except DripError as error:
        log.warning("%s", error.sentence, extra={"action": "render-error"})
        return text


def _is_there(templates: Templates, folder: str, occurrence: str) -> bool:
    """Whether there is content. A file that cannot be read is there: rendering will say what is wrong with it."""
    try:
        return templates.content(folder, occurrence) is not None
    except DripError:
        return True


def is_due(database: Database, now: datetime) -> bool:
    """Whether something stored is due at `now`: a run to look at, or a message to judge."""
    with database.read() as connection:
        return bool(runs.contacts_with_something_due(connection, now, 1))


def has_news(database: Database, campaign_set: CampaignSet) -> bool:
    """Whether people or counters have changed since campaigns and segments looked last."""
    with database.read() as connection:
        cursors = audience.cursors_of(connection)
        change, entry = people.last_change(connection), loyalty.newest_entry(connection)
    looking = [
        cursors[campaign.key]
        for campaign in campaign_set.entering()
        if campaign.key in cursors
    ]
    counting = [
        cursors[campaign.key]
        for campaign in campaign_set.entering()
        if isinstance(campaign.trigger, CounterTrigger) and campaign.key in cursors
    ]
    looking += (
        [cursors[SEGMENTS]] if campaign_set.sets() and SEGMENTS in cursors else []
    )
    return any(each.change < change for each in looking) or any(
        each.event_id < entry for each in counting
    )


def next_due(database: Database, now: datetime) -> datetime | None:
    """The first instant after `now` at which something stored is due."""
    with database.read() as connection:
        ends = (runs.next_due(connection, now), sign_ups.next_end(connection))
    return min((each for each in ends if each and each > now), default=None)
