"""What the package says of itself is what is tested, and what CI installs is what it asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import drip

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = {
    canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
    for line in (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
    for pin in [Requirement(line)]
}


def requirements() -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        texts += extra
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_ci_pins_a_version_that_is_allowed(requirement: Requirement) -> None:
    assert requirement.specifier.contains(
        PINNED[canonicalize_name(requirement.name)]
    ), "make .ci/constraints.txt again by the command in its head"


def test_constraints_name_no_address() -> None:
    assert "://" not in (ROOT / ".ci" / "constraints.txt").read_text("utf-8")


def test_ci_tries_every_python_that_the_package_names() -> None:
    versions = [
        found.group(1)
        for classifier in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming .* :: (3\.\d+)", classifier))
    ]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_commits_are_checked_by_the_ruff_that_ci_has() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    revisions = {repo["repo"]: repo.get("rev") for repo in hooks["repos"]}
    ruff = next(rev for repo, rev in revisions.items() if "ruff" in repo)
    assert ruff == f"v{PINNED[canonicalize_name('ruff')]}"


def test_the_changelog_speaks_of_this_version() -> None:
    assert drip.__version__ in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_whoever_imports_drip_sees_its_types() -> None:
    assert (ROOT / "drip" / "py.typed").exists()
