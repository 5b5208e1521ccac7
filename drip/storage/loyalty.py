"""Counters as an append-only ledger, and coupons: single-use codes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from drip.storage.people import touch
from drip.storage.schema import contacts, counter_entries, counters, coupons, events

# Every database counts exactly up to here.
HIGHEST = 2**53


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of a counter. `before` and `after` are its balance."""

    id: int
    contact_id: int
    counter: str
    before: int
    after: int
    at: datetime
    event_id: int | None


@dataclass(frozen=True, slots=True)
class Code:
    """A coupon's code as it was issued. `expires` is the last day on which it is good, None for ever."""

    coupon: str
    code: str
    contact_id: int | None
    run_id: int | None
    step: str | None
    issued_at: datetime | None
    expires: str | None
    redeemed_at: datetime | None


def balances_of(connection: Connection, contact_ids: Collection[int]) -> dict[int, dict[str, int]]:
    """Where the counters of these contacts stand."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for contact, counter, balance in connection.execute(select(counters).where(counters.c.contact_id.in_(contact_ids))):
        found[contact][counter] = balance
    return found


def move(
    connection: Connection, contact_id: int, counter: str, amount: int | None, at: datetime,
    *, event_id: int | None = None, run_id: int | None = None, step: str | None = None,
) -> Entry | None:  # fmt: skip
    """Adds to a counter (None: sets it to zero), never below zero. None if that event or step has counted already."""
    known = connection.execute(
        select(counters.c.balance).where(counters.c.contact_id == contact_id, counters.c.counter == counter)
    ).scalar()
    before = known or 0
    after = min(max(0, before + amount), HIGHEST) if amount is not None else 0
    row = {
        "contact_id": contact_id, "counter": counter, "amount": after - before, "balance": after, "at": at,
        "event_id": event_id, "run_id": run_id, "step": step,
    }  # fmt: skip
    statement = insert_or(counter_entries).values(row).on_conflict_do_nothing().returning(counter_entries.c.id)
    number = connection.execute(statement).scalar()
    if number is None:
        return None
    balance = insert_or(counters).values(contact_id=contact_id, counter=counter, balance=after)
    key = ["contact_id", "counter"]
    connection.execute(balance.on_conflict_do_update(index_elements=key, set_={"balance": after}))
    return Entry(number, contact_id, counter, before, after, at, event_id)


def entries_after(connection: Connection, counter: str, after: int, since: datetime) -> list[Entry]:
    """The movements of a counter after number `after` that happened after `since`, in order."""
    e = counter_entries.c
    columns = (e.id, e.contact_id, e.counter, e.balance - e.amount, e.balance, e.at, e.event_id)
    where = (e.counter == counter, e.id > after, e.at > since)
    return [Entry(*row) for row in connection.execute(select(*columns).where(*where).order_by(e.id))]


def history(connection: Connection, contact_id: int, counter: str) -> list[Entry]:
    """Every movement of a contact's counter, in order."""
    e = counter_entries.c
    columns = (e.id, e.contact_id, e.counter, e.balance - e.amount, e.balance, e.at, e.event_id)
    where = (e.contact_id == contact_id, e.counter == counter)
    return [Entry(*row) for row in connection.execute(select(*columns).where(*where).order_by(e.id))]


def newest_entry(connection: Connection) -> int:
    """The number of the newest movement."""
    return connection.execute(select(func.max(counter_entries.c.id))).scalar() or 0


def events_to_count(connection: Connection, names: Collection[str], after: int) -> Sequence[Any]:
    """The events of these names after number `after`, in the order in which they came in."""
    where = (events.c.name.in_(names), events.c.id > after)
    columns = (events.c.id, events.c.contact_id, events.c.name, events.c.at, events.c.fields)
    return connection.execute(select(*columns).where(*where).order_by(events.c.id)).all()


# --- coupons

_COLUMNS = (
    coupons.c.coupon, coupons.c.code, coupons.c.contact_id, coupons.c.run_id, coupons.c.step, coupons.c.issued_at,
    coupons.c.expires, coupons.c.redeemed_at,
)  # fmt: skip


