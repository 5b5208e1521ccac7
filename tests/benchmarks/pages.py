"""Pages under load: one-click unsubscribing and events in batches, beside a bare application, while the daemon plans."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from drip.core.token import Link, sign
from drip.storage.base.database import link_keys
from drip.storage.base.sqlite import SqliteDatabase
from drip.storage.operating import api_keys
from tests.benchmarks.scale import RUNS, folder, say
from tests.cli import command, environment
from tests.cli import shop as made_of
from tests.world import SETTINGS, at

PEOPLE = 20_000
POSTS, BATCHES, TOGETHER = 1_500, 100, 100
CONNECTIONS = 64
TOKEN = "drip_benchmark"
THANKS = """
name: Thanks
topic: service
trigger: { event: order.placed }
steps:
  - wait: 1 day
  - send: thanks
"""
HELLO = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
async def hello(request: Request) -> PlainTextResponse:
    await request.form()
    return PlainTextResponse("hello")
app = Starlette(routes=[Route("/{rest:path}", hello, methods=["POST"])])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
"""


def pages(runs: int = RUNS) -> None:
    """Requests a second on loopback, each answered once its word is on the disk; what was said is counted afterwards."""
    with folder() as root, contextlib.ExitStack() as stack:
        tokens = _shop(root)
        ours, bare = _free_port(), _free_port()
        stack.enter_context(
            _running(
                command(root, "serve", "--listen", str(ours), "--dashboard", "off"),
                ours,
            )
        )
        stack.enter_context(_running([sys.executable, "-c", HELLO, str(bare)], bare))
        daemon = subprocess.Popen(
            command(root, "run", "--every", "1"),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        stack.callback(daemon.wait)
        stack.callback(daemon.terminate)
        rates: dict[str, list[float]] = {"hello": [], "unsubscribe": [], "events": []}
        form = ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click")
        for run in range(runs):
            some = tokens[run * POSTS : (run + 1) * POSTS]
            rates["hello"].append(
                POSTS / _posted(bare, [(f"/{each}", *form) for each in some])
            )
            rates["unsubscribe"].append(
                POSTS
                / _posted(ours, [(f"/unsubscribe/{each}", *form) for each in some])
            )
            batches = [
                ("/api/events", "application/json", _batch(run, n))
                for n in range(BATCHES)
            ]
            rates["events"].append(BATCHES * TOGETHER / _posted(ours, batches))
        said, events = _counted(root)
        assert said == runs * POSTS and events == runs * BATCHES * TOGETHER, (
            "something was lost"
        )
    for name, found in rates.items():
        say(name, found, "a second")
    own = [
        one / other
        for one, other in zip(rates["unsubscribe"], rates["hello"], strict=True)
    ]
    say("unsubscribe, of a bare application that reads the form", own, "times")


def _shop(root: Path) -> list[str]:
    """A shop whose people can unsubscribe by these tokens."""
    files = {
        "campaigns/_settings.yaml": SETTINGS + "public_url: http://localhost\n",
        "campaigns/thanks.yaml": THANKS,
        "templates/thanks.md": "---\nsubject: Thanks\n---\nThanks\n",
    }
    people = "key,email,news\n" + "".join(
        f"p{n},p{n}@example.com,yes\n" for n in range(PEOPLE)
    )
    made_of(root, files, people)
    database = SqliteDatabase(root / ".drip" / "drip.db")
    with database.write() as connection:
        api_keys.add(connection, "benchmark", TOKEN, ["events"], at("2026-01-01"))
        key_id, secret = list(link_keys(connection).items())[-1]
    database.close()
    return [
        sign(Link("unsubscribe", n, "news"), key_id, secret) for n in range(1, PEOPLE)
    ]


def _batch(run: int, number: int) -> bytes:
    events = [
        {
            "event": "order.placed",
            "contact": f"p{(number * TOGETHER + n) % PEOPLE}",
            "id": f"{run}-{number}-{n}",
            "fields": {"total": n},
        }
        for n in range(TOGETHER)
    ]
    return json.dumps(events).encode()


def _counted(root: Path) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(root / ".drip" / "drip.db")) as connection:
        said = connection.execute(
            "SELECT count(*) FROM consents WHERE topic = 'news' AND NOT given"
        ).fetchone()[0]
        return said, connection.execute(
            "SELECT count(*) FROM events WHERE name = 'order.placed'"
        ).fetchone()[0]


def _posted(port: int, requests: Sequence[tuple[str, str, bytes]]) -> float:
    """Seconds until all are answered with 200, over a few connections that stay open."""
    waiting = list(reversed(requests))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            path, kind, body = waiting.pop()
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = next(
                line
                for line in answer.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()

    async def everybody() -> None:
        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))

    begun = time.perf_counter()
    asyncio.run(everybody())
    return time.perf_counter() - begun


@contextlib.contextmanager
def _running(arguments: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        arguments,
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=1),
            ):
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
