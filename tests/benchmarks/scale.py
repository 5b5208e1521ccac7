"""Speed over size: a tick with nothing due, a tick with one in a hundred due, a blast to everybody, a preview, an import."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from drip.engine.entry import Doorkeeper
from drip.engine.planner import plan
from tests.benchmarks import crowd
from tests.world import World, at

NOW = at("2026-11-26 14:00")
BLAST = {
    "blast": "name: Blast\ntopic: newsletter\ntrigger: { schedule: 2026-11-26 9:30 }\ntimezone: America/Chicago\n"
    "audience: { subscribed: newsletter }\ngrace: 12 hours\nsteps: [send: blast]\n"
}
SETTINGS = """
topics:
  newsletter: { title: Newsletter, opt_in: double }
  service: { title: Service, opt_in: implied }
frequency_caps: { all: "1 per day, 3 per week", newsletter: 8 per month }
"""


def blast_world(root: Path, count: int, each: int = 5) -> World:
    """Everybody subscribed, five earlier messages each, caps that overlap, one newsletter to all that is due at 15:30."""
    world = World(root, BLAST, SETTINGS)
    with world.database.write() as connection:
        crowd.people(connection, count)
        crowd.consent(connection, "newsletter", 100)
        crowd.history(connection, each, NOW)
    return world


def blast(root: Path, count: int) -> float:
    world = blast_world(root, count)
    book = world.workspace.book(world.database, NOW)
    doorkeeper = Doorkeeper()
    plan(world.database, book, world.workspace.templates, doorkeeper, NOW)
    began = time.perf_counter()
    plan(world.database, book, world.workspace.templates, doorkeeper, at("2026-11-26 15:30"))
    seconds = time.perf_counter() - began
    with world.database.read() as connection:
        states = connection.exec_driver_sql(
            "SELECT state, code, count(*) FROM messages WHERE campaign='blast' GROUP BY 1, 2"
        ).all()
    print(states, seconds, count / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    world.database.close()
    return seconds
