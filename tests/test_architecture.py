"""Imports run one way: a room imports only from rooms below it, and siblings do not know one another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "drip"
FLOORS = (
    {"errors", "folders", "process"},
    {"core"},
    {"language", "storage", "rendering", "transports", "inbound"},
    {"engine", "lint"},
    {"importing"},
    {"workspace"},
    {"preview", "daemon"},
    {"web"},
    {"cli", "pytest_plugin"},
)
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
TOP_LEVEL = {"pyproject.toml", "README.md", "campaigns", "templates", "drip", "tests", "findings", "LICENSE"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__main__.py",))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("drip.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    own = room_of(path)
    if own == "__init__":
        return
    for room in imported_rooms(path) - {own}:
        assert FLOOR[room] < FLOOR[own], f"{own} imports {room}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_entries_read_the_clock(path: Path) -> None:
    if room_of(path) in ("cli", "daemon", "pytest_plugin"):
        return
    text = path.read_text("utf-8")
    for reading in ("datetime.now(", "date.today(", "utcnow(", "time.time(", "os.environ", "sys.argv"):
        assert reading not in text, f"{path.name} reads {reading}"


def test_only_storage_speaks_sql() -> None:
    for path in FILES:
        rooms = {name for name in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(name, ast.ImportFrom)}
        imported = {alias.name for node in rooms if node.module == "sqlalchemy" for alias in node.names}
        assert room_of(path) == "storage" or imported <= {"Connection"}, path


def test_no_module_is_long() -> None:
    long = {path.name: count for path in FILES if (count := len(path.read_text("utf-8").splitlines())) > 500}
    assert not long


def test_the_top_level_is_as_agreed() -> None:
    tracked = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert tracked <= TOP_LEVEL
