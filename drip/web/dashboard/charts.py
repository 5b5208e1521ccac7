"""Pictures as SVG, drawn here: colours are attributes, since the pages allow no inline
styles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

ROW, BOX, WIDE, INDENT, LEFT = 74, 46, 380, 26, 16
LANE, LANES_AT = 12, LEFT + WIDE + 18
# Letters that fit into a box.
MOST_LETTERS = 46
BAR, GAP, TALL = 14, 4, 120


def chip(colour: str) -> Markup:
    """A small square of a campaign's colour."""
    return Markup(
        '<svg class="chip" width="10" height="10" aria-hidden="true"><rect width="10" height="10" rx="2" fill="{}"/></svg>'
    ).format(colour)


def flow(steps: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """The steps of a campaign from top to bottom, arms further in; what leads elsewhere
    than on does so at the right.

    A step has `id`, `kind`, `depth`, `people`, `href` (may be None) and `leads`: pairs
    of a position and a label.
    """
    lanes = _lanes(steps)
    wide = LANES_AT + LANE * (max(lanes.values(), default=0) + 1) + 20
    ends_at = len(steps)
    parts = [
        _edge(steps, n, to, lanes)
        for n, step in enumerate(steps)
        for to, _ in step["leads"]
    ]
    labels = [
        (to, label)
        for step in steps
        for to, label in step["leads"]
        if label and to < ends_at
    ]
    parts += [_label(steps[to]["depth"], to, label) for to, label in labels]
    parts += [_box(step, n) for n, step in enumerate(steps)]
    parts.append(
        Markup(
            '<rect class="end" x="{}" y="{}" width="60" height="26" rx="13"/><text x="{}" y="{}" class="small">end</text>'
        ).format(LEFT, ends_at * ROW + 16, LEFT + 18, ends_at * ROW + 33)
    )
    return Markup(
        '<svg class="flow" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="group" aria-label="{title}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        '<path d="M0 0 8 4 0 8z" class="tip"/></marker></defs>{parts}</svg>'
    ).format(w=wide, h=ends_at * ROW + 52, title=title, parts=Markup("").join(parts))


def _lanes(steps: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], int]:
    """Which lane at the right each lead takes that does not simply go on: those that
    would cross have one of their own."""
    far = sorted(
        {
            (n, to)
            for n, step in enumerate(steps)
            for to, _ in step["leads"]
            if to != n + 1
        }
    )
    lanes: dict[tuple[int, int], int] = {}
    for edge in sorted(far, key=lambda each: abs(each[1] - each[0])):
        low, high = min(edge), max(edge)
        taken = {
            lane
            for (a, b), lane in lanes.items()
            if min(a, b) < high and low < max(a, b)
        }
        lanes[edge] = next(lane for lane in range(len(far)) if lane not in taken)
    return lanes


def _x(steps: Sequence[Mapping[str, Any]], n: int) -> int:
    return LEFT + INDENT * (steps[n]["depth"] if n < len(steps) else 0)


def _edge(
    steps: Sequence[Mapping[str, Any]],
    n: int,
    to: int,
    lanes: Mapping[tuple[int, int], int],
) -> Markup:
    if to == n + 1:
        x, then = _x(steps, n) + 14, _x(steps, to) + 14
        down, up = n * ROW + 16 + BOX, to * ROW + 16
        path = f"M{x} {down}V{down + 6}H{then}V{up}"
    else:
        lane = LANES_AT + LANE * lanes[n, to]
        low = n * ROW + 16 + BOX // 2 + 6
        end = to * ROW + (16 + BOX // 2 - 6 if to < len(steps) else 29)
        right = LEFT + WIDE if to < len(steps) else LEFT + 60
        path = f"M{LEFT + WIDE} {low}H{lane}V{end}H{right}"
    return Markup('<path class="lead" d="{}" marker-end="url(#tip)"/>').format(path)


def _label(depth: int, n: int, label: str) -> Markup:
    x = LEFT + INDENT * depth + 24
    return Markup('<text x="{}" y="{}" class="small">{}</text>').format(
        x, n * ROW + 10, _short(label)
    )


def _box(step: Mapping[str, Any], n: int) -> Markup:
    x, y = LEFT + INDENT * step["depth"], n * ROW + 16
    wide = LEFT + WIDE - x
    box = Markup(
        '<rect class="box {kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>'
        '<text x="{tx}" y="{t1}" class="name">{id}</text><text x="{tx}" y="{t2}" class="small">{said}</text><title>{whole}</title>'
    ).format(
        kind=step["kind"],
        x=x,
        y=y,
        w=wide,
        h=BOX,
        tx=x + 12,
        t1=y + 19,
        t2=y + 36,
        id=_short(step["id"]),
        whole=step["id"],
        said=f"{step['people']:,} here"
        if step["people"]
        else step["kind"].replace("_", " "),
    )
    if step["href"]:
        return Markup('<a href="{}">{}</a>').format(step["href"], box)
    return Markup("<g>{}</g>").format(box)


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def bars(stretches: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """A bar for each stretch of time: what left, what caps put off, what they skipped,
    one above the other."""
    most = (
        max(
            (each["sent"] + each["deferred"] + each["skipped"] for each in stretches),
            default=0,
        )
        or 1
    )
    drawn = []
    for n, each in enumerate(stretches):
        y = TALL
        for what in ("sent", "deferred", "skipped"):
            high = each[what] * TALL / most
            y -= high
            if each[what]:
                drawn.append(
                    Markup(
                        '<rect class="{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"><title>{}: {:,} {}</title></rect>'
                    ).format(
                        what,
                        n * (BAR + GAP),
                        y,
                        BAR,
                        high,
                        each["start"][:10],
                        each[what],
                        what,
                    )
                )
    wide = max(1, len(stretches)) * (BAR + GAP)
    return Markup(
        '<svg class="bars" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{t}">{d}</svg>'
    ).format(w=wide, h=TALL + 1, t=title, d=Markup("").join(drawn))


def share(part: float, whole: float) -> Markup:
    """A bar that is filled by a share."""
    wide = 100 * part / whole if whole else 0
    return Markup(
        '<svg class="share" viewBox="0 0 100 8" width="100" height="8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="all" width="100" height="8" rx="2"/><rect class="sent" width="{:.1f}" height="8" rx="2"/></svg>'
    ).format(wide)


CHARTS: dict[str, Callable[..., Markup]] = {
    "chip": chip,
    "flow": flow,
    "bars": bars,
    "share": share,
}
