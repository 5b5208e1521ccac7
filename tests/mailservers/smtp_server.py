"""smtp-server (npm), the one that Nodemailer's authors offer."""

from __future__ import annotations

from pathlib import Path

from tests.mailservers.haraka import INSTALL
from tests.mailservers.loopback import PROGRAMS, OnLoopback, Place, fetch

VERSION = "3.21.6"


def _make(folder: Path) -> None:
    fetch([*INSTALL, f"smtp-server@{VERSION}"], folder)


def _modules(place: Place) -> dict[str, str]:
    return {"NODE_PATH": str(place.home / "node_modules")}


SERVERS = [
    OnLoopback(
        "smtp-server",
        VERSION,
        lambda place: ["node", PROGRAMS / "smtp_server.js", *place.arguments()],
        _make,
        ("node", "npm"),
        environment=_modules,
    )
]
