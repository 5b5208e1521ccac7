"""Counters as an append-only ledger, and coupons: single-use codes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import (
    contacts,
    counter_entries,
    counters,
    coupons,
    events,
)
from drip.storage.base.sql import Prepared

# Every database counts exactly up to here.
HIGHEST = 2**53
CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class CounterEntry:
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


def balances_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, dict[str, int]]:
    """Where the counters of these contacts stand."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    own = select(counters).where(counters.c.contact_id.in_(contact_ids))
    for contact, counter, balance in connection.execute(own).all():
        found[contact][counter] = balance
    return found


@dataclass(frozen=True, slots=True)
class Movement:
    """What is to be added to a contact's counter (None: sets it to zero), by an event or by a run's step."""

    contact_id: int
    amount: int | None
    at: datetime
    event_id: int | None = None
    run_id: int | None = None
    step: str | None = None


_COUNTED = Prepared(insert(counter_entries).inline())


def move(
    connection: Connection, counter: str, movements: Sequence[Movement]
) -> list[CounterEntry]:
    """Moves a counter, one after the other, never below zero. What an event or step has moved already is left out.

    Needs the write lock, for the numbers.
    """
    made: list[CounterEntry] = []
    for n in range(0, len(movements), CHUNK):
        made += _move(connection, counter, movements[n : n + CHUNK])
    return made


def _move(
    connection: Connection, counter: str, movements: Sequence[Movement]
) -> list[CounterEntry]:
    fresh = _fresh(connection, counter, movements)
    ids = {each.contact_id for each in fresh}
    stands = select(counters.c.contact_id, counters.c.balance).where(
        counters.c.counter == counter
    )
    balances = {
        row[0]: row[1]
        for row in connection.execute(stands.where(counters.c.contact_id.in_(ids)))
    }
    newest = newest_entry(connection)
    rows: list[tuple[Any, ...]] = []
    made: list[CounterEntry] = []
    for number, each in enumerate(fresh, newest + 1):
        before = balances.get(each.contact_id, 0)
        after = 0 if each.amount is None else min(max(0, before + each.amount), HIGHEST)
        balances[each.contact_id] = after
        made.append(
            CounterEntry(
                number, each.contact_id, counter, before, after, each.at, each.event_id
            )
        )
        rows.append(
            (
                number,
                each.contact_id,
                counter,
                after - before,
                after,
                to_ms(each.at),
                each.event_id,
                each.run_id,
                each.step,
            )
        )
    if not rows:
        return []
    _COUNTED.many(connection, rows)
    upsert = insert_or(counters)
    upsert = upsert.on_conflict_do_update(
        index_elements=["contact_id", "counter"],
        set_={"balance": upsert.excluded.balance},
    )
    moved = [
        {"contact_id": contact, "counter": counter, "balance": balances[contact]}
        for contact in sorted(ids)
    ]
    connection.execute(upsert, moved)
    return made


def _fresh(
    connection: Connection, counter: str, movements: Sequence[Movement]
) -> list[Movement]:
    """Those that have not been counted."""
    e = counter_entries.c
    by_event = {each.event_id for each in movements if each.event_id is not None}
    by_run = {each.run_id for each in movements if each.run_id is not None}
    events_known = set(
        connection.scalars(
            select(e.event_id).where(e.counter == counter, e.event_id.in_(by_event))
        )
    )
    steps_known = counted_steps(connection, by_run)
    return [
        each
        for each in movements
        if not (each.event_id is not None and each.event_id in events_known)
        and (each.run_id, each.step) not in steps_known
    ]


def counted_steps(
    connection: Connection, run_ids: Collection[int]
) -> set[tuple[int, str]]:
    """The steps of these runs that have moved a counter already."""
    e = counter_entries.c
    statement = select(e.run_id, e.step).where(e.run_id.in_(run_ids))
    return {(run, step) for run, step in connection.execute(statement)}


def entries_after(
    connection: Connection, counter: str, after: int, since: datetime
) -> list[CounterEntry]:
    """The movements of a counter after number `after` that happened after `since`, in order."""
    e = counter_entries.c
    columns = (
        e.id,
        e.contact_id,
        e.counter,
        e.balance - e.amount,
        e.balance,
        e.at,
        e.event_id,
    )
    where = (e.counter == counter, e.id > after, e.at > since)
    return [
        CounterEntry(*row)
        for row in connection.execute(select(*columns).where(*where).order_by(e.id))
    ]


def history(
    connection: Connection, contact_id: int, counter: str
) -> list[CounterEntry]:
    """Every movement of a contact's counter, in order."""
    e = counter_entries.c
    columns = (
        e.id,
        e.contact_id,
        e.counter,
        e.balance - e.amount,
        e.balance,
        e.at,
        e.event_id,
    )
    where = (e.contact_id == contact_id, e.counter == counter)
    return [
        CounterEntry(*row)
        for row in connection.execute(select(*columns).where(*where).order_by(e.id))
    ]


def newest_entry(connection: Connection) -> int:
    """The number of the newest movement."""
    return connection.execute(select(func.max(counter_entries.c.id))).scalar() or 0


