"""The command line as a person meets it: a real process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON lines it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIP_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", **more}


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "drip", "-w", str(root), *arguments]


def drip(root: Path, *arguments: str, **more: str) -> Done:
    """Runs `drip -w ROOT …` to its end."""
    done = subprocess.run(
        command(root, *arguments), capture_output=True, text=True, env=environment(**more), timeout=300, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def shop(root: Path, files: Mapping[str, str], people: str, **more: str) -> None:
    """A workspace of these files, whose people (CSV) are imported."""
    for name, text in {**files, "people.csv": people}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    assert drip(root, "import", "contacts", str(root / "people.csv"), **more).code == 0


def everybody(count: int) -> str:
    """So many people as CSV: `p0`, `p1`, …"""
    return "key,email\n" + "".join(f"p{n},p{n}@example.com\n" for n in range(count))
