"""The pages as a browser gets them: a real server on loopback, over the workspace of a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from drip.core.token import Link, sign
from drip.storage.base.database import link_keys
from drip.web import make_app
from drip.web.dashboard import make_dashboard
from drip.web.server import listen
from drip.web.server import serving as served
from drip.worker.worker import MESSAGES, TIMELINES, Limits
from tests.world import World


@dataclass
class Pages:
    """A server and a client. `now` is its clock, `passed` its stopwatch; both can be set."""

    world: World
    now: datetime
    client: httpx.Client = field(init=False)
    url: str = ""
    passed: float = 0.0

    def token(
        self,
        purpose: str,
        contact: int = 1,
        topic: str | None = "news",
        run: int = 0,
        detail: str | None = None,
    ) -> str:
        with self.world.database.read() as connection:
            key_id, secret = list(link_keys(connection).items())[-1]
        return sign(Link(purpose, contact, topic, run, detail), key_id, secret)

    def get(self, path: str, **more: object) -> httpx.Response:
        return self.client.get(path, **more)  # type: ignore[arg-type]

    def post(self, path: str, **more: object) -> httpx.Response:
        return self.client.post(path, **more)  # type: ignore[arg-type]


@contextlib.contextmanager
def pages(world: World, now: datetime, messages: Limits = MESSAGES) -> Iterator[Pages]:
    """Serves a world's pages meanwhile."""
    made = Pages(world, now)
    app = make_app(
        world.workspace, world.database, lambda: made.now, lambda: made.passed, messages
    )
    with serving(app) as url:
        made.url = url
        with httpx.Client(
            base_url=url, follow_redirects=False, timeout=30
        ) as made.client:
            yield made


@contextlib.contextmanager
def served_dashboard(
    world: World,
    now: datetime,
    messages: Limits = MESSAGES,
    timelines: Limits = TIMELINES,
) -> Iterator[Pages]:
    """Serves a world's dashboard meanwhile."""
    made = Pages(world, now)
    app = make_dashboard(
        world.workspace,
        world.database,
        lambda: made.now,
        lambda: made.passed,
        messages,
        timelines,
    )
    with serving(app) as url:
        made.url = url
        with httpx.Client(
            base_url=url, follow_redirects=False, timeout=60
        ) as made.client:
            yield made


@contextlib.contextmanager
def serving(app: object) -> Iterator[str]:
    """Serves an application on a free port; its address."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    with served(app, listening):
        yield f"http://127.0.0.1:{port}"
