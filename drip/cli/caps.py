"""What `drip preview --caps` prints: who displaces whom, who is at a limit, and what
other caps would change."""

from __future__ import annotations

from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, Text, add_columns, draw, words
from drip.storage.reading.pressure import Pressure

# From cool to hot, for a share of the most that one campaign displaces.
HEAT = (
    "",
    "on grey23",
    "on dark_olive_green3",
    "on yellow3",
    "on dark_orange3",
    "on red3",
)
# On these the terminal's own colour of letters can be read, whichever it is.
DARK = ("", "on grey23")


def show_caps(
    found: Pressure,
    other: Pressure | None,
    trial: str | None,
    as_json: bool,
) -> None:
    """Prints a pressure, and beside it that of other caps."""
    if as_json:
        _print_rows(found, other)
        return
    if not found.displaced and not found.limits:
        say("No cap holds anything back in this time.")
    else:
        title = "Who displaces whom: rows give way to columns, so many times"
        draw(words(title, style="bold"), _heat_map(found), _limits(found))
    if other is not None:
        draw(_compared(found, other, trial or ""))


def _heat_map(found: Pressure) -> TerminalTable:
    losers = sorted({loser for loser, _ in found.displaced})
    winners = sorted({winner for _, winner in found.displaced})
    # Cells are compared with one another: a shop of a hundred people has heat as well.
    most = max(found.displaced.values(), default=1)
    table = TerminalTable(lines=True)
    table.add_column("")
    add_columns(table, *winners, right=winners, overflow="fold")
    for loser in losers:
        cells = [_cell(found.displaced[loser, winner], most) for winner in winners]
        table.add_row(words(loser, style="bold"), *cells)
    return table


def _cell(count: int, most: int) -> Text:
    if not count:
        return words("·", style="dim")
    return words(f"{count:,}", style=_style(count / most))


def _style(share: float) -> str:
    hottest = len(HEAT) - 1
    # Never the first, which is for none: one of ten thousand is still to be seen.
    heat = HEAT[max(1, round(share * hottest))]
    return heat if heat in DARK else f"black {heat}"


def _limits(found: Pressure) -> TerminalTable:
    table = TerminalTable("Who is at the limit")
    numbers = ("People", "Skipped", "Put off")
    add_columns(table, "Cap", *numbers, right=numbers)
    for place, people in sorted(found.limits.items(), key=lambda limit: -limit[1]):
        skipped = found.held_back[place, "skipped"]
        deferred = found.held_back[place, "deferred"]
        name = place.removeprefix("campaigns/")
        table.add_row(name, f"{people:,}", f"{skipped:,}", f"{deferred:,}")
    return table


def _compared(now: Pressure, then: Pressure, trial: str) -> TerminalTable:
    table = TerminalTable(f"With {trial}")
    numbers = ("Sent", "Skipped by caps", "Put off by caps")
    add_columns(table, "Campaign", *numbers, right=numbers)
    for campaign in sorted({*now.sent, *then.sent, *now.skipped, *then.skipped}):
        table.add_row(
            campaign,
            _change(now.sent[campaign], then.sent[campaign]),
            _change(now.skipped[campaign], then.skipped[campaign]),
            _change(now.deferred[campaign], then.deferred[campaign]),
        )
    return table


def _change(before: int, after: int) -> Text:
    if before == after:
        return words(f"{before:,}", style="dim")
    return words(f"{before:,} → {after:,}", style="bold")


def _print_rows(found: Pressure, other: Pressure | None) -> None:
    for (loser, winner), count in sorted(found.displaced.items()):
        print_json({"displaced": loser, "by": winner, "messages": count})
    for place, people in sorted(found.limits.items()):
        print_json(_limit_row(found, place, people))
    for campaign in sorted(
        {*found.sent, *found.skipped, *(other.sent if other else ())}
    ):
        row = _campaign_row(found, campaign)
        if other:
            changed = _campaign_row(other, campaign)
            del changed["campaign"]
            row |= {f"{name}_if": count for name, count in changed.items()}
        print_json(row)


def _limit_row(found: Pressure, place: str, people: int) -> JsonRow:
    return {
        "cap": place,
        "people": people,
        "skipped": found.held_back[place, "skipped"],
        "deferred": found.held_back[place, "deferred"],
    }


def _campaign_row(found: Pressure, campaign: str) -> JsonRow:
    return {
        "campaign": campaign,
        "sent": found.sent[campaign],
        "skipped": found.skipped[campaign],
        "deferred": found.deferred[campaign],
    }
