"""A tick of planning: what is new is followed up, who enters, and everything that is
due judged in batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
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
from drip.storage.campaigns import cursors as cursor_store
from drip.storage.campaigns import runs
from drip.storage.people import change_marks, counters, erasing, sign_ups
from drip.storage.sending import outbox

# So many contacts are judged in one transaction, and so many of them at once: what is
# known about these few stays in the processor's cache.
BATCH = 2_000
AT_ONCE = 500
# So many are erased in one transaction, which takes about half a second: others may
# write in between.
FORGOTTEN_AT_ONCE = 100
log = logging.getLogger("drip.planner")
# A grant that has not left within this is judged again, so that what counts is when it
# really left.
GRANT_LASTS = timedelta(minutes=10)


def plan(
    database: Database,
    campaign_set: CampaignSet,
    templates: Templates,
    enroller: Enroller,
    now: datetime,
) -> None:
    """Brings the database up to `now`: afterwards nothing is due that was not
    judged."""
    while not _took_in(
        database,
        campaign_set,
        enroller,
        now,
    ):
        pass
    texts = _texts_of(templates)
    while _judged_some(
        database,
        campaign_set,
        texts,
        now,
    ):
        pass


def _texts_of(templates: Templates) -> Texts:
    # Asked once for an occurrence: it is the same for everybody in a blast.
    has_content = cache(partial(_is_there, templates))
    return Texts(has_content, partial(_filled, templates))


def _judged_some(
    database: Database,
    campaign_set: CampaignSet,
    texts: Texts,
    now: datetime,
) -> bool:
    """Judges what is due for some contacts, in one transaction; False if nothing is due
    for anybody."""
    with database.write() as connection:
        ids = runs.contacts_with_something_due(connection, now, BATCH)
        if not ids:
            return False
        # A date may have moved since the tick began: an import works beside the daemon.
        follow_dates_of(
            connection,
            campaign_set,
            ids,
            now,
        )
        groups = groups_of(ids)
        for n in range(0, len(groups), AT_ONCE):
            some = groups[n : n + AT_ONCE]
            _judge(
                connection,
                campaign_set,
                some,
                texts,
                now,
            )
    return True


def _judge(
    connection: Connection,
    campaign_set: CampaignSet,
    groups: Sequence[Group],
    texts: Texts,
    now: datetime,
) -> None:
    """Has all that is due for these groups judged, and stores what comes of it."""
    batch = load(
        connection,
        campaign_set,
        groups,
        now,
    )
    unit = UnitOfWork(campaign_set.settings, now, texts.fill)
    unit.add(
        judge(
            batch,
            campaign_set,
            texts,
            now,
        )
    )
    unit.store(connection)


def _took_in(
    database: Database,
    campaign_set: CampaignSet,
    enroller: Enroller,
    now: datetime,
) -> bool:
    """Whether all was taken in that is new. First those are erased who signed up and
    did not confirm in time, some at a time."""
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


def _filled(
    templates: Templates,
    text: str,
    values: Mapping[str, Any],
) -> str:
    """A task's title; as it is written where it cannot be filled in, since the work has
    to be done all the same."""
    try:
        return templates.fill(text, values)
    except DripError as error:
        log.warning("%s", error.sentence, extra={"action": "render-error"})
        return text


def _is_there(
    templates: Templates,
    folder: str,
    occurrence: str,
) -> bool:
    """Whether there is content. A file that cannot be read is there: rendering will say
    what is wrong with it."""
    try:
        return templates.content(folder, occurrence) is not None
    except DripError:
        return True


def is_due(database: Database, now: datetime) -> bool:
    """Whether something stored is due at `now`: a run to look at, or a message to
    judge."""
    with database.read() as connection:
        return bool(runs.contacts_with_something_due(connection, now, 1))


def has_news(database: Database, campaign_set: CampaignSet) -> bool:
    """Whether people or counters have changed since campaigns and segments looked
    last."""
    with database.read() as connection:
        cursors = cursor_store.cursors_of(connection)
        change, entry = (
            change_marks.last_change(connection),
            counters.newest_entry(connection),
        )
    names = {SEGMENTS} if campaign_set.sets() else set()
    for campaign in campaign_set.entering():
        names.add(campaign.key)
        counted = isinstance(campaign.trigger, CounterTrigger)
        cursor = cursors.get(campaign.key)
        if cursor and counted and cursor.event_id < entry:
            return True
    looking = [cursor for name, cursor in cursors.items() if name in names]
    return any(cursor.change < change for cursor in looking)


def next_due(database: Database, now: datetime) -> datetime | None:
    """The first instant after `now` at which something stored is due."""
    with database.read() as connection:
        due = runs.next_due(connection, now)
        end = sign_ups.next_end(connection)
    return min((at for at in (due, end) if at and at > now), default=None)