def issue(
    connection: Connection, coupon: str, code: str | None, contact_id: int, run_id: int, step: str,
    issued_at: datetime, expires: str | None,
) -> Code | None:  # fmt: skip
    """The code of a run's step: the same one on every try. Without `code` one of the stock; None if that is empty."""
    mine = connection.execute(select(*_COLUMNS).where(coupons.c.run_id == run_id, coupons.c.step == step)).first()
    if mine:
        return Code(*mine)
    values = {
        "contact_id": contact_id, "run_id": run_id, "step": step, "issued_at": issued_at, "expires": expires,
    }  # fmt: skip
    if code is not None:
        connection.execute(insert(coupons).values(coupon=coupon, code=code, **values))
    else:
        stock = select(coupons.c.id).where(coupons.c.coupon == coupon, coupons.c.contact_id.is_(None))
        first = connection.execute(stock.order_by(coupons.c.id).limit(1)).scalar()
        if first is None:
            return None
        connection.execute(update(coupons).where(coupons.c.id == first).values(values))
    touch(connection, {contact_id})
    row = connection.execute(select(*_COLUMNS).where(coupons.c.run_id == run_id, coupons.c.step == step)).one()
    return Code(*row)


def codes_of_runs(connection: Connection, run_ids: Collection[int]) -> dict[int, list[Code]]:
    """The codes issued in these runs, in the order in which they were."""
    found: dict[int, list[Code]] = defaultdict(list)
    statement = select(*_COLUMNS).where(coupons.c.run_id.in_(run_ids)).order_by(coupons.c.issued_at, coupons.c.id)
    for row in connection.execute(statement):
        found[row.run_id].append(Code(*row))
    return found


def codes_of_contacts(connection: Connection, contact_ids: Collection[int]) -> dict[int, list[Code]]:
    """The codes that these contacts have."""
    found: dict[int, list[Code]] = defaultdict(list)
    statement = select(*_COLUMNS).where(coupons.c.contact_id.in_(contact_ids)).order_by(coupons.c.id)
    for row in connection.execute(statement):
        found[row.contact_id].append(Code(*row))
    return found


def add_codes(connection: Connection, coupon: str, codes: Iterable[str]) -> int:
    """Adds imported codes to the stock; how many were new."""
    before = connection.execute(select(func.count()).select_from(coupons)).scalar_one()
    rows = [{"coupon": coupon, "code": code} for code in codes]
    if rows:
        connection.execute(insert_or(coupons).on_conflict_do_nothing(), rows)
    return int(connection.execute(select(func.count()).select_from(coupons)).scalar_one() - before)


def code(connection: Connection, text: str) -> tuple[Code, str | None] | None:
    """A code, whatever its case, and the key of the contact who has it."""
    statement = select(*_COLUMNS, contacts.c.key).outerjoin(contacts, contacts.c.id == coupons.c.contact_id)
    row = connection.execute(statement.where(coupons.c.code.in_([text, text.upper()]))).first()
    return (Code(*row[:-1]), row[-1]) if row else None


def redeem(connection: Connection, text: str, now: datetime) -> bool:
    """Whether the code was still there to be redeemed; it is not any more."""
    where = (coupons.c.code == text, coupons.c.redeemed_at.is_(None))
    return connection.execute(update(coupons).where(*where).values(redeemed_at=now)).rowcount == 1


def coupon_counts(connection: Connection) -> dict[str, tuple[int, int, int]]:
    """For each coupon: how many codes are in stock, issued, redeemed."""
    issued = func.count(coupons.c.contact_id)
    columns = (coupons.c.coupon, func.count() - issued, issued, func.count(coupons.c.redeemed_at))
    rows = connection.execute(select(*columns).group_by(coupons.c.coupon).order_by(coupons.c.coupon))
    return {row[0]: (row[1], row[2], row[3]) for row in rows}
