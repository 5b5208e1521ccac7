"""What filling in one text may cost: steps, time, and the size of what a
template builds meanwhile.

The bound is on every operation, not on a list of dangerous ones. An operation
takes a constant time, or it is counted here by the size of what it takes and
makes; and none takes or makes more than a fixed size. So there are milliseconds
between two looks at the clock, and all that is alive at once has been counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from itertools import chain
from types import NoneType
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from markupsafe import Markup

from drip.core.calendar import Birthday

MOST_STEPS = 2_000_000
LONGEST_S = 2.0
# What a round of a loop, a call, a filter or a test counts, besides what it
# goes through.
USE = 20
# So many characters count as one step: printed (they may be escaped), made, or
# only looked at.
PRINTED, MADE, READ = 2, 10, 100
# A text of no more characters costs nothing beyond the use, or the step, by
# which it comes about.
SHORT = USE * MADE
# The clock is looked at after so many steps: 50 uses of the slowest filter take
# 3 ms.
BETWEEN_LOOKS = 50 * USE
# A message, and so any text that is put together for it.
MOST_CHARACTERS = 2_000_000
# What a filter or a method takes: some of them make a list of every letter.
MOST_FILTERED = 100_000
# What a method of a text looks for, or strips off: some look for all of it at
# every letter.
LONGEST_SOUGHT = 200
# Of a whole number.
MOST_BITS = 256
# Values in a list, those of the lists in it counted too.
MOST_VALUES = 100_000
MOST_NESTED = 20

TEXTS = frozenset((str, Markup))
# What may be printed besides texts, and is compared in no time to speak of.
SMALL = frozenset(
    (int, float, bool, NoneType, date, datetime, time_of_day, timedelta, Birthday)
)


class TooMuch(Exception):
    """A template that does not end, or makes more than a message holds."""


class Budget:
    """What is left for a text that is being filled in, from `with budget:` on;
    outside of that, nothing.

    Threads that share one take turns.
    """

    __slots__ = ("_ends", "_left", "_next_look", "_turn")

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._left = self._next_look = 0
        self._ends = 0.0

    def __enter__(self) -> None:
        self._turn.acquire()
        self._left, self._next_look = MOST_STEPS, MOST_STEPS - BETWEEN_LOOKS
        self._ends = time.monotonic() + LONGEST_S

    def __exit__(self, *_: object) -> None:
        self._left = self._next_look = 0
        self._turn.release()

    def spend(self, steps: int = USE) -> None:
        """Raises TooMuch when steps or time are used up."""
        self._left -= steps
        if self._left < self._next_look:
            self._look()

    def _look(self) -> None:
        """At the clock too, which costs more than counting."""
        if self._left < 0 or time.monotonic() > self._ends:
            most = f"{MOST_STEPS // USE:,} rounds of loops and uses of filters, or {LONGEST_S:g} seconds"
            raise TooMuch(f"it takes more than {most}")
        self._next_look = max(0, self._left - BETWEEN_LOOKS)


def not_too_long(
    length: int,
    most: int = MOST_CHARACTERS,
) -> None:
    """Raises TooMuch for a text of more characters than the limit."""
    if length > most:
        raise TooMuch(f"a text has more than {most:,} characters")


def is_collection(value: Any) -> bool:
    """Whether it is a list of values: also those that Jinja's filters make."""
    return isinstance(value, list | tuple | dict | range)


def size(value: Any) -> tuple[int, int]:
    """How many values and characters a collection holds, what is in it several
    times counted as often. Raises TooMuch past the limits, SecurityError for
    what is no plain data.
    """
    return _size(value, MOST_NESTED)


def _size(collection: Any, depth: int) -> tuple[int, int]:
    if isinstance(collection, range):
        _not_too_many(len(collection))
        return len(collection), 0
    if not is_collection(collection):
        name = type(collection).__name__
        raise SecurityError(f"a list holds texts, numbers and dates, and no {name}")
    if depth == 0:
        raise TooMuch(f"lists are nested more than {MOST_NESTED} deep")
    values = characters = 0
    for value in _members(collection):
        values += 1
        kind = type(value)
        if kind in TEXTS:
            characters += len(value)
        elif kind not in SMALL and not isinstance(value, Undefined):
            more_values, more_characters = _size(value, depth - 1)
            values += more_values
            characters += more_characters
        _not_too_many(values)
        not_too_long(characters)
    return values, characters


def _members(collection: Any) -> Iterable[Any]:
    """Keys and values of a dictionary, one after the other."""
    if isinstance(collection, dict):
        return chain.from_iterable(collection.items())
    members: Iterable[Any] = collection
    return members


def _not_too_many(values: int) -> None:
    if values > MOST_VALUES:
        raise TooMuch(f"a list has more than {MOST_VALUES:,} values")


def gathered(
    values: Iterator[Any],
    budget: Budget,
) -> list[Any]:
    """What an iterator gives, as a list; each of it is counted before the next
    is made.
    """
    made = []
    for value in values:
        budget.spend(1)
        made.append(value)
        _not_too_many(len(made))
    return made
