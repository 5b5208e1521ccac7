"""The preview as one self-contained page: calendar, samples, timelines, what is not sent and why, the pressure of caps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from drip.core.calendar import local, zone
from drip.preview.forecast import Forecast
from drip.preview.samples import Sample
from drip.storage.reading.summary import Leaving, Summary

# More people's timelines than these would make a page that no browser likes.
MOST_TIMELINES = 40
COLOURS = (
    "#1f6f8b",
    "#a23b72",
    "#3a7d44",
    "#b8860b",
    "#4b4e9e",
    "#b4441c",
    "#2a9d8f",
    "#7a5195",
    "#6b705c",
)
HEAT = ("#fff7ec", "#fee8c8", "#fdbb84", "#fc8d59", "#d7301f")


def report(
    found: Forecast,
    samples: Sequence[Sample],
    titles: Mapping[str, str],
    timezone: str,
    business: str,
) -> str:
    """The page, as HTML that loads nothing from anywhere. `titles` are those of campaigns, by key."""
    environment = Environment(
        loader=PackageLoader("drip.preview", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sums, caps = found.sums().summary, found.sums().pressure
    start, end = local(found.since, zone(timezone)), local(found.until, zone(timezone))
    values: dict[str, Any] = {
        "business": business,
        "start": start,
        "end": end,
        "messages": sum(each.count for each in sums.sent),
        "people": sums.people,
        "campaigns": {
            name: {"title": titles.get(name, name), "colour": COLOURS[n % len(COLOURS)]}
            for n, name in enumerate(sorted(sums.campaigns))
        },
        "weeks": calendar_weeks(sums, start.date(), end.date(), timezone),
        "steps": step_rows(sums, timezone),
        "samples": _by_campaign(samples),
        "timelines": _timelines(found, timezone),
        "reasons": sorted(sums.refused, key=lambda each: -each.count),
        "waits": sorted(sums.waits, key=lambda each: -each.count),
        "losers": sorted({loser for loser, _ in caps.displaced}),
        "winners": sorted({winner for _, winner in caps.displaced}),
        "displaced": caps.displaced,
        "heat": _heat(caps.displaced),
    }
    return environment.get_template("report.html").render(values)


def _day(each: Leaving, timezone: str) -> date:
    return local(each.at, zone(each.zone or timezone)).date()


def calendar_weeks(
    sums: Summary, start: date, end: date, timezone: str
) -> list[list[dict[str, Any]]]:
    """Weeks from Monday on; each day with its messages per campaign, on their recipients' clocks."""
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for each in sums.sent:
        counts[_day(each, timezone)][each.campaign] += each.count
    first, last = min([start, *counts]), max([end, *counts])
    monday, weeks = first - timedelta(days=first.weekday()), []
    while monday <= last:
        days = [monday + timedelta(days=n) for n in range(7)]
        weeks.append(
            [
                {
                    "day": day,
                    "inside": first <= day <= last,
                    "counts": sorted(counts[day].items()),
                }
                for day in days
            ]
        )
        monday += timedelta(days=7)
    return weeks


def step_rows(sums: Summary, timezone: str) -> list[dict[str, Any]]:
    """What goes out: each step with how many messages, and the first and the last day."""
    groups: dict[tuple[str, str], list[Leaving]] = defaultdict(list)
    for each in sums.sent:
        groups[each.campaign, each.step].append(each)
    return [
        {
            "campaign": campaign,
            "step": step.removeprefix("send "),
            "count": sum(each.count for each in members),
            "first": min(_day(each, timezone) for each in members),
            "last": max(_day(each, timezone) for each in members),
        }
        for (campaign, step), members in sorted(groups.items())
    ]


def _by_campaign(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for each in samples:
        found[each.campaign].append(each)
    return found


def _timelines(found: Forecast, timezone: str) -> list[dict[str, Any]]:
    """The people of whom most is to be told, in order of their keys."""
    timelines = []
    for contact in found.busiest(MOST_TIMELINES):
        lines = list(found.entries(contact))
        timelines.append(
            {
                "contact": contact,
                "sent": sum(each.outcome == "sent" for each in lines),
                "lines": [
                    (local(each.at, zone(each.zone or timezone)), each)
                    for each in lines
                ],
            }
        )
    return timelines


def _heat(displaced: Counter[tuple[str, str]]) -> dict[tuple[str, str], str]:
    # A handful is no heat.
    most = max(5, *displaced.values()) if displaced else 1
    return {
        pair: HEAT[round(count / most * (len(HEAT) - 1))]
        for pair, count in displaced.items()
    }
