"""Figures for Prometheus, read from the database when they are asked for: whoever asks need not be the daemon. Of the daemon
itself, `/health` says besides whether what it does again and again goes well.

Names and units as prometheus.io/docs/practices/naming has them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Metric, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from drip.core.calendar import EPOCH
from drip.core.shortage import Shortage, lacking
from drip.engine.repeating import Repeating
from drip.errors import DripError
from drip.storage import alarms, control, deliveries, outbox
from drip.storage.database import Database

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class Figures(Collector):
    """All figures of one database, and of the daemon's `tasks`, if it is the one that is asked. `drip_up` is 0 if the database
    cannot be read, and what is in it is missing then."""

    def __init__(self, database: Database, clock: Callable[[], datetime], tasks: Sequence[Repeating] = ()) -> None:
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
        yield GaugeMetricFamily("drip_up", "Whether the database can be read.", value=1 if found else 0)
        yield from found
        age = GaugeMetricFamily("drip_task_age_seconds", "How long ago a task last went well.", labels=["task"])
        for task in self._tasks:
            age.add_metric([task.name.lower().replace(" ", "-")], task.age_s)
        yield age

    def _of_the_daemon(self) -> Iterator[Metric]:
        now = self._clock()
        with self._database.read() as connection:
            last = control.last_daemon(connection)
            holds = control.held_scopes(connection)
            raised = alarms.lately(connection, now - alarms.AGAIN)
        running = not self._database.lock().is_free()
        yield GaugeMetricFamily("drip_daemon_running", "Whether a daemon works on the database.", value=int(running))
        if last:
            beat = (last.heartbeat_at - EPOCH).total_seconds()
            yield GaugeMetricFamily("drip_heartbeat_timestamp_seconds", "When the daemon last beat.", value=beat)
        trouble = bool(last and last.trouble)
        yield GaugeMetricFamily("drip_trouble", "Whether something keeps messages from leaving.", value=int(trouble))
        held = GaugeMetricFamily("drip_hold", "What is held back: a campaign, or * for everything.", labels=["scope"])
        for scope in holds:
            held.add_metric([scope], 1)
        yield held
        count = GaugeMetricFamily("drip_alarms", "Alarms of the last day that are not over.", labels=["action"])
        for action, number in sorted(Counter(each.action for each in raised if not each.ended_at).items()):
            count.add_metric([action], number)
        yield count

    def _of_messages(self) -> Iterator[Metric]:
        now = self._clock()
        with self._database.read() as connection:
            states = outbox.count_by_state(connection)
            queues = outbox.queues(connection, now)
            back = deliveries.counts(connection, EPOCH)
        messages = GaugeMetricFamily("drip_messages", "Messages by campaign and state.", labels=["campaign", "state"])
        for (campaign, state), count in sorted(states.items()):
            messages.add_metric([campaign, state], count)
        yield messages
        waiting = GaugeMetricFamily("drip_queue_messages", "Messages that could leave now.", labels=["channel"])
        age = GaugeMetricFamily("drip_queue_age_seconds", "How long the oldest of them waits.", labels=["channel"])
        for each in queues:
            waiting.add_metric([each.channel], each.count)
            age.add_metric([each.channel], (now - each.oldest).total_seconds())
        yield from (waiting, age)
        came_back = CounterMetricFamily("drip_came_back", "Messages that came back.", labels=["kind", "class"])
        for kind, meaning, count in back:
            came_back.add_metric([kind, meaning], count)
        yield came_back


def exposition(database: Database, clock: Callable[[], datetime]) -> str:
    """The figures as Prometheus reads them."""
    return generate_latest(_registry(database, clock)).decode()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    # Seconds: whoever connects and says nothing is let go.
    timeout = 10

    def log_message(self, format: str, *arguments: object) -> None:
        """Who asked is no news."""


def serve(
    database: Database, clock: Callable[[], datetime], address: str, port: int, tasks: Sequence[Repeating]
) -> Callable[[], None]:
    """Answers `/health`, and every other request with the figures, until what is returned is called. Raises DripError if the
    port is taken."""
    answer = _answering(_registry(database, clock, tasks), tasks)
    try:
        server = make_server(address, port, answer, _Server, _Handler)
    except (OSError, OverflowError) as error:
        raise DripError(f"No figures can be served at {address}:{port}: {error}.", help="name another port") from None
    with lacking():
        threading.Thread(target=server.serve_forever, name="drip-metrics", daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    return end


def _answering(registry: CollectorRegistry, tasks: Sequence[Repeating]) -> WSGIApplication:
    figures: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
            return figures(environ, start_response)
        late = [each for task in tasks if (each := task.late)]
        status = "503 Service Unavailable" if late else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return ["\n".join([*(late or ["ok"]), ""]).encode()]

    return answer


def _registry(database: Database, clock: Callable[[], datetime], tasks: Sequence[Repeating] = ()) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Figures(database, clock, tasks))
    return registry
