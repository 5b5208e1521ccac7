"""Pictures of a preview for the terminal: the calendar, what goes out, and what does not and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from drip.core.calendar import local, zone
from drip.storage.ledger import Entry
from drip.storage.summary import Leaving, Summary, Why

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")
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
    first, last = local(shown.start, zone(shown.timezone)), local(shown.end, zone(shown.timezone))
    head = Text.assemble(
        (f"{sum(each.count for each in found.sent):,} messages", "bold"),
        f" to {found.people:,} people, {first:%a %-d %b %Y %-H:%M} to {last:%a %-d %b %Y}. Nothing was sent.",
    )
    parts: list[RenderableType] = [head, Text(), _calendar(shown, found), Text(), _legend(shown, found), Text()]
    parts += [_steps(shown, found)]
    if found.refused:
        parts += [Text(), _reasons(shown, "What does not, and why", found.refused)]
    if found.waits:
        parts += [Text(), _reasons(shown, "What waits for a better time first", found.waits)]
    return Group(*parts)


def _calendar(shown: Shown, found: Summary) -> Table:
    """Weeks by weekdays; each day with its messages per campaign."""
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for each in found.sent:
        counts[shown.wall(each.at, each.zone).date()][each.campaign] += each.count
    first = min([local(shown.start, zone(shown.timezone)).date(), *counts])
    last = max([local(shown.end, zone(shown.timezone)).date(), *counts])
    monday = first - timedelta(days=first.weekday())
    table = Table(box=box.SQUARE, show_lines=True, padding=(0, 1), header_style="bold")
    for name in WEEKDAYS:
        table.add_column(name, min_width=6)
    while monday <= last:
        days = [monday + timedelta(days=n) for n in range(7)]
        table.add_row(*(_day(shown, day, counts[day], outside=not first <= day <= last) for day in days))
        monday += timedelta(days=7)
    return table


def _day(shown: Shown, day: date, counts: Counter[str], *, outside: bool) -> Text:
    label = f"{day:%-d %b}" if day.day == 1 else f"{day.day}"
    text = Text(label, style="dim" if outside or not counts else "bold")
    for campaign in sorted(counts):
        text.append(f"\n{shown.mark(campaign)} ", style=shown.colour(campaign))
        text.append(f"{counts[campaign]:,}", style="default not bold")
    return text


def _legend(shown: Shown, found: Summary) -> Text:
    text = Text()
    for campaign in sorted(found.campaigns):
        text.append(f"{shown.mark(campaign)} ", style=shown.colour(campaign))
        text.append(f"{shown.titles.get(campaign, campaign)}   ")
    return text


def _table(title: str, *columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def _steps(shown: Shown, found: Summary) -> Table:
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
        name = Text.assemble((f"{shown.mark(campaign)} ", shown.colour(campaign)), campaign)
        count = sum(each.count for each in members)
        table.add_row(name, step, f"{count:,}", f"{days[0]:%a %-d %b}", f"{days[-1]:%a %-d %b}")
    if not groups:
        table.add_row(Text("nothing", style="dim"), "", "0", "", "")
    return table


def _reasons(shown: Shown, title: str, found: Sequence[Why]) -> Table:
    table = _table(
        title, ("Campaign", "left"), ("Why", "left"), ("Times", "right"), ("For example", "left"), ("Place", "left")
    )
    for each in found:
        name = Text.assemble((f"{shown.mark(each.campaign)} ", shown.colour(each.campaign)), each.campaign)
        example = f"{each.contact}: {each.sentence}"
        place = Text(each.place.removeprefix("campaigns/"), style="dim")
        table.add_row(name, each.code, f"{each.count:,}", example, place)
    return table


def timeline(shown: Shown, found: Sequence[Entry]) -> RenderableType:
    """One contact's lines, in order, on the contact's own clock."""
    if not found:
        return Padding(Text("nothing", style="dim"), (0, 2))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("When", "What", "Of what"):
        table.add_column(name, no_wrap=True)
    table.add_column("Why", overflow="fold")
    styles = {"sent": "green", "skipped": "red", "deferred": "yellow", "held": "red", "failed": "red"}
    for entry in found:
        wall = shown.wall(entry.at, entry.zone)
        record = f" ({entry.record})" if entry.record else ""
        step = f": {entry.step.removeprefix('send ')}" if entry.step else ""
        what = Text(entry.outcome, style=styles.get(entry.outcome, "dim"))
        table.add_row(f"{wall:%a %-d %b %Y %H:%M}", what, f"{entry.campaign}{record}{step}", _why(shown, entry))
    return table


def _why(shown: Shown, entry: Entry) -> Text:
    text = Text(f"{entry.code}: {entry.sentence}" if entry.code else "")
    if entry.until:
        text.append(f"; again {shown.wall(entry.until, entry.zone):%a %-d %b %H:%M}")
    if entry.place:
        text.append(f"\n{entry.place.removeprefix('campaigns/')}", style="dim")
    return text
