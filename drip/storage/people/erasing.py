"""Erasing a person (GDPR article 17).

What remains is that something happened, and the keyed hash that nobody writes to
again. `erase` takes the person out of the tables. What lies in files, and in parts of
the database's own files that nothing uses any more, is cleared afterwards
(`engine.clearing`); until then the person stands in `erasures`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from sqlalchemy import (
    Column,
    ColumnElement,
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

from drip.core.channels import CHANNELS
from drip.core.fields import ERASED
from drip.core.lifecycle import UNSENT, MessageState
from drip.storage.base.schema import (
    alarms,
    answered,
    audit,
    consent_log,
    contacts,
    counters,
    coupons,
    daemons,
    data_mails,
    dates,
    deliveries,
    erasures,
    events,
    holds,
    in_state,
    judgements,
    links,
    messages,
    pauses,
    rate_limits,
    readings,
    reasons,
    records,
    refusals,
    runs,
    segment_members,
    suppressions,
    tags,
    tasks,
)
from drip.storage.base.schema import webhook_outbox as notices_table
from drip.storage.base.sql import Folded, first_row, select_as, typed_rows
from drip.storage.operating import api_keys, webhook_outbox
from drip.storage.people import sign_ups
from drip.storage.people.change_marks import touch
from drip.storage.people.contacts import COLUMNS, Contact, address_of, contacts_by_id
from drip.storage.people.suppressions import digest, suppress, suppression_key
from drip.storage.sending import decisions, outbox

_contact = contacts.c

_erasure = erasures.c
_judgement = judgements.c
_message = messages.c
_reason = reasons.c
_run = runs.c

REASON = "the person was erased"
# Sentences for operators: what a server answered stands in them, and it may have quoted
# an address.
_QUOTING = (
    (alarms, "sentence"),
    (audit, "about"),
    (audit, "why"),
    (daemons, "trouble"),
    (holds, "reason"),
    (rate_limits, "reason"),
)
# Of a contact nothing stays in these.
EMPTIED = (
    dates,
    tags,
    pauses,
    segment_members,
    counters,
    links,
    refusals,
    data_mails,
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
    audit,
)


class _NamedReason(NamedTuple):
    id: int
    code: str
    place: str


def erase(connection: Connection, contact_id: int, now: datetime) -> bool:
    """Whether there was such a person.

    Its runs end, its open tasks are dropped, its codes are good no more; the ledger
    keeps its lines, without words of the person's.
    """
    contact = contacts_by_id(connection, [contact_id]).get(contact_id)
    if contact is None or contact.erased_at is not None:
        return False
    # Before the contact is emptied: afterwards nobody knows which addresses it had.
    _forget_links(connection, _forget_words(connection, contact))
    if contact.email:
        domain = contact.email.rpartition("@")[2].lower()
        _forget_domain(connection, contact.id, domain)
    # Suppressed for good: an old file that is imported again must not bring them back.
    for channel in CHANNELS:
        if address := address_of(contact, channel):
            suppress(connection, address, REASON, now)
    _empty(connection, contact, now)
    api_keys.forget_words(connection)
    return True


def erase_sign_ups(
    connection: Connection,
    contact_ids: Collection[int],
    now: datetime,
) -> None:
    """Erases contacts of whom nothing is known but a sign-up: thousands on some days.

    Their addresses stay open: the owner may sign up one day. One that is suppressed
    stays so, without the words of the answer that it was for.
    """
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
    nothing: dict[str, Any] = dict.fromkeys((*COLUMNS, "timezone", "zone"))
    nothing |= {
        "key": f"{ERASED}{contact.id}",
        "attributes": {},
        "erased_at": now,
    }
    own = update(contacts).where(_contact.id == contact.id)
    connection.execute(own.values(nothing))
    _end(connection, contact.id, now)
    clear(connection, contact.id)
    # In the same transaction: whoever dies now has it cleared by the next daemon.
    connection.execute(insert(erasures).values(contact_id=contact.id, at=now))
    touch(connection, [contact.id])


def addresses_of(connection: Connection, contact: Contact) -> set[str]:
    """All addresses of a person.

    Among them those that it had when it consented to something.
    """
    has = (address_of(contact, channel) for channel in CHANNELS)
    log = consent_log.c
    own = (
        log.contact_id == contact.id,
        log.address.is_not(None),
    )
    logged = select(log.address.label("address")).where(*own).distinct()
    had = typed_rows(connection, logged, into=str)
    return {address for address in (*has, *had) if address}


def same_address(connection: Connection, contact: Contact) -> list[Contact]:
    """Other contacts with the same e-mail address, in whatever case.

    They are the same person under other keys, or a shared mailbox.
    """
    if contact.email is None:
        return []
    same = func.lower(_contact.email) == contact.email.lower()
    others = select(_contact.id).where(same, _contact.id != contact.id)
    ids = typed_rows(connection, others, into=int)
    return list(contacts_by_id(connection, ids).values())


def _forget_words(connection: Connection, contact: Contact) -> set[str]:
    """Nothing that was said of a person's addresses stays; which these are."""
    addresses, key = addresses_of(connection, contact), suppression_key(connection)
    digests = [digest(key, address) for address in addresses]
    own = update(suppressions).where(suppressions.c.digest.in_(digests))
    connection.execute(own.values(reason=REASON))
    for words in (*addresses, *_quotes(connection, contact)):
        _strike(connection, words)
    _forget_orders(connection, contact)
    return addresses


