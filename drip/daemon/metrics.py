"""Figures for Prometheus, read from the database when they are asked for: whoever asks
need not be the daemon.

Names and units as prometheus.io/docs/practices/naming has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from drip.core.calendar import EPOCH
from drip.core.clock import Clock
from drip.core.shortage import Shortage, lacking
from drip.engine.repeating import Repeating
from drip.errors import DripError
from drip.storage.base.database import Database
from drip.storage.operating import alarms, daemons
from drip.storage.operating import holds as hold_store
from drip.storage.operating.alarms import Alarm
from drip.storage.sending import deliveries, outbox
from drip.storage.sending.outbox import Queue


class Figures(Collector):
    """All figures of one database, and of the daemon's `tasks`, if it is the one that
    is asked. `drip_up` is 0 if the database cannot be read, and what is in it is
    missing then."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        tasks: Sequence[Repeating] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._tasks = tasks

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
        up = "Whether the database can be read."
        yield _gauge("drip_up", up, 1 if found else 0)
        yield from found
        yield self._task_ages()

    def _task_ages(self) -> Metric:
        ages = GaugeMetricFamily(
            "drip_task_age_seconds",
            "How long ago a task last went well.",
            labels=["task"],
        )
        for task in self._tasks:
            ages.add_metric([task.name.lower().replace(" ", "-")], task.age_s)
        return ages

    def _of_the_daemon(self) -> Iterator[Metric]:
        now = self._clock()
        with self._database.read() as connection:
            last = daemons.last_daemon(connection)
            holds = hold_store.held_scopes(connection)
            raised = alarms.lately(connection, now - alarms.AGAIN)
        running = not self._database.lock().is_free()
        yield _gauge(
            "drip_daemon_running",
            "Whether a daemon works on the database.",
            running,
        )
        if last:
            yield _gauge(
                "drip_heartbeat_timestamp_seconds",
                "When the daemon last beat.",
                (last.heartbeat_at - EPOCH).total_seconds(),
            )
        yield _gauge(
            "drip_trouble",
            "Whether something keeps messages from leaving.",
            bool(last and last.trouble),
        )
        yield _holds(holds)
        yield _alarms(raised)

    def _of_messages(self) -> Iterator[Metric]:
        now = self._clock()
        with self._database.read() as connection:
            states = outbox.count_by_state(connection)
            queues = outbox.queues(connection, now)
            came_back = deliveries.counts(connection, EPOCH)
        yield _messages(states)
        yield from _queues(queues, now)
        yield _came_back(came_back)


def _gauge(
    name: str,
    help: str,
    value: float,
) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _holds(scopes: Iterable[str]) -> Metric:
    held = GaugeMetricFamily(
        "drip_hold",
        "What is held back: a campaign, or * for everything.",
        labels=["scope"],
    )
    for scope in scopes:
        held.add_metric([scope], 1)
    return held


def _alarms(raised: Iterable[Alarm]) -> Metric:
    family = GaugeMetricFamily(
        "drip_alarms",
        "Alarms of the last day that are not over.",
        labels=["action"],
    )
    counts = Counter(alarm.action for alarm in raised if not alarm.ended_at)
    for action, count in sorted(counts.items()):
        family.add_metric([action], count)
    return family


def _messages(states: Mapping[tuple[str, str], int]) -> Metric:
    messages = GaugeMetricFamily(
        "drip_messages",
        "Messages by campaign and state.",
        labels=["campaign", "state"],
    )
    for labels, count in sorted(states.items()):
        messages.add_metric(labels, count)
    return messages


def _queues(queues: Iterable[Queue], now: datetime) -> tuple[Metric, Metric]:
    waiting = GaugeMetricFamily(
        "drip_queue_messages",
        "Messages that could leave now.",
        labels=["channel"],
    )
    ages = GaugeMetricFamily(
        "drip_queue_age_seconds",
        "How long the oldest of them waits.",
        labels=["channel"],
    )
    for queue in queues:
        age = now - queue.oldest
        waiting.add_metric([queue.channel], queue.count)
        ages.add_metric([queue.channel], age.total_seconds())
    return waiting, ages


def _came_back(counts: Iterable[tuple[str, str, int]]) -> Metric:
    came_back = CounterMetricFamily(
        "drip_came_back",
        "Messages that came back.",
        labels=["kind", "class"],
    )
    for kind, meaning, count in counts:
        came_back.add_metric([kind, meaning], count)
    return came_back


def exposition(database: Database, clock: Clock) -> str:
    """The figures as Prometheus reads them."""
    return generate_latest(registry_of(database, clock)).decode()


def registry_of(
    database: Database,
    clock: Clock,
    tasks: Sequence[Repeating] = (),
) -> CollectorRegistry:
    """What reads them anew each time."""
    registry = CollectorRegistry()
    registry.register(Figures(database, clock, tasks))
    return registry
