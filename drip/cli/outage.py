"""What `drip preview --outage` prints: what a downtime makes late, drops and merges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from drip.cli.context import instant_text, local_text
from drip.cli.screen import TerminalTable, draw, print_json, say
from drip.preview.outages import KINDS, Effect, Kind
from drip.preview.simulator import Outage

WORDS: dict[Kind, str] = {
    "late": "leaves after it",
    "dropped": "does not leave",
    "merged": "is replaced by a newer one",
    "instead": "leaves in the place of another",
}


def show_outage(
    found: Sequence[Effect], outage: Outage, zone: str, as_json: bool
) -> None:
    """Prints the effects of a downtime: a table by campaign and step, or JSON lines."""
    if as_json:
        for each in found:
            print_json(_row(each))
        return
    when = f"from {local_text(outage.start, zone)} to {local_text(outage.end, zone)}"
    if not found:
        say(f"If drip were down {when}, nothing would change for anybody.")
        return
    groups: dict[tuple[str, str, Kind], list[Effect]] = defaultdict(list)
    for each in found:
        groups[each.campaign, each.step, each.kind].append(each)
    table = TerminalTable(f"If drip is down {when}")
    for name in ("Campaign", "Step", "Messages", "", "For example"):
        table.add_column(
            name, justify="right" if name == "Messages" else "left", overflow="fold"
        )
    for (campaign, step, kind), members in sorted(
        groups.items(), key=lambda g: (KINDS.index(g[0][2]), g[0])
    ):
        table.add_row(
            campaign,
            step.removeprefix("send "),
            f"{len(members):,}",
            WORDS[kind],
            _example(members[0], zone),
        )
    draw(table)
    counts = ", ".join(
        f"{number:,} {kind}"
        for kind in KINDS
        if (number := sum(each.kind == kind for each in found))
    )
    say(f"{counts}. Nothing was sent; this was a rehearsal.")


def _example(each: Effect, zone: str) -> str:
    times = " → ".join(
        local_text(at, zone) if at else "never" for at in (each.before, each.after)
    )
    return f"{each.contact}: {times}{f' ({each.why})' if each.why else ''}"


def _row(each: Effect) -> dict[str, object]:
    return {
        "effect": each.kind,
        "campaign": each.campaign,
        "step": each.step,
        "contact": each.contact,
        "record": each.record,
        "occurrence": each.occurrence,
        "before": instant_text(each.before) if each.before else None,
        "after": instant_text(each.after) if each.after else None,
        "why": each.why,
        "place": each.place,
    }
