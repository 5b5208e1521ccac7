"""Real bounces: a server is told to hand on what cannot arrive, and `drip inbound` reads what it writes about that.

The expectations are those of the guide: an address is given up where a final answer is about this very address, or where its
domain is said not to exist twice, a day apart; never for what is said of somebody behind it, or of an MX's host.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from drip.storage.base.opening import open_database
from drip.storage.base.schema import contacts, deliveries, messages
from drip.storage.people import suppressions
from tests.cli import drip, shop
from tests.mailservers.cage import FAR, HOSTNAME
from tests.mailservers.debian import Caged, Debian
from tests.mailservers.exim import BouncingExim
from tests.mailservers.matrix import call
from tests.mailservers.names import Zone
from tests.mailservers.opensmtpd import BouncingOpenSmtpd
from tests.mailservers.postfix import BouncingPostfix
from tests.mailservers.sendmail import BouncingSendmail
from tests.mailservers.server import Running
from tests.world import SETTINGS, at

BOUNCING: tuple[Debian, ...] = (
    BouncingPostfix(),
    BouncingExim(),
    BouncingOpenSmtpd(),
    BouncingSendmail(),
)
BACK = "back@maple.example"
ZONE: Zone = {
    HOSTNAME: ["A 10.9.0.1"],
    "maple.example": ["MX 10 far.example."],
    "shop.example": ["MX 10 far.example."],
    "far.example": [f"A {FAR}"],
    "slip.example": ["MX 10 nowhere.invalid."],
}
# What the far side says at RCPT.
REFUSALS = {
    "nosuch": "550 5.1.1 <nosuch@shop.example>: Recipient address rejected: User unknown",
    "full": "552 5.2.2 <full@shop.example>: user is over quota",
    "busy": "451 4.3.2 <busy@shop.example>: please try again later",
    "paul": "550 5.1.1 No such user",
}
FIRST, SECOND = "2026-11-26", "2026-11-27"
CAMPAIGNS = 5
# Longer than any of them keeps a message here, with its pauses between attempts.
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """An address, how many campaigns write to it, and what is right: the class of what comes back, and whether it is given up."""

    address: str
    meanings: frozenset[str]
    dead: bool = False
    days: int = 1
    campaigns: int = 1


TEMPORARY, DEAD, SAID_OF_ANOTHER = (
    frozenset({"temporary"}),
    frozenset({"address-dead"}),
    frozenset({"policy", "unknown", "temporary"}),
)
CASES: Mapping[str, Case] = {
    "arrives": Case("good@shop.example", frozenset()),
    "unknown user": Case("nosuch@shop.example", DEAD, dead=True),
    "full": Case("full@shop.example", TEMPORARY),
    "expired": Case("busy@shop.example", TEMPORARY),
    "list with one dead member": Case(
        "team@lists.example", SAID_OF_ANOTHER, campaigns=CAMPAIGNS
    ),
    "alias whose target is gone": Case("alias@lists.example", SAID_OF_ANOTHER),
    "MX that does not exist": Case("ana@slip.example", TEMPORARY, days=2),
    "domain that does not exist": Case(
        "ana@gone.example", frozenset({"no-domain", "address-dead"}), dead=True, days=2
    ),
}


@dataclass(frozen=True, slots=True)
class Came:
    """What came back for one case, as it is stored, and what followed."""

    server: str
    case: str
    came: str
    given_up: bool
    good: bool


def bounces(server: Debian, cache: Path, folder: Path) -> list[Came]:
    """All cases at one server: over two days, of which the second is for those that were written to a second time."""
    home, root, box = folder / "server", folder / "shop", folder / "back"
    for each in (home, box / "new", box / "cur", box / "tmp"):
        each.mkdir(parents=True)
    with server.start(cache, home, "none", zone=ZONE, refusals=REFUSALS) as running:
        shop(root, _files(running), _people())
        given_up_early: set[str] = set()
        taken = 0
        for day in (FIRST, SECOND):
            for hour in ("09:00", "10:30"):
                call(root, running, f"{day} {hour}")
            coming = [
                case
                for name, case in CASES.items()
                if case.meanings and name not in given_up_early
            ]
            expected = sum(
                case.campaigns if day == FIRST else case.days - 1 for case in coming
            )
            taken = _come_back(running, box, taken, expected)
            done = drip(root, "inbound", str(box), "--now", f"{day} 12:00")
            assert done.code == 0, done.err
            if day == FIRST:
                given_up_early = _given_up(root)
                # A day of silence would look like a clock that jumped.
                call(root, running, f"{SECOND} 01:00")
        return _came(server, root, given_up_early)


def _come_back(running: Caged, box: Path, known: int, expected: int) -> int:
    """Puts what came back into the box, once as many as expected have come back for good. How much there was in all."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and _final(running, known) < expected:
        time.sleep(0.5)
    back = _back(running)
    for number, text in enumerate(back[known:], known):
        (box / "new" / f"{number}.mail").write_bytes(text)
    return len(back)