class _OrderNaming(NamedTuple):
    id: int
    why: str | None


def _forget_orders(connection: Connection, contact: Contact) -> None:
    """That something was ordered about a person stays, and not why.

    The person's key does not stay in any other order's why either.
    """
    own = update(audit).where(audit.c.contact_id == contact.id)
    connection.execute(own.values(why=null()))
    for order in _orders_naming(connection, contact):
        without = without_names(order.why or "", contact.key, ())
        other = update(audit).where(audit.c.id == order.id)
        connection.execute(other.values(why=without))


def _orders_naming(connection: Connection, contact: Contact) -> list[_OrderNaming]:
    named = Folded(audit.c.why).contains(contact.key.casefold(), autoescape=True)
    naming = select(audit.c.id, audit.c.why).where(named)
    return typed_rows(connection, naming, into=_OrderNaming)


def without_names(text: str, key: str, addresses: Collection[str]) -> str:
    """A text in which a person is not named any more.

    Neither by an address nor, as a word of its own, by the key.
    """
    for address in addresses:
        text = re.sub(re.escape(address), "…", text, flags=re.I)
    return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "…", text, flags=re.I)


def _quotes(connection: Connection, contact: Contact) -> list[str]:
    """What errors of templates said: they can quote what they were given."""
    failed = (
        _message.contact_id == contact.id,
        _message.code == "render-error",
        _message.sentence != "",
    )
    sentence = _message.sentence.label("sentence")
    said = select(sentence).where(*failed).distinct()
    return typed_rows(connection, said, into=str)


def _forget_links(connection: Connection, addresses: Collection[str]) -> None:
    """A link that two of an address' contacts had is nobody's alone.

    It is looked for among those of several.
    """
    forms: set[str] = set()
    for address in addresses:
        forms |= _written_in_links(address)
    if forms:
        link = func.lower(links.c.address)
        holds = (link.contains(form, autoescape=True) for form in sorted(forms))
        of_several = links.c.contact_id.is_(None)
        connection.execute(delete(links).where(of_several, or_(*holds)))


def _written_in_links(address: str) -> set[str]:
    """How a link can have an address in it: RFC 3986 section 2.1, and forms' `+`."""
    forms = (
        address,
        quote(address),
        quote(address, ""),
        quote_plus(address),
    )
    return {form.lower() for form in forms}


def _forget_domain(connection: Connection, contact_id: int, domain: str) -> None:
    """A domain that nobody else has is the person's own.

    That of many stays: a pause that it asked for has to last.
    """
    at_it = func.lower(_contact.email).endswith(f"@{domain}", autoescape=True)
    others = select(_contact.id).where(at_it, _contact.id != contact_id).limit(1)
    if first_row(connection, others, into=int) is None:
        connection.execute(delete(rate_limits).where(rate_limits.c.domain == domain))


