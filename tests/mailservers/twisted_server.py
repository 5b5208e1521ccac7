"""Twisted's mail server (pip), in a program of our own and in packages of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.mailservers.loopback import PROGRAMS, OnLoopback, Place, fetch

VERSION = "26.10.0"


def _make(folder: Path) -> None:
    fetch(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--target",
            folder,
            f"twisted[tls]=={VERSION}",
        ],
        folder,
    )


def _packages(place: Place) -> dict[str, str]:
    return {"PYTHONPATH": str(place.home)}


SERVERS = [
    OnLoopback(
        "Twisted",
        VERSION,
        lambda place: [
            sys.executable,
            PROGRAMS / "twisted_mail.py",
            *place.arguments(),
        ],
        _make,
        environment=_packages,
    )
]
