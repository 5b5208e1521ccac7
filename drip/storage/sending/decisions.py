"""Every decision that was not Send, and the reasons for them, each of which is kept
once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import judgements, reasons
from drip.storage.base.sql import Prepared, texts_in
from drip.storage.sending.outbox import OutboxMessage

# What a reason is known by: sentence, place, code.
ReasonKey = tuple[str, str, str]


@dataclass(slots=True)
class Judgement:
    """A decision that was not Send. Without `until` the message is skipped.

    `message` has its id once the messages are stored. `filled_by` names the campaigns
    whose messages filled a cap, with commas.
    """

    message: OutboxMessage
    at: datetime
    code: str
    sentence: str
    place: str
    filled_by: str | None
    until: datetime | None

    @property
    def reason(self) -> ReasonKey:
        """What its reason is known by."""
        return self.sentence, self.place, self.code


_COLUMNS = ("message_id", "at", "reason_id", "until")
_JUDGED = Prepared(
    insert(judgements).values({name: bindparam(name) for name in _COLUMNS}).inline()
)
_INSERT_REASON = Prepared(insert(reasons).inline())
_NEWEST_REASON = select(func.max(reasons.c.id))
_REASONS = Prepared(
    select(
        reasons.c.id,
        reasons.c.sentence,
        reasons.c.place,
        reasons.c.code,
    ).where(reasons.c.sentence.in_(texts_in("sentences")))
)


def save_judgements(connection: Connection, made: Sequence[Judgement]) -> None:
    """Appends decisions; their messages are stored already.

    Needs the write lock, for the reasons' ids.
    """
    if not made:
        return
    numbers = _numbered(
        connection, {judgement.reason: judgement.filled_by for judgement in made}
    )
    rows = [
        (
            judgement.message.id,
            to_ms(judgement.at),
            numbers[judgement.reason],
            to_ms(judgement.until),
        )
        for judgement in made
    ]
    _JUDGED.many(connection, rows)


def reason(connection: Connection, code: str, sentence: str, place: str) -> int:
    """The number of a reason. Needs the write lock."""
    key = (sentence, place, code)
    return _numbered(connection, {key: None})[key]


def _numbered(
    connection: Connection, wanted: Mapping[ReasonKey, str | None]
) -> dict[ReasonKey, int]:
    """The numbers of reasons.

    Those that are new are stored, with what filled the cap.
    """
    known = _known(connection, {sentence for sentence, _, _ in wanted})
    # A blast has a handful of reasons for a million people.
    missing = [key for key in wanted if key not in known]
    if not missing:
        return known
    return known | _store_reasons(connection, missing, wanted)


def _store_reasons(
    connection: Connection,
    missing: Iterable[ReasonKey],
    wanted: Mapping[ReasonKey, str | None],
) -> dict[ReasonKey, int]:
    newest = connection.execute(_NEWEST_REASON).scalar() or 0
    fresh = {
        key: number
        for number, key in enumerate(
            missing,
            newest + 1,
        )
    }
    rows = [
        (number, code, sentence, place, wanted[sentence, place, code])
        for (sentence, place, code), number in fresh.items()
    ]
    _INSERT_REASON.many(connection, rows)
    return fresh


def _known(connection: Connection, sentences: Collection[str]) -> dict[ReasonKey, int]:
    listed = json.dumps(sorted(sentences))
    rows = _REASONS.rows(connection, sentences=listed)
    return {(sentence, place, code): number for number, sentence, place, code in rows}


def prune(connection: Connection, before: datetime) -> int:
    """Forgets decisions from before an instant; how many.

    The reasons that nothing names any more go with them.
    """
    old = delete(judgements).where(judgements.c.at < before)
    gone = connection.execute(old).rowcount
    if gone:
        named = select(judgements.c.reason_id)
        connection.execute(delete(reasons).where(reasons.c.id.not_in(named)))
    return gone
