"""Frequency caps, against a small separate model: count every window."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given
from hypothesis import strategies as st

from drip.core.calendar import local, millis
from drip.core.caps import Cap, Use, _day, first_full
from drip.errors import Place

HERE = Place("campaigns/_settings.yaml", 1)
UTC_ZONE = ZoneInfo("UTC")


def cap(limit: int, *, days: int = 0, hours: int = 0) -> Cap:
    return Cap("all", "all", limit, "a cap", HERE, days, hours * 3600)


def use(at: datetime) -> Use:
    return between(at, at)


def between(first: datetime, last: datetime) -> Use:
    return Use(millis(first), millis(last), "email", "news", "letter")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_per_day_counts_the_local_day_not_24_hours() -> None:
    zone = ZoneInfo("America/Chicago")
    yesterday = [use(utc("2026-11-21 15:00:40"))]
    assert (
        first_full([cap(1, days=1)], yesterday, utc("2026-11-22 15:00:00"), zone)
        is None
    )
    full = first_full([cap(1, days=1)], yesterday, utc("2026-11-22 05:59:00"), zone)
    assert full is not None
    assert full.frees == utc("2026-11-22 06:00")


def test_per_week_is_any_seven_days_in_a_row() -> None:
    uses = [use(utc(f"2026-11-{day} 12:00")) for day in (16, 18, 20)]
    full = first_full([cap(3, days=7)], uses, utc("2026-11-22 09:00"), UTC_ZONE)
    assert full is not None
    assert full.frees == utc("2026-11-23 00:00")


def test_exactly_n_hours_apart_is_allowed() -> None:
    uses = [use(utc("2026-11-22 09:00"))]
    assert (
        first_full([cap(1, hours=4)], uses, utc("2026-11-22 13:00"), UTC_ZONE) is None
    )
    full = first_full([cap(1, hours=4)], uses, utc("2026-11-22 12:59:59"), UTC_ZONE)
    assert full is not None
    assert full.frees == utc("2026-11-22 13:00")


def test_zero_means_never_and_absent_means_no_limit() -> None:
    full = first_full([cap(0, days=1)], [], utc("2026-11-22"), UTC_ZONE)
    assert full is not None
    assert full.frees is None
    assert (
        first_full([], [use(utc("2026-11-22"))] * 50, utc("2026-11-22"), UTC_ZONE)
        is None
    )


def test_a_message_in_flight_counts_in_every_window_it_may_leave_in() -> None:
    flying = between(utc("2026-11-21 23:59:59"), utc("2026-11-22 00:00:10"))
    assert (
        first_full([cap(1, days=1)], [flying], utc("2026-11-22 00:00:10"), UTC_ZONE)
        is not None
    )
    assert (
        first_full([cap(1, days=1)], [flying], utc("2026-11-21 23:59:59"), UTC_ZONE)
        is not None
    )


@given(
    st.integers(0, 2 * 366 * 24 * 60), st.sampled_from(sorted(available_timezones()))
)
def test_the_local_day_is_looked_up_as_the_calendar_has_it(
    minute: int, name: str
) -> None:
    at, zone = utc("2025-06-01") + timedelta(minutes=minute), ZoneInfo(name)
    assert date.fromordinal(_day(millis(at), zone)) == local(at, zone).date()


def test_a_scope_counts_its_own_messages_only() -> None:
    news = Cap("topic", "news", 1, "1 per day", HERE, 1)
    other = use(utc("2026-11-22"))._replace(topic="offers", campaign="x")
    assert first_full([news], [other], utc("2026-11-22 01:00"), UTC_ZONE) is None


CAPS = st.one_of(
    st.builds(
        lambda limit, days: cap(limit, days=days),
        st.integers(1, 4),
        st.sampled_from([1, 2, 7, 30]),
    ),
    st.builds(
        lambda limit, hours: cap(limit, hours=hours),
        st.integers(1, 4),
        st.sampled_from([1, 4, 36, 100]),
    ),
)
ZONES = st.sampled_from(
    ["UTC", "America/Chicago", "Pacific/Auckland", "America/St_Johns", "Europe/London"]
)


def breached(rule: Cap, times: list[datetime], zone: ZoneInfo) -> bool:
    """The obvious way: try every window that begins with a message."""
    for first in times:
        if rule.days:
            start = local(first, zone).date()
            inside = [
                t
                for t in times
                if start <= local(t, zone).date() < start + timedelta(days=rule.days)
            ]
        else:
            inside = [
                t for t in times if first <= t < first + timedelta(seconds=rule.seconds)
            ]
        if len(inside) > rule.limit:
            return True
    return False


@given(
    st.lists(CAPS, min_size=1, max_size=3),
    st.lists(st.integers(0, 60 * 24 * 20), min_size=1, max_size=40),
    ZONES,
    st.booleans(),
)
def test_no_window_is_ever_over_a_cap_even_if_the_clock_steps(
    rules: list[Cap], minutes: list[int], zone_name: str, in_order: bool
) -> None:
    zone = ZoneInfo(zone_name)
    begin = utc("2026-10-20 00:00")
    left: list[datetime] = []
    for minute in sorted(minutes) if in_order else minutes:
        now = begin + timedelta(minutes=minute)
        if first_full(rules, [use(at) for at in left], now, zone) is None:
            left.append(now)
    assert left
    assert not any(breached(rule, sorted(left), zone) for rule in rules)


@given(
    st.lists(CAPS, min_size=1, max_size=1),
    st.lists(st.integers(0, 60 * 24 * 5), max_size=20),
    ZONES,
)
def test_the_instant_it_frees_is_the_first_one_that_is_free(
    rules: list[Cap], minutes: list[int], zone_name: str
) -> None:
    zone = ZoneInfo(zone_name)
    begin = utc("2026-10-20 00:00")
    uses = [use(begin + timedelta(minutes=minute)) for minute in minutes]
    now = begin + timedelta(days=5)
    full = first_full(rules, uses, now, zone)
    if full is None or full.frees is None:
        return
    assert full.frees > now
    assert first_full(rules, uses, full.frees, zone) is None
    assert (
        first_full(rules, uses, full.frees - timedelta(milliseconds=1), zone)
        is not None
    )
