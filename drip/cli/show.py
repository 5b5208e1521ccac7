"""Pictures of a preview for the terminal: the calendar, what goes out, and what does
not and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from drip.cli.tables import (
    Group,
    Padding,
    RenderableType,
    TerminalTable,
    Text,
    add_columns,
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
# WCAG 2.2 section 1.4.1: nothing is told by colour alone.
MARKS = "●■▲◆★▼"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# How an outcome is drawn in a timeline; others are dim.
OUTCOME_STYLES = {
    "sent": "green",
    "skipped": "red",
    "deferred": "yellow",
    "held": "red",
    "failed": "red",
}
WEEK = timedelta(days=7)
DAYS_OF_WEEK = tuple(timedelta(days=n) for n in range(7))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a preview shows: from when to when, in which zone, and the campaigns, by key
    with title."""

    titles: Mapping[str, str]
    start: datetime
    end: datetime
    timezone: str

    def wall(self, at: datetime, zone_name: str | None = None) -> datetime:
        """A contact's own clock; the workspace's where no zone is named."""
        return local(at, zone(zone_name or self.timezone))

    def colour(self, campaign: str) -> str:
        return COLOURS[self._place(campaign) % len(COLOURS)]

    def mark(self, campaign: str) -> str:
        """A sign of its own for each campaign, for those who see no colours."""
        return MARKS[self._place(campaign) % len(MARKS)]

    def marked(self, campaign: str) -> tuple[str, str]:
        """The sign before a name, in the campaign's colour."""
        return f"{self.mark(campaign)} ", self.colour(campaign)

    def _place(self, campaign: str) -> int:
        return sorted(self.titles).index(campaign)


def picture(shown: Shown, found: Summary) -> RenderableType:
    """The whole preview."""
    parts: list[RenderableType] = [
        _head(shown, found),
        words(),
        _calendar(shown, found),
        words(),
        _legend(shown, found),
        words(),
        _steps(shown, found),
    ]
    if found.refused:
        parts += [words(), _reasons(shown, "What does not, and why", found.refused)]
    if found.waits:
        title = "What waits for a better time first"
        parts += [words(), _reasons(shown, title, found.waits)]
    return Group(*parts)


def _head(shown: Shown, found: Summary) -> Text:
    count = sum(leaving.count for leaving in found.sent)
    first, last = shown.wall(shown.start), shown.wall(shown.end)
    span = f"{first:%a %-d %b %Y %-H:%M} to {last:%a %-d %b %Y}"
    said = f" to {found.people:,} people, {span}. Nothing was sent."
    return words((f"{count:,} messages", "bold"), said)


def _calendar(shown: Shown, found: Summary) -> TerminalTable:
    """Weeks by weekdays; each day with its messages per campaign."""
    # A message counts on the day that its reader has, which at midnight is another one.
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for leaving in found.sent:
        day = shown.wall(leaving.at, leaving.zone).date()
        counts[day][leaving.campaign] += leaving.count
    # Somebody's day can be another one than the workspace's.
    first = min([shown.wall(shown.start).date(), *counts])
    last = max([shown.wall(shown.end).date(), *counts])
    table = TerminalTable(
        lines=True,
        show_lines=True,
        padding=(0, 1),
        pad_edge=True,
        header_style="bold",
    )
    add_columns(table, *WEEKDAYS, min_width=6)
    for week in _weeks(first, last):
        cells = [
            _day(shown, day, counts[day], outside=not first <= day <= last)
            for day in week
        ]
        table.add_row(*cells)
    return table


def _monday(day: date) -> date:
    # On which a week begins (ISO 8601).
    return day - timedelta(days=day.weekday())


def _weeks(first: date, last: date) -> Iterator[list[date]]:
    """From Monday to Sunday each, so that they hold these days."""
    monday = _monday(first)
    while monday <= last:
        yield [monday + day for day in DAYS_OF_WEEK]
        monday += WEEK


def _day(shown: Shown, day: date, counts: Counter[str], *, outside: bool) -> Text:
    label = f"{day:%-d %b}" if day.day == 1 else f"{day.day}"
    lines = [words(label)]
    for campaign in sorted(counts):
        count = (f"{counts[campaign]:,}", "default not bold")
        lines.append(words(shown.marked(campaign), count))
    return stacked(*lines, style="dim" if outside or not counts else "bold")


def _legend(shown: Shown, found: Summary) -> Text:
    parts: list[str | tuple[str, str]] = []
    for campaign in sorted(found.campaigns):
        title = shown.titles.get(campaign, campaign)
        parts += [shown.marked(campaign), f"{title}   "]
    return words(*parts)


def _table(title: str, *names: str, right: str) -> TerminalTable:
    table = TerminalTable(title, title_style="bold")
    add_columns(table, *names, right=(right,), overflow="fold")
    return table


def _steps(shown: Shown, found: Summary) -> TerminalTable:
    names = ("Campaign", "Step", "Messages", "First", "Last")
    table = _table("What goes out", *names, right="Messages")
    groups: dict[tuple[str, str], list[Leaving]] = defaultdict(list)
    for leaving in found.sent:
        groups[leaving.campaign, leaving.step].append(leaving)
    for (campaign, step), group in sorted(groups.items()):
        days = [shown.wall(leaving.at, leaving.zone).date() for leaving in group]
        count = sum(leaving.count for leaving in group)
        table.add_row(
            words(shown.marked(campaign), campaign),
            step,
            f"{count:,}",
            f"{min(days):%a %-d %b}",
            f"{max(days):%a %-d %b}",
        )
    if not groups:
        table.add_row(words("nothing", style="dim"), "", "0", "", "")
    return table


def _reasons(shown: Shown, title: str, found: Sequence[Why]) -> TerminalTable:
    names = ("Campaign", "Why", "Times", "For example", "Place")
    table = _table(title, *names, right="Times")
    for why in found:
        table.add_row(
            words(shown.marked(why.campaign), why.campaign),
            why.code,
            f"{why.count:,}",
            f"{why.contact}: {why.sentence}",
            _place(why.place),
        )
    return table


def _place(place: str) -> Text:
    return words(place.removeprefix("campaigns/"), style="dim")


def timeline(shown: Shown, found: Sequence[LedgerRow]) -> RenderableType:
    """One contact's lines, in order, on the contact's own clock."""
    if not found:
        return Padding(words("nothing", style="dim"), (0, 2))
    table = TerminalTable()
    add_columns(table, "When", "What", "Of what", no_wrap=True)
    table.add_column("Why", overflow="fold")
    for entry in found:
        style = OUTCOME_STYLES.get(entry.outcome, "dim")
        table.add_row(
            f"{shown.wall(entry.at, entry.zone):%a %-d %b %Y %H:%M}",
            words(entry.outcome, style=style),
            _about(entry),
            _why(shown, entry),
        )
    return table


def _about(entry: LedgerRow) -> str:
    """`oil-change (ana-1): oil/due`."""
    record = f" ({entry.record})" if entry.record else ""
    step = f": {entry.step.removeprefix('send ')}" if entry.step else ""
    return f"{entry.campaign}{record}{step}"


def _why(shown: Shown, entry: LedgerRow) -> Text:
    again = ""
    if entry.until:
        again = f"; again {shown.wall(entry.until, entry.zone):%a %-d %b %H:%M}"
    lines = [words(f"{entry.code}: {entry.sentence}{again}" if entry.code else again)]
    if entry.place:
        lines.append(_place(entry.place))
    return stacked(*lines)