def _strike(connection: Connection, words: str) -> None:
    """Takes words out of sentences for operators."""
    # A server may write an address in other letters than it was given.
    pattern = re.compile(re.escape(words), re.I)
    for table, name in _QUOTING:
        column = table.c[name]
        for sentence in _quoting(connection, column, words):
            same = update(table).where(column == sentence)
            connection.execute(same.values({name: pattern.sub("…", sentence)}))


def _quoting(connection: Connection, column: Column[str], words: str) -> list[str]:
    quotes = Folded(column).contains(words.casefold(), autoescape=True)
    quoting = select(column.label("sentence")).where(quotes).distinct()
    return typed_rows(connection, quoting, into=str)


def _end(connection: Connection, contact_id: int, now: datetime) -> None:
    """Nothing goes on for this contact."""
    _skip_waiting(connection, contact_id, now)
    _end_runs(connection, contact_id, now)
    open_tasks = update(tasks).where(
        tasks.c.contact_id == contact_id,
        tasks.c.state == "open",
    )
    connection.execute(open_tasks.values(state="dropped", done_at=now))


def _end_runs(connection: Connection, contact_id: int, now: datetime) -> None:
    active = update(runs).where(
        _run.contact_id == contact_id,
        _run.active,
    )
    ended = active.values(
        active=False,
        wake=null(),
        due_at=null(),
        ended_at=now,
        code="exited",
        sentence=REASON,
    )
    connection.execute(ended)


def _skip_waiting(connection: Connection, contact_id: int, now: datetime) -> None:
    own = outbox.of_runs(connection, runs_of(connection, [contact_id]))
    # One that is being handed over is left alone: its daemon writes down how it ended.
    waiting = [message for message in own if message.state in UNSENT]
    for message in waiting:
        _skip(message, now)
    outbox.save_messages(connection, waiting)
    judged = [
        decisions.Judgement(message, now, "exited", REASON, "", None, None)
        for message in waiting
    ]
    decisions.save_judgements(connection, judged)


def _skip(message: outbox.OutboxMessage, now: datetime) -> None:
    message.state, message.settled_at = MessageState.SKIPPED, now
    message.code, message.sentence, message.place = "exited", REASON, ""


def clear(connection: Connection, contact_id: int) -> None:
    """Takes out of all tables what stands there of a contact that was erased.

    Once more changes nothing: it is repeated when a message has ended that was on its
    way.
    """
    things = select(records.c.id).where(records.c.contact_id == contact_id)
    connection.execute(delete(readings).where(readings.c.record_id.in_(things)))
    for table in EMPTIED:
        connection.execute(delete(table).where(table.c.contact_id == contact_id))
    _clear_names(connection, contact_id)
    _clear_sentences(connection, contact_id)
    _forget_reasons(connection, contact_id)
    webhook_outbox.hush(connection, contact_id)


def _clear_names(connection: Connection, contact_id: int) -> None:
    """What the business calls a person's things gives way to numbers."""
    emptied: tuple[tuple[Table, str, dict[str, Any]], ...] = (
        (records, "key", {"attributes": {}}),
        (events, "key", {"fields": {}}),
        (coupons, "code", {}),
        # What a run is about can be named by an event's id.
        (runs, "occurrence", {"anchor": null(), "heard": null()}),
    )
    # They stay unique by their numbers, so that the keys of the database hold.
    for table, name, nothing in emptied:
        cleared = {name: _numbered(table), **nothing}
        _clear_own(connection, table, contact_id, cleared)


_NO_CONSENT_WORDS = {
    "address": null(),
    "proof": null(),
    "source": REASON,
}
_NO_TASK_WORDS = {
    "title": REASON,
    "notes": null(),
    "outcome": null(),
    "due": null(),
}


