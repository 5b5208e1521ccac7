"""pytest collects the `tests:` of campaign files: `pytest campaigns/` in a workspace runs them beside all others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from drip.core.campaign import Campaign, CampaignTest
from drip.core.characters import shown
from drip.errors import Problems
from drip.preview.testing import Result, Stage
from drip.workspace import Workspace


def pytest_collect_file(
    parent: pytest.Collector, file_path: Path
) -> pytest.Collector | None:
    """Campaign files of a workspace, and nothing else."""
    ours = file_path.suffix == ".yaml" and file_path.parent.name == "campaigns"
    if (
        not ours
        or file_path.name.startswith("_")
        or not (file_path.parent / "_settings.yaml").is_file()
    ):
        return None
    collector: pytest.Collector = CampaignFile.from_parent(parent, path=file_path)
    return collector


class CampaignFile(pytest.File):
    """One campaign's tests."""

    def collect(self) -> Iterable[pytest.Item]:
        """Raises Problems for a file that cannot be read."""
        workspace = Workspace(self.path.parent.parent, dict(os.environ))
        campaign = workspace.loaded.campaigns.get(self.path.stem)
        if campaign is None or workspace.loaded.settings is None:
            raise Problems(
                each for each in workspace.loaded.problems if each.level == "error"
            )
        for test in campaign.tests:
            name = shown(test.name)
            yield CampaignItem.from_parent(
                self, name=name, workspace=workspace, campaign=campaign, test=test
            )

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        """Every problem of the files."""
        if isinstance(excinfo.value, Problems):
            return _lines(
                line for problem in excinfo.value.problems for line in problem.lines()
            )
        return str(super().repr_failure(excinfo))


class CampaignItem(pytest.Item):
    """One test, played on a virtual clock."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        campaign: Campaign,
        test: CampaignTest,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._workspace, self._campaign, self._test = workspace, campaign, test

    def runtest(self) -> None:
        stage = Stage(self._workspace.settings, self._workspace.templates)
        try:
            result = stage.play(self._campaign, self._test)
        finally:
            stage.close()
        if not result.passed:
            raise _Otherwise(result)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        """Both timelines side by side."""
        if isinstance(excinfo.value, _Otherwise):
            return _side_by_side(excinfo.value.result)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, self._test.place.line, f"{self._campaign.key}: {self.name}"


class _Otherwise(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__("the timeline is another one")
        self.result = result


def _side_by_side(result: Result) -> str:
    lines = [f"{'expected':<50} observed"]
    for left, right in result.pairs():
        texts = [
            f"{each.wall:%Y-%m-%d %H:%M} {each.text}" if each else "-"
            for each in (left, right)
        ]
        why = f"  ({right.why})" if right and right.why else ""
        lines.append(f"{' ' if left and right else '!'} {texts[0]:<48} {texts[1]}{why}")
    return _lines(lines)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(map(shown, lines))
