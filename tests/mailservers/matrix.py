"""`drip run --once` against a server: straight on, with the server paused in the middle, and with it stopped there and started again."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from smtplib import SMTPSenderRefused
from typing import Literal

from drip.transports.smtp.transport import DEFAULT_CONNECTIONS
from tests.cli import command, drip, environment, shop
from tests.mailservers.server import MailServer, Running, Security, client
from tests.world import SETTINGS

Situation = Literal["straight on", "paused", "stopped"]
SITUATIONS: tuple[Situation, ...] = ("straight on", "paused", "stopped")
# A marketing letter, which is held where nobody knows whether it left, and a receipt, which is sent again then.
KINDS = ("letter", "receipt")
BEFORE = "2026-11-26 09:00"
# When drip is called: at the second it finds what a stopped server left; what may have left is offered again an hour later.
TIMES = ("2026-11-26 10:30", "2026-11-26 10:45", "2026-11-26 12:00", "2026-11-26 14:00")
PAUSE_S = 3.0
RUN_S = 180.0
ARRIVING_S = 60.0
FILES = {
    "campaigns/letter.yaml": "name: Letter\ntopic: service\ntrigger: { schedule: 2026-11-26 10:00 }\n"
    "audience: { contact.kind: letter }\nsteps: [send: letter]\n",
    "campaigns/receipt.yaml": "name: Receipt\ntransactional: yes\ntrigger: { schedule: 2026-11-26 10:00 }\n"
    "audience: { contact.kind: receipt }\nsteps: [send: letter]\n",
    "templates/letter.md": "---\nsubject: Hello {{ contact.key }}\n---\nA *short* text.\n",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the messages to so many `people`, half of them of each kind.

    `wrong` are letters that came twice, and receipts that are held. `lost` are those of whom drip does not say that they are held or failed, and who got nothing. `seconds` are of all calls
    of drip together, their starts included; `plain_seconds` of `smtplib` for as many, over one connection, where it was run.
    """

    server: str
    security: Security
    situation: Situation
    people: int
    once: int
    twice: int
    lost: int
    held: int
    failed: int
    wrong: int
    calls: int
    sessions: int | None
    seconds: float
    plain_seconds: float | None

    @property
    def good(self) -> bool:
        """All once; only of what a stopped server did not answer any more may a letter be held or a receipt come twice."""
        if self.situation != "stopped":
            return self.once == self.people and not self.held
        return (
            not (self.lost or self.failed or self.wrong)
            and self.held + self.twice <= DEFAULT_CONNECTIONS
        )


def run(
    server: MailServer,
    cache: Path,
    folder: Path,
    security: Security,
    situation: Situation,
    each: int,
    *,
    plain: bool = False,
) -> Found:
    """One server, one situation, `each` people for each kind of campaign; with `plain` also `smtplib` beside it."""
    home = folder / "server"
    home.mkdir()
    with server.start(cache, home, security) as running:
        root = folder / "shop"
        shop(
            root,
            {**FILES, "campaigns/_settings.yaml": _settings(running)},
            _people(each),
            **_secrets(running),
        )
        assert (
            drip(root, "run", "--once", "--now", BEFORE, **_secrets(running)).code == 0
        )
        before, seconds, calls = running.sessions(), 0.0, 0
        for calls, now in enumerate(TIMES, 1):
            seconds += call(
                root,
                running,
                now,
                situation if calls == 1 else "straight on",
                each // 5,
            )
            outcomes = _outcomes(root, running)
            if len(outcomes) == 2 * each:
                break
        arrived = _arrived(running, Counter(outcomes.values())["sent"])
        after = running.sessions()
        got = {to: arrived[f"{to}@shop.example"] for to in _recipients(each)}
        return Found(
            server.name,
            security,
            situation,
            2 * each,
            once=sum(times == 1 for times in got.values()),
            twice=sum(times > 1 for times in got.values()),
            lost=sum(
                not times and outcomes.get(to) not in ("held", "failed")
                for to, times in got.items()
            ),
            held=sum(outcome == "held" for outcome in outcomes.values()),
            failed=sum(outcome == "failed" for outcome in outcomes.values()),
            wrong=sum(
                times > 1 if to.startswith("letter") else outcomes.get(to) == "held"
                for to, times in got.items()
            ),
            calls=calls,
            sessions=None if before is None or after is None else after - before,
            seconds=seconds,
            plain_seconds=_plainly(running, 2 * each) if plain else None,
        )


