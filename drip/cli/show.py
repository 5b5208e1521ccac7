"""Pictures of a preview for the terminal: the calendar, what goes out, and what does not and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from drip.cli.screen import (
    Group,
    Padding,
    RenderableType,
    TerminalTable,
    Text,
    stacked,
    words,
)
from drip.core.calendar import local, zone
from drip.storage.reading.ledger import LedgerRow
from drip.storage.reading.summary import Leaving, Summary, Why

COLOURS = (
    "cyan",
    "magenta",
    "green",
    "yellow",
    "blue",
    "red",
    "bright_cyan",
    "bright_magenta",
)
MARKS = "●■▲◆★▼"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a preview shows: from when to when, in which zone, and the campaigns, by key with title."""

    titles: Mapping[str, str]
    start: datetime
    end: datetime
    timezone: str

    def wall(self, at: datetime, zone_name: str | None) -> datetime:
        return local(at, zone(zone_name or self.timezone))

    def colour(self, campaign: str) -> str:
        return COLOURS[sorted(self.titles).index(campaign) % len(COLOURS)]

    def mark(self, campaign: str) -> str:
        """A sign of its own for each campaign, for those who see no colours."""
        return MARKS[sorted(self.titles).index(campaign) % len(MARKS)]


def picture(shown: Shown, found: Summary) -> RenderableType:
    """The whole preview."""
    first, last = (
        local(shown.start, zone(shown.timezone)),
        local(shown.end, zone(shown.timezone)),
    )
    head = words(
        (f"{sum(each.count for each in found.sent):,} messages", "bold"),
        f" to {found.people:,} people, {first:%a %-d %b %Y %-H:%M} to {last:%a %-d %b %Y}. Nothing was sent.",
    )
    parts: list[RenderableType] = [
        head,
        words(),
        _calendar(shown, found),
        words(),
        _legend(shown, found),
        words(),
    ]
    parts += [_steps(shown, found)]
    if found.refused:
        parts += [words(), _reasons(shown, "What does not, and why", found.refused)]
    if found.waits:
        parts += [
            words(),
            _reasons(shown, "What waits for a better time first", found.waits),
        ]
    return Group(*parts)


def _calendar(shown: Shown, found: Summary) -> TerminalTable:
    """Weeks by weekdays; each day with its messages per campaign."""
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for each in found.sent:
        counts[shown.wall(each.at, each.zone).date()][each.campaign] += each.count
    first = min([local(shown.start, zone(shown.timezone)).date(), *counts])
    last = max([local(shown.end, zone(shown.timezone)).date(), *counts])
    monday = first - timedelta(days=first.weekday())
    table = TerminalTable(
        lines=True, show_lines=True, padding=(0, 1), pad_edge=True, header_style="bold"
    )
    for name in WEEKDAYS:
        table.add_column(name, min_width=6)
    while monday <= last:
        days = [monday + timedelta(days=n) for n in range(7)]
        table.add_row(
            *(
                _day(shown, day, counts[day], outside=not first <= day <= last)
                for day in days
            )
        )
        monday += timedelta(days=7)
    return table


def _day(shown: Shown, day: date, counts: Counter[str], *, outside: bool) -> Text:
    label = f"{day:%-d %b}" if day.day == 1 else f"{day.day}"
    lines = [words(label)]
    for campaign in sorted(counts):
        mark = (f"{shown.mark(campaign)} ", shown.colour(campaign))
        lines.append(words(mark, (f"{counts[campaign]:,}", "default not bold")))
    return stacked(*lines, style="dim" if outside or not counts else "bold")


def _legend(shown: Shown, found: Summary) -> Text:
    parts: list[str | tuple[str, str]] = []
    for campaign in sorted(found.campaigns):
        parts += [
            (f"{shown.mark(campaign)} ", shown.colour(campaign)),
            f"{shown.titles.get(campaign, campaign)}   ",
        ]
    return words(*parts)


def _table(title: str, *columns: tuple[str, str]) -> TerminalTable:
    table = TerminalTable(title, title_style="bold")
    for name, justify in columns:
        table.add_column(
            name, justify="right" if justify == "right" else "left", overflow="fold"
        )
    return table


def _steps(shown: Shown, found: Summary) -> TerminalTable:
    table = _table(
        "What goes out",
        ("Campaign", "left"),
        ("Step", "left"),
        ("Messages", "right"),
        ("First", "left"),
        ("Last", "left"),
    )
    groups: dict[tuple[str, str], list[Leaving]] = defaultdict(list)
    for each in found.sent:
        groups[each.campaign, each.step].append(each)
    for (campaign, step), members in sorted(groups.items()):
        days = sorted(shown.wall(each.at, each.zone).date() for each in members)
        name = words((f"{shown.mark(campaign)} ", shown.colour(campaign)), campaign)
        count = sum(each.count for each in members)
        table.add_row(
            name, step, f"{count:,}", f"{days[0]:%a %-d %b}", f"{days[-1]:%a %-d %b}"
        )
    if not groups:
        table.add_row(words("nothing", style="dim"), "", "0", "", "")
    return table


def _reasons(shown: Shown, title: str, found: Sequence[Why]) -> TerminalTable:
    table = _table(
        title,
        ("Campaign", "left"),
        ("Why", "left"),
        ("Times", "right"),
        ("For example", "left"),
        ("Place", "left"),
    )
    for each in found:
        name = words(
            (f"{shown.mark(each.campaign)} ", shown.colour(each.campaign)),
            each.campaign,
        )
        example = f"{each.contact}: {each.sentence}"
        place = words(each.place.removeprefix("campaigns/"), style="dim")
        table.add_row(name, each.code, f"{each.count:,}", example, place)
    return table


def timeline(shown: Shown, found: Sequence[LedgerRow]) -> RenderableType:
    """One contact's lines, in order, on the contact's own clock."""
    if not found:
        return Padding(words("nothing", style="dim"), (0, 2))
    table = TerminalTable()
    for name in ("When", "What", "Of what"):
        table.add_column(name, no_wrap=True)
    table.add_column("Why", overflow="fold")
    styles = {
        "sent": "green",
        "skipped": "red",
        "deferred": "yellow",
        "held": "red",
        "failed": "red",
    }
    for entry in found:
        wall = shown.wall(entry.at, entry.zone)
        record = f" ({entry.record})" if entry.record else ""
        step = f": {entry.step.removeprefix('send ')}" if entry.step else ""
        what = words(entry.outcome, style=styles.get(entry.outcome, "dim"))
        table.add_row(
            f"{wall:%a %-d %b %Y %H:%M}",
            what,
            f"{entry.campaign}{record}{step}",
            _why(shown, entry),
        )
    return table


def _why(shown: Shown, entry: LedgerRow) -> Text:
    again = (
        f"; again {shown.wall(entry.until, entry.zone):%a %-d %b %H:%M}"
        if entry.until
        else ""
    )
    lines = [words(f"{entry.code}: {entry.sentence}{again}" if entry.code else again)]
    if entry.place:
        lines.append(words(entry.place.removeprefix("campaigns/"), style="dim"))
    return stacked(*lines)
