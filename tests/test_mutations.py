"""Whatever is done to a file, it is refused with a place and a sentence, or it runs: never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drip.cli.sample import copy_sample
from drip.cli.test import play
from drip.language.files import Loaded, load_folder
from drip.language.reader import parse
from drip.preview.simulator import Nowhere, simulate
from drip.workspace import Workspace
from tests.test_cli import SAMPLE_DAY

MUTATIONS = 200
STRANGE = [
    "",
    "[]",
    "{}",
    "- 1",
    "0",
    "-1",
    "9" * 40,
    "yes",
    "no",
    "~",
    "null",
    "1e999",
    "2026-02-31",
    "at least",
    "not",
    "any",
    "until",
    "every 99 weeks on Monday at 9:00",
    "{{ x }}",
    '"\\0"',
    "ﷺ",
    "*x",
    "&x y",
    "!!int 3",
    "a: b: c",
    "x" * 5000,
    "'",
    "[[[[[[",
    "in the last 0 days",
    "between 5 and 2",
    "top 0%",
    "makes 101% of total",
    "not not x",
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mutations")
    copy_sample(root, SAMPLE_DAY)
    return root


@pytest.fixture(scope="module")
def naughty(corpora: Path) -> list[str]:
    lines = (corpora / "naughty-strings" / "blns.txt").read_text("utf-8").split("\n")
    found = [line for line in lines if line and not line.startswith("#")]
    assert len(found) > 400
    return found


def mutated(text: str, chance: random.Random) -> str:
    lines = text.splitlines()
    n = chance.randrange(len(lines))
    match chance.randrange(7):
        case 0:
            at = chance.randrange(len(text))
            return text[:at] + text[at + 1 :]
        case 1:
            m = chance.randrange(len(lines))
            lines[n], lines[m] = lines[m], lines[n]
        case 2:
            key, colon, rest = lines[n].partition(":")
            lines[n] = f"{key}{chance.choice('xs_')}{colon}{rest}"
        case 3:
            lines[n] = chance.choice([" ", "  ", "\t", "    "]) + lines[n]
        case 4:
            lines[n] = lines[n].lstrip(" ")
        case 5:
            key, colon, _ = lines[n].partition(":")
            lines[n] = f"{key}{colon} {chance.choice(STRANGE)}"
        case _:
            del lines[n]
    return "\n".join(lines) + "\n"


def held_to_it(root: Path, key: str) -> Loaded:
    """Every problem has its place and a sentence; a campaign that has none can be played."""
    workspace = Workspace(root, {})
    for problem in workspace.problems():
        assert problem.sentence
        assert problem.place.file
        assert "pydantic" not in "\n".join(problem.lines())
        assert "Traceback" not in "\n".join(problem.lines())
        json.dumps("\n".join(problem.lines()))
    if key in workspace.loaded.campaigns:
        play(workspace, (key,))
    return workspace.loaded


@pytest.mark.parametrize("part", range(4))
def test_two_hundred_mutations_of_the_gallery(
    sample: Path, tmp_path: Path, part: int
) -> None:
    chance = random.Random(part)
    shutil.copytree(sample, tmp_path / "shop")
    names = sorted((sample / "campaigns").glob("*.yaml"))
    found = 0
    for _ in range(MUTATIONS // 4):
        path = chance.choice(names)
        target = tmp_path / "shop" / "campaigns" / path.name
        good = path.read_text("utf-8")
        target.write_text(mutated(good, chance), "utf-8")
        loaded = held_to_it(tmp_path / "shop", path.stem)
        errors = [each for each in loaded.problems if each.level == "error"]
        found += bool(errors)
        assert all(each.place.line for each in errors)
        assert bool(errors) == bool(loaded.broken or loaded.settings is None)
        target.write_text(good, "utf-8")
    assert found > MUTATIONS // 16, "hardly any mutation was noticed"


@settings(max_examples=60)
@given(st.integers(0, 10**9))
def test_hostile_strings_as_names_subjects_tags_and_conditions(
    sample: Path, naughty: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    text = lambda: json.dumps(chance.choice(naughty))  # noqa: E731 - JSON is YAML
    campaign = (
        f"name: {text()}\ntopic: offers\ntrigger: {{ event: x.y }}\naudience:\n  first_name: {text()}\n"
        f"  last_name: [{text()}, {text()}]\n  any: [{{ tagged: {text()} }}, {{ email: known }}]\n"
        f"steps:\n  - send: birthday/card\n    id: {text()}\n    subject: {text()}\n  - tag: {text()}\n"
        f"  - task: {text()}\n    assign_to: {text()}\n  - set: {{ first_name: {text()} }}\n"
        "tests:\n  - given: { contact: { first_name: x } }\n    happens: { 2026-12-01 10:00: x.y }\n    expect: {}\n"
    )
    path = sample / "campaigns" / f"naughty{seed}.yaml"
    path.write_text(campaign, "utf-8")
    try:
        held_to_it(sample, path.stem)
    finally:
        path.unlink()


def every_route(
    data: object, route: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*route, key)
            yield from every_route(value, (*route, key))
    elif isinstance(data, list):
        for n, value in enumerate(data):
            yield from every_route(value, (*route, n))


def test_every_misspelt_key_is_found_in_its_line(sample: Path, tmp_path: Path) -> None:
    """Each key of each campaign in turn; names that people choose themselves (fields, times) are not keys of ours."""
    shutil.copytree(sample, tmp_path / "shop")
    tried = 0
    for path in sorted((sample / "campaigns").glob("[!_]*.yaml")):
        good = path.read_text("utf-8")
        document = parse(good, path.name)
        for route in every_route(document.data):
            if isinstance(route[-1], int) or not str(route[-1]).isidentifier():
                continue
            line, column = document.keys[route]
            lines = good.splitlines()
            lines[line - 1] = (
                lines[line - 1][: column - 1] + "q" + lines[line - 1][column - 1 :]
            )
            target = tmp_path / "shop" / "campaigns" / path.name
            target.write_text("\n".join(lines) + "\n", "utf-8")
            errors = [
                each
                for each in load_folder(tmp_path / "shop").problems
                if each.level == "error"
            ]
            assert line in {each.place.line for each in errors}, (
                path.name,
                route,
                ["\n".join(each.lines()) for each in errors],
            )
            tried += 1
        (tmp_path / "shop" / "campaigns" / path.name).write_text(good, "utf-8")
    assert tried > 150


def test_a_workspace_of_strange_values_is_refused_whole_and_the_rest_runs(
    sample: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample, tmp_path / "shop")
    for n, strange in enumerate(STRANGE):
        text = f"name: {strange}\ntopic: offers\ntrigger: {{ event: x.y }}\naudience: {strange}\nsteps:\n  - wait: {strange}\n"
        (tmp_path / "shop" / "campaigns" / f"strange{n}.yaml").write_text(text, "utf-8")
    workspace = Workspace(tmp_path / "shop", {})
    assert len(workspace.loaded.campaigns) >= 9
    at = datetime(2026, 11, 22, tzinfo=UTC)
    with workspace.database(at) as database:
        simulate(
            database,
            workspace.campaign_set(database, at),
            workspace.templates,
            {"email": Nowhere()},
            at,
            at,
        )
