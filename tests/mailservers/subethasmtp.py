"""SubEthaSMTP (Maven), a library, in a program of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.mailservers import java
from tests.mailservers.loopback import OnLoopback, Place

VERSION = "7.1.3"
PROGRAM = "SubEthaBench"


def _make(folder: Path) -> None:
    java.build(folder, ("com.github.davidmoten", "subethasmtp", VERSION), PROGRAM)


def _command(place: Place) -> Sequence[str | Path]:
    shown = place.certificate
    keys: list[str | Path] = (
        [java.key_store(shown, place.folder), java.STORE_PASSWORD] if shown else []
    )
    return [*java.command(place.home, PROGRAM), str(place.port), place.notes, *keys]


SERVERS = [OnLoopback("SubEthaSMTP", VERSION, _command, _make, java.TOOLS)]
