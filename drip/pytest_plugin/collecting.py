"""Campaign files as pytest's files, and each of their tests as one of its items."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from drip.core import calendar
from drip.core.campaign import Campaign, CampaignTest
from drip.core.characters import shown
from drip.errors import Problems
from drip.preview.testing import Result, Stage, TimelineEntry
from drip.process import own_zones
from drip.workspace import Workspace

WIDTH = 48


def collector(parent: pytest.Collector, path: Path) -> pytest.Collector:
    """The tests of one campaign's file. From here on this process takes time zones as
    every other of drip's does."""
    own_zones()
    # A test of the project's own may have asked for one before.
    calendar.zone.cache_clear()
    found: pytest.Collector = CampaignFile.from_parent(parent, path=path)
    return found


class CampaignFile(pytest.File):
    """One campaign's tests."""

    def collect(self) -> Iterable[pytest.Item]:
        """Raises Problems for a file that cannot be read."""
        workspace = Workspace(self.path.parent.parent, dict(os.environ))
        loaded = workspace.loaded
        campaign = loaded.campaigns.get(self.path.stem)
        if campaign is None or loaded.settings is None:
            raise Problems(
                problem for problem in loaded.problems if problem.level == "error"
            )
        # A name stands in pytest's own lines, where a hidden character would steer the
        # terminal.
        for test in campaign.tests:
            yield CampaignItem.from_parent(
                self,
                name=shown(test.name),
                workspace=workspace,
                campaign=campaign,
                test=test,
            )

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: object = None,
    ) -> str:
        """Every problem of the files."""
        if not isinstance(excinfo.value, Problems):
            return str(super().repr_failure(excinfo))
        lines = (problem.lines() for problem in excinfo.value.problems)
        return as_lines(chain.from_iterable(lines))


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
        self._workspace = workspace
        self._campaign = campaign
        self._test = test

    def runtest(self) -> None:
        # One for each test: what one of them sends must not count for the next one's
        # caps.
        stage = Stage(self._workspace.settings, self._workspace.templates)
        try:
            result = stage.play(self._campaign, self._test)
        finally:
            stage.close()
        if not result.passed:
            raise _Otherwise(result)

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: object = None,
    ) -> str:
        """Both timelines side by side."""
        if isinstance(excinfo.value, _Otherwise):
            return as_lines(_side_by_side(excinfo.value.result))
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, self._test.place.line, f"{self._campaign.key}: {self.name}"


class _Otherwise(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__("the timeline is another one")
        self.result = result


def _side_by_side(result: Result) -> Iterator[str]:
    yield f"  {'expected':<{WIDTH}} observed"
    for expected, observed in result.pairs():
        mark = " " if expected and observed else "!"
        why = f"  ({observed.why})" if observed and observed.why else ""
        yield f"{mark} {_cell(expected):<{WIDTH}} {_cell(observed)}{why}"


def _cell(entry: TimelineEntry | None) -> str:
    return f"{entry.wall:%Y-%m-%d %H:%M} {entry.text}" if entry else "-"


def as_lines(lines: Iterable[str]) -> str:
    """Each on a line of its own, whatever is in it."""
    return "\n".join(map(shown, lines))
