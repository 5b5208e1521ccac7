"""A tick of planning: who enters, whose dates moved, and everything that is due judged in batches."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from drip.core.campaign import Campaign, DateTrigger
from drip.engine.book import Book
from drip.engine.entry import Doorkeeper, anchor_date, coming_entries, entry_instant
from drip.engine.facts import date_value
from drip.engine.judging import Judging
from drip.errors import DripError
from drip.rendering.templates import Templates
from drip.storage import audience, outbox, people, runs
from drip.storage.database import Database
from drip.storage.outbox import Judgement
from drip.storage.runs import Run

BATCH = 500
# A grant that has not left within this is judged again, so that what counts is when it really left.
GRANT_LASTS = timedelta(minutes=10)


def plan(database: Database, book: Book, templates: Templates, doorkeeper: Doorkeeper, now: datetime) -> None:
    """Brings the database up to `now`: afterwards nothing is due that was not judged."""
    with database.write() as connection:
        book.refresh(connection)
        outbox.give_back_stale(connection, now - GRANT_LASTS, now)
        _follow_moved_dates(connection, book, now)
        doorkeeper.enter(connection, book, now)
    found: dict[tuple[str, str], bool] = {}

    def has_content(folder: str, occurrence: str) -> bool:
        if (folder, occurrence) not in found:
            found[folder, occurrence] = _is_there(templates, folder, occurrence)
        return found[folder, occurrence]

    while True:
        with database.write() as connection:
            ids = runs.contacts_with_something_due(connection, now, BATCH)
            if ids:
                Judging(connection, book, ids, has_content, now).work()
        if len(ids) < BATCH:
            return


def _is_there(templates: Templates, folder: str, occurrence: str) -> bool:
    """Whether there is content. A file that cannot be read is there: rendering will say what is wrong with it."""
    try:
        return templates.content(folder, occurrence) is not None
    except DripError:
        return True


def coming_wakes(database: Database, book: Book, start: datetime, end: datetime) -> list[datetime]:
    """Every instant in (start, end] at which someone could enter a campaign, in order."""
    with database.read() as connection:
        sets = [coming_entries(connection, book, campaign, start, end) for campaign in book.entering()]
    return sorted(set().union(*sets))


def is_due(database: Database, now: datetime) -> bool:
    """Whether something stored is due at `now`: a run to look at, or a message to judge."""
    with database.read() as connection:
        return bool(runs.contacts_with_something_due(connection, now, 1))


def next_due(database: Database, now: datetime) -> datetime | None:
    """The first instant after `now` at which something stored is due."""
    with database.read() as connection:
        return runs.next_due(connection, now)


def _follow_moved_dates(connection: Connection, book: Book, now: datetime) -> None:
    """Runs that hang on a date which is another one now.

    Where the new date's first step is still to come, the run ends and the new date starts one of its own;
    otherwise the run goes on from the new date, and what it has sent stays sent.
    """
    for run in runs.to_recompute(connection):
        campaign = book.version(connection, run.campaign, run.version)
        if campaign and isinstance(campaign.trigger, DateTrigger) and run.anchor:
            _follow(connection, book, campaign, campaign.trigger, run, now)


def _follow(
    connection: Connection, book: Book, campaign: Campaign, trigger: DateTrigger, run: Run, now: datetime
) -> None:
    record = people.records_by_id(connection, [run.record_id]).get(run.record_id)
    if run.record_id and (record is None or record.contact_id != run.contact_id):
        return  # It is not this contact's any more, which is for judging to say.
    before = date.fromisoformat(run.anchor or "")
    days = audience.dates_of(connection, trigger.date.field, [run.contact_id])
    stored = days.get((run.contact_id, run.record_id))
    value = date_value(book.settings, trigger.date.field, stored) if stored else None
    anchor = anchor_date(trigger, value, before.year) if value is not None else None
    if anchor == before:
        return
    contact = people.contacts_by_id(connection, [run.contact_id])[run.contact_id]
    zone_name = contact.zone or book.settings.timezone
    if anchor is None or entry_instant(book.settings, campaign, anchor, zone_name) > now:
        sentence = f"{trigger.date.field} is now {anchor or 'unknown'}"
        run.active, run.next_due_at, run.ended_at = False, None, now
        run.code, run.sentence, run.place = "date-moved", sentence, str(campaign.place)
        _drop_waiting(connection, run, now)
    else:
        run.anchor = run.occurrence = anchor.isoformat()
    if run.active and runs.occurrence_taken(connection, run):
        run.active, run.next_due_at, run.ended_at = False, None, now
        run.code, run.sentence, run.place = "date-moved", "the new date has a run of its own", str(campaign.place)
        run.occurrence = before.isoformat()
    runs.save_runs(connection, [run])


def _drop_waiting(connection: Connection, run: Run, now: datetime) -> None:
    unsent = ("deferred", "pending")
    dropped = [each for each in outbox.of_runs(connection, [run.id]) if each.state in unsent]
    for message in dropped:
        message.state, message.settled_at = "skipped", now
        message.code, message.sentence, message.place = run.code, run.sentence, run.place
    outbox.save_messages(connection, dropped)
    made = [
        Judgement(each, now, "skipped", each.code or "", each.sentence or "", each.place or "", None)
        for each in dropped
    ]
    outbox.save_judgements(connection, made)
