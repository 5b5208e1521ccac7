"""Figures for Prometheus, read from the database when they are asked for: whoever asks need not be the daemon.

Names and units as prometheus.io/docs/practices/naming has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from drip.core.calendar import EPOCH
from drip.core.shortage import Shortage, lacking
from drip.engine.repeating import Repeating
from drip.errors import DripError
from drip.storage.base.database import Database
from drip.storage.operating import alarms, daemons
from drip.storage.operating import holds as hold_store
from drip.storage.sending import deliveries, outbox


class Figures(Collector):
    """All figures of one database, and of the daemon's `tasks`, if it is the one that is asked. `drip_up` is 0 if the database
    cannot be read, and what is in it is missing then."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        tasks: Sequence[Repeating] = (),
    ) -> None:
        self._database, self._clock, self._tasks = database, clock, tasks

    def describe(self) -> list[Metric]:
        """Nothing is known before the database is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Reads them anew."""
        try:
            with lacking():
                found = [*self._of_the_daemon(), *self._of_messages()]
        except (DripError, Shortage):
            found = []
        yield GaugeMetricFamily(
            "drip_up", "Whether the database can be read.", value=1 if found else 0
        )
        yield from found
        age = GaugeMetricFamily(
            "drip_task_age_seconds",
            "How long ago a task last went well.",
            labels=["task"],
        )
        for task in self._tasks:
            age.add_metric([task.name.lower().replace(" ", "-")], task.age_s)
        yield age

    def _of_the_daemon(self) -> Iterator[Metric]:
        now = self._clock()
        with self._database.read() as connection:
            last = daemons.last_daemon(connection)
            holds = hold_store.held_scopes(connection)
            raised = alarms.lately(connection, now - alarms.AGAIN)
        running = not self._database.lock().is_free()
        yield GaugeMetricFamily(
            "drip_daemon_running",
            "Whether a daemon works on the database.",
            value=int(running),
        )
        if last:
            beat = (last.heartbeat_at - EPOCH).total_seconds()
            yield GaugeMetricFamily(
                "drip_heartbeat_timestamp_seconds",
                "When the daemon last beat.",
                value=beat,
            )
        trouble = bool(last and last.trouble)
        yield GaugeMetricFamily(
            "drip_trouble",
            "Whether something keeps messages from leaving.",
            value=int(trouble),
        )
        held = GaugeMetricFamily(
            "drip_hold",
            "What is held back: a campaign, or * for everything.",
            labels=["scope"],
        )
        for scope in holds:
            held.add_metric([scope], 1)
        yield held
        count = GaugeMetricFamily(
            "drip_alarms",
            "Alarms of the last day that are not over.",
            labels=["action"],
        )
        for action, number in sorted(
            Counter(each.action for each in raised if not each.ended_at).items()
        ):
            count.add_metric([action], number)
        yield count

    def _of_messages(self) -> Iterator[Metric]:
        now = self._clock()
        with self._database.read() as connection:
            states = outbox.count_by_state(connection)
            queues = outbox.queues(connection, now)
            back = deliveries.counts(connection, EPOCH)
        messages = GaugeMetricFamily(
            "drip_messages",
            "Messages by campaign and state.",
            labels=["campaign", "state"],
        )
        for (campaign, state), count in sorted(states.items()):
            messages.add_metric([campaign, state], count)
        yield messages
        waiting = GaugeMetricFamily(
            "drip_queue_messages", "Messages that could leave now.", labels=["channel"]
        )
        age = GaugeMetricFamily(
            "drip_queue_age_seconds",
            "How long the oldest of them waits.",
            labels=["channel"],
        )
        for each in queues:
            waiting.add_metric([each.channel], each.count)
            age.add_metric([each.channel], (now - each.oldest).total_seconds())
        yield from (waiting, age)
        came_back = CounterMetricFamily(
            "drip_came_back", "Messages that came back.", labels=["kind", "class"]
        )
        for kind, meaning, count in back:
            came_back.add_metric([kind, meaning], count)
        yield came_back


def exposition(database: Database, clock: Callable[[], datetime]) -> str:
    """The figures as Prometheus reads them."""
    return generate_latest(registry_of(database, clock)).decode()


def registry_of(
    database: Database, clock: Callable[[], datetime], tasks: Sequence[Repeating] = ()
) -> CollectorRegistry:
    """What reads them anew each time."""
    registry = CollectorRegistry()
    registry.register(Figures(database, clock, tasks))
    return registry
