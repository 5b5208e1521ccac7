"""Haraka (npm), with its own TLS and login, and a plugin for the rest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.mailservers.loopback import (
    PASSWORD,
    PROGRAMS,
    USER,
    OnLoopback,
    Place,
    fetch,
)

VERSION = "3.3.4"
INSTALL = [
    "npm",
    "install",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--prefix",
    ".",
]


def _make(folder: Path) -> None:
    fetch([*INSTALL, f"Haraka@{VERSION}"], folder)


def _command(place: Place) -> Sequence[str | Path]:
    program = place.home / "node_modules" / "Haraka"
    config, plugins = place.folder / "config", place.folder / "plugins"
    config.mkdir()
    plugins.mkdir()
    (place.folder / "package.json").write_text("{}")
    shutil.copy(PROGRAMS / "haraka.js", plugins / "bench.js")
    # It does not fall back on its own for this file.
    shutil.copy(program / "config" / "connection.ini", config)
    loaded = ["bench"]
    if place.certificate:
        loaded = ["tls", "auth/flat_file", *loaded]
        shutil.copy(place.certificate.chain, config / "tls_cert.pem")
        shutil.copy(place.certificate.key, config / "tls_key.pem")
        (config / "auth_flat_file.ini").write_text(
            f"[core]\nmethods=PLAIN,LOGIN\n[users]\n{USER}={PASSWORD}\n"
        )
    (config / "plugins").write_text("\n".join(loaded))
    (config / "me").write_text("mail.example")
    (config / "smtp.ini").write_text(f"listen=127.0.0.1:{place.port}\n")
    return ["node", program / "bin" / "haraka", "-c", place.folder]


SERVERS = [
    OnLoopback(
        "Haraka",
        VERSION,
        _command,
        _make,
        ("node", "npm"),
        environment=lambda place: {"NOTES": str(place.notes)},
    )
]