def events_to_count(
    connection: Connection, names: Collection[str], after: int
) -> Sequence[Any]:
    """The events of these names after number `after`, in the order in which they came in."""
    where = (events.c.name.in_(names), events.c.id > after)
    columns = (
        events.c.id,
        events.c.contact_id,
        events.c.name,
        events.c.at,
        events.c.fields,
    )
    # A rehearsal can hold events of people who are not in it.
    of_people = select(*columns).join(contacts, contacts.c.id == events.c.contact_id)
    return connection.execute(of_people.where(*where).order_by(events.c.id)).all()


# --- coupons

_COLUMNS = (
    coupons.c.coupon,
    coupons.c.code,
    coupons.c.contact_id,
    coupons.c.run_id,
    coupons.c.step,
    coupons.c.issued_at,
    coupons.c.expires,
    coupons.c.redeemed_at,
)

_ISSUE = Prepared(
    insert(coupons)
    .values(
        {
            name: bindparam(name)
            for name in (
                "coupon",
                "code",
                "contact_id",
                "run_id",
                "step",
                "issued_at",
                "expires",
            )
        }
    )
    .inline()
)
_NEXT_IN_STOCK = Prepared(
    select(coupons.c.id, coupons.c.code)
    .where(coupons.c.coupon == bindparam("coupon"), coupons.c.contact_id.is_(None))
    .order_by(coupons.c.id)
    .limit(bindparam("most"))
)
_TAKE = Prepared(
    update(coupons)
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("contact_id", "run_id", "step", "issued_at", "expires")
        }
    )
    .where(coupons.c.id == bindparam("number"))
)


def issue(connection: Connection, issued: Collection[Code]) -> None:
    """Stores codes that were made for a run's step. Raises IntegrityError if a code or a step has one already."""
    _ISSUE.many(
        connection,
        [
            (
                c.coupon,
                c.code,
                c.contact_id,
                c.run_id,
                c.step,
                to_ms(c.issued_at),
                c.expires,
            )
            for c in issued
        ],
    )


class InStock(NamedTuple):
    """A code that nobody has yet, and its number in the table."""

    number: int
    code: str


def stock(connection: Connection, coupon: str, most: int) -> list[InStock]:
    """The next codes of a coupon's stock, in the order in which they are handed out."""
    rows = _NEXT_IN_STOCK.rows(connection, coupon=coupon, most=most)
    return [InStock(number, code) for number, code in rows]


def hand_out(connection: Connection, taken: Sequence[tuple[int, Code]]) -> None:
    """These codes of the stock, by their numbers in the table, are now of a run's step."""
    _TAKE.many(
        connection,
        [
            (c.contact_id, c.run_id, c.step, to_ms(c.issued_at), c.expires, number)
            for number, c in taken
        ],
    )


def codes_of_runs(
    connection: Connection, run_ids: Collection[int]
) -> dict[int, list[Code]]:
    """The codes issued in these runs, in the order in which they were."""
    found: dict[int, list[Code]] = defaultdict(list)
    statement = (
        select(*_COLUMNS)
        .where(coupons.c.run_id.in_(run_ids))
        .order_by(coupons.c.issued_at, coupons.c.id)
    )
    for row in connection.execute(statement).all():
        found[row.run_id].append(Code(*row))
    return found


def codes_of_contacts(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, list[Code]]:
    """The codes that these contacts have."""
    found: dict[int, list[Code]] = defaultdict(list)
    statement = (
        select(*_COLUMNS)
        .where(coupons.c.contact_id.in_(contact_ids))
        .order_by(coupons.c.id)
    )
    for row in connection.execute(statement).all():
        found[row.contact_id].append(Code(*row))
    return found


def add_codes(connection: Connection, coupon: str, codes: Iterable[str]) -> int:
    """Adds imported codes to the stock; how many were new."""
    before = connection.execute(select(func.count()).select_from(coupons)).scalar_one()
    rows = [{"coupon": coupon, "code": code} for code in codes]
    if rows:
        connection.execute(insert_or(coupons).on_conflict_do_nothing(), rows)
    return int(
        connection.execute(select(func.count()).select_from(coupons)).scalar_one()
        - before
    )


def code(connection: Connection, text: str) -> tuple[Code, str | None] | None:
    """A code, whatever its case, and the key of the contact who has it."""
    statement = select(*_COLUMNS, contacts.c.key).outerjoin(
        contacts, contacts.c.id == coupons.c.contact_id
    )
    row = connection.execute(
        statement.where(coupons.c.code.in_([text, text.upper()]))
    ).first()
    return (Code(*row[:-1]), row[-1]) if row else None


def redeem(connection: Connection, text: str, now: datetime) -> bool:
    """Whether the code was still there to be redeemed; it is not any more."""
    where = (coupons.c.code == text, coupons.c.redeemed_at.is_(None))
    return (
        connection.execute(
            update(coupons).where(*where).values(redeemed_at=now)
        ).rowcount
        == 1
    )


def coupon_counts(connection: Connection) -> dict[str, tuple[int, int, int]]:
    """For each coupon: how many codes are in stock, issued, redeemed."""
    issued = func.count(coupons.c.contact_id)
    columns = (
        coupons.c.coupon,
        func.count() - issued,
        issued,
        func.count(coupons.c.redeemed_at),
    )
    rows = connection.execute(
        select(*columns).group_by(coupons.c.coupon).order_by(coupons.c.coupon)
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}
