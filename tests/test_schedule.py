"""Schedules on the recipient's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drip.language.phrases import schedule

CHICAGO = ZoneInfo("America/Chicago")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_cron_and_phrase_mean_the_same() -> None:
    for text in ("0 10 * * THU", "0 10 * * 4", "every Thursday at 10:00"):
        assert schedule(text).upcoming(utc("2026-11-22"), CHICAGO) == utc(
            "2026-11-26 16:00"
        )


def test_0_and_7_are_sunday() -> None:
    for text in ("0 9 * * 0", "0 9 * * 7", "every Sunday at 9:00"):
        assert schedule(text).upcoming(utc("2026-11-23"), CHICAGO) == utc(
            "2026-11-29 15:00"
        )


def test_day_of_month_and_weekday_are_ored() -> None:
    both = schedule("0 9 13 * FRI")
    assert both.upcoming(utc("2026-11-23"), CHICAGO) == utc("2026-11-27 15:00")
    assert both.upcoming(utc("2026-12-12"), CHICAGO) == utc("2026-12-13 15:00")


def test_a_daily_time_in_the_gap_comes_once_right_after_it() -> None:
    nightly = schedule("30 2 * * *")
    assert nightly.upcoming(utc("2026-03-08 06:00"), CHICAGO) == utc("2026-03-08 08:00")
    assert nightly.upcoming(utc("2026-03-08 08:00"), CHICAGO) == utc("2026-03-09 07:30")


def test_a_daily_time_that_comes_twice_fires_once() -> None:
    nightly = schedule("30 1 * * *")
    first = nightly.upcoming(utc("2026-11-01 00:00"), CHICAGO)
    assert first == utc("2026-11-01 06:30")
    assert nightly.upcoming(first, CHICAGO) == utc("2026-11-02 07:30")


def test_the_newest_missed_occurrence_is_the_latest_one() -> None:
    weekly = schedule("every Thursday at 10:00")
    assert weekly.latest(utc("2026-10-01"), utc("2026-11-22"), CHICAGO) == datetime(
        2026, 11, 19, 10
    )
    assert weekly.latest(utc("2026-11-20"), utc("2026-11-22"), CHICAGO) is None


def test_a_single_date_time_is_one_blast() -> None:
    once = schedule("2026-12-01 9:00")
    assert once.upcoming(utc("2026-11-22"), CHICAGO) == utc("2026-12-01 15:00")
    assert once.upcoming(utc("2026-12-02"), CHICAGO) is None


@pytest.mark.parametrize(
    ("phrase", "cron"),
    [
        ("every day at 9:00", "0 9 * * *"),
        ("every weekday at 8:30", "30 8 * * 1-5"),
        ("the 1st of every month at 8:00", "0 8 1 * *"),
        ("the last Friday of every month at 9:00", "0 9 * * 5L"),
        ("the last day of every month at 9:00", "0 9 L * *"),
    ],
)
def test_phrases(phrase: str, cron: str) -> None:
    start = utc("2026-11-22")
    assert schedule(phrase).upcoming(start, CHICAGO) == schedule(cron).upcoming(
        start, CHICAGO
    )


@pytest.mark.parametrize(
    "text",
    [
        "sometimes",
        "61 * * * *",
        "every Thirsday at 10:00",
        "0 10 * *",
        "2026-13-01 9:00",
    ],
)
def test_what_is_no_schedule_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="every Thursday at 10:00|date and time"):
        schedule(text)


def test_every_two_weeks_counts_from_its_start_through_both_changes_of_the_clock() -> (
    None
):
    found = schedule("every 2 weeks on Monday at 9:00 from 2026-03-02")
    where = ZoneInfo("America/Chicago")
    at, walls = datetime(2026, 1, 1, tzinfo=UTC), []
    for _ in range(19):
        upcoming = found.upcoming(at, where)
        assert upcoming is not None
        latest = found.latest(at, upcoming, where)
        assert latest is not None
        assert found.latest(upcoming, upcoming + timedelta(days=13), where) is None
        walls.append(latest)
        at = upcoming
    assert walls == [
        datetime(2026, 3, 2, 9) + timedelta(weeks=2 * n) for n in range(19)
    ]


@pytest.mark.parametrize(
    "text", ["every 0 weeks on Monday at 9:00", "every 2 weeks on Moonday at 9:00"]
)
def test_a_wrong_every_so_many_weeks_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match="every 2 weeks on Monday"):
        schedule(text)
