"""Tasks that are repeated: their turns, their end, and a clock that jumps."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base

from drip.daemon import rhythm
from drip.daemon.rhythm import Rhythm
from drip.engine.repeating import Repeating

LOG = logging.getLogger("drip.tests")
LONG_S = 600.0


@dataclass
class Tasks:
    """Two of them; `turn` is what the first does."""

    every_s: float = LONG_S
    turn: Callable[[], None] = lambda: None
    stop: threading.Event = field(default_factory=threading.Event)
    turns: int = 0

    def __post_init__(self) -> None:
        self.first, self.other = (
            Repeating(name, time.monotonic, LOG, 30) for name in ("One", "Another")
        )
        self.failed: list[Exception] = []
        self.rhythm = Rhythm(
            self.first,
            self.every_s,
            self.stop,
            lambda task, error: self.failed.append(error),
        )

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        with self.rhythm.going(self._attempt, [self.first, self.other]):
            try:
                yield
            finally:
                self.stop.set()

    def _attempt(self, task: Repeating) -> None:
        if task is self.first:
            self.turns += 1
            self.turn()


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def own_threads() -> list[str]:
    return [
        each.name
        for each in threading.enumerate()
        if each.name.startswith(("drip_", "APScheduler"))
    ]


def test_the_end_waits_for_a_turn_that_wants_the_next_one_earlier() -> None:
    """Both take the scheduler's lock."""
    under_way, ended = threading.Event(), threading.Event()

    def turn() -> None:
        under_way.set()
        tasks.stop.wait()
        time.sleep(0.3)
        tasks.rhythm.earlier(tasks.first, 0)
        ended.set()

    tasks = Tasks(turn=turn)

    def goes() -> None:
        with tasks.going():
            under_way.wait()

    whole = threading.Thread(target=goes, daemon=True)
    whole.start()
    whole.join(20)
    assert ended.is_set() and not whole.is_alive()
    assert tasks.turns == 1 and not own_threads()


def test_the_next_turn_can_be_had_earlier_and_never_two_at_once() -> None:
    at_once, most = 0, 0

    def turn() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.02)
        at_once -= 1
        tasks.rhythm.earlier(tasks.first, 0)

    tasks = Tasks(turn=turn)
    with tasks.going():
        until(lambda: tasks.turns >= 5)
    assert most == 1


def test_a_stop_while_no_thread_can_be_started_is_an_end_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = Tasks()

    def fails(thread: threading.Thread) -> None:
        tasks.stop.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    with tasks.going():
        pass
    assert tasks.turns == 0 and len(tasks.failed) == 1


def test_what_could_not_be_started_to_the_end_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rhythm, "AGAIN_S", 0.01)
    start, left = threading.Thread.start, [3]

    def fails(thread: threading.Thread) -> None:
        if thread.name == "APScheduler" and left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails)
    tasks = Tasks()
    with tasks.going():
        until(lambda: tasks.turns)
        assert len(own_threads()) == 3
    assert not own_threads()


@pytest.mark.parametrize(
    "jump", [timedelta(days=-2), timedelta(days=20_000)], ids=["back", "ahead"]
)
def test_a_clock_that_jumps_neither_stops_the_turns_nor_makes_up_for_millions(
    monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    shown = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + shown

    for module in (base, rhythm):
        monkeypatch.setattr(module, "datetime", Clock)
    tasks = Tasks(every_s=0.1)
    with tasks.going():
        until(lambda: tasks.turns >= 2)
        shown = jump
        before, began = tasks.turns, time.monotonic()
        until(lambda: tasks.turns >= before + 5)
        assert time.monotonic() - began > 0.3
