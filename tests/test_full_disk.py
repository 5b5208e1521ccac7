"""The disk is full while messages are marked: it is said, nothing is sent twice, and everybody gets it once there is room."""

from __future__ import annotations

import resource
import subprocess
from collections import Counter
from pathlib import Path

from drip.transports.smtp.transport import DEFAULT_CONNECTIONS
from tests.cli import command, drip, environment, everybody, shop
from tests.mail_server import MailServer
from tests.world import SETTINGS

PEOPLE = 300
NOW, LATER = "2026-11-26 10:30", "2026-11-26 10:45"


def test_a_full_disk_while_marking_repeats_nothing_and_loses_nothing(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    with MailServer() as server:
        options = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none"
        files = {
            "campaigns/_settings.yaml": SETTINGS.replace("use: memory", options),
            "campaigns/letter.yaml": "name: Letter\ntopic: service\ntrigger: { schedule: 2026-11-26 10:00 }\nsteps: [send: letter]\n",
            "templates/letter.md": "---\nsubject: Hello\n---\nHello\n",
        }
        shop(root, files, everybody(PEOPLE))
        assert drip(root, "run", "--once", "--now", "2026-11-26 09:00").code == 0
        largest = (root / ".drip" / "drip.db").stat().st_size + 300_000

        def full() -> None:
            """No file may grow beyond this, which is what a full disk looks like to whoever writes."""
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

        done = subprocess.run(
            command(root, "run", "--once", "--now", NOW),
            env=environment(),
            preexec_fn=full,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        before = len(server.taken)
        assert done.returncode == 75
        assert "Traceback" not in done.stderr
        assert "error:" in done.stderr and "help:" in done.stderr
        assert 0 < before < PEOPLE
        assert drip(root, "run", "--once", "--now", LATER).code in (0, 1)
        outcomes = Counter(
            row["outcome"] for row in drip(root, "log", "--json").rows if row["step"]
        )
        taken = Counter(server.taken)
    assert max(taken.values()) == 1, "something was sent twice"
    assert outcomes["sent"] + outcomes["held"] == PEOPLE
    assert outcomes["held"] <= 2 * DEFAULT_CONNECTIONS
    assert len(taken) >= outcomes["sent"]