def call(
    root: Path,
    running: Running,
    now: str,
    situation: Situation = "straight on",
    middle: int = 0,
) -> float:
    """One `drip run --once`, and what happens to the server once so many are sent. The seconds it took."""
    began = time.monotonic()
    arguments = [*running.inside, *command(root, "run", "--once", "--now", now)]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                arguments,
                env=environment(**_secrets(running)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        stack.callback(process.kill)
        if situation != "straight on":
            _wait_for_the_middle(process, root, middle)
        if situation == "paused":
            running.pause()
            time.sleep(PAUSE_S)
            running.resume()
        if situation == "stopped":
            running.stop()
        said, _ = process.communicate(timeout=RUN_S)
        assert process.returncode in (0, 1, 2), said.decode()
    seconds = time.monotonic() - began
    if situation == "stopped":
        running.start_again()
    return seconds


def _wait_for_the_middle(
    process: subprocess.Popen[bytes], root: Path, middle: int
) -> None:
    """So many are sent, as the database says. Fails if drip was done before."""
    with contextlib.closing(
        sqlite3.connect(f"file:{root}/.drip/drip.db?mode=ro", uri=True)
    ) as database:
        while (
            database.execute(
                "SELECT count(*) FROM messages WHERE state = 'sent'"
            ).fetchone()[0]
            < middle
        ):
            assert process.poll() is None, "drip was done before the middle"
            time.sleep(0.002)


def _arrived(running: Running, expected: int) -> Counter[str]:
    """What has arrived once as many have as were sent, and nothing more comes."""
    until = time.monotonic() + ARRIVING_S
    arrived = running.delivered()
    while time.monotonic() < until:
        time.sleep(0.3)
        now = running.delivered()
        if len(now) >= expected and now == arrived:
            break
        arrived = now
    return arrived


def _outcomes(root: Path, running: Running) -> dict[str, str]:
    """What is said of each contact's message, where it has an end."""
    rows = drip(root, "log", "--json", **_secrets(running)).rows
    return {
        row["contact"]: row["outcome"]
        for row in rows
        if row["step"] and row["outcome"] in ("sent", "held", "failed")
    }


def _settings(running: Running) -> str:
    login = (
        f", user: {running.user}, password: secret:SMTP_PASSWORD"
        if running.user
        else ""
    )
    options = f"use: smtp, host: {running.host}, port: {running.port}, security: {running.security}{login}"
    return (
        SETTINGS.replace("use: memory", options)
        .replace("contact: {", "contact: { kind: text,")
        .replace("maplestreet.example", "maple.example")
    )


def _secrets(running: Running) -> dict[str, str]:
    """What drip's environment needs: the password, and whose certificates are good."""
    trusted = {"SSL_CERT_FILE": str(running.authority)} if running.authority else {}
    return {**trusted, "SMTP_PASSWORD": running.password or "none"}


def _recipients(each: int) -> list[str]:
    return [f"{kind}{n}" for n in range(each) for kind in KINDS]


def _people(each: int) -> str:
    rows = [
        f"{to},{to}@shop.example,{to.rstrip('0123456789')}\n"
        for to in _recipients(each)
    ]
    return f"key,email,kind\n{''.join(rows)}"


def _plainly(running: Running, count: int) -> float:
    """Seconds that `smtplib` takes for so many, over one connection at a time, connecting included."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "Maple Street <hello@maple.example>",
        "you@shop.example",
        "Hello",
    )
    message["Message-ID"], message["Date"] = (
        "<plain@maple.example>",
        "Thu, 26 Nov 2026 10:30:00 -0600",
    )
    message.set_content("A *short* text.\n")
    began, done = time.monotonic(), 0
    while done < count:
        before = done
        # OpenSMTPD takes a hundred messages over a connection, and refuses the sender then.
        with (
            running.within(),
            client(running) as connection,
            contextlib.suppress(SMTPSenderRefused),
        ):
            while done < count:
                connection.send_message(
                    message, "hello@maple.example", f"plain{done}@shop.example"
                )
                done += 1
        assert done > before, "it takes nothing"
    return time.monotonic() - began
