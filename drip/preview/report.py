"""The preview as one self-contained page: calendar, samples, timelines, what is not
sent and why, the pressure of caps."""

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
# A handful is no heat.
LEAST_HOT = 5


def report(
    found: Forecast,
    samples: Sequence[Sample],
    titles: Mapping[str, str],
    timezone: str,
    business: str,
) -> str:
    """The page, as HTML that loads nothing from anywhere.

    `titles` are those of campaigns, by key.
    """
    sums = found.sums()
    summary, displaced = sums.summary, sums.pressure.displaced
    start = local(found.since, zone(timezone))
    end = local(found.until, zone(timezone))
    values: dict[str, Any] = {
        "business": business,
        "start": start,
        "end": end,
        "messages": sum(leaving.count for leaving in summary.sent),
        "people": summary.people,
        "campaigns": _campaigns(summary, titles),
        "weeks": calendar_weeks(
            summary,
            start.date(),
            end.date(),
            timezone,
        ),
        "steps": step_rows(summary, timezone),
        "samples": _by_campaign(samples),
        "timelines": _timelines(found, timezone),
        "reasons": sorted(summary.refused, key=lambda refused: -refused.count),
        "waits": sorted(summary.waits, key=lambda wait: -wait.count),
        "losers": sorted({loser for loser, _ in displaced}),
        "winners": sorted({winner for _, winner in displaced}),
        "displaced": displaced,
        "heat": _heat(displaced),
    }
    return _environment().get_template("report.html").render(values)


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("drip.preview", "."),
        # Names and texts of people's records are in it, and whoever is sent the file
        # opens it in a browser (CWE-79).
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _campaigns(summary: Summary, titles: Mapping[str, str]) -> dict[str, Any]:
    """Each with its title and a colour, in order of their keys."""
    return {
        name: {
            "title": titles.get(
                name,
                name,
            ),
            # With more campaigns than colours, some share one.
            "colour": COLOURS[n % len(COLOURS)],
        }
        for n, name in enumerate(sorted(summary.campaigns))
    }


def _day(leaving: Leaving, timezone: str) -> date:
    return local(
        leaving.at,
        zone(leaving.zone or timezone),
    ).date()


def calendar_weeks(
    summary: Summary,
    start: date,
    end: date,
    timezone: str,
) -> list[list[dict[str, Any]]]:
    """Weeks from Monday on.

    Each day has its messages per campaign, on their recipients' clocks.
    """
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for leaving in summary.sent:
        counts[
            _day(
                leaving,
                timezone,
            )
        ][leaving.campaign] += leaving.count
    # In the far east and west the recipients' days begin before and end after ours.
    first, last = min([start, *counts]), max([end, *counts])
    weeks = []
    monday = first - timedelta(days=first.weekday())
    while monday <= last:
        week = [monday + timedelta(days=n) for n in range(7)]
        weeks.append(
            [
                {
                    "day": day,
                    "inside": first <= day <= last,
                    "counts": sorted(counts[day].items()),
                }
                for day in week
            ]
        )
        monday += timedelta(days=7)
    return weeks


def step_rows(summary: Summary, timezone: str) -> list[dict[str, Any]]:
    """What goes out: each step with how many messages, and the first and last day."""
    groups: dict[tuple[str, str], list[Leaving]] = defaultdict(list)
    for leaving in summary.sent:
        groups[leaving.campaign, leaving.step].append(leaving)
    rows = []
    for (campaign, step), members in sorted(groups.items()):
        days = [_day(leaving, timezone) for leaving in members]
        rows.append(
            {
                "campaign": campaign,
                "step": step.removeprefix("send "),
                "count": sum(leaving.count for leaving in members),
                "first": min(days),
                "last": max(days),
            }
        )
    return rows


def _by_campaign(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.campaign].append(sample)
    return found


def _timelines(found: Forecast, timezone: str) -> list[dict[str, Any]]:
    """The people about whom there is most to say, in order of their keys."""
    return [
        _timeline(
            found,
            contact,
            timezone,
        )
        for contact in found.busiest(MOST_TIMELINES)
    ]


def _timeline(found: Forecast, contact: str, timezone: str) -> dict[str, Any]:
    rows = list(found.entries(contact))
    return {
        "contact": contact,
        "sent": sum(row.outcome == "sent" for row in rows),
        "lines": [
            (
                local(
                    row.at,
                    zone(row.zone or timezone),
                ),
                row,
            )
            for row in rows
        ],
    }


def _heat(displaced: Counter[tuple[str, str]]) -> dict[tuple[str, str], str]:
    most = max([LEAST_HOT, *displaced.values()])
    hottest = len(HEAT) - 1
    return {
        pair: HEAT[round(count / most * hottest)] for pair, count in displaced.items()
    }
