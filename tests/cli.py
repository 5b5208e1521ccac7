"""The command line as a person meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drip.cli import main as drip_main
from drip.cli.lazy import COMMANDS


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
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DRIP_")
    }
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", **more}


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "drip", "-w", str(root), *arguments]


# Forks for each command from a process that has imported drip already: a process of its own takes seconds for that.
_FORKED = multiprocessing.get_context("forkserver")
_MODULES = sorted({place.partition(":")[0] for place, _ in COMMANDS.values()})
_FORKED.set_forkserver_preload(
    [
        *(f"drip.cli.{module}" for module in _MODULES),
        "drip.engine.campaign_set",
        "drip.engine.clearing",
        "drip.inbound.providers",
        "drip.lint.logic",
        "drip.storage.people.field_stats",
        "drip.web.dashboard",
        "tests.cli",
    ]
)


def drip(root: Path, *arguments: str, **more: str) -> Done:
    """Runs `drip -w ROOT …` to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _FORKED.Process(
            target=_run,
            args=(
                ("-w", str(root), *arguments),
                environment(**more),
                str(out),
                str(err),
            ),
        )
        process.start()
        process.join(300)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        process.close()
        assert code is not None, f"drip {' '.join(arguments)} did not end"
        done = Done(code, out.read_text("utf-8"), err.read_text("utf-8"))
    assert "Traceback" not in done.err, done.err
    return done


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], out: str, err: str
) -> None:
    """The command, in a process of its own."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["drip", *arguments]
    drip_main()


def shop(root: Path, files: Mapping[str, str], people: str, **more: str) -> None:
    """A workspace of these files, whose people (CSV) are imported."""
    for name, text in {**files, "people.csv": people}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    assert drip(root, "import", "contacts", str(root / "people.csv"), **more).code == 0


def everybody(count: int) -> str:
    """So many people as CSV: `p0`, `p1`, …"""
    return "key,email\n" + "".join(f"p{n},p{n}@example.com\n" for n in range(count))
