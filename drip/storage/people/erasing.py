"""Erasing a person (GDPR article 17): what remains is that something happened, and the keyed hash that nobody writes to again.

`erase` takes the person out of the tables. What lies in files, and in parts of the database's own files that nothing uses any
more, is cleared afterwards (`engine.clearing`); until then the person stands in `erasures`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import (
    Connection,
    Table,
    Text,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from drip.core.fields import ERASED
from drip.core.settings import CHANNELS
from drip.storage.base.schema import (
    consent_log,
    contacts,
    counters,
    coupons,
    dates,
    deliveries,
    events,
    in_state,
    judgements,
    messages,
    pauses,
    readings,
    reasons,
    records,
    runs,
    segment_members,
    suppressions,
    tags,
    tasks,
)
from drip.storage.base.schema_operating import (
    alarms,
    answered,
    daemons,
    data_mails,
    erasures,
    holds,
    links,
    rate_limits,
    refusals,
)
from drip.storage.base.schema_operating import webhook_outbox as notices_table
from drip.storage.base.sql import Folded
from drip.storage.operating import api_keys, webhook_outbox
from drip.storage.people import sign_ups
from drip.storage.people.people import (
    Contact,
    address_of,
    contacts_by_id,
    digest,
    suppress,
    suppression_key,
    touch,
)
from drip.storage.sending import outbox

REASON = "the person was erased"
# Sentences of the operator's: what a server answered stands in them, and it may have quoted an address.
_TOLD = (
    (alarms, "sentence"),
    (daemons, "trouble"),
    (holds, "reason"),
    (rate_limits, "reason"),
)
# All tables that have a person's words in them, or had.
PERSONAL = (
    contacts,
    records,
    dates,
    events,
    consent_log,
    suppressions,
    runs,
    messages,
    deliveries,
    reasons,
    judgements,
    tags,
    pauses,
    segment_members,
    counters,
    coupons,
    tasks,
    readings,
    links,
    notices_table,
    answered,
    refusals,
    alarms,
    daemons,
    holds,
    rate_limits,
    data_mails,
)


def erase(connection: Connection, contact_id: int, now: datetime) -> bool:
    """Whether there was such a person. Its runs end, its open tasks are dropped, its codes are good no more; the ledger keeps its
    lines, without words of the person's."""
    contact = contacts_by_id(connection, [contact_id]).get(contact_id)
    if contact is None or contact.erased_at is not None:
        return False
    _forget_links(connection, _forget_words(connection, contact))
    if contact.email:
        _forget_domain(connection, contact.id, contact.email.rpartition("@")[2].lower())
    for channel in CHANNELS:
        if address := address_of(contact, channel):
            suppress(connection, address, REASON, now)
    _empty(connection, contact, now)
    api_keys.forget_words(connection)
    return True


def erase_sign_ups(
    connection: Connection, contact_ids: Collection[int], now: datetime
) -> None:
    """Erases contacts of whom nothing is known but a sign-up; there can be thousands on one day. Their addresses stay open: the
    owner may sign up one day. One that is suppressed stays so, without the words of the answer that it was for."""
    for contact in contacts_by_id(connection, contact_ids).values():
        if contact.erased_at is None:
            _forget_words(connection, contact)
            _empty(connection, contact, now)
    if contact_ids:
        # Once for all of them: it looks at every answer of a day (50,000 take 0.1 s).
        api_keys.forget_words(connection)


def _empty(connection: Connection, contact: Contact, now: datetime) -> None:
    """What remains of a contact is that something happened; its runs end."""
    sign_ups.close(connection, contact.id)
    gone: dict[str, Any] = dict.fromkeys(
        ("email", "phone", "locale", "country", "timezone", "zone")
    )
    gone |= {"key": f"{ERASED}{contact.id}", "attributes": {}, "erased_at": now}
    connection.execute(update(contacts).where(contacts.c.id == contact.id).values(gone))
    _end(connection, contact.id, now)
    clear(connection, contact.id)
    connection.execute(insert(erasures).values(contact_id=contact.id, at=now))
    touch(connection, [contact.id])


def addresses_of(connection: Connection, contact: Contact) -> set[str]:
    """All addresses of a person, those among them that it had when it consented to something."""
    now = (address_of(contact, channel) for channel in CHANNELS)
    own = (
        select(consent_log.c.address)
        .where(consent_log.c.contact_id == contact.id)
        .distinct()
    )
    return {each for each in (*now, *connection.scalars(own)) if each}


