"""go-smtp (Go), a library, in a program of our own."""

from __future__ import annotations

from pathlib import Path

from tests.mailservers.loopback import PROGRAMS, OnLoopback, fetch


def _make(folder: Path) -> None:
    fetch(["go", "build", "-o", folder / "server", "."], PROGRAMS / "go_smtp")


SERVERS = [
    # Its version is that of `programs/go_smtp/go.mod`.
    OnLoopback(
        "go-smtp",
        "0.25.1",
        lambda place: [place.home / "server", *place.arguments()],
        _make,
        ("go",),
    )
]
