"""What `drip preview --outage` prints: what a downtime makes late, drops and merges."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import change_text, instant_or_none, local_text
from drip.preview.outages import KINDS, Effect, Kind
from drip.preview.simulator import Outage

WORDS: dict[Kind, str] = {
    "late": "leaves after it",
    "dropped": "does not leave",
    "merged": "is replaced by a newer one",
    "instead": "leaves in the place of another",
}
# Campaign, step, and what becomes of its messages.
Group = tuple[str, str, Kind]


def show_outage(
    found: Sequence[Effect],
    outage: Outage,
    zone: str,
    as_json: bool,
) -> None:
    """Prints the effects of a downtime: a table by campaign and step, or JSON lines."""
    if as_json:
        for effect in found:
            print_json(_row(effect))
        return
    when = f"from {local_text(outage.start, zone)} to {local_text(outage.end, zone)}"
    # Said all the same: a blank screen looks like a preview that went wrong.
    if not found:
        say(f"If drip were down {when}, nothing would change for anybody.")
        return
    table = TerminalTable(f"If drip is down {when}")
    names = ("Campaign", "Step", "Messages", "", "For example")
    add_columns(table, *names, right=("Messages",), overflow="fold")
    for (campaign, step, kind), effects in _grouped(found):
        table.add_row(
            campaign,
            step.removeprefix("send "),
            f"{len(effects):,}",
            WORDS[kind],
            _example(effects[0], zone),
        )
    draw(table)
    say(f"{_counts(found)}. Nothing was sent; this was a rehearsal.")


def _grouped(found: Sequence[Effect]) -> list[tuple[Group, list[Effect]]]:
    """By kind, the worst first, then by campaign and step."""
    groups: dict[Group, list[Effect]] = defaultdict(list)
    for effect in found:
        groups[effect.campaign, effect.step, effect.kind].append(effect)
    return sorted(groups.items(), key=_worst_first)


def _worst_first(group: tuple[Group, list[Effect]]) -> tuple[int, Group]:
    (campaign, step, kind), _ = group
    return KINDS.index(kind), (campaign, step, kind)


def _counts(found: Sequence[Effect]) -> str:
    """`3 late, 1 dropped`."""
    counts = Counter(effect.kind for effect in found)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])


def _example(effect: Effect, zone: str) -> str:
    moved = change_text(effect.before, effect.after, zone)
    why = f" ({effect.why})" if effect.why else ""
    return f"{effect.contact}: {moved}{why}"


def _row(effect: Effect) -> JsonRow:
    return {
        "effect": effect.kind,
        "campaign": effect.campaign,
        "step": effect.step,
        "contact": effect.contact,
        "record": effect.record,
        "occurrence": effect.occurrence,
        "before": instant_or_none(effect.before),
        "after": instant_or_none(effect.after),
        "why": effect.why,
        "place": effect.place,
    }
