"""Counters, such as points, as an append-only ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select

from drip.storage.base.columns import to_ms
from drip.storage.base.schema import contacts, counter_entries, counters, events
from drip.storage.base.sql import (
    Prepared,
    one_row,
    typed_rows,
    upsert,
)
from drip.storage.people.change_marks import CHUNK
from drip.storage.people.events import Event

# Every database counts exactly up to here.
HIGHEST = 2**53


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
class Movement:
    """What is to be added to a contact's counter (None: sets it to zero).

    An event does it, or a run's step.
    """

    contact_id: int
    amount: int | None
    at: datetime
    event_id: int | None = None
    run_id: int | None = None
    step: str | None = None

    def after(self, before: int) -> int:
        """The balance that it leaves: no counter is ever in debt."""
        if self.amount is None:
            return 0
        return min(max(0, before + self.amount), HIGHEST)


class _Balance(NamedTuple):
    contact_id: int
    counter: str
    balance: int


class _CountedEvent(NamedTuple):
    event_id: int | None


class _CountedStep(NamedTuple):
    run_id: int | None
    step: str | None


class _NewestEntry(NamedTuple):
    id: int | None


_e = counter_entries.c
_ENTRIES = select(
    _e.id,
    _e.contact_id,
    _e.counter,
    (_e.balance - _e.amount).label("before"),
    _e.balance.label("after"),
    _e.at,
    _e.event_id,
)
# Appended and never changed: the sum of a counter's entries is its balance, at any time.
_COUNTED = Prepared(insert(counter_entries).inline())
_SET = upsert(counters, "balance")


def balances_of(
    connection: Connection, contact_ids: Collection[int]
) -> dict[int, dict[str, int]]:
    """Where the counters of these contacts stand."""
    own = select(counters).where(counters.c.contact_id.in_(contact_ids))
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for row in typed_rows(connection, own, into=_Balance):
        found[row.contact_id][row.counter] = row.balance
    return found


def move(
    connection: Connection, counter: str, movements: Sequence[Movement]
) -> list[CounterEntry]:
    """Moves a counter, one after the other, never below zero.

    What an event or step has moved already is left out. Needs the write lock, for the
    numbers.
    """
    made: list[CounterEntry] = []
    # Chunk by chunk, since each asks what was counted by as many values as it has.
    for start in range(0, len(movements), CHUNK):
        made += _move(connection, counter, movements[start : start + CHUNK])
    return made


def _move(
    connection: Connection, counter: str, movements: Sequence[Movement]
) -> list[CounterEntry]:
    fresh = _fresh(connection, counter, movements)
    if not fresh:
        return []
    balances = _balances(connection, counter, {move.contact_id for move in fresh})
    rows: list[tuple[Any, ...]] = []
    made: list[CounterEntry] = []
    for number, move in enumerate(fresh, newest_entry(connection) + 1):
        contact = move.contact_id
        before = balances[contact]
        after = balances[contact] = move.after(before)
        made.append(
            CounterEntry(
                number, contact, counter, before, after, move.at, move.event_id
            )
        )
        rows.append(_row(number, counter, move, after - before, after))
    _COUNTED.many(connection, rows)
    moved = [
        {
            "contact_id": contact,
            "counter": counter,
            "balance": balances[contact],
        }
        for contact in sorted(balances)
    ]
    connection.execute(_SET, moved)
    return made


def _row(
    number: int, counter: str, move: Movement, amount: int, balance: int
) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    at = to_ms(move.at)
    what = (number, move.contact_id, counter, amount, balance, at)
    return (
        *what,
        move.event_id,
        move.run_id,
        move.step,
    )


def _balances(
    connection: Connection, counter: str, contact_ids: Collection[int]
) -> dict[int, int]:
    """Where a counter of these contacts stands: of whom there is nothing, at 0."""
    whose = counters.c.contact_id.in_(contact_ids)
    stands = select(counters).where(counters.c.counter == counter, whose)
    found = typed_rows(connection, stands, into=_Balance)
    return dict.fromkeys(contact_ids, 0) | {
        row.contact_id: row.balance for row in found
    }


def _fresh(
    connection: Connection, counter: str, movements: Sequence[Movement]
) -> list[Movement]:
    """Those that have not been counted."""
    by_event = {move.event_id for move in movements if move.event_id is not None}
    by_run = {move.run_id for move in movements if move.run_id is not None}
    of_events = _e.event_id.in_(by_event)
    # The unique keys would refuse them too, but all of a chunk with them.
    counted = select(_e.event_id).where(_e.counter == counter, of_events)
    events_known = set(typed_rows(connection, counted, into=_CountedEvent))
    steps = select(_e.run_id, _e.step).where(_e.run_id.in_(by_run))
    steps_known = set(typed_rows(connection, steps, into=_CountedStep))
    return [
        move
        for move in movements
        if _CountedEvent(move.event_id) not in events_known
        and _CountedStep(move.run_id, move.step) not in steps_known
    ]


def entries_after(
    connection: Connection, counter: str, after: int, since: datetime
) -> list[CounterEntry]:
    """The movements of a counter after number `after`, and `since`, in order."""
    later = (
        _e.counter == counter,
        _e.id > after,
        _e.at > since,
    )
    in_order = _ENTRIES.where(*later).order_by(_e.id)
    return typed_rows(connection, in_order, into=CounterEntry)


def history(
    connection: Connection, contact_id: int, counter: str
) -> list[CounterEntry]:
    """Every movement of a contact's counter, in order."""
    own = (
        _e.contact_id == contact_id,
        _e.counter == counter,
    )
    in_order = _ENTRIES.where(*own).order_by(_e.id)
    return typed_rows(connection, in_order, into=CounterEntry)


def newest_entry(connection: Connection) -> int:
    """The number of the newest movement."""
    newest = select(func.max(_e.id).label("id"))
    return one_row(connection, newest, into=_NewestEntry).id or 0


def events_to_count(
    connection: Connection, names: Collection[str], after: int
) -> Sequence[Event]:
    """The events of these names after number `after`, in the order they came in."""
    # A rehearsal can hold events of people who are not in it.
    of_people = select(events).join(contacts, contacts.c.id == events.c.contact_id)
    new = of_people.where(
        events.c.name.in_(names),
        events.c.id > after,
    )
    return typed_rows(connection, new.order_by(events.c.id), into=Event)