def same_address(connection: Connection, contact: Contact) -> list[Contact]:
    """Other contacts with the same e-mail address, in whatever case: the same person under other keys, or a shared mailbox."""
    if contact.email is None:
        return []
    same = func.lower(contacts.c.email) == contact.email.lower()
    ids = select(contacts.c.id).where(same, contacts.c.id != contact.id)
    return list(contacts_by_id(connection, list(connection.scalars(ids))).values())


def _forget_words(connection: Connection, contact: Contact) -> set[str]:
    """Nothing that was said of a person's addresses stays; which these are."""
    addresses, key = addresses_of(connection, contact), suppression_key(connection)
    own = suppressions.c.digest.in_([digest(key, each) for each in addresses])
    connection.execute(update(suppressions).where(own).values(reason=REASON))
    # An error of a template can quote what it was given.
    failed = (
        messages.c.contact_id == contact.id,
        messages.c.code == "render-error",
        messages.c.sentence != "",
    )
    quotes = connection.scalars(select(messages.c.sentence).where(*failed).distinct())
    for each in (*addresses, *quotes):
        _strike(connection, str(each))
    return addresses


def _forget_links(connection: Connection, addresses: Collection[str]) -> None:
    """A link that two of an address' contacts had is nobody's alone: it is looked for among those of several."""
    quoted = {
        form.lower()
        for each in addresses
        for form in (each, quote(each), quote(each, ""), quote_plus(each))
    }
    if quoted:
        holds_one = or_(
            *(
                func.lower(links.c.address).contains(each, autoescape=True)
                for each in sorted(quoted)
            )
        )
        connection.execute(delete(links).where(links.c.contact_id.is_(None), holds_one))


def _forget_domain(connection: Connection, contact_id: int, domain: str) -> None:
    """A domain that nobody else has is the person's own. That of many stays: a pause that it asked for has to last."""
    at_it = func.lower(contacts.c.email).endswith(f"@{domain}", autoescape=True)
    others = select(contacts.c.id).where(at_it, contacts.c.id != contact_id).limit(1)
    if connection.execute(others).first() is None:
        connection.execute(delete(rate_limits).where(rate_limits.c.domain == domain))


def _strike(connection: Connection, words: str) -> None:
    """Takes words out of sentences that operators are told."""
    pattern = re.compile(re.escape(words), re.I)
    for table, name in _TOLD:
        told = (
            select(table.c[name])
            .where(Folded(table.c[name]).contains(words.casefold(), autoescape=True))
            .distinct()
        )
        for sentence in connection.scalars(told).all():
            without = pattern.sub("…", sentence)
            connection.execute(
                update(table).where(table.c[name] == sentence).values({name: without})
            )


def _end(connection: Connection, contact_id: int, now: datetime) -> None:
    """Nothing goes on for this contact."""
    own_runs = list(
        connection.scalars(select(runs.c.id).where(runs.c.contact_id == contact_id))
    )
    waiting = [
        each
        for each in outbox.of_runs(connection, own_runs)
        if each.state in ("deferred", "pending")
    ]
    for each in waiting:
        each.state, each.settled_at, each.code, each.sentence, each.place = (
            "skipped",
            now,
            "exited",
            REASON,
            "",
        )
    outbox.save_messages(connection, waiting)
    judged = [
        outbox.Judgement(each, now, "exited", REASON, "", None, None)
        for each in waiting
    ]
    outbox.save_judgements(connection, judged)
    ended = {
        "active": False,
        "wake": null(),
        "due_at": null(),
        "ended_at": now,
        "code": "exited",
        "sentence": REASON,
    }
    connection.execute(
        update(runs).where(runs.c.contact_id == contact_id, runs.c.active).values(ended)
    )
    own = (tasks.c.contact_id == contact_id, tasks.c.state == "open")
    connection.execute(update(tasks).where(*own).values(state="dropped", done_at=now))


