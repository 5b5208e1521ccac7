"""A daemon whose machine lacks something while a message is due: it leaves later, nothing is held or failed, one alarm."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drip.storage.operating import alarms
from drip.storage.operating.alarms import Alarm
from tests.cli import command, environment
from tests.mail_server import MailServer
from tests.test_senders import children
from tests.world import World

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="limits of another process are Linux'"
)
# So many more files than it has open the daemon may open.
LEFT = range(int(os.environ.get("DRIP_FILES_LEFT", "6")))
WELCOME = """
name: Welcome
topic: service
trigger: { event: shop.joined }
steps: [send: letter]
"""
LAYOUT = "<html><body>{% block body %}{% endblock %}</body></html>"
LACKING_S = 1.0
PEOPLE = 300
Worlds = Callable[..., World]


@dataclass
class Running:
    """A daemon at work, and what it has said."""

    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    @contextlib.contextmanager
    def may_open(self, more: int) -> Iterator[None]:
        """Meanwhile it may open so many files beside those that it has open."""
        pid = self.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        taken = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
        # A new file gets the lowest number that is free, and the limit is above the numbers that there may be.
        limit = next(
            n
            for n in range(1_000)
            if len(set(range(n)) - taken) == more and n not in taken
        )
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    @contextlib.contextmanager
    def no_file_may_grow(self, beyond: int) -> Iterator[None]:
        """As on a full disk; for the processes that send too."""
        pids = [self.process.pid, *children(self.process.pid)]
        for pid in pids:
            resource.prlimit(
                pid, resource.RLIMIT_FSIZE, (beyond, resource.RLIM_INFINITY)
            )
        try:
            yield
        finally:
            for pid in pids:
                # One of them may have been started anew meanwhile.
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(
                        pid,
                        resource.RLIMIT_FSIZE,
                        (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
                    )

    def said(self, text: str) -> int:
        return self.log.read_text().count(text)


@contextlib.contextmanager
def running(root: Path, *options: str) -> Iterator[Running]:
    log = root / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command(root, "run", "--every", "0.1", *options),
            env=environment(),
            stderr=file,
        )
    made = Running(root, process, log)
    try:
        until(lambda: made.said("Started as daemon"))
        yield made
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def joins(made: World, key: str) -> None:
    """Something that this contact is to get a message for."""
    now = datetime.now(UTC).isoformat()
    report = made.events("event,contact,id,at", f"shop.joined,{key},{key},{now}")
    assert report.new == 1, report


def outcomes(made: World) -> dict[str, str]:
    """What became of each contact's message."""
    return {each.contact: each.outcome for each in made.ledger() if each.step}


def alarms_of(made: World) -> list[Alarm]:
    with made.database.read() as connection:
        return list(alarms.lately(connection, datetime.now(UTC) - timedelta(hours=1)))


@pytest.mark.parametrize("transport", ["smtp", "files"])
def test_a_daemon_out_of_files_sends_later_and_holds_nothing(
    world: Worlds, transport: str
) -> None:
    with MailServer() as server:
        options = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none, connections: 1"
        use = options if transport == "smtp" else "use: files, folder: out"
        made = world(
            {"welcome": WELCOME}, settings=f"transports: {{ email: {{ {use} }} }}"
        )
        made.write("templates/_layout.html", LAYOUT)
        made.contacts("key,email", *(f"p{left},p{left}@example.com" for left in LEFT))
        lacked = []
        with running(made.root) as daemon:
            for left in LEFT:
                with daemon.may_open(left):
                    # Files that have changed are read anew, so that nothing is open or known any more.
                    made.write(
                        "templates/letter.md",
                        f"---\nsubject: Hello {left}\n---\nHello\n",
                    )
                    joins(made, f"p{left}")
                    time.sleep(LACKING_S)
                    if outcomes(made).get(f"p{left}") != "sent":
                        lacked.append(left)
                until(lambda left=left: outcomes(made).get(f"p{left}") == "sent")
        assert lacked, "there were files enough each time"
        assert 1 <= daemon.said("Planning and sending failed") <= 3, (
            daemon.log.read_text()
        )
        assert set(outcomes(made).values()) == {"sent"}
        (alarm,) = alarms_of(made)
        assert alarm.action == "trouble" and alarm.ended_at
        assert "LimitNOFILE" in alarm.sentence


@pytest.mark.file
@pytest.mark.parametrize("senders", ["1", "2"])
def test_what_left_while_the_disk_got_full_is_known_once_there_is_room(
    world: Worlds, senders: str
) -> None:
    with MailServer() as server:
        options = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none"
        made = world(
            {"welcome": WELCOME}, settings=f"transports: {{ email: {{ {options} }} }}"
        )
        made.contacts("key,email", *(f"p{n},p{n}@example.com" for n in range(PEOPLE)))
        made.write("templates/letter.md", "---\nsubject: Hello\n---\nHello\n")
        with running(made.root, "--senders", senders) as daemon:
            now = datetime.now(UTC).isoformat()
            made.events(
                "event,contact,id,at",
                *(f"shop.joined,p{n},p{n},{now}" for n in range(PEOPLE)),
            )
            until(lambda: len(server.taken) > 10)
            log = made.root / ".drip" / "drip.db-wal"
            with daemon.no_file_may_grow(log.stat().st_size):
                until(lambda: daemon.said("[trouble]"))
                time.sleep(LACKING_S)
                left = len(server.taken)
                assert left < PEOPLE, "there was room enough"
            until(
                lambda: (
                    set(outcomes(made).values()) == {"sent"}
                    and len(outcomes(made)) == PEOPLE
                ),
                60,
            )
        assert sorted(server.taken) == sorted(f"p{n}" for n in range(PEOPLE)), (
            "somebody got it twice"
        )
        assert [(each.action, each.about) for each in alarms_of(made)] == [
            ("trouble", "")
        ]
