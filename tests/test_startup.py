"""A command imports what it needs, and pytest nothing of ours in a project that has no campaigns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drip.cli.lazy import LazyCommand, lazy_commands

# Libraries that take longer to import than `drip --help` may take altogether.
HEAVY = {
    "alembic",
    "apscheduler",
    "argon2",
    "babel",
    "cryptography",
    "css_inline",
    "email_validator",
    "holidays",
    "jinja2",
    "markdown_it",
    "phonenumbers",
    "pydantic",
    "rich",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "yaml",
}
# What `drip check` and `drip status` can do without.
SERVING = {"alembic", "apscheduler", "argon2", "cryptography", "phonenumbers"}


AT_THE_END = """
import atexit, runpy, sys
before = set(sys.modules)
atexit.register(lambda: print("\\nMODULES", *set(sys.modules) - before))
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def imported_by(*arguments: str, where: Path) -> set[str]:
    """The modules that `python -m …` has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


def libraries(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_command(option: str, tmp_path: Path) -> None:
    found = imported_by("drip", option, where=tmp_path)
    assert not HEAVY & libraries(found)
    ours = {module for module in found if module.startswith("drip.")}
    assert ours <= {"drip.cli", "drip.cli.lazy", "drip.process"}


@pytest.mark.parametrize("command", ["check", "status"])
def test_a_look_imports_nothing_that_serves_or_sends(
    command: str, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "drip", "init", "shop"], cwd=tmp_path, check=True
    )
    found = imported_by("drip", command, where=tmp_path / "shop")
    assert not SERVING & libraries(found)
    rooms = {module.split(".")[1] for module in found if module.startswith("drip.")}
    assert not rooms & {"daemon", "preview", "web", "worker"}
    # Of the countries only those that the settings name.
    assert "holidays.countries.united_states" in found
    assert "holidays.countries.germany" not in found


def test_pytest_imports_nothing_of_drip_in_a_project_without_campaigns(
    tmp_path: Path,
) -> None:
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "other.yaml").write_text("of: another program\n")
    found = imported_by("pytest", "-q", "--co", where=tmp_path)
    ours = {module for module in found if module.partition(".")[0] == "drip"}
    assert ours == {"drip", "drip.pytest_plugin"}
    assert not (HEAVY - {"rich"}) & libraries(found)


@pytest.mark.parametrize("name", sorted(lazy_commands()))
def test_the_help_of_all_says_what_each_command_says_of_itself(name: str) -> None:
    lazy = lazy_commands()[name]
    assert isinstance(lazy, LazyCommand)
    for width in (40, 80, 200):
        assert lazy.get_short_help_str(width) == lazy.command().get_short_help_str(
            width
        )
