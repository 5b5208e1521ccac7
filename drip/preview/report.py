"""The preview as one self-contained page: calendar, samples, timelines, what is not sent and why, the pressure of caps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from drip.core.calendar import local, zone
from drip.preview.pressure import pressure
from drip.preview.samples import Sample
from drip.storage.ledger import Entry

# More people's timelines than these would make a page that no browser likes.
MOST_TIMELINES = 40
COLOURS = ("#1f6f8b", "#a23b72", "#3a7d44", "#b8860b", "#4b4e9e", "#b4441c", "#2a9d8f", "#7a5195", "#6b705c")
HEAT = ("#fff7ec", "#fee8c8", "#fdbb84", "#fc8d59", "#d7301f")


@dataclass(frozen=True, slots=True)
class Period:
    """What is shown: from when to when, in which zone, and the campaigns by key with their titles."""

    start: datetime
    end: datetime
    timezone: str
    titles: Mapping[str, str]


def report(entries: Sequence[Entry], samples: Sequence[Sample], period: Period, business: str) -> str:
    """The page, as HTML that loads nothing from anywhere."""
    environment = Environment(
        loader=PackageLoader("drip.preview", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    sent = [each for each in entries if each.outcome == "sent"]
    names = sorted({*(each.campaign for each in entries)})
    campaigns = {
        name: {"title": period.titles.get(name, name), "colour": COLOURS[n % len(COLOURS)]}
        for n, name in enumerate(names)
    }
    found = pressure(entries)
    values: dict[str, Any] = {
        "business": business,
        "start": local(period.start, zone(period.timezone)),
        "end": local(period.end, zone(period.timezone)),
        "messages": len(sent),
        "people": len({each.contact for each in sent}),
        "campaigns": campaigns,
        "weeks": _weeks(sent, period),
        "steps": _steps(sent, period),
        "samples": _by_campaign(samples),
        "timelines": _timelines(entries, period),
        "reasons": _reasons([each for each in entries if each.outcome in ("skipped", "held", "failed", "exited")]),
        "waits": _reasons([each for each in entries if each.outcome == "deferred"]),
        "losers": sorted({loser for loser, _ in found.displaced}),
        "winners": sorted({winner for _, winner in found.displaced}),
        "displaced": found.displaced,
        "heat": _heat(found.displaced),
    }
    return environment.get_template("report.html").render(values)


def _day(each: Entry, period: Period) -> date:
    return local(each.at, zone(each.zone or period.timezone)).date()


def _weeks(sent: Sequence[Entry], period: Period) -> list[list[dict[str, Any]]]:
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for each in sent:
        counts[_day(each, period)][each.campaign] += 1
    first = min([local(period.start, zone(period.timezone)).date(), *counts])
    last = max([local(period.end, zone(period.timezone)).date(), *counts])
    monday, weeks = first - timedelta(days=first.weekday()), []
    while monday <= last:
        days = [monday + timedelta(days=n) for n in range(7)]
        weeks.append(
            [{"day": day, "inside": first <= day <= last, "counts": sorted(counts[day].items())} for day in days]
        )
        monday += timedelta(days=7)
    return weeks


def _steps(sent: Sequence[Entry], period: Period) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[date]] = defaultdict(list)
    for each in sent:
        groups[each.campaign, each.step or ""].append(_day(each, period))
    return [
        {
            "campaign": campaign,
            "step": step.removeprefix("send "),
            "count": len(days),
            "first": min(days),
            "last": max(days),
        }
        for (campaign, step), days in sorted(groups.items())
    ]


def _by_campaign(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for each in samples:
        found[each.campaign].append(each)
    return found


def _timelines(entries: Sequence[Entry], period: Period) -> list[dict[str, Any]]:
    """The people of whom most is to be told, in order of their keys."""
    lines: dict[str, list[Entry]] = defaultdict(list)
    for each in entries:
        lines[each.contact].append(each)
    most = sorted(lines, key=lambda contact: (-len(lines[contact]), contact))[:MOST_TIMELINES]
    return [
        {
            "contact": contact,
            "sent": sum(each.outcome == "sent" for each in lines[contact]),
            "lines": [(local(each.at, zone(each.zone or period.timezone)), each) for each in lines[contact]],
        }
        for contact in sorted(most)
    ]


def _reasons(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for each in entries:
        groups[each.campaign, each.code or "", each.place or ""].append(each)
    return [
        {"campaign": campaign, "code": code, "place": place, "count": len(members), "people": len({m.contact for m in members}),
         "example": members[0]}
        for (campaign, code, place), members in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]  # fmt: skip


def _heat(displaced: Counter[tuple[str, str]]) -> dict[tuple[str, str], str]:
    # A handful is no heat.
    most = max(5, *displaced.values()) if displaced else 1
    return {pair: HEAT[round(count / most * (len(HEAT) - 1))] for pair, count in displaced.items()}
