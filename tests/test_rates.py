"""Rates: how many messages may leave in which time, whoever they are for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.rates import LONGEST_MS, WINDOW_MS, Rates, pace, read_rates


@pytest.mark.parametrize(
    ("whole", "domains", "expected"),
    [
        ("20 per second", None, Rates(50)),
        (None, None, Rates()),
        ("3600 per hour", "1 per minute", Rates(1000, 60_000)),
        (
            None,
            "2 per second, Gmail.com 10 per second",
            Rates(None, 500, {"gmail.com": 100}),
        ),
    ],
)
def test_rates_are_read(
    whole: str | None, domains: str | None, expected: Rates
) -> None:
    assert read_rates(whole, domains) == expected


@pytest.mark.parametrize(
    "text",
    [
        "20",
        "0 per second",
        "20 per year",
        "fast",
        "gmail.com 5 per second",
        "-1 per second",
        "",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_rates(text, None)


def test_a_slow_domain_holds_up_nobody_else() -> None:
    waiting = [(n, "slow.example" if n % 2 else "other.example") for n in range(100)]
    made = pace(waiting, {}, Rates(None, None, {"slow.example": 60_000}), 1_000_000)
    assert made.begin == [n for n in range(100) if n % 2 == 0 or n == 1]
    assert sorted(made.later.values())[-1] == 1_000_000 + LONGEST_MS


DOMAINS = ("a.example", "b.example", "c.example")


@given(
    st.lists(st.sampled_from(DOMAINS), max_size=120),
    st.sampled_from([None, 7.0, 50.0, 1000.0]),
    st.sampled_from([None, 20.0, 300.0]),
    st.sampled_from([None, 900.0]),
    st.lists(st.integers(1, 400), min_size=30, max_size=30),
)
def test_no_lane_is_ever_faster_than_its_rate(
    whom: list[str],
    whole: float | None,
    each: float | None,
    slow: float | None,
    steps: list[int],
) -> None:
    """Within any time no more begin than fit into it, and into the window that may begin at once."""
    rates = Rates(whole, each, {"a.example": slow} if slow else {})
    now, lanes, waiting = 1_000_000, {}, dict(enumerate(whom))
    due = dict.fromkeys(waiting, now)
    begun: list[tuple[int, str]] = []
    for step in steps:
        ready = sorted((due[n], n) for n in waiting if due[n] <= now)
        made = pace([(n, waiting[n]) for _, n in ready], lanes, rates, now)
        lanes = made.lanes
        due |= made.later
        begun += [(now, waiting.pop(n)) for n in made.begin]
        now += step
    for lane, interval in [
        ("", whole),
        *((domain, rates.of(domain)) for domain in DOMAINS),
    ]:
        times = [at for at, domain in begun if lane in ("", domain)]
        if not interval:
            continue
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert (
                    last - first + 1
                    <= (times[last] - times[first] + WINDOW_MS) / interval + 1
                )
    if not rates.limited:
        assert not waiting


def test_in_the_end_everybody_is_served() -> None:
    rates, lanes, now = Rates(10.0, 40.0), {}, 0
    waiting, due = {n: DOMAINS[n % 3] for n in range(300)}, dict.fromkeys(range(300), 0)
    served: Counter[str] = Counter()
    while waiting:
        ready = sorted((due[n], n) for n in waiting if due[n] <= now)
        made = pace([(n, waiting[n]) for _, n in ready], lanes, rates, now)
        lanes, due = made.lanes, due | made.later
        served.update(waiting.pop(n) for n in made.begin)
        now += 50
        assert now < 30_000
    assert served == dict.fromkeys(DOMAINS, 100)
    assert 3_800 <= now <= 5_000
