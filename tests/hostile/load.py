"""The daemon under attack: it sends while thousands keep its pages waiting, and people unsubscribe. `python -m tests.hostile.load`

prints the record of tests/README.md (`--runs 3`); it fails if a message was lost or repeated, or somebody waited too long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from drip.core.token import Link, sign
from drip.storage.base.database import link_keys
from drip.storage.base.sqlite import SqliteDatabase
from tests.cli import command, environment, everybody
from tests.cli import shop as made_of
from tests.world import LETTER, SETTINGS

A_SECOND, LONGEST_S, LARGEST_MB = 50, 2.0, 300
PATIENCE_S = 600
# People unsubscribe from here, not from where the crowd comes.
OWN = "127.0.0.50"
FORM = b"List-Unsubscribe=One-Click"


@dataclass(frozen=True)
class Size:
    """How much of everything. `lasts_s` is how long people unsubscribe at least."""

    people: int = 5_000
    heads: int = 2_000
    bodies: int = 500
    readers: int = 500
    lasts_s: float = 60.0


SMALL = Size(people=500, heads=500, bodies=150, readers=150, lasts_s=8)


@dataclass
class Record:
    """What it came to. `taken` is how many seconds the sending took."""

    arrived: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    waited_s: list[float] = field(default_factory=list)
    said: int = 0
    taken_s: float = 0.0
    memory_mb: float = 0.0
    files: int = 0
    ended_s: float = 0.0
    log: str = ""

    def line(self) -> str:
        """The record of one run."""
        ordered = sorted(self.waited_s)
        late = ordered[int(len(ordered) * 0.99)]
        return (
            f"{sum(self.arrived.values()):,} messages to {len(self.arrived):,} people in {self.taken_s:.1f} s; "
            f"{len(ordered):,} POST ({dict(self.statuses)}) median {statistics.median(ordered) * 1000:.0f} ms, "
            f"99 % within {late * 1000:.0f} ms, longest {ordered[-1] * 1000:.0f} ms; "
            f"{self.memory_mb:.0f} MB, {self.files} files, ended in {self.ended_s:.1f} s"
        )

    def check(self, people: int) -> None:
        """Fails where a promise was not kept."""
        assert len(self.arrived) == people and set(self.arrived.values()) == {1}, (
            "a message was lost or repeated"
        )
        assert all(status.startswith("2") for status in self.statuses), self.statuses
        assert self.said == min(len(self.waited_s), people), (
            "what somebody said was lost"
        )
        assert max(self.waited_s) < LONGEST_S, max(self.waited_s)
        assert self.memory_mb < LARGEST_MB, self.memory_mb
        assert "Traceback" not in self.log and " held" not in self.log.replace(
            "0 held", ""
        ), self.log


def attacked(root: Path, size: Size, files: int | None = None) -> Record:
    """A daemon with pages in the middle of a crowd; `files` is the most that it may have open."""
    record = Record()
    with contextlib.ExitStack() as stack:
        sink, port, taken = _free_port(), _free_port(), root / "taken.jsonl"
        tokens = _shop(root, size.people, sink)
        stack.enter_context(
            _process(
                [sys.executable, "-m", "tests.smtp_sink", str(sink), str(taken)], sink
            )
        )
        daemon = stack.enter_context(_daemon(root, port, files))
        watch = stack.enter_context(_watched(daemon, record))
        stack.enter_context(_crowd(port, size))
        begun = time.monotonic()
        counted = asyncio.run(_unsubscribing(record, port, tokens, taken, size, daemon))
        record.taken_s = counted - begun
        watch.set()
        begun = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        record.ended_s = time.monotonic() - begun
    record.log = (root / "daemon.log").read_text()
    record.arrived = Counter(
        json.loads(line)["to"][0] for line in taken.read_text().splitlines()
    )
    with contextlib.closing(sqlite3.connect(root / ".drip" / "drip.db")) as connection:
        record.said = connection.execute(
            "SELECT count(DISTINCT contact_id) FROM consents WHERE topic = 'news' AND NOT given"
        ).fetchone()[0]
    return record


def _shop(root: Path, people: int, sink: int) -> list[str]:
    """A shop that writes to everybody, and the tokens by which they unsubscribe from something else."""
    options = f"use: smtp, host: 127.0.0.1, port: {sink}, security: none"
    files = {
        "campaigns/_settings.yaml": SETTINGS.replace("use: memory", options)
        + "public_url: http://localhost\n",
        "campaigns/letter.yaml": LETTER,
        "templates/letter.md": "---\nsubject: Hello {{ contact.key }}\n---\nHello, {{ contact.key }}.\n",
    }
    made_of(root, files, everybody(people))
    database = SqliteDatabase(root / ".drip" / "drip.db")
    with database.read() as connection:
        key_id, secret = list(link_keys(connection).items())[-1]
    database.close()
    return [
        sign(Link("unsubscribe", n, "news"), key_id, secret)
        for n in range(1, people + 1)
    ]


@contextlib.contextmanager
def _daemon(
    root: Path, port: int, files: int | None
) -> Iterator[subprocess.Popen[str]]:
    """Its campaign is due once the crowd is there."""
    arguments = (
        "run",
        "--every",
        "1",
        "--serve",
        str(port),
        "--dashboard",
        "off",
        "--now",
        "2026-11-26 09:59:50",
    )

    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with (
        (root / "daemon.log").open("w") as log,
        subprocess.Popen(
            command(root, *arguments),
            env=environment(),
            stderr=log,
            text=True,
            preexec_fn=limit,
        ) as process,
    ):
        try:
            _await_port(process, port)
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def _process(arguments: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(
        arguments, env=environment(PYTHONPATH=":".join(sys.path)), text=True
    ) as process:
        try:
            _await_port(process, port)
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def _crowd(port: int, size: Size) -> Iterator[None]:
    counts = [str(each) for each in (port, size.heads, size.bodies, size.readers)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.crowd", *counts],
        env=environment(PYTHONPATH=":".join(sys.path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        try:
            assert process.stdout.readline() == "all\n"
            yield
        finally:
            process.stdin.close()


@contextlib.contextmanager
def _watched(
    daemon: subprocess.Popen[str], record: Record
) -> Iterator[threading.Event]:
    """Meanwhile the most memory and files that the daemon has are noted."""
    enough = threading.Event()

    def watch() -> None:
        while not enough.wait(0.25):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{daemon.pid}/status").read_text()
                # A process that has ended has none.
                peaks = [
                    int(line.split()[1]) / 1024
                    for line in status.splitlines()
                    if line.startswith("VmHWM")
                ]
                record.memory_mb = max([record.memory_mb, *peaks])
                record.files = max(
                    record.files, len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
                )

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield enough
    finally:
        enough.set()
        thread.join()


async def _unsubscribing(
    record: Record,
    port: int,
    tokens: list[str],
    taken: Path,
    size: Size,
    daemon: subprocess.Popen[str],
) -> float:
    """People unsubscribe, each by a connection of their own, until all is sent and time is up; when all was sent."""
    begun, tasks, all_sent = time.monotonic(), set(), 0.0
    for number, token in enumerate(itertools.cycle(tokens)):
        await asyncio.sleep(max(begun + number / A_SECOND - time.monotonic(), 0))
        tasks.add(asyncio.create_task(_unsubscribe(record, port, token)))
        if (
            not all_sent
            and taken.exists()
            and taken.read_bytes().count(b"\n") >= size.people
        ):
            all_sent = time.monotonic()
        if all_sent and time.monotonic() - begun > size.lasts_s:
            break
        assert daemon.poll() is None, "the daemon has ended"
        assert time.monotonic() - begun < PATIENCE_S, "not everything was sent"
    await asyncio.gather(*tasks)
    return all_sent or time.monotonic()


async def _unsubscribe(record: Record, port: int, token: str) -> None:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(OWN, 0)
            )
            head = f"POST /unsubscribe/{token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(FORM)}\r\n\r\n"
            writer.write((head + kind).encode() + FORM)
            answer = await reader.read()
            writer.close()
        status = answer[9:12].decode() or "closed"
    except (OSError, TimeoutError) as error:
        status = type(error).__name__
    record.statuses[status] += 1
    record.waited_s.append(time.monotonic() - begun)


def _await_port(process: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + 60
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=1),
        ):
            return
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Prints a line for each run, with the usual file limit and with one of 256."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    parser.add_argument(
        "--files",
        type=int,
        nargs="*",
        default=[0, 256],
        help="file limits; 0 for the usual one",
    )
    asked = parser.parse_args()
    size = SMALL if asked.small else Size()
    for files in asked.files:
        for _ in range(asked.runs):
            with tempfile.TemporaryDirectory(prefix="drip-load-") as folder:
                record = attacked(Path(folder), size, files or None)
            sys.stdout.write(
                f"{f'{files} files' if files else 'usual limit'}: {record.line()}\n"
            )
            sys.stdout.flush()
            record.check(size.people)


if __name__ == "__main__":
    main()
