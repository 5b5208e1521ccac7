"""Two previews of the same people under different files: who gains, loses, is moved or newly capped, and by which line."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from drip.errors import Place
from drip.storage.reading.ledger import LedgerRow

Kind = Literal["gained", "lost", "moved", "capped"]
KINDS: tuple[Kind, ...] = ("gained", "lost", "moved", "capped")
# One contact's way through one step of a campaign, whatever the occasion.
Way = tuple[str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one message. `cause` is the changed line that it comes from, as far as that can be told."""

    kind: Kind
    campaign: str
    step: str
    contact: str
    record: str | None
    before: datetime | None
    after: datetime | None
    why: str | None
    cause: Place | None


@dataclass(frozen=True, slots=True)
class ComparedFiles:
    """The texts of both sides, by name, and where each step of the new side stands: its first line and its last."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    steps: Mapping[tuple[str, str], tuple[int, int]]


def compare(
    before: Iterable[LedgerRow], after: Iterable[LedgerRow], files: ComparedFiles
) -> list[Change]:
    """Every message that becomes another one, in a stable order."""
    old, new = _Side(before), _Side(after)
    changed = {
        name: changed_lines(files.before.get(name, ""), text)
        for name, text in files.after.items()
    }
    changes: list[Change] = []
    for way in sorted(
        {*old.sent, *new.sent},
        key=lambda each: (each[0], each[1], each[2], each[3] or ""),
    ):
        changes += _of_way(way, old, new, files, changed)
    return changes


class _Side:
    """One preview, by way: when messages leave, what a cap held back, and what else was said."""

    def __init__(self, entries: Iterable[LedgerRow]) -> None:
        self.sent: dict[Way, dict[str, datetime]] = defaultdict(dict)
        self.capped: set[tuple[Way, str]] = set()
        self.refused: dict[tuple[Way, str], LedgerRow] = {}
        self.over: dict[tuple[str, str, str | None], LedgerRow] = {}
        for each in entries:
            if each.outcome == "exited":
                self.over[each.campaign, each.contact, each.record] = each
            if each.step is None:
                continue
            way = (each.campaign, each.step, each.contact, each.record)
            if each.outcome == "sent":
                self.sent[way][each.occurrence] = each.at
            elif each.outcome in ("skipped", "deferred", "held"):
                self.refused[way, each.occurrence] = each
                if each.code == "cap":
                    self.capped.add((way, each.occurrence))


def _of_way(
    way: Way,
    old: _Side,
    new: _Side,
    files: ComparedFiles,
    changed: Mapping[str, list[int]],
) -> list[Change]:
    before, after = dict(old.sent.get(way, {})), dict(new.sent.get(way, {}))
    pairs: list[tuple[str | None, str | None]] = []
    for occurrence in sorted({*before, *after}):
        if (
            occurrence in before
            and occurrence in after
            and before[occurrence] != after[occurrence]
        ):
            pairs.append((occurrence, occurrence))
    lost = sorted((o for o in before if o not in after), key=lambda o: before[o])
    gained = sorted((o for o in after if o not in before), key=lambda o: after[o])
    # What leaves one day and comes on another is one message that moved, unless a cap took it.
    taken = [o for o in lost if (way, o) in new.capped]
    rest = [o for o in lost if o not in taken]
    pairs += [(o, None) for o in taken]
    pairs += list(zip(rest, gained, strict=False))
    pairs += [(o, None) for o in rest[len(gained) :]] + [
        (None, o) for o in gained[len(rest) :]
    ]
    cause = cause_of(way, files, changed)
    return [
        _change(way, left, right, before, after, old, new, cause)
        for left, right in pairs
    ]


def _change(
    way: Way,
    left: str | None,
    right: str | None,
    before: Mapping[str, datetime],
    after: Mapping[str, datetime],
    old: _Side,
    new: _Side,
    cause: Place | None,
) -> Change:
    campaign, step, contact, record = way
    named = right or left or ""
    capped = (way, named) in new.capped and (way, named) not in old.capped
    kind: Kind = (
        "capped"
        if capped
        else "moved"
        if left and right
        else "lost"
        if left
        else "gained"
    )
    said = new.refused.get((way, named)) or (
        new.over.get((campaign, contact, record)) if right is None else None
    )
    why = f"{said.code}: {said.sentence}" if said and said.code else None
    at_before = before[left] if left else None
    at_after = after[right] if right else None
    return Change(
        kind, campaign, step, contact, record, at_before, at_after, why, cause
    )


def changed_lines(before: str, after: str) -> list[int]:
    """The lines of `after` that `before` has not, counted from 1; where lines went, the one that follows."""
    left, right = before.splitlines(), after.splitlines()
    found: set[int] = set()
    for tag, _, _, first, end in difflib.SequenceMatcher(
        None, left, right, autojunk=False
    ).get_opcodes():
        if tag == "delete":
            found.add(min(first, max(len(right) - 1, 0)))
        elif tag != "equal":
            found.update(
                n
                for n in range(first, end)
                if right[n].strip() and not right[n].lstrip().startswith("#")
            )
    return sorted(n + 1 for n in found)


def cause_of(
    way: Way, files: ComparedFiles, changed: Mapping[str, list[int]]
) -> Place | None:
    """The changed line within the step; else one above it in the campaign; else in the settings; else elsewhere."""
    campaign, step = way[0], way[1]
    own = f"campaigns/{campaign}.yaml"
    lines = changed.get(own, [])
    first, last = files.steps.get((campaign, step), (0, 0))
    inside = [line for line in lines if first <= line <= last]
    above = [line for line in lines if line < first]
    for found in (inside[:1], above[-1:], lines[:1]):
        if found:
            return Place(own, found[0])
    others = sorted(name for name, theirs in changed.items() if theirs)
    for name in sorted(others, key=lambda each: not each.endswith("_settings.yaml")):
        return Place(name, changed[name][0])
    return None


def grouped(changes: Sequence[Change]) -> dict[tuple[str, str, Kind], list[Change]]:
    """The changes by campaign, step and kind."""
    found: dict[tuple[str, str, Kind], list[Change]] = defaultdict(list)
    for each in changes:
        found[each.campaign, each.step, each.kind].append(each)
    return dict(
        sorted(
            found.items(),
            key=lambda item: (item[0][0], item[0][1], KINDS.index(item[0][2])),
        )
    )
