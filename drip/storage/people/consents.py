"""Consents: what each contact said about topics, and the log that proves it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, true
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import consent_log, consents
from drip.storage.base.sql import Prepared, listed_in, numbers, select_as, typed_rows
from drip.storage.operating import webhook_outbox
from drip.storage.people.change_marks import touch, wake_runs
from drip.storage.people.contacts import Contact, address_of, contacts_by_id
from drip.storage.people.suppressions import suppressed

_consent = consents.c


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

    @property
    def about(self) -> tuple[int, str, str]:
        """Whose word it is, and about what: only the newest one holds."""
        return self.contact_id, self.topic, self.channel


_OF_CONTACTS = Prepared(
    select(
        _consent.contact_id,
        _consent.topic,
        _consent.channel,
        _consent.given,
        _consent.at,
        true().label("dated"),
    ).where(_consent.contact_id.in_(listed_in("ids"))),
    into=Consent,
)
_SAID = insert_or(consents).values(
    {column.name: bindparam(f"of_{column.name}") for column in consents.c}
)
_SAY = Prepared(
    _SAID.on_conflict_do_update(
        index_elements=["contact_id", "topic", "channel"],
        set_={
            "given": _SAID.excluded.given,
            "at": _SAID.excluded.at,
        },
    )
)
_LOGGED: dict[str, BindParameter[Any]] = {
    column.name: bindparam(f"of_{column.name}")
    for column in consent_log.c
    if column.name != "id"
}
_LOG = Prepared(insert(consent_log).values(_LOGGED).inline())


def of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, list[Consent]]:
    """What these contacts said, by contact."""
    found: dict[int, list[Consent]] = defaultdict(list)
    for consent in _OF_CONTACTS.rows(connection, ids=numbers(contact_ids)):
        found[consent.contact_id].append(consent)
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

    A word older than the one known changes nothing, nor does an undated yes after a
    no: whoever has unsubscribed stays so when an old file is imported again.
    """
    fresh = _fresh(said, _known(connection, said))
    if not fresh:
        return 0
    words = [_word(consent) for consent in fresh]
    kept = (to_ms(now), json.dumps(dict(proof)) if proof else None)
    logged = [
        (*word, source, addresses.get(consent.contact_id), *kept)
        for word, consent in zip(words, fresh, strict=True)
    ]
    # The log is the proof (GDPR article 7 (1)), so it is written first: what holds must
    # never be without it.
    _LOG.many(connection, logged)
    _SAY.many(connection, words)
    _announce(connection, fresh, source, now)
    return len(fresh)


def _word(consent: Consent) -> tuple[Any, ...]:
    """In the order of the columns that `consents` and its log begin with."""
    return (
        *consent.about,
        consent.given,
        to_ms(consent.at),
    )


def _known(
    connection: Connection, said: Iterable[Consent]
) -> dict[tuple[int, str, str], Consent]:
    ids = numbers({consent.contact_id for consent in said})
    known = _OF_CONTACTS.rows(connection, ids=ids)
    return {consent.about: consent for consent in known}


def _fresh(
    said: Iterable[Consent], known: Mapping[tuple[int, str, str], Consent]
) -> Collection[Consent]:
    """The newest of what is said about each thing, as far as it changes anything."""
    fresh: dict[tuple[int, str, str], Consent] = {}
    for consent in said:
        # A file can say several things about the same: each counts against the last.
        before = fresh.get(consent.about) or known.get(consent.about)
        if before is None or _outdoes(consent, before):
            fresh[consent.about] = consent
    return fresh.values()


def _outdoes(consent: Consent, before: Consent) -> bool:
    # The same word once more is no news: it would fill the log at each import.
    newer = before.given != consent.given and before.at <= consent.at
    return newer and (consent.dated or not consent.given)


def _announce(
    connection: Connection,
    fresh: Collection[Consent],
    source: str,
    now: datetime,
) -> None:
    """The planner looks at these contacts again, and other programs hear who said
    no."""
    contact_ids = {consent.contact_id for consent in fresh}
    refused = [consent for consent in fresh if not consent.given]
    if refused and "unsubscribed" in webhook_outbox.wanted(connection):
        happened = _unsubscribed(connection, refused, source)
        webhook_outbox.add(connection, "unsubscribed", happened, now)
    touch(connection, contact_ids)
    wake_runs(connection, contact_ids)


def _unsubscribed(
    connection: Connection,
    refused: Sequence[Consent],
    source: str,
) -> list[tuple[int, dict[str, Any]]]:
    # By the key, which other programs know, and not by our number.
    ids = [consent.contact_id for consent in refused]
    known = contacts_by_id(connection, set(ids))
    payloads = [
        _payload(consent, known[consent.contact_id], source) for consent in refused
    ]
    return list(zip(ids, payloads, strict=True))


def _payload(consent: Consent, contact: Contact, source: str) -> dict[str, Any]:
    return {
        "contact": contact.key,
        "topic": consent.topic,
        "channel": consent.channel,
        "source": source,
    }


class Standing(NamedTuple):
    """What decides whether a contact may be written to about a topic.

    It is read again right before sending.
    """

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
    ids = {standing.contact_id for standing in known}
    people = contacts_by_id(connection, ids)
    said = _OF_CONTACTS.rows(connection, ids=numbers(ids))
    given = {consent.about: consent.given for consent in said}
    closed = suppressed(connection, {standing.digest for standing in known})
    return [
        _as_now(standing, people[standing.contact_id], given, closed)
        for standing in known
    ]


def _as_now(
    before: Standing,
    contact: Contact,
    given: Mapping[tuple[int, str, str], bool],
    closed: Container[str],
) -> Standing:
    about = (
        contact.id,
        before.topic or "",
        before.channel,
    )
    return before._replace(
        address=address_of(contact, before.channel),
        zone=contact.zone,
        given=given.get(about),
        suppressed=before.digest in closed,
    )


@dataclass(frozen=True, slots=True)
class Word:
    """One line of the log.

    `source` is a file, a page or a campaign's step; `proof` what was kept of a
    confirmation.
    """

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
    own = consent_log.c.contact_id == contact_id
    lines = select_as(consent_log, Word).where(own)
    return typed_rows(connection, lines.order_by(consent_log.c.id), into=Word)


def latest(connection: Connection, contact_id: int) -> list[Word]:
    """The newest word about each topic and channel."""
    log = log_of(connection, contact_id)
    return list({(word.topic, word.channel): word for word in log}.values())
