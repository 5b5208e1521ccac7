"""kill -9 of the daemon at random moments: nothing lost, nothing sent twice under `on_unknown: hold`."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

from drip.transports.smtp.transport import DEFAULT_CONNECTIONS
from tests.cli import command, drip, environment
from tests.kills import killed
from tests.smtp_sink import start
from tests.test_transports import free_port
from tests.world import SETTINGS

PEOPLE = 400
KILLS = 30
NOW = "2026-11-26 10:30"
# Later than anything that one of the daemons can have granted, whose clocks all begin at NOW.
LATER = "2026-11-26 10:32"


def test_thirty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    root, taken = tmp_path / "shop", tmp_path / "taken.jsonl"
    taken.touch()
    controller = start(free_port(), taken)
    options = f"use: smtp, host: 127.0.0.1, port: {controller.port}, security: none"
    _write(
        root,
        "campaigns/_settings.yaml",
        SETTINGS.replace("use: memory", options)
        + "frequency_caps: { all: 2 per day }\n",
    )
    for n in range(3):
        trigger = "{ schedule: 2026-11-26 10:00 }"
        text = f"name: L{n}\ntopic: service\ntrigger: {trigger}\npriority: {n}\nsteps: [send: letter]\n"
        _write(root, f"campaigns/letter{n}.yaml", text)
    _write(
        root,
        "templates/letter.md",
        "---\nsubject: Hello {{ contact.key }}\n---\nHello\n",
    )
    people = "\n".join(f"c{n},c{n}@example.com" for n in range(PEOPLE))
    _write(tmp_path, "people.csv", f"key,email\n{people}\n")
    assert drip(root, "import", "contacts", str(tmp_path / "people.csv")).code == 0
    assert drip(root, "run", "--once", "--now", "2026-11-26 09:00").code == 0
    chance, kills = random.Random(7), 0
    while kills < KILLS:
        before = len(taken.read_text().splitlines())
        daemon = subprocess.Popen(
            command(root, "run", "--every", "0.2", "--now", NOW),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        # Some die while they start and plan, most of them in the middle of sending.
        if chance.random() < 0.8:
            end = time.monotonic() + 20
            while (
                len(taken.read_text().splitlines()) == before
                and time.monotonic() < end
                and before < 2 * PEOPLE - KILLS
            ):
                time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.12))
        daemon.kill()
        daemon.wait()
        kills += 1
    assert drip(root, "run", "--once", "--now", LATER).code in (0, 1)
    controller.stop()
    arrived = Counter(
        json.loads(line)["message_id"] for line in taken.read_text().splitlines()
    )
    rows = drip(root, "log", "--json").rows
    outcomes = Counter(row["outcome"] for row in rows)
    assert max(arrived.values()) == 1, "something was sent twice"
    assert outcomes["sent"] + outcomes["held"] == 2 * PEOPLE
    assert outcomes["sent"] <= len(arrived) <= outcomes["sent"] + outcomes["held"]
    assert outcomes["held"] <= KILLS * DEFAULT_CONNECTIONS
    # Every contact has three ends: two under the cap, and the lowest priority told why not (at once, or it waits).
    ends = Counter(
        (row["contact"], row["campaign"])
        for row in rows
        if row["outcome"] in ("sent", "held", "skipped", "deferred")
    )
    assert len(ends) == 3 * PEOPLE
    per_contact = Counter(
        row["contact"] for row in rows if row["outcome"] in ("sent", "held")
    )
    assert set(per_contact.values()) == {2}


def _write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_what_is_sent_again_is_repeated_once_for_each_connection_at_most(
    tmp_path: Path,
) -> None:
    found = killed(tmp_path / "shop", people=300, kills=10, on_unknown="resend", seed=3)
    assert found.lost == 0
    assert found.said_but_not_there == 0
    assert found.repeated <= 10 * DEFAULT_CONNECTIONS
