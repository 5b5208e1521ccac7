"""Inbucket (Go), a mail catcher, with a script in Lua for whom it takes and what it took."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.mailservers.loopback import (
    PROGRAMS,
    SESSION,
    OnLoopback,
    Place,
    fetch,
    written,
)
from tests.mailservers.server import free_port

VERSION = "3.2.0"


def _make(folder: Path) -> None:
    module = f"github.com/inbucket/inbucket/v3/cmd/inbucket@v{VERSION}"
    fetch(["go", "install", module], folder, {**os.environ, "GOBIN": str(folder)})


def _command(place: Place) -> Sequence[str | Path]:
    shutil.copy(PROGRAMS / "inbucket.lua", place.folder)
    return [place.home / "inbucket"]


def _environment(place: Place) -> dict[str, str]:
    shown = place.certificate
    told = {
        # Mailboxes are named by the whole address, which is what is written down.
        "MAILBOXNAMING": "full",
        "SMTP_ADDR": f"127.0.0.1:{place.port}",
        "POP3_ADDR": f"127.0.0.1:{free_port()}",
        "WEB_ADDR": f"127.0.0.1:{free_port()}",
        "STORAGE_TYPE": "file",
        "STORAGE_PARAMS": f"path:{place.folder / 'mail'}",
        "SMTP_TLSENABLED": "true" if shown else "false",
        **(
            {"SMTP_TLSCERT": str(shown.chain), "SMTP_TLSPRIVKEY": str(shown.key)}
            if shown
            else {}
        ),
    }
    return {
        "NOTES": str(place.notes),
        **{f"INBUCKET_{name}": value for name, value in told.items()},
    }


def _events(place: Place) -> list[str]:
    return written(place) + [SESSION] * (place.folder / "log").read_text("utf-8").count(
        "Starting SMTP session"
    )


SERVERS = [
    OnLoopback(
        "Inbucket",
        VERSION,
        _command,
        _make,
        ("go",),
        login=False,
        environment=_environment,
        events=_events,
    )
]
