"""The transport of the house's README, as a package of somebody else."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import tomllib
from pathlib import Path

from tests.cli import command, drip, environment, shop
from tests.world import SETTINGS

PAGE = Path(__file__).parent.parent / "drip" / "README.md"
LETTER = """
name: Letter
topic: service
trigger: { schedule: 2026-11-26 10:00 }
steps: [{ send: letter, channel: push }]
"""


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    return str(found)


def installed(folder: Path) -> None:
    """The package as an installer leaves it behind."""
    entries = tomllib.loads(block("toml"))["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {to}" for name, to in own.items())
        for group, own in entries.items()
    ]
    info = folder / "bell-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bell\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / "bell.py").write_text(block("python"))


def rings(heard: list[str]) -> int:
    """A terminal that rings for everybody but Bo."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                said = connection.recv(1000).decode()
                heard.append(said.split(" ", 1)[1].strip())
                connection.sendall(b"nobody here" if "bo" in said else b"rung")

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


def test_the_transport_of_the_page_is_thirty_lines_and_works(tmp_path: Path) -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 30
    installed(tmp_path / "packages")
    heard: list[str] = []
    root = tmp_path / "shop"
    settings = SETTINGS.replace(
        "email: { use: memory }", f"push: {{ use: bell, port: '{rings(heard)}' }}"
    )
    files = {
        "campaigns/_settings.yaml": settings.replace(
            "  contact: {", "  contact: { push_token: text,"
        ),
        "campaigns/letter.yaml": LETTER,
        "templates/letter.push": "Ding for {{ contact.key }}\n",
    }
    shop(root, files, "key,push_token\nana,a\nbo,b\n")

    def run(now: str) -> subprocess.CompletedProcess[str]:
        """In a Python that is started with the package beside drip."""
        beside = environment(PYTHONPATH=str(tmp_path / "packages"))
        arguments = command(root, "run", "--once", "--now", now, "--json")
        return subprocess.run(
            arguments,
            env=beside,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert run("2026-11-26 09:00").returncode == 0
    (row,) = map(json.loads, run("2026-11-26 10:00").stdout.splitlines())
    assert sorted(heard) == ["Ding for ana", "Ding for bo"]
    assert (row["sent"], row["failed"]) == (1, 1)
    wrong = drip(root, "check")
    assert "there is no transport `bell`" in wrong.out + wrong.err
