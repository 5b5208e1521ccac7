"""Pictures of a preview for the terminal: the calendar, what goes out, and what does not and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from drip.core.calendar import local, zone
from drip.storage.ledger import Entry

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")
MARKS = "●■▲◆★▼"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a preview shows: the ledger's lines in [start, end] and the campaigns, by key with title."""

    entries: Sequence[Entry]
    titles: dict[str, str]
    start: datetime
    end: datetime
    timezone: str

    def day(self, entry: Entry) -> date:
        return local(entry.at, zone(entry.zone or self.timezone)).date()

    def colour(self, campaign: str) -> str:
        return COLOURS[sorted(self.titles).index(campaign) % len(COLOURS)]

    def mark(self, campaign: str) -> str:
        """A sign of its own for each campaign, for those who see no colours."""
        return MARKS[sorted(self.titles).index(campaign) % len(MARKS)]


def picture(shown: Shown) -> RenderableType:
    """The whole preview."""
    first, last = local(shown.start, zone(shown.timezone)), local(shown.end, zone(shown.timezone))
    sent = [entry for entry in shown.entries if entry.outcome == "sent"]
    people = len({entry.contact for entry in sent})
    head = Text.assemble(
        (f"{len(sent):,} messages", "bold"),
        f" to {people:,} people, {first:%a %-d %b %Y %-H:%M} to {last:%a %-d %b %Y}. Nothing was sent.",
    )
    parts: list[RenderableType] = [head, Text(), _calendar(shown, sent), Text(), _legend(shown, sent), Text()]
    parts += [_steps(shown, sent)]
    refused = [entry for entry in shown.entries if entry.outcome in ("skipped", "held", "failed", "exited")]
    if refused:
        parts += [Text(), _not_sent(shown, refused)]
    late = [entry for entry in shown.entries if entry.outcome == "deferred"]
    if late:
        parts += [Text(), _put_off(shown, late)]
    return Group(*parts)


def _calendar(shown: Shown, sent: Sequence[Entry]) -> Table:
    """Weeks by weekdays; each day with its messages per campaign."""
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for entry in sent:
        counts[shown.day(entry)][entry.campaign] += 1
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


def _legend(shown: Shown, sent: Sequence[Entry]) -> Text:
    text = Text()
    present = {entry.campaign for entry in shown.entries}
    for campaign in sorted(present):
        text.append(f"{shown.mark(campaign)} ", style=shown.colour(campaign))
        text.append(f"{shown.titles.get(campaign, campaign)}   ")
    return text


def _table(title: str, *columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def _steps(shown: Shown, sent: Sequence[Entry]) -> Table:
    table = _table(
        "What goes out",
        ("Campaign", "left"),
        ("Step", "left"),
        ("Messages", "right"),
        ("First", "left"),
        ("Last", "left"),
    )
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in sent:
        groups[entry.campaign, entry.step or ""].append(entry)
    for (campaign, step), members in sorted(groups.items()):
        days = sorted(shown.day(entry) for entry in members)
        name = Text.assemble((f"{shown.mark(campaign)} ", shown.colour(campaign)), campaign)
        table.add_row(name, step, f"{len(members):,}", f"{days[0]:%a %-d %b}", f"{days[-1]:%a %-d %b}")
    if not groups:
        table.add_row(Text("nothing", style="dim"), "", "0", "", "")
    return table


def _reasons(shown: Shown, title: str, entries: Sequence[Entry], count: str) -> Table:
    table = _table(
        title, ("Campaign", "left"), ("Why", "left"), (count, "right"), ("For example", "left"), ("Place", "left")
    )
    groups: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.campaign, entry.code or "", entry.place or ""].append(entry)
    for (campaign, code, place), members in sorted(groups.items()):
        name = Text.assemble((f"{shown.mark(campaign)} ", shown.colour(campaign)), campaign)
        example = f"{members[0].contact}: {members[0].sentence}"
        table.add_row(name, code, f"{len(members):,}", example, Text(place.removeprefix("campaigns/"), style="dim"))
    return table


def _not_sent(shown: Shown, refused: Sequence[Entry]) -> Table:
    return _reasons(shown, "What does not, and why", refused, "Times")


def _put_off(shown: Shown, late: Sequence[Entry]) -> Table:
    return _reasons(shown, "What waits for a better time first", late, "Times")


def timeline(shown: Shown) -> RenderableType:
    """One contact's lines, in order, on the contact's own clock."""
    if not shown.entries:
        return Padding(Text("nothing", style="dim"), (0, 2))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("When", "What", "Of what"):
        table.add_column(name, no_wrap=True)
    table.add_column("Why", overflow="fold")
    styles = {"sent": "green", "skipped": "red", "deferred": "yellow", "held": "red", "failed": "red"}
    for entry in shown.entries:
        wall = local(entry.at, zone(entry.zone or shown.timezone))
        record = f" ({entry.record})" if entry.record else ""
        step = f": {entry.step.removeprefix('send ')}" if entry.step else ""
        what = Text(entry.outcome, style=styles.get(entry.outcome, "dim"))
        table.add_row(f"{wall:%a %-d %b %Y %H:%M}", what, f"{entry.campaign}{record}{step}", _why(shown, entry))
    return table


def _why(shown: Shown, entry: Entry) -> Text:
    text = Text(f"{entry.code}: {entry.sentence}" if entry.code else "")
    if entry.until:
        text.append(f"; again {local(entry.until, zone(entry.zone or shown.timezone)):%a %-d %b %H:%M}")
    if entry.place:
        text.append(f"\n{entry.place.removeprefix('campaigns/')}", style="dim")
    return text
