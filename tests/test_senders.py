"""Several processes that send for one daemon: real processes, a real server, and what dies in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections import Counter
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from drip.cli.context import read_clock
from drip.daemon.senders import Senders, _Sender
from drip.errors import DripError
from tests.cli import command, drip, environment, everybody
from tests.cli import shop as made_of
from tests.mail_server import MailServer
from tests.world import LETTER, SETTINGS

PEOPLE = 400
NOW = "2026-11-26 10:30"
LATER = "2026-11-26 10:32"


def known_trouble(pipe: Pipe) -> None:
    """In place of a process that sends: the database is busy, twice."""
    for _ in range(2):
        pipe.recv()
        pipe.send(DripError("The database is busy.", help="wait"))


def test_processes_that_wait_for_the_database_go_on_and_keep_what_they_know(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    own, theirs = context.Pipe()
    process = context.Process(target=known_trouble, args=(theirs,), daemon=True)
    process.start()
    senders = Senders(tmp_path, {}, read_clock, 1)
    senders._running = [_Sender(process, own)]
    for _ in range(2):
        with pytest.raises(DripError, match="busy"):
            senders.store()
    process.join(20)
    theirs.close()
    with pytest.raises(DripError, match="has died"):
        senders.store()
    assert senders._running == []


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A shop in which everybody is to get a letter; the mail server is to be put into the settings."""
    root = tmp_path / "shop"
    files = {
        "campaigns/_settings.yaml": SETTINGS,
        "campaigns/letter.yaml": LETTER,
        "templates/letter.md": "---\nsubject: Hello {{ contact.key }}\n---\nHello\n",
    }
    made_of(root, files, everybody(PEOPLE))
    assert drip(root, "run", "--once", "--now", "2026-11-26 09:00").code == 0
    return root


def sends_by(root: Path, server: MailServer) -> None:
    options = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none"
    (root / "campaigns" / "_settings.yaml").write_text(
        SETTINGS.replace("use: memory", options), "utf-8"
    )


def test_several_processes_send_everything_once(shop: Path) -> None:
    with MailServer() as server:
        sends_by(shop, server)
        done = drip(shop, "run", "--once", "--senders", "3", "--now", NOW, "--json")
        assert done.code == 0, done.err
        assert done.rows[0]["sent"] == PEOPLE
        assert Counter(server.taken) == {f"p{n}": 1 for n in range(PEOPLE)}
        assert server.connections > 4
        again = drip(shop, "run", "--once", "--senders", "3", "--now", LATER, "--json")
        assert again.rows[0]["sent"] == 0


def test_a_server_that_is_not_there_is_told_by_all_as_by_one(shop: Path) -> None:
    with MailServer() as server:
        sends_by(shop, server)
    done = drip(shop, "run", "--once", "--senders", "2", "--now", NOW)
    assert done.code == 2
    assert "There is no connection" in done.err and "help:" in done.err


def children(pid: int) -> list[int]:
    """The processes that send: those of a process's children that are not multiprocessing's own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in line:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are found in /proc"
)
@pytest.mark.parametrize("whom", ["sender", "daemon"])
def test_a_killed_process_loses_nothing_and_repeats_nothing(
    shop: Path, whom: str
) -> None:
    with MailServer() as server:
        sends_by(shop, server)
        daemon = subprocess.Popen(
            command(shop, "run", "--senders", "2", "--every", "0.2", "--now", NOW),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while len(server.taken) < 20 and time.monotonic() < until:
            time.sleep(0.002)
        senders = children(daemon.pid)
        assert len(senders) == 2
        os.kill(senders[0] if whom == "sender" else daemon.pid, signal.SIGKILL)
        until = time.monotonic() + 30
        while (
            whom == "sender"
            and len(server.taken) < PEOPLE - 8
            and time.monotonic() < until
        ):
            time.sleep(0.05)
        daemon.terminate()
        daemon.wait()
        until = time.monotonic() + 10
        while (
            any(Path(f"/proc/{pid}").exists() for pid in senders)
            and time.monotonic() < until
        ):
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in senders), (
            "a process outlived its daemon"
        )
        assert drip(shop, "run", "--once", "--now", LATER).code in (0, 1)
        outcomes = Counter(
            row["outcome"] for row in drip(shop, "log", "--json").rows if row["step"]
        )
        taken = Counter(server.taken)
    assert max(taken.values()) == 1, "something was sent twice"
    assert outcomes["sent"] + outcomes["held"] == PEOPLE
    assert outcomes["held"] <= 8
    assert outcomes["sent"] <= len(taken) <= outcomes["sent"] + outcomes["held"]