def clear(connection: Connection, contact_id: int) -> None:
    """Takes out of all tables what stands there of a contact that was erased. Once more changes nothing: it is repeated when a
    message has ended that was on its way."""
    things = select(records.c.id).where(records.c.contact_id == contact_id)
    sent = select(messages.c.id).where(messages.c.contact_id == contact_id)
    connection.execute(delete(readings).where(readings.c.record_id.in_(things)))
    for table in (
        dates,
        tags,
        pauses,
        segment_members,
        counters,
        links,
        refusals,
        data_mails,
    ):
        connection.execute(delete(table).where(table.c.contact_id == contact_id))
    emptied: list[tuple[Table, str, dict[str, Any]]] = [
        (records, "key", {"attributes": {}}),
        (events, "key", {"fields": {}}),
        (coupons, "code", {}),
        # What a run is about can be named by an event's id.
        (runs, "occurrence", {"anchor": null(), "heard": null()}),
    ]
    for table, name, nothing in emptied:
        values = {name: _numbered(table), **nothing}
        connection.execute(
            update(table).where(table.c.contact_id == contact_id).values(values)
        )
    back = update(deliveries).where(deliveries.c.message_id.in_(sent))
    connection.execute(back.values(reason="", source=_numbered(deliveries)))
    for table in (runs, messages):
        said = (table.c.contact_id == contact_id, table.c.sentence.is_not(None))
        connection.execute(update(table).where(*said).values(sentence=REASON))
    words = {"address": null(), "proof": null(), "source": REASON}
    connection.execute(
        update(consent_log).where(consent_log.c.contact_id == contact_id).values(words)
    )
    work = {"title": REASON, "notes": null(), "outcome": null(), "due": null()}
    connection.execute(
        update(tasks).where(tasks.c.contact_id == contact_id).values(work)
    )
    _forget_reasons(connection, contact_id)
    webhook_outbox.hush(connection, contact_id)


def _numbered(table: Table) -> Any:
    """`erased-7` of the row with the number 7."""
    return literal(ERASED).concat(cast(table.c.id, Text))


def _forget_reasons(connection: Connection, contact_id: int) -> None:
    """The decisions about a contact keep their code and place. A sentence that was said of nobody else is gone.

    What filled a cap stays: it names campaigns alone.
    """
    own = judgements.c.message_id.in_(
        select(messages.c.id).where(messages.c.contact_id == contact_id)
    )
    personal = (reasons.c.filled_by.is_(None), reasons.c.sentence != REASON)
    said = connection.execute(
        select(reasons.c.id, reasons.c.code, reasons.c.place).where(
            reasons.c.id.in_(select(judgements.c.reason_id).where(own)), *personal
        )
    ).all()
    for number, code, place in said:
        plain = outbox.reason(connection, code, REASON, place)
        connection.execute(
            update(judgements)
            .where(own, judgements.c.reason_id == number)
            .values(reason_id=plain)
        )
    numbers = [row.id for row in said]
    if numbers:
        # One look at all decisions, whose reasons have no index.
        named = select(judgements.c.reason_id).where(
            judgements.c.reason_id.in_(numbers)
        )
        connection.execute(
            delete(reasons).where(reasons.c.id.in_(numbers), reasons.c.id.not_in(named))
        )


# --- what is cleared afterwards


@dataclass(frozen=True, slots=True)
class Outstanding:
    """An erased person of whom something may still lie somewhere. `waits`: a message of it is on its way."""

    contact_id: int
    at: datetime
    cleared_at: datetime | None
    waits: bool


def outstanding(connection: Connection) -> Sequence[Outstanding]:
    """All of them, the one erased first before the others."""
    on_its_way = exists().where(
        messages.c.contact_id == erasures.c.contact_id, in_state("sending")
    )
    columns = (erasures.c.contact_id, erasures.c.at, erasures.c.cleared_at, on_its_way)
    statement = select(*columns).order_by(erasures.c.at, erasures.c.contact_id)
    return [
        Outstanding(number, at, cleared, bool(waits))
        for number, at, cleared, waits in connection.execute(statement)
    ]


def runs_of(connection: Connection, contact_ids: Collection[int]) -> list[int]:
    """The numbers of these contacts' runs: messages that lie in files are named by them."""
    return list(
        connection.scalars(select(runs.c.id).where(runs.c.contact_id.in_(contact_ids)))
    )


def cleared(connection: Connection, contact_id: int, now: datetime) -> None:
    """No folder holds anything of this one any more."""
    connection.execute(
        update(erasures)
        .where(erasures.c.contact_id == contact_id)
        .values(cleared_at=now)
    )


def settled(connection: Connection, until: datetime) -> None:
    """Nothing is left of those who were cleared up to an instant."""
    connection.execute(delete(erasures).where(erasures.c.cleared_at <= until))