def _clear_sentences(connection: Connection, contact_id: int) -> None:
    sent = select(_message.id).where(_message.contact_id == contact_id)
    came_back = update(deliveries).where(deliveries.c.message_id.in_(sent))
    connection.execute(came_back.values(reason="", source=_numbered(deliveries)))
    for table in (runs, messages):
        said = (
            table.c.contact_id == contact_id,
            table.c.sentence.is_not(None),
        )
        connection.execute(update(table).where(*said).values(sentence=REASON))
    _clear_own(connection, consent_log, contact_id, _NO_CONSENT_WORDS)
    _clear_own(connection, tasks, contact_id, _NO_TASK_WORDS)


def _clear_own(
    connection: Connection,
    table: Table,
    contact_id: int,
    nothing: Mapping[str, Any],
) -> None:
    own = update(table).where(table.c.contact_id == contact_id)
    connection.execute(own.values(nothing))


def _numbered(table: Table) -> ColumnElement[str]:
    """`erased-7` of the row with the number 7."""
    return literal(ERASED).concat(cast(table.c.id, Text))


def _forget_reasons(connection: Connection, contact_id: int) -> None:
    """The decisions about a contact keep their code and place.

    A sentence that was said of nobody else is gone. What filled a cap stays: it names
    campaigns alone.
    """
    of_contact = select(_message.id).where(_message.contact_id == contact_id)
    own = _judgement.message_id.in_(of_contact)
    found = _said_in(connection, own)
    for reason in found:
        plain = decisions.reason(connection, reason.code, REASON, reason.place)
        same = update(judgements).where(own, _judgement.reason_id == reason.id)
        connection.execute(same.values(reason_id=plain))
    if found:
        _drop_unnamed(connection, [reason.id for reason in found])


def _said_in(connection: Connection, own: ColumnElement[bool]) -> list[_NamedReason]:
    """The reasons of these decisions, but for those that are the same for everybody."""
    said = select_as(reasons, _NamedReason).where(
        _reason.id.in_(select(_judgement.reason_id).where(own)),
        _reason.filled_by.is_(None),
        _reason.sentence != REASON,
    )
    return typed_rows(connection, said, into=_NamedReason)


def _drop_unnamed(connection: Connection, reason_ids: Collection[int]) -> None:
    # One look at all decisions, whose reasons have no index.
    named = select(_judgement.reason_id).where(_judgement.reason_id.in_(reason_ids))
    unnamed = (
        _reason.id.in_(reason_ids),
        _reason.id.not_in(named),
    )
    connection.execute(delete(reasons).where(*unnamed))


# --- what is cleared afterwards


@dataclass(frozen=True, slots=True)
class Outstanding:
    """An erased person of whom something may still lie somewhere.

    `waits`: a message of it is on its way.
    """

    contact_id: int
    at: datetime
    cleared_at: datetime | None
    waits: bool


def outstanding(connection: Connection) -> Sequence[Outstanding]:
    """All of them, the one erased first before the others."""
    # What was being handed over has its words until it has ended.
    on_its_way = exists().where(
        _message.contact_id == _erasure.contact_id,
        in_state("sending"),
    )
    columns = (
        _erasure.contact_id,
        _erasure.at,
        _erasure.cleared_at,
    )
    all_of_them = select(*columns, on_its_way.label("waits"))
    in_order = all_of_them.order_by(_erasure.at, _erasure.contact_id)
    return typed_rows(connection, in_order, into=Outstanding)


def runs_of(connection: Connection, contact_ids: Collection[int]) -> list[int]:
    """The numbers of these contacts' runs.

    Messages that lie in files are named by them.
    """
    own = select(_run.id).where(_run.contact_id.in_(contact_ids))
    return typed_rows(connection, own, into=int)


def cleared(connection: Connection, contact_id: int, now: datetime) -> None:
    """No folder holds anything of this one any more."""
    own = update(erasures).where(_erasure.contact_id == contact_id)
    connection.execute(own.values(cleared_at=now))


def settled(connection: Connection, until: datetime) -> None:
    """Nothing is left of those who were cleared up to an instant."""
    connection.execute(delete(erasures).where(_erasure.cleared_at <= until))
