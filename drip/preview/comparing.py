"""Two previews of the same people under different files: who gains, loses, is moved or
newly capped, and by which line."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Literal

from drip.errors import Place
from drip.storage.reading.ledger import LedgerRow

Kind = Literal["gained", "lost", "moved", "capped"]
KINDS: tuple[Kind, ...] = ("gained", "lost", "moved", "capped")
# One contact's way through one step of a campaign, whatever the occasion: campaign,
# step, contact, record.
Way = tuple[str, str, str, str | None]
# An occurrence of the old side and the one of the new side that it has become.
Pair = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one message.

    `cause` is the changed line that it comes from, as far as that can be told.
    """

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
    """The texts of both sides, by name.

    `steps` says where each step of the new side stands: its first line and its last.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    steps: Mapping[tuple[str, str], tuple[int, int]]


def compare(
    before: Iterable[LedgerRow],
    after: Iterable[LedgerRow],
    files: ComparedFiles,
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
        key=_without_none,
    ):
        cause = cause_of(way, files, changed)
        changes += [
            _change(
                way,
                pair,
                old,
                new,
                cause,
            )
            for pair in _pairs(way, old, new)
        ]
    return changes


def _without_none(way: Way) -> tuple[str, ...]:
    # None and a text have no order.
    *others, record = way
    return (*others, record or "")


class _Side:
    """One preview, by way: when messages leave, what a cap held back, what else was
    said."""

    def __init__(self, rows: Iterable[LedgerRow]) -> None:
        self.sent: dict[Way, dict[str, datetime]] = defaultdict(dict)
        self.capped: set[tuple[Way, str]] = set()
        self.refused: dict[tuple[Way, str], LedgerRow] = {}
        self.over: dict[tuple[str, str, str | None], LedgerRow] = {}
        for row in rows:
            self._take(row)

    def _take(self, row: LedgerRow) -> None:
        if row.outcome == "exited":
            self.over[row.campaign, row.contact, row.record] = row
        if row.step is None:
            return
        way = (row.campaign, row.step, row.contact, row.record)
        if row.outcome == "sent":
            self.sent[way][row.occurrence] = row.at
        elif row.outcome in ("skipped", "deferred", "held"):
            self.refused[way, row.occurrence] = row
            if row.code == "cap":
                self.capped.add((way, row.occurrence))

    def leaves(self, way: Way, occurrence: str | None) -> datetime | None:
        """When the message of an occurrence leaves."""
        return self.sent[way][occurrence] if occurrence else None


def _pairs(way: Way, old: _Side, new: _Side) -> Iterator[Pair]:
    """What becomes of each occurrence that is not as it was."""
    before = old.sent.get(way, {})
    after = new.sent.get(way, {})
    for occurrence in sorted(before.keys() & after.keys()):
        if before[occurrence] != after[occurrence]:
            yield occurrence, occurrence
    lost = _missing(before, after)
    gained = _missing(after, before)
    # What leaves one day and comes on another is one message that moved, unless a cap
    # took it.
    for occurrence in lost:
        if (way, occurrence) in new.capped:
            yield occurrence, None
    moved = [occurrence for occurrence in lost if (way, occurrence) not in new.capped]
    yield from zip_longest(moved, gained)


def _missing(
    here: Mapping[str, datetime],
    there: Mapping[str, datetime],
) -> list[str]:
    """The occurrences of one side that the other has not, the earliest first."""
    return sorted((key for key in here if key not in there), key=here.__getitem__)


def _change(
    way: Way,
    pair: Pair,
    old: _Side,
    new: _Side,
    cause: Place | None,
) -> Change:
    left, right = pair
    campaign, _, contact, record = way
    key = (way, right or left or "")
    capped = key in new.capped and key not in old.capped
    reason = new.refused.get(key)
    if reason is None and right is None:
        # Nothing was said of the message itself: its run had ended before.
        reason = new.over.get((campaign, contact, record))
    return Change(
        "capped" if capped else _kind(pair),
        *way,
        before=old.leaves(way, left),
        after=new.leaves(way, right),
        why=why_of(reason),
        cause=cause,
    )


def why_of(row: LedgerRow | None) -> str | None:
    """A line's reason, with its code; None if it has none."""
    return f"{row.code}: {row.sentence}" if row and row.code else None


def _kind(pair: Pair) -> Kind:
    left, right = pair
    if left and right:
        return "moved"
    return "lost" if left else "gained"


def changed_lines(before: str, after: str) -> list[int]:
    """The lines of `after` that `before` has not, counted from 1.

    Where lines went, the one that follows.
    """
    left, right = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(
        None,
        left,
        right,
        # Else what occurs in one line of a hundred (`- wait: 1 day`) counts as junk in
        # files of 200 lines and more, and the wrong line is blamed.
        autojunk=False,
    )
    found: set[int] = set()
    for tag, _, _, first, end in matcher.get_opcodes():
        if tag == "delete":
            found.add(
                min(
                    first,
                    max(len(right) - 1, 0),
                )
            )
        elif tag != "equal":
            found.update(
                n
                for n in range(
                    first,
                    end,
                )
                if _says_something(right[n])
            )
    return sorted(n + 1 for n in found)


def _says_something(line: str) -> bool:
    plain = line.strip()
    return bool(plain) and not plain.startswith("#")


def cause_of(
    way: Way,
    files: ComparedFiles,
    changed: Mapping[str, list[int]],
) -> Place | None:
    """The changed line within the step; else one above it in the campaign.

    Else one below it; else one in the settings; else one elsewhere.
    """
    campaign, step, *_ = way
    own = f"campaigns/{campaign}.yaml"
    lines = changed.get(own)
    if not lines:
        return _elsewhere(changed)
    first, last = files.steps.get(
        (campaign, step),
        (0, 0),
    )
    return Place(
        own,
        _nearest(
            lines,
            first,
            last,
        ),
    )


def _nearest(lines: Sequence[int], first: int, last: int) -> int:
    inside = [line for line in lines if first <= line <= last]
    if inside:
        return inside[0]
    # The campaign's head (trigger, audience, caps) stands above its steps.
    above = [line for line in lines if line < first]
    return above[-1] if above else lines[0]


def _elsewhere(changed: Mapping[str, list[int]]) -> Place | None:
    files = _settings_first(changed)
    return Place(files[0], changed[files[0]][0]) if files else None


def _settings_first(changed: Mapping[str, list[int]]) -> list[str]:
    files = sorted(name for name, lines in changed.items() if lines)
    # The settings are everybody's, another campaign takes a slot at most.
    return sorted(files, key=lambda name: not name.endswith("_settings.yaml"))


def grouped(changes: Sequence[Change]) -> dict[tuple[str, str, Kind], list[Change]]:
    """The changes by campaign, step and kind."""
    found: dict[tuple[str, str, Kind], list[Change]] = defaultdict(list)
    for change in changes:
        found[change.campaign, change.step, change.kind].append(change)

    def order(key: tuple[str, str, Kind]) -> tuple[str, str, int]:
        campaign, step, kind = key
        return campaign, step, KINDS.index(kind)

    return {key: found[key] for key in sorted(found, key=order)}
