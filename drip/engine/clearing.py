"""What is left of erased people outside of the tables: messages that lie in files, and what the database's own files still hold.

It can fail for a while (a reader is in the way, a folder cannot be written to), and is tried again; the erasure itself stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip import private
from drip.core.calendar import local, zone
from drip.core.shortage import Shortage
from drip.engine.alarming import alarm
from drip.errors import DripError
from drip.storage.base.database import Database
from drip.storage.operating import alarms, api_keys
from drip.storage.people import erasing

# Takes the messages of these runs out of a folder. Raises OSError.
Keeper = Callable[[Collection[int]], None]
# A large database is written anew at night, or once this has passed.
NIGHT, LONGEST = range(2, 5), timedelta(days=1)
# What is outstanding for so long is an alarm.
LATE = timedelta(days=2)
SOME = "`drip status` says since when; `drip db scrub` tries it at once and says what is in the way"
log = logging.getLogger("drip.clearing")


def clear(
    database: Database,
    keepers: Sequence[Keeper],
    now: datetime,
    timezone: str,
    *,
    thorough: bool = False,
) -> str | None:
    """Clears what it can; why something is left, None if nothing is. `timezone` is the workspace's, for what waits for the night."""
    with database.read() as connection:
        waiting = erasing.outstanding(connection)
        ready = [
            each.contact_id
            for each in waiting
            if each.cleared_at is None and not each.waits
        ]
        run_ids = erasing.runs_of(connection, ready)
    if not waiting:
        return None
    why = _clear_files(keepers, run_ids) if ready else None
    if ready and why is None:
        with database.write() as connection:
            api_keys.forget_words(connection)
        for each in ready:
            with database.write() as connection:
                erasing.clear(connection, each)
                erasing.cleared(connection, each, now)
    at_night = (
        local(now, zone(timezone)).hour in NIGHT or waiting[0].at <= now - LONGEST
    )
    try:
        if not database.scrub(thorough=thorough or at_night):
            return (
                why
                or "the database is in use, or large: then it is written anew at night"
            )
    except (DripError, Shortage) as error:
        return error.sentence
    with database.write() as connection:
        erasing.settled(connection, now)
    on_its_way = (
        "a message is on its way" if any(each.waits for each in waiting) else None
    )
    return why or on_its_way


def watch(connection: Connection, now: datetime) -> None:
    """An alarm while something is outstanding for too long."""
    waiting = erasing.outstanding(connection)
    if waiting and waiting[0].at <= now - LATE:
        said = f"What is left of {len(waiting)} erased person(s) in files has not been cleared for two days."
        alarm(connection, log, "uncleared", "", said, now, SOME)
    else:
        alarms.over(connection, ["uncleared"], now)


def _clear_files(keepers: Sequence[Keeper], run_ids: Collection[int]) -> str | None:
    """Why not all could be, if so."""
    try:
        for forget in keepers:
            forget(run_ids)
        private.sweep()
    except OSError as error:
        # Its name can be an address, so it is not said.
        return f"a file cannot be removed: {error.strerror or 'it cannot be read'}"
    return None
