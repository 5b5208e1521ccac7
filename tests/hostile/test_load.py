"""The daemon sends and people unsubscribe while a crowd keeps its pages waiting. `python -m tests.hostile.load` is the full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.load import SMALL, attacked


@pytest.mark.slow
@pytest.mark.parametrize("files", [None, 256])
def test_all_is_sent_once_and_everybody_is_answered_in_the_middle_of_a_crowd(
    tmp_path: Path, files: int | None
) -> None:
    record = attacked(tmp_path, SMALL, files)
    record.check(SMALL.people)
