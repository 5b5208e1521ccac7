"""What `drip preview --caps` prints: who displaces whom, who is at a limit, and what other caps would change."""

from __future__ import annotations

from drip.cli.screen import TerminalTable, Text, draw, print_json, say, words
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


def show_caps(
    found: Pressure, other: Pressure | None, trial: str | None, as_json: bool
) -> None:
    """Prints a pressure, and beside it that of other caps."""
    if as_json:
        _rows(found, other)
        return
    if not found.displaced and not found.limits:
        say("No cap holds anything back in this time.")
    else:
        draw(
            words(
                "Who displaces whom: rows give way to columns, so many times",
                style="bold",
            )
        )
        draw(_heat_map(found))
        draw(_limits(found))
    if other is not None:
        draw(_compared(found, other, trial or ""))


def _heat_map(found: Pressure) -> TerminalTable:
    losers = sorted({loser for loser, _ in found.displaced})
    winners = sorted({winner for _, winner in found.displaced})
    most = max(found.displaced.values(), default=1)
    table = TerminalTable(lines=True)
    table.add_column("")
    for name in winners:
        table.add_column(name, justify="right", overflow="fold")
    for loser in losers:
        cells = [_cell(found.displaced[loser, winner], most) for winner in winners]
        table.add_row(words(loser, style="bold"), *cells)
    return table


def _cell(count: int, most: int) -> Text:
    if not count:
        return words("·", style="dim")
    heat = HEAT[max(1, round(count / most * (len(HEAT) - 1)))]
    return words(
        f"{count:,}", style=f"black {heat}" if heat not in ("", "on grey23") else heat
    )


def _limits(found: Pressure) -> TerminalTable:
    table = TerminalTable("Who is at the limit")
    for name in ("Cap", "People", "Skipped", "Put off"):
        table.add_column(name, justify="left" if name == "Cap" else "right")
    for place, people in sorted(found.limits.items(), key=lambda item: -item[1]):
        skipped, deferred = (
            found.held_back[place, "skipped"],
            found.held_back[place, "deferred"],
        )
        table.add_row(
            place.removeprefix("campaigns/"),
            f"{people:,}",
            f"{skipped:,}",
            f"{deferred:,}",
        )
    return table


def _compared(now: Pressure, then: Pressure, trial: str) -> TerminalTable:
    table = TerminalTable(f"With {trial}")
    for name in ("Campaign", "Sent", "Skipped by caps", "Put off by caps"):
        table.add_column(name, justify="left" if name == "Campaign" else "right")
    for campaign in sorted({*now.sent, *then.sent, *now.skipped, *then.skipped}):
        pairs = [
            (getattr(now, each)[campaign], getattr(then, each)[campaign])
            for each in ("sent", "skipped", "deferred")
        ]
        table.add_row(campaign, *(_change(before, after) for before, after in pairs))
    return table


def _change(before: int, after: int) -> Text:
    if before == after:
        return words(f"{before:,}", style="dim")
    return words(f"{before:,} → {after:,}", style="bold")


def _rows(found: Pressure, other: Pressure | None) -> None:
    for (loser, winner), count in sorted(found.displaced.items()):
        print_json({"displaced": loser, "by": winner, "messages": count})
    for place, people in sorted(found.limits.items()):
        print_json(
            {
                "cap": place,
                "people": people,
                "skipped": found.held_back[place, "skipped"],
                "deferred": found.held_back[place, "deferred"],
            }
        )
    for campaign in sorted(
        {*found.sent, *found.skipped, *(other.sent if other else ())}
    ):
        row: dict[str, object] = {
            "campaign": campaign,
            "sent": found.sent[campaign],
            "skipped": found.skipped[campaign],
            "deferred": found.deferred[campaign],
        }
        if other:
            row |= {
                "sent_if": other.sent[campaign],
                "skipped_if": other.skipped[campaign],
                "deferred_if": other.deferred[campaign],
            }
        print_json(row)
