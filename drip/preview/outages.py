"""What a downtime does to messages: two previews of the same people, one of them with a
time in which nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from drip.preview.comparing import why_of
from drip.preview.simulator import Outage
from drip.storage.reading.ledger import LedgerRow

Kind = Literal["late", "dropped", "merged", "instead"]
KINDS: tuple[Kind, ...] = ("late", "dropped", "merged", "instead")
# One message: campaign, step, contact, record, occurrence.
MessageKey = tuple[str, str, str, str | None, str]
# One run: campaign, contact, record, occurrence.
RunKey = tuple[str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of one message because of a downtime.

    `late`: it leaves after it. `dropped`: it does not leave, and `why` says the reason.
    `merged`: it does not leave, since a newer occurrence of the same schedule takes its
    place. `instead`: it leaves only because others did not.
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


class _WithOutage:
    """The ledger with the downtime, by what is asked of it."""

    def __init__(self, rows: Iterable[LedgerRow]) -> None:
        self.sent: dict[MessageKey, LedgerRow] = {}
        self.entered: set[RunKey] = set()
        self._refused: dict[MessageKey, LedgerRow] = {}
        self._exited: dict[RunKey, LedgerRow] = {}
        for row in rows:
            match row.outcome:
                case "sent":
                    self.sent[_key(row)] = row
                case "entered":
                    self.entered.add(_run(row))
                case "exited":
                    self._exited[_run(row)] = row
                case "skipped" | "held" | "deferred" if row.step:
                    self._refused[_key(row)] = row

    def refusal(self, key: MessageKey) -> LedgerRow | None:
        """What was said of a message that did not leave, or not yet."""
        return self._refused.get(key)

    def reason(self, key: MessageKey, row: LedgerRow) -> LedgerRow | None:
        """The same, or why its run ended."""
        return self.refusal(key) or self._exited.get(_run(row))


def effects(
    before: Iterable[LedgerRow],
    after: Iterable[LedgerRow],
    outage: Outage,
) -> list[Effect]:
    """What a downtime changes, in order of time.

    `before` is the ledger without it, `after` with it.
    """
    sent_before = {_key(row): row for row in before if row.outcome == "sent"}
    found = _effects(
        sent_before,
        _WithOutage(after),
        outage,
    )

    def by_time(effect: Effect) -> tuple[datetime, str, str]:
        at = effect.before or effect.after or outage.start
        return at, effect.contact, effect.campaign

    return sorted(found, key=by_time)


def _effects(
    before: dict[MessageKey, LedgerRow],
    after: _WithOutage,
    outage: Outage,
) -> Iterator[Effect]:
    for key, row in before.items():
        later = after.sent.get(key)
        if later is None:
            yield from _gone(key, row, after, outage)
        elif later.at != row.at:
            yield _effect(
                "late",
                key,
                row,
                later,
                after.refusal(key),
            )
    for key, row in after.sent.items():
        if key not in before:
            yield _effect("instead", key, None, row, None)


def _gone(
    key: MessageKey,
    row: LedgerRow,
    after: _WithOutage,
    outage: Outage,
) -> Iterator[Effect]:
    """What became of a message that does not leave any more."""
    # A schedule that was missed several times is made up for once.
    merged = _run(row) not in after.entered and row.at >= outage.start
    reason = after.reason(key, row)
    if merged:
        yield _effect("merged", key, row, None, None)
    elif reason:
        yield _effect("dropped", key, row, None, reason)


def _effect(
    kind: Kind,
    key: MessageKey,
    before: LedgerRow | None,
    after: LedgerRow | None,
    reason: LedgerRow | None,
) -> Effect:
    return Effect(
        kind,
        *key,
        before=before.at if before else None,
        after=after.at if after else None,
        why=why_of(reason),
        place=reason.place if reason else None,
    )


def _key(row: LedgerRow) -> MessageKey:
    return row.campaign, row.step or "", row.contact, row.record, row.occurrence


def _run(row: LedgerRow) -> RunKey:
    return row.campaign, row.contact, row.record, row.occurrence
