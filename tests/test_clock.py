"""The entry points' clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from freezegun import freeze_time

from drip.cli.context import read_clock
from drip.cli.texts import ago, instant_text


@freeze_time("2026-11-22 12:00:00.123456")
def test_the_clock_is_in_utc_and_of_whole_milliseconds() -> None:
    assert read_clock() == datetime(2026, 11, 22, 12, 0, 0, 123000, tzinfo=UTC)


def test_instants_are_written_with_milliseconds_only_where_there_are_some() -> None:
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert instant_text(at) == "2026-11-22T12:00:00Z"
    assert instant_text(at + timedelta(milliseconds=5)) == "2026-11-22T12:00:00.005Z"


def test_ago_is_said_in_words() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert [ago(now - timedelta(seconds=s), now) for s in (0, 1, 61, 7200, 90000)] == [
        "just now",
        "1 second ago",
        "1 minute ago",
        "2 hours ago",
        "1 day ago",
    ]
