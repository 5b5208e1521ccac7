"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.world import World

# In CI the same examples each time, so that a failure is the change's; at home new ones with every run.
settings.register_profile(
    "drip",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("drip")

CORPORA = Path(__file__).parent.parent.parent / "shared" / "corpora"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes workspaces, each in a folder of its own."""
    made: list[World] = []

    def make(campaigns: dict[str, str] | None = None, **options: str) -> World:
        made.append(World(tmp_path / f"world{len(made)}", campaigns or {}, **options))
        return made[-1]

    yield make
    for each in made:
        each.database.close()


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder with real data. It lies beside the project where there is one."""
    if not CORPORA.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the corpora are missing: {CORPORA}")
        pytest.skip(f"the corpora are not here ({CORPORA})")
    return CORPORA
