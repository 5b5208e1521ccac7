"""`python -m tests.kills`: the daemon is killed 200 times while it sends 5,000 messages, under `hold` and under `resend`."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drip.transports.smtp.transport import DEFAULT_CONNECTIONS
from tests.cli import command, drip, environment, everybody, shop
from tests.mail_server import MailServer
from tests.world import SETTINGS

NOW, LATER, LAST = "2026-11-26 10:30", "2026-11-26 10:32", "2026-11-26 10:40"
# How long the server takes for each message, so that there is something to be killed in.
TAKES_S = 0.005
LONGEST_S = 0.06


class Slow(MailServer):
    """Takes its time for each message."""

    def _take(self, client: Any, to: str) -> None:
        time.sleep(TAKES_S)
        super()._take(client, to)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kills came to."""

    people: int
    kills: int
    arrived: Counter[str]
    outcomes: Counter[str]

    @property
    def lost(self) -> int:
        """Who neither got it nor is held for a person to settle, and has no end either."""
        return self.people - sum(self.outcomes[each] for each in ("sent", "held"))

    @property
    def said_but_not_there(self) -> int:
        """Of whom it is said that it was sent, and it was not."""
        return max(0, self.outcomes["sent"] - len(self.arrived))

    @property
    def repeated(self) -> int:
        """How many more arrived than there are people who got one."""
        return sum(self.arrived.values()) - len(self.arrived)


def killed(root: Path, people: int, kills: int, on_unknown: str, seed: int) -> Outcome:
    """Kills the daemon so many times while it sends one message to everybody, and lets it finish then."""
    with Slow() as server:
        options = f"use: smtp, host: 127.0.0.1, port: {server.port}, security: none"
        files = {
            "campaigns/_settings.yaml": SETTINGS.replace("use: memory", options),
            "campaigns/letter.yaml": "name: Letter\ntopic: service\ntrigger: { schedule: 2026-11-26 10:00 }\n"
            f"on_unknown: {on_unknown}\nsteps: [send: letter]\n",
            "templates/letter.md": "---\nsubject: Hello {{ contact.key }}\n---\nHello\n",
        }
        shop(root, files, everybody(people))
        assert drip(root, "run", "--once", "--now", "2026-11-26 09:00").code == 0
        chance, done = random.Random(seed), 0
        while done < kills:
            _kill_one(root, server, chance)
            done += 1
        for now in (LATER, LAST):
            done_with = drip(root, "run", "--once", "--now", now)
            assert done_with.code in (0, 1), done_with.err
        rows_of_log = drip(root, "log", "--json").rows
    outcomes = Counter(row["outcome"] for row in rows_of_log if row["step"])
    return Outcome(people, kills, Counter(server.taken), outcomes)


def _kill_one(root: Path, server: MailServer, chance: random.Random) -> None:
    """Most die in the middle of sending, some while they start or plan."""
    before = len(server.taken)
    daemon = subprocess.Popen(
        command(root, "run", "--every", "0.2", "--now", NOW),
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + (20 if chance.random() < 0.9 else chance.uniform(0.2, 1))
    while len(server.taken) == before and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, LONGEST_S))
    daemon.kill()
    daemon.wait()


def main(people: int = 5_000, kills: int = 200) -> None:
    """Prints the record of README.md; fails if something was lost or repeated."""
    for on_unknown, most in (("hold", 0), ("resend", kills * DEFAULT_CONNECTIONS)):
        with tempfile.TemporaryDirectory(prefix="drip-kills-") as folder:
            found = killed(Path(folder), people, kills, on_unknown, seed=1)
        sys.stdout.write(
            f"{on_unknown}: {kills} kills over {people:,} messages: {found.lost} lost, {found.repeated} repeated, "
            f"{found.outcomes['sent']:,} sent, {found.outcomes['held']} held\n"
        )
        sys.stdout.flush()
        assert (
            found.lost == 0 and found.said_but_not_there == 0 and found.repeated <= most
        )


if __name__ == "__main__":
    main()
