"""Mailpit (Go), a mail catcher: it keeps messages in SQLite, and says there whose they are."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tests.mailservers.loopback import PASSWORD, SESSION, USER, OnLoopback, Place, fetch
from tests.mailservers.server import free_port

VERSION = "1.33.1"
# Who does not begin with `dead-`; its expressions cannot say "not".
LIVING = "^([^d]|d[^e]|de[^a]|dea[^d]|dead[^-])"


def _make(folder: Path) -> None:
    fetch(
        ["go", "install", f"github.com/axllent/mailpit@v{VERSION}"],
        folder,
        {**os.environ, "GOBIN": str(folder)},
    )


def _command(place: Place) -> Sequence[str | Path]:
    options = [
        "--smtp",
        f"127.0.0.1:{place.port}",
        "--listen",
        f"127.0.0.1:{free_port()}",
        "--verbose",
    ]
    options += ["--disable-version-check", "--smtp-disable-rdns"]
    # Of more than `max` messages it deletes the oldest.
    options += [
        "--database",
        "mail.db",
        "--max",
        "0",
        "--smtp-allowed-recipients",
        LIVING,
    ]
    if place.certificate:
        (place.folder / "logins").write_text(f"{USER}:{PASSWORD}\n")
        options += ["--smtp-auth-file", "logins"]
        options += [
            "--smtp-tls-cert",
            str(place.certificate.chain),
            "--smtp-tls-key",
            str(place.certificate.key),
        ]
    return [place.home / "mailpit", *options]


def _events(place: Place) -> list[str]:
    with contextlib.closing(sqlite3.connect(place.folder / "mail.db")) as store:
        messages = [
            json.loads(metadata)
            for (metadata,) in store.execute("SELECT Metadata FROM mailbox")
        ]
    recipients = [to["Address"] for message in messages for to in message["To"]]
    return recipients + [SESSION] * (place.folder / "log").read_text("utf-8").count(
        "Mailpit ESMTP Service ready"
    )


SERVERS = [OnLoopback("Mailpit", VERSION, _command, _make, ("go",), events=_events)]
