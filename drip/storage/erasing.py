"""Erasing a person (GDPR article 17): what remains is that something happened, and the keyed hash that nobody writes to again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, Text, cast, delete, literal, null, select, update

from drip.core.settings import CHANNELS
from drip.storage import outbox, sign_ups
from drip.storage.people import Contact, address_of, contacts_by_id, forget_reason, given_up, suppress, touch
from drip.storage.schema import (
    consent_log,
    contacts,
    dates,
    deliveries,
    events,
    messages,
    readings,
    records,
    runs,
    tags,
    tasks,
)
from drip.storage.schema_operating import data_mails, notices, refusals

REASON = "the person was erased"
# What the key of an erased contact begins with.
ERASED = "erased-"


def erase(connection: Connection, contact_id: int, now: datetime) -> bool:
    """Whether there was such a contact. Its runs end, its open tasks are dropped; the ledger keeps its lines, without words of
    the person's."""
    contact = contacts_by_id(connection, [contact_id]).get(contact_id)
    if contact is None:
        return False
    for channel in CHANNELS:
        if address := address_of(contact, channel):
            forget_reason(connection, address)
            suppress(connection, address, REASON, now)
    _empty(connection, contact, now)
    return True


def erase_sign_up(connection: Connection, contact_id: int, now: datetime) -> None:
    """Erases a contact of whom nothing is known but a sign-up. The address stays open: its owner may sign up one day. One that
    is suppressed stays so, without the words of the answer that it was for."""
    for contact in contacts_by_id(connection, [contact_id]).values():
        for each in given_up(connection, contact):
            forget_reason(connection, each.address)
            suppress(connection, each.address, REASON, each.at)
        _empty(connection, contact, now)


def _empty(connection: Connection, contact: Contact, now: datetime) -> None:
    """What remains of a contact is that something happened; its runs end."""
    contact_id = contact.id
    sign_ups.close(connection, contact_id)
    for each in connection.execute(select(notices.c.id, notices.c.data)):
        if each.data.get("contact") == contact.key:
            connection.execute(delete(notices).where(notices.c.id == each.id))
    own = contacts.c.id == contact_id
    nothing = dict.fromkeys(("email", "phone", "locale", "country", "timezone", "zone"))
    connection.execute(update(contacts).where(own).values(key=f"{ERASED}{contact_id}", attributes={}, **nothing))
    things = select(records.c.id).where(records.c.contact_id == contact_id)
    for table, where in (
        (dates, dates.c.contact_id == contact_id),
        (tags, tags.c.contact_id == contact_id),
        (data_mails, data_mails.c.contact_id == contact_id),
        (readings, readings.c.record_id.in_(things)),
    ):
        connection.execute(delete(table).where(where))
    empty: list[tuple[Table, dict[str, Any]]] = [(records, {"attributes": {}}), (events, {"fields": {}})]
    for table, nothing_said in empty:
        numbered = literal(ERASED).concat(cast(table.c.id, Text))
        connection.execute(update(table).where(table.c.contact_id == contact_id).values(key=numbered, **nothing_said))
    connection.execute(
        update(consent_log).where(consent_log.c.contact_id == contact_id).values(address=null(), proof=null())
    )
    _still(connection, contact_id, now)
    touch(connection, [contact_id])


def _still(connection: Connection, contact_id: int, now: datetime) -> None:
    """Nothing goes on for this contact, and nothing that was said of it stays."""
    of_contact = messages.c.contact_id == contact_id
    own_runs = list(connection.scalars(select(runs.c.id).where(runs.c.contact_id == contact_id)))
    waiting = [each for each in outbox.of_runs(connection, own_runs) if each.state in ("deferred", "pending")]
    for each in waiting:
        each.state, each.settled_at, each.code, each.sentence, each.place = "skipped", now, "exited", REASON, ""
    outbox.save_messages(connection, waiting)
    judged = [outbox.Judgement(each, now, "exited", REASON, "", None, None) for each in waiting]
    outbox.save_judgements(connection, judged)
    connection.execute(update(messages).where(of_contact, messages.c.state != "skipped").values(sentence=null()))
    connection.execute(delete(refusals).where(refusals.c.contact_id == contact_id))
    sent = select(messages.c.id).where(of_contact)
    connection.execute(update(deliveries).where(deliveries.c.message_id.in_(sent)).values(reason=""))
    # What a run is about can be named by an event's id.
    occurrence = literal(ERASED).concat(cast(runs.c.id, Text))
    connection.execute(update(runs).where(runs.c.contact_id == contact_id).values(occurrence=occurrence))
    ended = {"active": False, "next_due_at": null(), "ended_at": now, "code": "exited", "sentence": REASON}
    connection.execute(update(runs).where(runs.c.contact_id == contact_id, runs.c.active).values(ended))
    own = tasks.c.contact_id == contact_id
    connection.execute(update(tasks).where(own, tasks.c.state == "open").values(state="dropped", done_at=now))
    connection.execute(update(tasks).where(own).values(title=REASON, notes=null(), outcome=null()))
