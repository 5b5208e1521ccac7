"""What a name, key, field, event or file's name holds neither steers a terminal nor writes a line of its own."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from drip.cli.log_lines import log_to_stderr
from drip.cli.sample import copy_sample
from drip.cli.screen import Table, complain, draw, say, words
from drip.core.characters import HIDDEN
from drip.errors import DripError, Place, Problem, Problems

HOSTILE = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202eevil\u2066\u200f\ufeff\U000e0041\r\n[red]ana[/] [/] :smile: \x7f\x00"
CLEAN = re.compile(r"\x1b\[[0-9;]*m")  # what rich itself colours by


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("terminals")
    copy_sample(root, date(2026, 11, 22))
    return root


def harmless(said: str, lines: int | None = None) -> bool:
    rows = CLEAN.sub("", said).removesuffix("\n").split("\n")
    return not any(HIDDEN.search(each) for each in rows) and lines in (None, len(rows))


def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{HOSTILE} is held.")
    said = capsys.readouterr().out
    assert harmless(said, lines=1)
    assert r"\x1b[2J\x9b31m\u202eevil\u2066\u200f\ufeff\U000e0041\r\n[red]ana[/]" in said


def test_a_table_has_as_many_rows_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(HOSTILE)
    table.add_column(HOSTILE, no_wrap=True, overflow="crop", max_width=20)
    table.add_row("ana\nben", style="bold")
    table.add_row(words("[bold]chloe[/]", style="red"))
    draw(table, words((HOSTILE, "bold")))
    said = capsys.readouterr().out
    assert harmless(said)
    assert r"ana\nben" in said and "[bold]chloe[/]" in said


def test_an_error_and_a_problem_are_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    complain(DripError(HOSTILE, help=HOSTILE, place=Place(HOSTILE)))
    complain(Problems([Problem(Place(HOSTILE, 3, 4), HOSTILE, HOSTILE, HOSTILE)]))
    assert harmless(capsys.readouterr().err, lines=2 + 4)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_line_is_one_line(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger("drip")
    before = root.handlers, root.level, root.propagate
    try:
        log_to_stderr(as_json)
        logging.getLogger("drip.web").error("%s failed", HOSTILE, extra={"action": "page-failed"})
    finally:
        root.handlers, root.level, root.propagate = before
    said = capsys.readouterr().err
    assert harmless(said, lines=1)
    assert not as_json or json.loads(said)["sentence"] == f"{HOSTILE} failed"


@pytest.mark.parametrize(
    "command",
    [
        ["explain", HOSTILE.replace("\0", "")],
        ["hold", "a\x1b[2J\nerror: forged"],
        ["preview", "--now", "\x1b[2J\u202e\nforged"],
        ["\x1b[2J\nforged"],
        ["import", "contacts", "no\x1b[2J\nfile.csv"],
        ["check", "--explain", "\x9b\nforged"],
        ["--workspace", "no\x1b\nworkspace", "status"],
    ],
)
def test_an_argument_comes_back_escaped(command: list[str], sample: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "drip", "-w", str(sample), *command], capture_output=True, check=False, timeout=60
    )
    said = (run.stdout + run.stderr).decode()
    assert run.returncode == 2 and harmless(said), said
    assert not re.search(r"^(error: )?forged", said, re.M)
