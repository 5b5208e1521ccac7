"""Consents: what each contact said about topics, whether it holds, and the log behind it: when, how, with what proof."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.core.calendar import from_millis
from drip.storage.base.columns import to_ms
from drip.storage.base.schema import consent_log, consents
from drip.storage.base.sql import Prepared, listed_in, numbers
from drip.storage.operating import webhook_outbox
from drip.storage.people.people import (
    address_of,
    contacts_by_id,
    suppressed,
    touch,
    wake_runs,
)

_CONSENTS = Prepared(
    select(
        consents.c.contact_id,
        consents.c.topic,
        consents.c.channel,
        consents.c.given,
        consents.c.at,
    ).where(consents.c.contact_id.in_(listed_in("ids")))
)
_SAID = insert_or(consents).values(
    {column.name: bindparam(f"of_{column.name}") for column in consents.c}
)
_SAY = Prepared(
    _SAID.on_conflict_do_update(
        index_elements=["contact_id", "topic", "channel"],
        set_={"given": _SAID.excluded.given, "at": _SAID.excluded.at},
    )
)
_LOG = Prepared(
    insert(consent_log)
    .values(
        {
            column.name: bindparam(f"of_{column.name}")
            for column in consent_log.c
            if column.name != "id"
        }
    )
    .inline()
)


class Consent(NamedTuple):
    """A contact's word about a topic on a channel, given or taken back at an instant.

    `dated` is False for a bare "yes" of a file, of which nobody knows when it was said.
    """

    contact_id: int
    topic: str
    channel: str
    given: bool
    at: datetime
    dated: bool = True


def of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, list[Consent]]:
    """What these contacts said, by contact."""
    found: dict[int, list[Consent]] = defaultdict(list)
    for contact, topic, channel, given, at in _CONSENTS.rows(
        connection, ids=numbers(contact_ids)
    ):
        found[contact].append(
            Consent(contact, topic, channel, bool(given), from_millis(at))
        )
    return found


def record(
    connection: Connection,
    said: Sequence[Consent],
    source: str,
    addresses: Mapping[int, str | None],
    now: datetime,
    proof: Mapping[str, str] | None = None,
) -> int:
    """Appends to the log what is new and makes it hold; returns how many were new.

    A word older than the one known changes nothing, nor does an undated yes after a no: whoever has
    unsubscribed stays so when an old file is imported again.
    """
    known: dict[tuple[int, str, str], Consent] = {}
    for own in of_contacts(connection, {each.contact_id for each in said}).values():
        known |= {(each.contact_id, each.topic, each.channel): each for each in own}
    fresh: dict[tuple[int, str, str], Consent] = {}
    for each in said:
        place = (each.contact_id, each.topic, each.channel)
        before = fresh.get(place) or known.get(place)
        newer = (
            before is not None and before.given != each.given and before.at <= each.at
        )
        if before is None or (newer and (each.dated or not each.given)):
            fresh[place] = each
    if not fresh:
        return 0
    told = json.dumps(dict(proof)) if proof else None
    recorded = to_ms(now)
    words = [(*each[:4], to_ms(each.at)) for each in fresh.values()]
    _LOG.many(
        connection,
        [(*word, source, addresses.get(word[0]), recorded, told) for word in words],
    )
    _SAY.many(connection, words)
    _tell(connection, [each for each in fresh.values() if not each.given], source, now)
    touch(connection, {each.contact_id for each in fresh.values()})
    wake_runs(connection, [each.contact_id for each in fresh.values()])
    return len(fresh)


def _tell(
    connection: Connection, gone: Sequence[Consent], source: str, now: datetime
) -> None:
    """Other programs are told who said no."""
    if gone and "unsubscribed" in webhook_outbox.wanted(connection):
        known = contacts_by_id(connection, {each.contact_id for each in gone})
        told = [
            (
                each.contact_id,
                {
                    "contact": known[each.contact_id].key,
                    "topic": each.topic,
                    "channel": each.channel,
                    "source": source,
                },
            )
            for each in gone
        ]
        webhook_outbox.add(connection, "unsubscribed", told, now)


class Standing(NamedTuple):
    """What decides whether a contact may be written to about a topic, read again right before sending."""

    contact_id: int
    topic: str | None
    channel: str
    address: str | None
    zone: str | None
    given: bool | None
    suppressed: bool
    digest: str


def standings(connection: Connection, known: Sequence[Standing]) -> list[Standing]:
    """The same as they are at this moment."""
    ids = {each.contact_id for each in known}
    people = contacts_by_id(connection, ids)
    said = {
        row[:3]: bool(row[3]) for row in _CONSENTS.rows(connection, ids=numbers(ids))
    }
    closed = suppressed(connection, {each.digest for each in known})
    return [
        each._replace(
            address=address_of(people[each.contact_id], each.channel),
            zone=people[each.contact_id].zone,
            given=said.get((each.contact_id, each.topic, each.channel)),
            suppressed=each.digest in closed,
        )
        for each in known
    ]


@dataclass(frozen=True, slots=True)
class Word:
    """One line of the log. `source` is a file, a page or a campaign's step; `proof` what was kept of a confirmation."""

    topic: str
    channel: str
    given: bool
    at: datetime
    source: str
    address: str | None
    recorded_at: datetime
    proof: Mapping[str, str] | None


def log_of(connection: Connection, contact_id: int) -> Sequence[Word]:
    """A contact's whole log, oldest first."""
    log = consent_log.c
    columns = (
        log.topic,
        log.channel,
        log.given,
        log.at,
        log.source,
        log.address,
        log.recorded_at,
        log.proof,
    )
    statement = select(*columns).where(log.contact_id == contact_id).order_by(log.id)
    return [Word(*row) for row in connection.execute(statement)]


def latest(connection: Connection, contact_id: int) -> list[Word]:
    """The newest word about each topic and channel."""
    return list(
        {
            (each.topic, each.channel): each for each in log_of(connection, contact_id)
        }.values()
    )
