"""The figures of README.md beside this file: `python -m tests.benchmarks`. Five runs of each, as whole processes."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.cli import drip
from tests.conftest import CORPORA
from tests.test_retail import CAMPAIGNS, DAY, SETTINGS, TEMPLATES

RUNS = 5


def workspace(root: Path) -> None:
    """The retail workspace: newsletter, birthday card, thank-you, caps `1 per day, 3 per week`."""
    for folder in ("campaigns", "templates"):
        (root / folder).mkdir(parents=True)
    (root / "campaigns" / "_settings.yaml").write_text(SETTINGS.format(port=25))
    for name, text in CAMPAIGNS.items():
        (root / "campaigns" / f"{name}.yaml").write_text(f"name: {name}\n{text}")
        (root / "templates" / f"{name}.md").write_text(f"---\nsubject: {TEMPLATES[name]}\n")


def imported(root: Path) -> float:
    """Seconds for both files, into a fresh database."""
    shutil.rmtree(root / ".drip", ignore_errors=True)
    began = time.monotonic()
    drip(root, "import", "contacts", str(root / "contacts.csv"), "--now", "2011-11-01")
    drip(root, "import", "events", str(root / "orders.csv.gz"))
    return time.monotonic() - began


def previewed(root: Path) -> float:
    """Seconds for a preview of 30 days."""
    began = time.monotonic()
    drip(root, "preview", "--now", f"{DAY} 0:00")
    return time.monotonic() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace(root)
        for name in ("contacts.csv", "orders.csv.gz"):
            shutil.copy(CORPORA / "retail" / name, root)
        for what, measure in (("import", imported), ("preview of 30 days", previewed)):
            seconds = [measure(root) for _ in range(RUNS)]
            spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
            sys.stdout.write(f"{what}: median {statistics.median(seconds):.1f} s of {RUNS} ({spread})\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
