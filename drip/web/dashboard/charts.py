"""Pictures as SVG, drawn here: colours are attributes, since the pages allow no inline
styles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

# All in the picture's own pixels. From one step to the next below it.
ROW = 74
# A step's box, and where the first one stands.
BOX = 46
HALF = BOX // 2
WIDE = 380
LEFT = 16
RIGHT = LEFT + WIDE
TOP = 16
# Each arm further in.
INDENT = 26
# Where leads go around other steps, at the right.
LANE = 12
LANES_AT = RIGHT + 18
# Letters that fit into a box.
MOST_LETTERS = 46
# A bar's width, the room beside it, and the height of the highest.
BAR = 14
GAP = 4
TALL = 120
# What a bar is made of, from the bottom.
WHAT = ("sent", "deferred", "skipped")
# Steps as `flow` has them.
Steps = Sequence[Mapping[str, Any]]
# From which position to which one a lead goes, and with its label.
Edge = tuple[int, int]
Lead = tuple[Edge, str]
# Whatever is filled in is escaped.
CHIP = Markup(
    '<svg class="chip" width="10" height="10" aria-hidden="true">'
    '<rect width="10" height="10" rx="2" fill="{}"/></svg>'
)
SHARE = Markup(
    '<svg class="share" viewBox="0 0 100 8" width="100" height="8" '
    'preserveAspectRatio="none" aria-hidden="true">'
    '<rect class="all" width="100" height="8" rx="2"/>'
    '<rect class="sent" width="{:.1f}" height="8" rx="2"/></svg>'
)
FLOW = Markup(
    '<svg class="flow" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="group" '
    'aria-label="{title}">'
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto-start-reverse">'
    '<path d="M0 0 8 4 0 8z" class="tip"/></marker></defs>{parts}</svg>'
)
LEAD = Markup('<path class="lead" d="{}" marker-end="url(#tip)"/>')
LABEL = Markup('<text x="{}" y="{}" class="small">{}</text>')
BOXED = Markup(
    '<rect class="box {kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>'
    '<text x="{tx}" y="{t1}" class="name">{id}</text>'
    '<text x="{tx}" y="{t2}" class="small">{said}</text><title>{whole}</title>'
)
END = Markup(
    '<rect class="end" x="{}" y="{}" width="60" height="26" rx="13"/>'
    '<text x="{}" y="{}" class="small">end</text>'
)
BARS = Markup(
    '<svg class="bars" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
    'aria-label="{t}">{d}</svg>'
)
ONE_BAR = Markup(
    '<rect class="{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}">'
    "<title>{}: {:,} {}</title></rect>"
)


def chip(colour: str) -> Markup:
    """A small square of a campaign's colour."""
    return CHIP.format(colour)


def share(part: float, whole: float) -> Markup:
    """A bar that is filled by a share: `part` of `whole`, which may be 0."""
    return SHARE.format(100 * part / whole if whole else 0)


# --- the steps of a campaign


def flow(steps: Steps, title: str) -> Markup:
    """The steps of a campaign from top to bottom, arms further in; what leads elsewhere
    than on does so at the right.

    A step has `id`, `kind`, `depth`, `people`, `href` (may be None) and `leads`: pairs
    of a position and a label.
    """
    lanes = _lanes(steps)
    parts = [
        *(_edge(steps, edge, lanes) for edge, _ in _leads(steps)),
        *(
            _label(steps[to]["depth"], to, label)
            for (_, to), label in _leads(steps)
            if label and to < len(steps)
        ),
        *(_box(step, n) for n, step in enumerate(steps)),
        _end(len(steps)),
    ]
    most_lanes = max(lanes.values(), default=0) + 1
    return FLOW.format(
        w=LANES_AT + LANE * most_lanes + 20,
        h=len(steps) * ROW + 52,
        title=title,
        parts=Markup("").join(parts),
    )


def _leads(steps: Steps) -> Iterator[Lead]:
    """Each lead of a step with its label."""
    for n, step in enumerate(steps):
        for to, label in step["leads"]:
            yield (n, to), label


def _lanes(steps: Steps) -> dict[Edge, int]:
    """Which lane at the right each lead takes that does not simply go on: those that
    would cross have one of their own. Lane 0 is the innermost."""
    far = sorted({(n, to) for (n, to), _ in _leads(steps) if to != n + 1})
    lanes: dict[Edge, int] = {}
    # The shortest ones are the innermost.
    for edge in sorted(far, key=_length):
        taken = {lane for other, lane in lanes.items() if _overlap(edge, other)}
        lanes[edge] = next(lane for lane in range(len(far)) if lane not in taken)
    return lanes


