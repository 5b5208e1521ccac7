"""What the pages say is true: commands run as printed, snippets load, phrases parse, the picture is of today."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import cast

import pytest

from drip.cli import drip as commands
from drip.cli.lazy import LazyCommand
from drip.cli.sample import copy_sample
from drip.cli.test import play
from drip.language import phrases
from drip.language.files import load_folder
from drip.lint.rules import RULES
from drip.workspace import Workspace
from tests.cli import environment
from tests.pictures import PICTURE, draw

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
GUIDE = (ROOT / "campaigns" / "README.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_picture_is_what_the_program_draws_today() -> None:
    assert PICTURE.read_text("utf-8") == draw(), "run `python -m tests.pictures`"


def test_the_tutorial_runs_as_printed(tmp_path: Path) -> None:
    tutorial = README.split("## Three minutes")[1].split("## Send for real")[0]
    people, cars = blocks(tutorial, "csv")
    first, *rest = blocks(tutorial, "sh")
    script = f"set -e\n{first}\ncat > people.csv <<'E'\n{people}E\ncat > cars.csv <<'E'\n{cars}E\n"
    change = "sed -i 's/at: 14 days before vehicle.oil_change_due/at: 7 days before vehicle.oil_change_due/' campaigns/oil-change.yaml"
    script += "\n".join([rest[0], rest[1], "echo CHANGED", change, *rest[2:]])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(PATH=path),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = done.stdout.split("CHANGED")
    assert re.search(r"Sat 28 Nov 2026\s+09:00\s+sent\s+oil-change", before)
    assert re.search(r"Sat 5 Dec 2026\s+09:00\s+sent\s+oil-change", after)
    assert "newsletter" in after
    assert "not subscribed to newsletter" in after


def test_every_command_in_the_pages_exists() -> None:
    for page in (
        "README.md",
        "campaigns/README.md",
        "templates/README.md",
        "tests/README.md",
    ):
        for name in re.findall(
            r"`(?:drip) ([a-z-]+)", (ROOT / page).read_text("utf-8")
        ):
            assert name in commands.commands, (page, name)


def test_every_command_has_help_with_an_example() -> None:
    for name, lazy in commands.commands.items():
        help_text = cast(LazyCommand, lazy).command().help or ""
        assert name == "db" or "Example: drip" in help_text, name


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    copy_sample(tmp_path, date(2026, 11, 22))
    return tmp_path


def test_the_cheat_sheet_and_every_snippet_load(sample: Path) -> None:
    snippets = blocks(GUIDE, "yaml")
    whole = [text for text in snippets if text.startswith("name:")]
    assert len(whole) == 8
    card = "name: X\ntopic: offers\ntrigger: { date: contact.birthday }\nsteps: [send: birthday/card]\n"
    whole += [card + text for text in snippets if text.startswith("audience:")]
    assert len(whole) == len(snippets)
    for n, text in enumerate(whole):
        (sample / "campaigns" / f"snippet{n}.yaml").write_text(text, "utf-8")
    loaded = load_folder(sample)
    assert not [
        "\n".join(problem.lines())
        for problem in loaded.problems
        if problem.level == "error"
    ]
    assert {f"snippet{n}" for n in range(len(whole))} <= set(loaded.campaigns)
    assert all(
        result.passed for _, result in play(Workspace(sample, {}), ("snippet0",))
    )


def test_every_step_of_the_cheat_sheet_loads(sample: Path) -> None:
    rows = GUIDE.split("| step | does |")[1].split("\n\n")[0]
    head = "name: X\ntopic: offers\nfor_each: lease\ntrigger: { event: order.placed }\nsteps:\n"
    extras = {
        "if:": "if: { orders: 1 }\n    then: [end]",
        "branch:": "branch: [{ if: { orders: 1 }, then: [end] }]",
        "split:": "split: [{ share: 100%, then: [end] }]",
        "pause:": "pause: [offers]\n    for: 14 days",
        "points:": "points: 50\n    counter: points",
        "set:": "set: { lease.status: ending }",
    }
    tried = 0
    for row in rows.splitlines()[2:]:
        for span in re.findall(r"`([^`]+)`", row.split("|")[1]):
            text = next(
                (text for key, text in extras.items() if span.startswith(key)), span
            )
            if not re.match(r"(then|else|for|up_to):", text):
                path = sample / "campaigns" / f"step{tried}.yaml"
                step = text if text == "end" else f"{text}"
                path.write_text(f"{head}  - coupon: free-coffee\n  - {step}\n", "utf-8")
                tried += 1
    untils = re.findall(r"`(until [^`]+)`", rows)
    for n, text in enumerate(untils):
        (sample / "campaigns" / f"until{n}.yaml").write_text(
            f"{head}  - coupon: free-coffee\n  - wait: {text}\n", "utf-8"
        )
    assert tried >= 17
    assert len(untils) >= 6
    assert not [
        "\n".join(problem.lines())
        for problem in load_folder(sample).problems
        if problem.level == "error"
    ]


def table_cells(first: str) -> list[str]:
    """The code spans of the second cell of the row that begins with `first`."""
    row = next(line for line in GUIDE.splitlines() if line.startswith(f"| {first} |"))
    return re.findall(r"`([^`]+)`", row.split("|")[2])


@pytest.mark.parametrize(
    ("row", "read"),
    [
        ("length of time", phrases.duration),
        ("hours", phrases.clock_range),
        ("schedule", phrases.schedule),
        ("caps", phrases.caps),
    ],
)
def test_every_phrase_of_the_cheat_sheet_parses(
    row: str, read: Callable[[str], object]
) -> None:
    cells = table_cells(row)
    assert len(cells) >= 3
    for phrase in cells:
        read(phrase)


def test_every_condition_of_the_cheat_sheet_parses(sample: Path) -> None:
    rows = GUIDE.split("| condition | holds if the field |")[1].split("\n\n")[0]
    settings = sample / "campaigns" / "_settings.yaml"
    fields = "    visits: number\n    model: text\n    last_visit: date\n    next_visit: date\n"
    settings.write_text(
        settings.read_text("utf-8").replace(
            "    first_name: text\n", f"    first_name: text\n{fields}"
        ),
        "utf-8",
    )
    owner = None
    for n, span in enumerate(re.findall(r"`([^`]+)`", rows)):
        owner, phrase = span.split(": ", 1) if ": " in span else (owner, span)
        text = f"name: X\ntopic: offers\ntrigger: {{ event: order.placed }}\nsteps:\n  - send: birthday/card\n    only_if:\n      {owner}: {phrase}\n"
        (sample / "campaigns" / f"c{n}.yaml").write_text(text, "utf-8")
    problems = [
        "\n".join(problem.lines())
        for problem in load_folder(sample).problems
        if problem.level == "error"
    ]
    assert not problems


def test_codes_of_refusals_are_in_the_guide() -> None:
    sources = "\n".join(
        path.read_text("utf-8") for path in (ROOT / "drip").rglob("*.py")
    )
    codes = set(re.findall(r"Reason\(\s*\"([a-z-]+)\"", sources)) | set(
        re.findall(r"code=\"([a-z-]+)\"", sources)
    )
    codes -= set(RULES)
    assert len(codes) > 10
    for code in codes:
        assert f"`{code}`" in GUIDE, code


def test_no_line_of_the_project_speaks_of_where_it_was_made() -> None:
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "drip").rglob("*.py"),
        *ROOT.glob("*/README.md"),
    ]:
        assert not re.search(
            r"/work/|pypi\.org|issue [0-9]", path.read_text("utf-8")
        ), path
