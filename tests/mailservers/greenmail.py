"""GreenMail (Maven), a mail server for tests: no STARTTLS, but encrypted from the first byte. It takes mail for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.mailservers import java
from tests.mailservers.loopback import OnLoopback, Place

VERSION = "2.1.0"
PROGRAM = "GreenMailBench"


def _make(folder: Path) -> None:
    java.build(folder, ("com.icegreen", "greenmail-standalone", VERSION), PROGRAM)


def _command(place: Place) -> Sequence[str | Path]:
    listening: list[str | Path] = [str(place.port), place.notes]
    if place.certificate is None:
        return [*java.command(place.home, PROGRAM), *listening]
    store = java.key_store(place.certificate, place.folder)
    properties = [
        f"-Dgreenmail.tls.keystore.file={store}",
        f"-Dgreenmail.tls.keystore.password={java.STORE_PASSWORD}",
    ]
    return [*java.command(place.home, PROGRAM, *properties), *listening, "tls"]


SERVERS = [
    OnLoopback(
        "GreenMail",
        VERSION,
        _command,
        _make,
        java.TOOLS,
        securities=("none", "tls"),
        tells_sessions=False,
    )
]