def _length(edge: Edge) -> int:
    start, end = edge
    return abs(end - start)


def _overlap(one: Edge, other: Edge) -> bool:
    """Whether two leads would lie on one another in the same lane."""
    return min(other) < max(one) and min(one) < max(other)


def _edge(
    steps: Steps,
    edge: Edge,
    lanes: Mapping[Edge, int],
) -> Markup:
    """The line from a step to another one, with its arrow."""
    n, to = edge
    if to == n + 1:
        path = _down(_x(steps, n), _x(steps, to), n)
    else:
        path = _around(n, to, LANES_AT + LANE * lanes[edge], len(steps))
    return LEAD.format(path)


def _y(n: int) -> int:
    """The upper edge of a step's box."""
    return n * ROW + TOP


def _x(steps: Steps, n: int) -> int:
    """Where a lead meets a step's box, or the end."""
    depth = steps[n]["depth"] if n < len(steps) else 0
    return LEFT + INDENT * depth + 14


def _down(
    x: int,
    then: int,
    n: int,
) -> str:
    """From a step to the next one below it."""
    low = _y(n) + BOX
    return f"M{x} {low}V{low + 6}H{then}V{_y(n + 1)}"


def _around(
    n: int,
    to: int,
    lane: int,
    ends_at: int,
) -> str:
    """By a lane at the right, to another step or the end."""
    if to < ends_at:
        end = _y(to) + HALF - 6
        right = RIGHT
    else:
        end = _y(to) + 13
        right = LEFT + 60
    return f"M{RIGHT} {_y(n) + HALF + 6}H{lane}V{end}H{right}"


def _label(
    depth: int,
    n: int,
    label: str,
) -> Markup:
    x = LEFT + INDENT * depth + 24
    return LABEL.format(x, _y(n) - 6, _short(label))


def _box(step: Mapping[str, Any], n: int) -> Markup:
    """A step with its name, which leads to its message if it has one."""
    x = LEFT + INDENT * step["depth"]
    y = _y(n)
    box = BOXED.format(
        kind=step["kind"],
        x=x,
        y=y,
        w=RIGHT - x,
        h=BOX,
        tx=x + 12,
        t1=y + 19,
        t2=y + 36,
        id=_short(step["id"]),
        whole=step["id"],
        said=_people_at(step),
    )
    if step["href"]:
        return Markup('<a href="{}">{}</a>').format(step["href"], box)
    return Markup("<g>{}</g>").format(box)


def _people_at(step: Mapping[str, Any]) -> str:
    """How many there are; where there is nobody, what kind of step it is."""
    people: int = step["people"]
    kind: str = step["kind"]
    return f"{people:,} here" if people else kind.replace("_", " ")


def _end(n: int) -> Markup:
    y = _y(n)
    return END.format(LEFT, y, LEFT + 18, y + 17)


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


# --- stretches of time


def bars(stretches: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """A bar for each stretch of time: what left, what caps put off, what they skipped,
    one above the other. The highest bar is as high as the picture.

    A stretch has `start` (a date, ISO 8601) and the numbers `sent`, `deferred` and
    `skipped`.
    """
    most = max((_total(stretch) for stretch in stretches), default=0) or 1
    drawn = [
        bar for n, stretch in enumerate(stretches) for bar in _stack(stretch, n, most)
    ]
    return BARS.format(
        w=max(1, len(stretches)) * (BAR + GAP),
        h=TALL + 1,
        t=title,
        d=Markup("").join(drawn),
    )


def _total(stretch: Mapping[str, Any]) -> int:
    return sum(stretch[what] for what in WHAT)


def _stack(
    stretch: Mapping[str, Any],
    n: int,
    most: int,
) -> Iterator[Markup]:
    """The parts of the bar at place `n`, from the bottom; `most` fills the picture."""
    y: float = TALL
    for what in WHAT:
        high = stretch[what] * TALL / most
        y -= high
        if stretch[what]:
            day = stretch["start"][:10]
            count = stretch[what]
            yield ONE_BAR.format(what, n * (BAR + GAP), y, BAR, high, day, count, what)


CHARTS: dict[str, Callable[..., Markup]] = {
    "chip": chip,
    "flow": flow,
    "bars": bars,
    "share": share,
}
