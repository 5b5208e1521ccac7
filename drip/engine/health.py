"""How the house is: heartbeat, what waits, what came back, what is held. For whoever
operates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drip.storage.base.database import Database
from drip.storage.campaigns import runs
from drip.storage.operating import alarms, daemons, holds
from drip.storage.operating.alarms import Alarm
from drip.storage.operating.daemons import DaemonRecord
from drip.storage.operating.holds import Hold
from drip.storage.people import sign_ups
from drip.storage.people.erasing import Outstanding, outstanding
from drip.storage.sending import deliveries, outbox, rate_limits, relays
from drip.storage.sending.outbox import Queue
from drip.storage.sending.rate_limits import LeftAlone
from drip.storage.sending.relays import Doubted

# A daemon ticks every ten seconds; one that has not for this long is not well.
SILENT = timedelta(minutes=2)
BACK_SPAN = timedelta(days=30)
ALARM_SPAN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Health:
    """At `now`.

    `counts` are messages by campaign and state, `inside` active runs by campaign.
    `back` is what came back in `BACK_SPAN`, by kind and meaning; `alarms` are those of
    `ALARM_SPAN`. `left_alone` are channels and domains that take nothing for a time,
    `doubted` servers that have taken nobody yet. `sign_ups` are those of whom nothing
    else is known, by their state; `uncleared` are erased people of whom something is
    left in files.
    """

    now: datetime
    daemon: DaemonRecord | None
    running: bool
    holds: Mapping[str, Hold]
    alarms: Sequence[Alarm]
    counts: Mapping[tuple[str, str], int]
    inside: Mapping[str, int]
    queues: Sequence[Queue]
    back: Sequence[tuple[str, str, int]]
    left_alone: Sequence[LeftAlone]
    doubted: Sequence[Doubted]
    sign_ups: Mapping[str, int]
    uncleared: Sequence[Outstanding]

    @property
    def stopped(self) -> Hold | None:
        """Since when everything is stopped, if it is."""
        return self.holds.get(holds.EVERYTHING)

    @property
    def silent(self) -> bool:
        """Whether a daemon runs that has given no sign for long."""
        if not self.running or self.daemon is None:
            return False
        return self.now - self.daemon.heartbeat_at > SILENT

    def waiting(self, state: str) -> int:
        """How many messages of all campaigns are in a state."""
        return sum(count for (_, own), count in self.counts.items() if own == state)


def health(database: Database, now: datetime) -> Health:
    """Read at once."""
    # In one snapshot: figures of different moments would contradict each other.
    with database.read() as connection:
        return Health(
            now,
            daemon=daemons.last_daemon(connection),
            # The lock, and not the heartbeat: a daemon that hangs runs.
            running=not database.lock().is_free(),
            holds=holds.held_scopes(connection),
            alarms=alarms.lately(connection, now - ALARM_SPAN),
            counts=outbox.count_by_state(connection),
            inside=runs.runs_per_campaign(connection),
            queues=outbox.queues(connection, now),
            back=deliveries.counts(connection, now - BACK_SPAN),
            left_alone=rate_limits.left_alone(connection, now),
            doubted=relays.doubted(connection),
            sign_ups=sign_ups.counts(connection),
            uncleared=outstanding(connection),
        )