def _back(running: Caged) -> list[bytes]:
    return [text for to, text in list(running.far.taken) if to.startswith("back+")]


def _final(running: Caged, known: int) -> int:
    """How many of the messages have come back that were delayed no more: a message comes back for good once."""
    return sum(
        b"Action: failed" in text or b"4.4.7" in text for text in _back(running)[known:]
    )


def _came(server: Debian, root: Path, given_up_early: set[str]) -> list[Came]:
    given_up, stored = _given_up(root), _stored(root)
    found = []
    for name, case in CASES.items():
        kinds = stored.get(name, Counter())
        meanings = {meaning for kind, meaning in kinds if kind == "bounce"}
        good = (
            meanings <= case.meanings
            and bool(meanings) == bool(case.meanings)
            and (name in given_up) == case.dead
        )
        if case.days == 2:
            good = good and name not in given_up_early
        came = (
            ", ".join(
                f"{count} {kind} ({meaning})"
                for (kind, meaning), count in sorted(kinds.items())
            )
            or "nothing"
        )
        found.append(Came(server.name, name, came, name in given_up, good))
    return found


def _stored(root: Path) -> dict[str, Counter[tuple[str, str]]]:
    """What is stored of each contact: how often which kind, of which class."""
    database = open_database(root / ".drip" / "drip.db", at("2026-11-28"))
    asked = (
        select(contacts.c.key, deliveries.c.kind, deliveries.c.meaning)
        .join(messages, messages.c.contact_id == contacts.c.id)
        .join(deliveries, deliveries.c.message_id == messages.c.id)
    )
    found: dict[str, Counter[tuple[str, str]]] = {}
    with database.read() as connection:
        for key, kind, meaning in connection.execute(asked):
            found.setdefault(key, Counter())[kind, meaning] += 1
    database.close()
    return found


def _given_up(root: Path) -> set[str]:
    database = open_database(root / ".drip" / "drip.db", at("2026-11-28"))
    with database.read() as connection:
        key = suppressions.suppression_key(connection)
        digests = {
            suppressions.digest(key, case.address): name for name, case in CASES.items()
        }
        found = {
            digests[digest]
            for digest in suppressions.suppressed(connection, list(digests))
        }
    database.close()
    return found


def _files(running: Running) -> dict[str, str]:
    options = f"use: smtp, host: {running.host}, port: {running.port}, security: none, bounces: {BACK}"
    settings = SETTINGS.replace("use: memory", options).replace(
        "contact: {", "contact: { campaigns: number, days: number,"
    )
    files = {
        f"campaigns/letter{n}.yaml": f"name: Letter {n}\ntransactional: yes\ntrigger: {{ schedule: {FIRST} 10:00 }}\n"
        f"audience: {{ contact.campaigns: at least {n} }}\nsteps: [send: letter]\n"
        for n in range(1, CAMPAIGNS + 1)
    }
    again = f"name: Again\ntransactional: yes\ntrigger: {{ schedule: {SECOND} 10:00 }}\naudience: {{ contact.days: 2 }}\nsteps: [send: letter]\n"
    return {
        **files,
        "campaigns/again.yaml": again,
        "campaigns/_settings.yaml": settings.replace(
            "maplestreet.example", "maple.example"
        ),
        "templates/letter.md": "---\nsubject: Hello\n---\nA *short* text.\n",
    }


def _people() -> str:
    rows = [
        f"{name},{case.address},{case.campaigns},{case.days}\n"
        for name, case in CASES.items()
    ]
    return f"key,email,campaigns,days\n{''.join(rows)}"
