"""Whether clock and database are to be believed, before anything is sent by them.

A clock that jumped ahead and a database that was put back look like arrears: messages
that left already would leave again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from drip.core.calendar import EPOCH
from drip.core.clock import jump
from drip.errors import DripError
from drip.storage.operating import daemons, lost_time
from drip.storage.operating.daemons import DaemonRecord

HOW = {
    "forward": "jumped ahead, or drip died and was away",
    "back": "was set back",
}
GOES_ON = "set the clock right; if it is, `drip run --after-clock-jump` goes on"
SENDS_LATE = ", and sends what is late and still makes sense (`drip preview` shows it)"


class ClockOrRestoreSuspected(DripError):
    """Something looks like a day of arrears and may be none: the daemon ends before it
    sends, and asks."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the operator has looked at before the start: `drip run --after-clock-jump`,
    `--after-restore`."""

    clock: bool = False
    database: bool = False


NO_TRUST = Trust()


def check_at_start(
    connection: Connection,
    last: DaemonRecord | None,
    noted: datetime | None,
    now: datetime,
    trust: Trust,
) -> None:
    """Looks at both. `last` is the daemon before this one; `noted` is until when
    daemons worked by the note beside the database. Raises ClockOrRestoreSuspected,
    unless the operator has said that it is right."""
    # Of all daemons: the newest may have died before its first tick, after the clock
    # was set back a little.
    known = daemons.known_until(connection) or EPOCH
    if noted and noted > known:
        if not trust.database:
            raise _put_back(known if last else None, noted)
        lost_time.lose(connection, lost_time.Lost(known, min(noted, now)))
    elif last is not None:
        # One that ended in order was away on purpose, for however long.
        away = now - last.ended_at if last.ended_at else timedelta()
        before = max(last.heartbeat_at, last.ended_at or last.heartbeat_at)
        check_clock(
            connection,
            before,
            now,
            away,
            trusted=trust.clock,
        )


def check_clock(
    connection: Connection,
    before: datetime,
    now: datetime,
    passed: timedelta,
    *,
    trusted: bool = False,
) -> None:
    """Looks whether the clock went from `before` to `now` while so much time passed.
    Raises ClockOrRestoreSuspected if it jumped and is not `trusted`."""
    jumped = jump(before, now, max(passed, timedelta()))
    if jumped and not trusted:
        raise ClockOrRestoreSuspected(
            f"The clock says {_stamp(now)}, and the last beat was at "
            f"{_stamp(before)}: it {HOW[jumped]}.",
            help=GOES_ON + (SENDS_LATE if jumped == "forward" else ""),
        )
    if jumped == "back":
        lost_time.set_back(connection, now)


def _put_back(known: datetime | None, noted: datetime) -> ClockOrRestoreSuspected:
    since = f"after {_stamp(known)}" if known else "of any daemon"
    return ClockOrRestoreSuspected(
        f"The database was put back: it knows of nothing {since}, and a daemon worked "
        f"on it until {_stamp(noted)}. What was due in between may have left already.",
        help="look at the mail server's log; then `drip run --after-restore`, which "
        "holds what was due in between for you to settle, and goes on with the rest",
    )


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
