"""Counters, such as points, as an append-only ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
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

_entry = counter_entries.c
_event = events.c

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


class CountedStep(NamedTuple):
    """A step that has moved a counter."""

    run_id: int | None
    step: str | None


class _NewestEntry(NamedTuple):
    id: int | None


_ENTRIES = select(
    _entry.id,
    _entry.contact_id,
    _entry.counter,
    (_entry.balance - _entry.amount).label("before"),
    _entry.balance.label("after"),
    _entry.at,
    _entry.event_id,
)
# Appended and never changed: the sum of a counter's entries is its balance, at any
# time.
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
    connection: Connection,
    counter: str,
    movements: Sequence[Movement],
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
    connection: Connection,
    counter: str,
    movements: Sequence[Movement],
) -> list[CounterEntry]:
    fresh = _fresh(connection, counter, movements)
    if not fresh:
        return []
    balances = _balances(connection, counter, {move.contact_id for move in fresh})
    made = _entries(fresh, counter, newest_entry(connection) + 1, balances)
    rows = [_row(entry, move) for entry, move in zip(made, fresh, strict=True)]
    _COUNTED.many(connection, rows)
    balances |= {entry.contact_id: entry.after for entry in made}
    _set_balances(connection, counter, balances)
    return made


def _entries(
    fresh: Iterable[Movement],
    counter: str,
    first: int,
    balances: Mapping[int, int],
) -> list[CounterEntry]:
    """What these movements make of the balances, numbered from `first` on."""
    made: list[CounterEntry] = []
    # Several can be one contact's: each begins where the one before it ended.
    stands = dict(balances)
    for number, move in enumerate(fresh, first):
        entry = _entry_of(number, counter, move, stands[move.contact_id])
        stands[move.contact_id] = entry.after
        made.append(entry)
    return made


def _entry_of(number: int, counter: str, move: Movement, before: int) -> CounterEntry:
    return CounterEntry(
        number,
        move.contact_id,
        counter,
        before,
        move.after(before),
        move.at,
        move.event_id,
    )


def _set_balances(
    connection: Connection,
    counter: str,
    balances: Mapping[int, int],
) -> None:
    rows = [
        {
            "contact_id": contact,
            "counter": counter,
            "balance": balance,
        }
        for contact, balance in sorted(balances.items())
    ]
    connection.execute(_SET, rows)


def _row(entry: CounterEntry, move: Movement) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return (
        entry.id,
        entry.contact_id,
        entry.counter,
        entry.after - entry.before,
        entry.after,
        to_ms(entry.at),
        entry.event_id,
        move.run_id,
        move.step,
    )


def _balances(
    connection: Connection,
    counter: str,
    contact_ids: Collection[int],
) -> dict[int, int]:
    """Where a counter of these contacts stands: of whom there is nothing, at 0."""
    whose = counters.c.contact_id.in_(contact_ids)
    stands = select(counters).where(counters.c.counter == counter, whose)
    found = typed_rows(connection, stands, into=_Balance)
    return dict.fromkeys(contact_ids, 0) | {
        row.contact_id: row.balance for row in found
    }


def _fresh(
    connection: Connection,
    counter: str,
    movements: Sequence[Movement],
) -> list[Movement]:
    """Those that have not been counted.

    The unique keys would refuse the others too, but all of a chunk with them.
    """
    by_event = {move.event_id for move in movements if move.event_id is not None}
    by_run = {move.run_id for move in movements if move.run_id is not None}
    events_known = _counted_events(connection, counter, by_event)
    steps_known = counted_steps(connection, by_run)
    return [
        move
        for move in movements
        if _CountedEvent(move.event_id) not in events_known
        and CountedStep(move.run_id, move.step) not in steps_known
    ]


def _counted_events(
    connection: Connection,
    counter: str,
    event_ids: Collection[int],
) -> set[_CountedEvent]:
    counted = select(_entry.event_id).where(
        _entry.counter == counter,
        _entry.event_id.in_(event_ids),
    )
    return set(typed_rows(connection, counted, into=_CountedEvent))


def counted_steps(connection: Connection, run_ids: Collection[int]) -> set[CountedStep]:
    """The steps of these runs that have moved a counter already."""
    steps = select(_entry.run_id, _entry.step).where(_entry.run_id.in_(run_ids))
    return set(typed_rows(connection, steps, into=CountedStep))


def entries_after(
    connection: Connection,
    counter: str,
    after: int,
    since: datetime,
) -> list[CounterEntry]:
    """The movements of a counter after number `after`, and `since`, in order."""
    later = (
        _entry.counter == counter,
        _entry.id > after,
        _entry.at > since,
    )
    in_order = _ENTRIES.where(*later).order_by(_entry.id)
    return typed_rows(connection, in_order, into=CounterEntry)


def history(
    connection: Connection,
    contact_id: int,
    counter: str,
) -> list[CounterEntry]:
    """Every movement of a contact's counter, in order."""
    own = (
        _entry.contact_id == contact_id,
        _entry.counter == counter,
    )
    in_order = _ENTRIES.where(*own).order_by(_entry.id)
    return typed_rows(connection, in_order, into=CounterEntry)


def newest_entry(connection: Connection) -> int:
    """The number of the newest movement."""
    newest = select(func.max(_entry.id).label("id"))
    return one_row(connection, newest, into=_NewestEntry).id or 0


def events_to_count(
    connection: Connection,
    names: Collection[str],
    after: int,
) -> Sequence[Event]:
    """The events of these names after number `after`, in the order they came in."""
    # A rehearsal can hold events of people who are not in it.
    of_people = select(events).join(contacts, contacts.c.id == _event.contact_id)
    new = of_people.where(
        _event.name.in_(names),
        _event.id > after,
    )
    return typed_rows(connection, new.order_by(_event.id), into=Event)
