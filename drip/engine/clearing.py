"""What is left of erased people outside of the tables: messages that lie in files, and
what the database's own files still hold.

It can fail for a while (a reader is in the way, a folder cannot be written to), and is
tried again; the erasure itself stands.
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
from drip.storage.people.erasing import Outstanding

# Takes the messages of these runs out of a folder. Raises OSError.
Keeper = Callable[[Collection[int]], None]
# A large database is written anew at night, or once this has passed.
NIGHT, LONGEST = range(2, 5), timedelta(days=1)
# What is outstanding for so long is an alarm.
LATE = timedelta(days=2)
SOME = "`drip status` says since when; `drip db scrub` tries it at once and says what is in the way"
IN_USE = "the database is in use, or large: then it is written anew at night"
log = logging.getLogger("drip.clearing")


def clear(
    database: Database,
    keepers: Sequence[Keeper],
    now: datetime,
    timezone: str,
    *,
    thorough: bool = False,
) -> str | None:
    """Clears what it can; why something is left, None if nothing is. `timezone` is the
    workspace's, for what waits for the night."""
    with database.read() as connection:
        waiting = erasing.outstanding(connection)
        ready = [erased.contact_id for erased in waiting if _is_ready(erased)]
        run_ids = erasing.runs_of(connection, ready)
    if not waiting:
        return None
    why = _clear_files(keepers, run_ids) if ready else None
    if ready and why is None:
        _clear_rows(database, ready, now)
    may_take_long = thorough or _may_take_long(waiting[0], now, timezone)
    try:
        scrubbed = database.scrub(thorough=may_take_long)
    except (DripError, Shortage) as error:
        return error.sentence
    if not scrubbed:
        return why or IN_USE
    with database.write() as connection:
        erasing.settled(connection, now)
    return why or _on_its_way(waiting)


def _is_ready(erased: Outstanding) -> bool:
    return erased.cleared_at is None and not erased.waits


def _clear_rows(
    database: Database,
    contact_ids: Sequence[int],
    now: datetime,
) -> None:
    with database.write() as connection:
        api_keys.forget_words(connection)
    # Each in a transaction of its own: what is done stays done if the next one fails.
    for contact_id in contact_ids:
        with database.write() as connection:
            erasing.clear(connection, contact_id)
            erasing.cleared(connection, contact_id, now)


def _may_take_long(oldest: Outstanding, now: datetime, timezone: str) -> bool:
    """Whether it is night, or somebody has waited for it too long."""
    at_night = local(now, zone(timezone)).hour in NIGHT
    return at_night or oldest.at <= now - LONGEST


def _on_its_way(waiting: Sequence[Outstanding]) -> str | None:
    """Why it is not over yet: a message of somebody's may be written at this moment."""
    waits = any(erased.waits for erased in waiting)
    return "a message is on its way" if waits else None


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
