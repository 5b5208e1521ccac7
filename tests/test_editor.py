"""Editors complete and check with the schema: driven by the real yaml-language-server where Node is present."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drip.cli.sample import copy_sample
from drip.cli.schema import write_schemas
from drip.workspace import Workspace
from tests.editor import Editor
from tests.servers import missing
from tests.test_cli import SAMPLE_DAY

SERVER = "yaml-language-server@1.19.2"
GOOD = """\
name: X
topic: offers
trigger: { event: order.placed }
audience:
  first_name: known
  orders: at least 1
grace: 2 days
steps:
  - send: birthday/card
    channel: email
  - wait: 3 days
"""


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Editor, Path]]:
    if not shutil.which("node") or not shutil.which("npm"):
        missing("no Node")
    folder = tmp_path_factory.mktemp("editor")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), SERVER],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        missing(f"no {SERVER}\n{done.stderr[-300:]}")
    root = folder / "shop"
    root.mkdir()
    copy_sample(root, SAMPLE_DAY)
    write_schemas(Workspace(root, {}))
    opened = Editor(
        folder
        / "node_modules"
        / "yaml-language-server"
        / "bin"
        / "yaml-language-server",
        root,
    )
    yield opened, root
    opened.close()


def test_no_problem_is_seen_in_any_good_file(editor: tuple[Editor, Path]) -> None:
    server, root = editor
    files = sorted((root / "campaigns").glob("*.yaml"))
    assert len(files) == 10
    for path in files:
        assert (
            server.problems(f"campaigns/{path.name}", path.read_text("utf-8")) == []
        ), path.name
    assert server.problems("campaigns/good.yaml", GOOD) == []


BROKEN = {
    "topic: offers": "topic: ofers",
    "trigger: { event: order.placed }": "trigger: { evnt: order.placed }",
    "  first_name: known": "  first_nam: known",
    "  orders: at least 1": "  orders: many",
    "grace: 2 days": "grace: 2",
    "  - send: birthday/card": "  - sned: birthday/card",
    "send: birthday/card": "send: birthday/crad",
    "    channel: email": "    chanel: email",
    "channel: email": "channel: fax",
    "wait: 3 days": "wait: 3 day s",
    "steps:\n": "stpes:\n",
}


def test_broken_files_are_underlined_where_check_finds_them(
    editor: tuple[Editor, Path],
) -> None:
    server, root = editor
    for n, (good, bad) in enumerate(BROKEN.items()):
        text = GOOD.replace(good, bad, 1)
        assert text != GOOD
        path = root / "campaigns" / f"broken{n}.yaml"
        path.write_text(text, "utf-8")
        found = [
            each
            for each in Workspace(root, {}).problems()
            if each.place.file.endswith(path.name)
        ]
        path.unlink()
        checked = {each.place.line for each in found if each.level == "error"}
        seen = {line for line, _ in server.problems(f"campaigns/{path.name}", text)}
        assert seen == checked, (bad, seen, checked)


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("name: X\ntopic: |\n", {"newsletter", "offers", "reminders", "surveys"}),
        ("name: X\ntrigger:\n  segment: |\n", {"best_customers", "lapsed_best"}),
        (
            "name: X\ntrigger:\n  date: |\n",
            {"contact.birthday", "vehicle.oil_change_due", "lease.lease_end"},
        ),
        ("name: X\ntrigger:\n  counter: |\n", {"coffee_card"}),
        (
            "name: X\naudience:\n  |\n",
            {"first_name", "vehicle.status", "coffee_card", "did_not", "in_segment"},
        ),
        (
            "name: X\nsteps:\n  - coupon: |\n",
            {"birthday-treat", "come-back", "free-coffee"},
        ),
        (
            "name: X\nsteps:\n  - send: |\n",
            {"birthday/card", "oil/due", "win-back/offer"},
        ),
        (
            "name: X\nsteps:\n  - |\n",
            {"send", "wait", "wait_for", "branch", "split", "task", "pause"},
        ),
        (
            "name: X\nsteps:\n  - send: birthday/card\n    |\n",
            {"channel", "only_if", "send_window", "subject"},
        ),
    ],
)
def test_completion_offers_the_workspaces_own_names(
    editor: tuple[Editor, Path],
    text: str,
    offered: set[str],
    request: pytest.FixtureRequest,
) -> None:
    server, _ = editor
    name = f"campaigns/new{abs(hash(request.node.name))}.yaml"
    assert offered <= set(server.completions(name, text))


def test_every_key_has_a_description_and_most_an_example(tmp_path: Path) -> None:
    from drip.language.campaign_models import STEPS, CampaignModel
    from drip.language.settings_models import SettingsModel

    for model in (CampaignModel, SettingsModel, *STEPS.values()):
        for name, key in model.model_fields.items():
            assert key.description, (model, name)
