"""The order of judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drip.core.calendar import ClockRange, SendWindow, millis
from drip.core.caps import Cap, Use
from drip.core.decide import (
    Candidate,
    Defer,
    Person,
    Reason,
    Send,
    Skip,
    decide,
    permitted,
)
from drip.errors import Place

HERE = Place("campaigns/letter.yaml", 7)
SETTINGS = Place("campaigns/_settings.yaml", 3)
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
CANDIDATE = Candidate(
    campaign="letter",
    step="send letter",
    topic="news",
    channels=("email",),
    planned_at=NOW,
    ready_at=NOW,
    when_late="send",
    grace=timedelta(days=2),
    window=SendWindow(ClockRange(540, 1140)),
    window_place=SETTINGS,
    transactional=False,
    caps=(),
    wait_when_capped=timedelta(days=2),
    place=HERE,
    topic_place=HERE,
)
PERSON = Person(
    ZoneInfo("UTC"), lambda channel, topic: None, ClockRange(1260, 480), SETTINGS
)
ONE_A_DAY = Cap("all", "all", 1, "1 per day", SETTINGS, 1)
TODAY = [Use(millis(NOW), millis(NOW), "email", "offers", "promo")]


def reason(code: str) -> Reason:
    return Reason(code, "because", HERE)


def closed_for(
    channel: str, topic: str | None, code: str
) -> Callable[[str, str | None], Reason | None]:
    return lambda *asked: reason(code) if asked == (channel, topic) else None


def test_a_message_with_nothing_in_its_way_goes() -> None:
    assert decide(CANDIDATE, PERSON, [], NOW) == Send("email")


def test_paused_waits_and_expires_with_grace() -> None:
    paused = replace(CANDIDATE, paused=reason("paused"))
    assert isinstance(decide(paused, PERSON, [], NOW), Defer)
    late = decide(paused, PERSON, [], NOW + timedelta(days=3))
    assert isinstance(late, Skip)
    assert late.reason.code == "too-late"


@pytest.mark.parametrize("code", ["suppressed", "no-address", "no-consent"])
def test_a_closed_channel_skips_with_its_own_reason_before_lateness_and_windows(
    code: str,
) -> None:
    closed = PERSON._replace(closed=closed_for("email", "news", code))
    found = decide(CANDIDATE, closed, [], NOW + timedelta(days=9))
    assert found == Skip(reason(code))


def test_the_first_open_channel_of_several_is_taken() -> None:
    closed = PERSON._replace(closed=closed_for("sms", "news", "no-address"))
    assert decide(
        replace(CANDIDATE, channels=("sms", "email")), closed, [], NOW
    ) == Send("email")


def test_consent_is_not_asked_for_transactional_messages_but_suppression_is() -> None:
    transactional = replace(CANDIDATE, transactional=True, grace=None)
    no_consent = PERSON._replace(closed=closed_for("email", "news", "no-consent"))
    assert decide(transactional, no_consent, [], NOW) == Send("email")
    suppressed = PERSON._replace(closed=closed_for("email", None, "suppressed"))
    assert isinstance(decide(transactional, suppressed, [], NOW), Skip)


def test_transactional_messages_know_no_windows_quiet_hours_or_caps() -> None:
    night = NOW.replace(hour=3)
    transactional = replace(
        CANDIDATE, transactional=True, grace=None, caps=(ONE_A_DAY,)
    )
    assert decide(transactional, PERSON, TODAY, night) == Send("email")


def test_quiet_hours_defer_to_the_first_allowed_instant() -> None:
    night = NOW.replace(hour=22)
    found = decide(CANDIDATE, PERSON, [], night)
    assert isinstance(found, Defer)
    assert found.reason.code == "quiet-hours"
    assert found.until == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def test_outside_the_window_past_grace_is_skipped() -> None:
    evening = NOW.replace(hour=20)
    found = decide(replace(CANDIDATE, grace=timedelta(hours=6)), PERSON, [], evening)
    assert isinstance(found, Skip)
    assert found.reason.code == "outside-window"


def test_a_window_that_never_meets_quiet_hours_is_skipped_and_not_looped_over() -> None:
    never = replace(CANDIDATE, window=SendWindow(ClockRange(22 * 60, 23 * 60)))
    assert isinstance(decide(never, PERSON, [], NOW), Skip)


OFFICE = replace(
    CANDIDATE, window=SendWindow(ClockRange(540, 1020), business_days=True), grace=None
)
CHRISTMAS = PERSON._replace(holidays=frozenset({date(2026, 12, 25)}))


@pytest.mark.parametrize(
    ("now", "code", "until", "says"),
    [
        ("2026-12-24 16:59", None, None, ""),
        ("2026-12-24 17:00", "outside-window", "2026-12-28 09:00", "it is 17:00 there"),
        (
            "2026-12-25 10:00",
            "holiday",
            "2026-12-28 09:00",
            "Friday, 25 December is none",
        ),
        ("2026-12-26 23:00", "quiet-hours", "2026-12-28 09:00", "quiet hours"),
        (
            "2026-12-27 08:30",
            "holiday",
            "2026-12-28 09:00",
            "Sunday, 27 December is none",
        ),
    ],
)
def test_a_window_on_business_days_waits_over_weekends_and_holidays(
    now: str, code: str, until: str, says: str
) -> None:
    found = decide(
        OFFICE,
        CHRISTMAS,
        [],
        datetime.fromisoformat(f"{now}+00:00").replace(tzinfo=UTC),
    )
    if code is None:
        assert found == Send("email")
        return
    assert isinstance(found, Defer)
    assert (found.reason.code, found.until) == (
        code,
        datetime.fromisoformat(f"{until}+00:00"),
    )
    assert says in found.reason.sentence


def test_a_holiday_that_outlasts_grace_skips_and_one_without_end_does_too() -> None:
    saturday = NOW.replace(day=28, hour=9)
    short = replace(OFFICE, grace=timedelta(days=2), planned_at=saturday)
    found = decide(short, PERSON, [], saturday)
    assert isinstance(found, Skip)
    assert found.reason.code == "holiday"
    closed_for_good = PERSON._replace(
        holidays=frozenset(NOW.date() + timedelta(days=n) for n in range(-1, 800))
    )
    found = decide(replace(OFFICE, grace=None), closed_for_good, [], NOW)
    assert isinstance(found, Skip)
    assert found.reason.code == "holiday"


def test_the_next_window_of_one_that_is_never_shut_is_tomorrow_s() -> None:
    always = replace(
        CANDIDATE, window=SendWindow(ClockRange(0, 1440)), when_late="next window"
    )
    found = decide(
        always, PERSON._replace(quiet_hours=None), [], NOW + timedelta(hours=2)
    )
    assert isinstance(found, Defer)
    assert found.until == datetime(2026, 11, 24, tzinfo=UTC)


def test_a_full_cap_defers_to_when_it_frees_and_the_window_is_open() -> None:
    found = decide(replace(CANDIDATE, caps=(ONE_A_DAY,)), PERSON, TODAY, NOW)
    assert isinstance(found, Defer)
    assert found.until == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    assert found.reason.code == "cap"
    assert found.reason.place == SETTINGS
    assert "promo" in found.reason.sentence
    assert "1 per day" in found.reason.sentence


def test_the_deferral_waits_until_every_rule_has_room() -> None:
    week = Cap("topic", "news", 1, "1 per week", SETTINGS, 7)
    at = millis(NOW - timedelta(days=5))
    before = Use(at, at, "email", "news", "letter")
    found = decide(
        replace(CANDIDATE, caps=(ONE_A_DAY, week)), PERSON, [*TODAY, before], NOW
    )
    assert isinstance(found, Defer)
    assert found.until == datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def test_a_cap_that_frees_too_late_is_skipped() -> None:
    found = decide(
        replace(CANDIDATE, caps=(ONE_A_DAY,), wait_when_capped=None), PERSON, TODAY, NOW
    )
    assert isinstance(found, Skip)
    assert found.reason.code == "cap"


def test_missing_content_is_skipped() -> None:
    found = decide(replace(CANDIDATE, has_content=False), PERSON, [], NOW)
    assert isinstance(found, Skip)
    assert found.reason.code == "no-content"


def test_a_granted_message_is_not_permitted_any_more_once_something_changed() -> None:
    assert permitted(CANDIDATE, PERSON, "email", NOW)
    assert not permitted(
        CANDIDATE,
        PERSON._replace(closed=closed_for("email", "news", "no-consent")),
        "email",
        NOW,
    )
    assert not permitted(CANDIDATE, PERSON, "email", NOW.replace(hour=22))
    assert not permitted(
        replace(CANDIDATE, paused=reason("paused")), PERSON, "email", NOW
    )
    assert not permitted(CANDIDATE, PERSON, "email", NOW + timedelta(days=3))
