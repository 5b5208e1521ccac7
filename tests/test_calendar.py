"""Dates, durations, clock ranges and daylight saving."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.calendar import (
    Birthday,
    ClockRange,
    Duration,
    SendWindow,
    age_on,
    at_minute,
    birthday_in,
    birthdays_on,
    instant,
    later,
    local,
    next_open,
    next_outside,
    shift,
    shifted,
    sources,
)

DATES = st.dates(date(1990, 1, 1), date(2060, 12, 31))
DURATIONS = st.builds(Duration, months=st.integers(-30, 30), days=st.integers(-60, 60))
ZONES = sorted(available_timezones() - {"localtime", "Factory"})


def test_a_month_later_is_clamped_to_the_months_end_and_counts_from_the_anchor() -> (
    None
):
    assert shift(date(2026, 1, 31), Duration(months=1)) == date(2026, 2, 28)
    assert shift(date(2026, 1, 31), Duration(months=2)) == date(2026, 3, 31)
    assert shift(date(2027, 8, 31), Duration(months=6)) == date(2028, 2, 29)
    assert shift(date(2026, 3, 31), Duration(months=-1)) == date(2026, 2, 28)


@given(DATES, st.lists(DURATIONS, max_size=2))
def test_sources_are_exactly_the_dates_that_lead_there(
    day: date, steps: list[Duration]
) -> None:
    due = shifted(day, tuple(steps))
    found = sources(due, tuple(steps))
    assert day in found
    assert all(shifted(source, tuple(steps)) == due for source in found)


def test_february_29_follows_the_rule_in_common_years() -> None:
    leap = Birthday(2, 29)
    assert birthday_in(leap, 2028, "Feb 28") == date(2028, 2, 29)
    assert birthday_in(leap, 2027, "Feb 28") == date(2027, 2, 28)
    assert birthday_in(leap, 2027, "Mar 1") == date(2027, 3, 1)
    assert birthday_in(leap, 2027, "skip") is None


@given(DATES, st.sampled_from(["Feb 28", "Mar 1", "skip"]))
def test_birthdays_on_a_day_are_those_that_fall_on_it(day: date, feb_29: str) -> None:
    every = [
        Birthday(d.month, d.day)
        for d in (date(2000, 1, 1) + timedelta(days=n) for n in range(366))
    ]
    expected = {
        (b.month, b.day) for b in every if birthday_in(b, day.year, feb_29) == day
    }  # type: ignore[arg-type]
    assert set(birthdays_on(day, feb_29)) == expected  # type: ignore[arg-type]


def test_age_is_unknown_without_a_year_and_changes_on_the_day() -> None:
    assert age_on(Birthday(3, 1), date(2026, 3, 1)) is None
    assert age_on(Birthday(3, 1, 1990), date(2026, 2, 28)) == 35
    assert age_on(Birthday(3, 1, 1990), date(2026, 3, 1)) == 36


def test_a_time_in_the_gap_is_the_first_instant_after_it() -> None:
    chicago = ZoneInfo("America/Chicago")
    assert instant(datetime(2026, 3, 8, 2, 30), chicago) == datetime(
        2026, 3, 8, 8, 0, tzinfo=UTC
    )


def test_a_time_that_comes_twice_is_the_first_one() -> None:
    chicago = ZoneInfo("America/Chicago")
    assert instant(datetime(2026, 11, 1, 1, 30), chicago) == datetime(
        2026, 11, 1, 6, 30, tzinfo=UTC
    )


def transitions(name: str) -> list[datetime]:
    """The instants of 2025 to 2027 at which a zone's clock is set, to the hour before."""
    where, found = ZoneInfo(name), []
    now = datetime(2025, 1, 1, tzinfo=UTC)
    offset = now.astimezone(where).utcoffset()
    while now.year < 2028:
        after = now + timedelta(days=7)
        if after.astimezone(where).utcoffset() != offset:
            while now.astimezone(where).utcoffset() == offset:
                now += timedelta(hours=1)
            found.append(now)
            offset = now.astimezone(where).utcoffset()
            after = now
        now = after
    return found


