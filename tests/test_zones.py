"""Every process takes time zones from the package `tzdata`: the rules of 2026, whatever the machine has."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from drip.core.calendar import instant, zone
from tests.cli import drip
from tests.world import at

ROOT = Path(__file__).parent.parent
# 9:00 on December 1 2026. British Columbia, Alberta, Manitoba and Morocco changed their rules in that year (tzdata 2026b to 2026f).
NINE = {
    "America/Vancouver": "16:00",
    "America/Edmonton": "15:00",
    "America/Winnipeg": "14:00",
    "Africa/Casablanca": "09:00",
}
SETTINGS = """
business: { name: X, address: 1 X Street }
timezone: UTC
topics: { news: { title: News, opt_in: implied } }
senders: { default: X <x@example.com> }
transports: { email: { use: files, folder: .drip/out } }
data: { contact: { visit: date } }
"""
SEND = """
name: Send
topic: news
trigger: { schedule: 2026-12-01 9:00 }
steps: [send: hello]
"""
# On the day on which winter would begin by the rules from before.
WAIT = """
name: Wait
topic: news
trigger: { event: order.placed }
steps:
  - wait: 24 hours
  - send: hello
tests:
  - name: A day in Edmonton
    given: { contact: { timezone: America/Edmonton }, today: 2026-10-31 }
    happens: { 2026-10-31 14:30: order.placed }
    expect: { 2026-11-01 14:30: send hello }
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    for name, text in {
        "campaigns/_settings.yaml": SETTINGS,
        "campaigns/send.yaml": SEND,
        "campaigns/wait.yaml": WAIT,
        "templates/hello.md": "---\nsubject: Hello\n---\nHello\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return root


@pytest.fixture
def old_rules(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which a machine's own zones say that it is winter in all four, as if none had changed."""
    folder = tmp_path / "zoneinfo"
    tzdata = importlib.util.find_spec("tzdata")
    assert tzdata and tzdata.origin

    known = Path(tzdata.origin).parent / "zoneinfo"
    for name in NINE:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # New York has winter time, and is none of them.
        shutil.copy(known / "America" / "New_York", path)
    return {"PYTHONTZPATH": str(folder)}


@pytest.mark.parametrize("name", NINE)
def test_the_rules_of_2026_are_known(name: str) -> None:
    nine = instant(at("2026-12-01 09:00").replace(tzinfo=None), zone(name))
    assert f"{nine:%H:%M}" == NINE[name]


def test_a_preview_takes_the_rules_of_the_package(
    workspace: Path, old_rules: Mapping[str, str]
) -> None:
    people = workspace.parent / "people.csv"
    rows = [f"{name},{n}@example.com,{name}" for n, name in enumerate(NINE)]
    people.write_text("\n".join(["key,email,timezone", *rows]) + "\n")
    now = ("--now", "2026-11-28 00:00")
    assert drip(workspace, "import", "contacts", str(people), *now).code == 0
    run = subprocess.run(
        [sys.executable, "-m", "drip", "-w", str(workspace), "preview", "--json", *now],
        env={**os.environ, "PYTHONPATH": str(ROOT), **old_rules},
        capture_output=True,
        text=True,
        check=True,
    )
    sent = [line for line in run.stdout.splitlines() if '"sent"' in line]
    for name, hour in NINE.items():
        (line,) = [line for line in sent if f'"contact": "{name}"' in line]
        assert f'"at": "2026-12-01T{hour}:00Z"' in line


@pytest.mark.parametrize("command", [("drip", "test"), ("pytest", "campaigns")])
def test_tests_of_campaigns_take_the_rules_of_the_package(
    command: tuple[str, ...], workspace: Path, old_rules: Mapping[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(ROOT), **old_rules},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_whatever_begins_in_a_process_of_its_own_takes_them() -> None:
    """The functions that processes are started with: of a worker, of a sender, of a share of a preview."""
    targets = {
        "worker/child.py": "serve",
        "daemon/senders.py": "_send",
        "preview/forecast.py": "_sums_of_share",
    }
    for name in targets:
        tree = ast.parse((ROOT / "drip" / name).read_text("utf-8"))
        taking = {
            function.name
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "own_zones"
        }
        assert targets[name] in taking
