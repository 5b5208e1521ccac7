"""pytest collects the `tests:` of campaign files: `pytest campaigns/` in a workspace
runs them beside all others.

pytest loads this in every project in whose environment drip is installed. So it imports
nothing of drip's: a campaign is known by its file's name and by what lies beside it,
and only the first one brings the rest in (`collecting`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_collect_file(
    parent: pytest.Collector, file_path: Path
) -> pytest.Collector | None:
    """Campaign files of a workspace, and nothing else."""
    if not _is_campaign(file_path):
        return None
    # Here, and not above: pytest reads this module in projects without any campaign,
    # and drip would be imported before their coverage begins.
    from drip.pytest_plugin.collecting import collector

    return collector(parent, file_path)


def _is_campaign(path: Path) -> bool:
    """`campaigns/NAME.yaml`, beside the settings of a workspace."""
    named_so = path.suffix == ".yaml" and path.parent.name == "campaigns"
    if not named_so or path.name.startswith("_"):
        return False
    return (path.parent / "_settings.yaml").is_file()