def test_around_every_transition_of_every_zone_wall_times_become_the_right_instants() -> (
    None
):
    checked = 0
    for name in ZONES:
        where = ZoneInfo(name)
        for turn in transitions(name):
            for minutes in range(-180, 181, 15):
                wall = local(turn, where) + timedelta(minutes=minutes)
                found = instant(wall, where)
                shown = local(found, where)
                # Never before the wall time, and the second before it lies before that wall time: the first such instant.
                assert shown >= wall
                assert local(found - timedelta(seconds=1), where) < wall
                checked += 1
    assert checked > 10_000


@given(DATES, st.integers(0, 1440), st.sampled_from(ZONES))
def test_a_day_without_midnight_is_still_a_day(
    day: date, minute: int, name: str
) -> None:
    where = ZoneInfo(name)
    wall = datetime.combine(day, time()) + timedelta(minutes=minute)
    assert local(at_minute(day, minute, where), where) >= wall


def test_days_are_wall_clock_and_hours_are_elapsed() -> None:
    chicago = ZoneInfo("America/Chicago")
    before = instant(datetime(2026, 3, 7, 9, 0), chicago)
    assert local(later(before, Duration(days=1), chicago), chicago) == datetime(
        2026, 3, 8, 9, 0
    )
    assert local(
        later(before, Duration(seconds=24 * 3600), chicago), chicago
    ) == datetime(2026, 3, 8, 10, 0)


RANGES = st.builds(ClockRange, st.integers(0, 1439), st.integers(1, 1440)).filter(
    lambda span: span.opens != span.closes and (span.opens, span.closes) != (0, 1440)
)
INSTANTS = st.datetimes(
    datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)
)


@given(
    RANGES,
    INSTANTS,
    st.sampled_from(
        ["America/Chicago", "Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe"]
    ),
)
def test_the_next_instant_outside_is_outside_and_none_before_it_is(
    span: ClockRange, start: datetime, name: str
) -> None:
    where = ZoneInfo(name)
    found = next_outside(span, start, where)
    assert not span.holds(local(found, where))
    assert all(span.holds(local(at, where)) for at in between(start, found))


@given(
    st.one_of(RANGES, st.just(ClockRange(0, 1440))),
    st.booleans(),
    INSTANTS,
    st.sampled_from(
        ["America/Chicago", "Africa/Cairo", "Asia/Kathmandu", "Australia/Lord_Howe"]
    ),
    st.frozensets(st.integers(0, 12)),
)
def test_the_next_instant_of_a_send_window_is_in_it_and_none_before_it_is(
    span: ClockRange,
    business_days: bool,
    start: datetime,
    name: str,
    ahead: frozenset[int],
) -> None:
    where, window = ZoneInfo(name), SendWindow(span, business_days)
    holidays = {local(start, where).date() + timedelta(days=n) for n in ahead}
    found = next_open(window, start, where, holidays)
    assert found is not None
    assert window.holds(local(found, where), holidays)
    assert not any(
        window.holds(local(at, where), holidays) for at in between(start, found)
    )


def between(start: datetime, end: datetime) -> list[datetime]:
    """Instants from `start` up to, not including, `end`."""
    return [start + (end - start) * n / 500 for n in range(500)] if end > start else []


@pytest.mark.parametrize(
    ("wall", "holds"),
    [
        ("2026-11-27 23:00", True),
        ("2026-11-28 01:59", True),
        ("2026-11-28 02:00", False),
        ("2026-11-28 23:00", False),
        ("2026-11-30 01:00", False),
        ("2026-11-30 22:00", True),
    ],
)
def test_hours_past_midnight_belong_to_the_business_day_on_which_they_opened(
    wall: str, holds: bool
) -> None:
    night = SendWindow(ClockRange(22 * 60, 2 * 60), business_days=True)
    assert night.holds(datetime.fromisoformat(wall), ()) is holds


@pytest.mark.parametrize(
    ("wall", "holds"),
    [("20:59", False), ("21:00", True), ("03:00", True), ("08:00", False)],
)
def test_a_range_may_cross_midnight(wall: str, holds: bool) -> None:
    assert (
        ClockRange(21 * 60, 8 * 60).holds(datetime.fromisoformat(f"2026-11-22 {wall}"))
        is holds
    )
