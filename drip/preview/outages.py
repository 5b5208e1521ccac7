"""What a downtime does to messages: two previews of the same people, one of them with a time in which nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from drip.preview.simulator import Outage
from drip.storage.reading.ledger import LedgerRow

Kind = Literal["late", "dropped", "merged", "instead"]
KINDS: tuple[Kind, ...] = ("late", "dropped", "merged", "instead")
# One message: campaign, step, contact, record, occurrence.
Key = tuple[str, str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of one message because of a downtime.

    `late`: it leaves after it. `dropped`: it does not leave, and `why` says the reason. `merged`: it does not leave, since
    a newer occurrence of the same schedule takes its place. `instead`: it leaves only because others did not.
    """

    kind: Kind
    campaign: str
    step: str
    contact: str
    record: str | None
    occurrence: str
    before: datetime | None
    after: datetime | None
    why: str | None
    place: str | None


def effects(
    before: Iterable[LedgerRow], after: Iterable[LedgerRow], outage: Outage
) -> list[Effect]:
    """What a downtime changes, in order of time. `before` is the ledger without it, `after` with it."""
    left, right = _sent(before), list(after)
    there, entered = (
        _sent(right),
        {_run(each) for each in right if each.outcome == "entered"},
    )
    refused = {
        _key(each): each
        for each in right
        if each.outcome in ("skipped", "held", "deferred") and each.step
    }
    ended = {_run(each): each for each in right if each.outcome == "exited"}
    found = list(_effects(left, there, entered, refused, ended, outage))
    return sorted(
        found,
        key=lambda each: (
            each.before or each.after or outage.start,
            each.contact,
            each.campaign,
        ),
    )


def _effects(
    left: dict[Key, LedgerRow],
    right: dict[Key, LedgerRow],
    entered: set[tuple[str, str, str | None, str]],
    refused: dict[Key, LedgerRow],
    ended: dict[tuple[str, str, str | None, str], LedgerRow],
    outage: Outage,
) -> Iterator[Effect]:
    for key, each in left.items():
        later = right.get(key)
        if later is None:
            told = refused.get(key) or ended.get(_run(each))
            if _run(each) not in entered and each.at >= outage.start:
                yield _effect("merged", key, each, None, None)
            elif told:
                yield _effect("dropped", key, each, None, told)
        elif later.at != each.at:
            yield _effect("late", key, each, later, refused.get(key))
    for key, each in right.items():
        if key not in left:
            yield _effect("instead", key, None, each, None)


def _effect(
    kind: Kind,
    key: Key,
    before: LedgerRow | None,
    after: LedgerRow | None,
    told: LedgerRow | None,
) -> Effect:
    why = f"{told.code}: {told.sentence}" if told and told.code else None
    at_before, at_after = before.at if before else None, after.at if after else None
    return Effect(kind, *key, at_before, at_after, why, told.place if told else None)


def _sent(entries: Iterable[LedgerRow]) -> dict[Key, LedgerRow]:
    return {_key(each): each for each in entries if each.outcome == "sent"}


def _key(each: LedgerRow) -> Key:
    return each.campaign, each.step or "", each.contact, each.record, each.occurrence


def _run(each: LedgerRow) -> tuple[str, str, str | None, str]:
    return each.campaign, each.contact, each.record, each.occurrence
