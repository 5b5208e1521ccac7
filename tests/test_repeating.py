"""A task that is done again and again: what is told of it, and when it is late."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from drip.core.shortage import Shortage
from drip.engine.repeating import MOST_LOGGED, Repeating
from drip.errors import DripError, Place

LOG = logging.getLogger("drip.tests")


@dataclass
class Watch:
    """A stopwatch that is set by hand."""

    passed: float = 100.0

    def __call__(self) -> float:
        return self.passed


@dataclass
class Task:
    watch: Watch = field(default_factory=Watch)
    on_demand: bool = False

    def __post_init__(self) -> None:
        self.it = Repeating(
            "Looking", self.watch, LOG, 30, longest_s=600, on_demand=self.on_demand
        )

    def goes(self, error: BaseException | None = None) -> None:
        with self.it.attempt():
            if error:
                raise error


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_it_goes_on_after_any_error_and_tells_each_cause_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = Task()
    for port in (1, 2, 3):
        task.goes(
            DripError(
                f"No answer from port {port}.", help="mend it", place=Place("a.yaml", 3)
            )
        )
        task.goes(RuntimeError("boom"))
    first, second = told(caplog)
    assert (
        first
        == "Looking failed: a.yaml:3 No answer from port 1. Help: mend it. It is tried again."
    )
    assert second.startswith(
        "Looking failed: something that nobody foresaw: RuntimeError: boom (test_repeating.py, line"
    )
    for name in "abcdefgh":
        task.goes(RuntimeError(name))
    assert len(told(caplog)) == MOST_LOGGED


def test_what_went_well_for_a_minute_is_told_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = Task()
    task.goes(RuntimeError("boom"))
    task.watch.passed += 59
    task.goes()
    task.goes(RuntimeError("boom"))
    assert len(told(caplog)) == 1
    task.watch.passed += 60
    task.goes()
    task.goes(RuntimeError("boom"))
    assert len(told(caplog)) == 2


def test_what_the_machine_lacks_is_told_with_its_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Task().goes(Shortage("The disk is full.", "make room on it"))
    assert (
        "The disk is full. No message is held or lost for it. Help: make room on it."
        in told(caplog)[0]
    )


def test_it_is_late_from_its_last_success_on_and_says_so_without_the_cause() -> None:
    task = Task()
    task.it.begin()
    task.watch.passed += 30
    assert task.it.late is None
    task.goes(RuntimeError("ana@example.com"))
    task.watch.passed += 15
    assert task.it.late == "Looking last went well 45 seconds ago; the log says why."
    task.watch.passed += 555
    assert task.it.late == "Looking last went well 10 minutes ago; the log says why."
    task.goes()
    assert task.it.late is None


def test_one_that_is_never_done_is_late_and_one_that_was_never_begun_is_not() -> None:
    task = Task()
    task.watch.passed += 1000
    assert task.it.late is None
    task.it.begin()
    task.watch.passed += 31
    assert task.it.late


def test_one_attempt_may_take_longer_unless_it_failed_before() -> None:
    task = Task()
    with task.it.attempt():
        task.watch.passed += 600
        assert task.it.late is None
        task.watch.passed += 1
        assert task.it.late
    task.goes(RuntimeError("boom"))
    with task.it.attempt():
        task.watch.passed += 31
        assert task.it.late


def test_what_is_done_on_demand_is_late_only_where_there_is_something_to_do() -> None:
    task = Task(on_demand=True)
    task.goes()
    task.watch.passed += 1000
    assert task.it.late is None
    task.goes(RuntimeError("boom"))
    assert task.it.late is None
    task.watch.passed += 31
    assert task.it.late


def test_an_end_from_outside_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        Task().goes(KeyboardInterrupt())
