"""The open connections of one server: how many there may be, and which one is closed
for a new one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from drip.core.clock import Stopwatch

# One address that keeps us waiting by so many, a share of all, makes room first, if all
# places are taken.
SHARE = 1 / 8
# Behind one address there can be a whole company, and a browser opens six.
LEAST_SHARE = 32
# Whoever has kept us waiting for less is spared where somebody has for longer. Where
# unfinished bodies have taken nearly all places, a visitor who has only just come would
# go before them; and many come at once where we stood still for a moment.
SPARED_S = 1.0
# Bodies of requests that are not answered yet, together.
BODIES_BYTES = 32 * 1024 * 1024
# Of one connection: a body has 2 MB at most, and others may wait behind it.
OWN_BODIES_BYTES = 4 * 1024 * 1024


class Phase(Enum):
    """What a connection waits for. Where the other side keeps us waiting, one is closed
    for a new one, in this order."""

    HEAD = "it has asked for nothing, or not to the end of the head"
    BODY = "the head is complete, the body is not"
    ANSWER = "it takes its answer slowly"
    OURS = "we have all of the request and write the answer"


class Connection(Protocol):
    """As a server's own connections are. `address` is the visitor's, empty where a
    trusted web server has not named one; it changes in the phase OURS alone."""

    address: str

    def cut(self) -> None:
        """Ends it at once."""


class _Waiting:
    """Connections that keep us waiting, and since when; in each phase the one that has
    done so for longest comes first."""

    def __init__(self) -> None:
        self._of: dict[Phase, dict[Connection, float]] = {
            phase: {} for phase in Phase if phase is not Phase.OURS
        }

    def move(
        self,
        connection: Connection,
        before: Phase,
        after: Phase,
        now: float,
    ) -> None:
        if before is not Phase.OURS:
            self._of[before].pop(connection, None)
        if after is not Phase.OURS:
            self._of[after][connection] = now

    def first(self, phase: Phase) -> Connection | None:
        return next(iter(self._of[phase]), None)

    def long(self, now: float) -> Connection | None:
        """The first one that has done so for long."""
        for connection, since in self._firsts():
            if now - since >= SPARED_S:
                return connection
        return None

    def longest(self) -> Connection | None:
        firsts = self._firsts()
        return min(firsts, key=lambda first: first[1])[0] if firsts else None

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def _firsts(self) -> list[tuple[Connection, float]]:
        return [next(iter(waiting.items())) for waiting in self._of.values() if waiting]


class _Counts:
    """How many there are of each name, counted one by one; and of which there are
    most."""

    def __init__(self) -> None:
        self._names: defaultdict[int, dict[str, None]] = defaultdict(dict)
        self.most = 0

    def change(
        self,
        name: str,
        before: int,
        after: int,
    ) -> None:
        self._names[before].pop(name, None)
        if after:
            self._names[after][name] = None
        self.most = max(self.most, after)
        while self.most and not self._names[self.most]:
            self.most -= 1

    def first(self) -> str | None:
        return next(iter(self._names[self.most]), None)


class Connections:
    """At most `most`. When there are so many one is closed for a new one; each step
    takes the same time however many there are. `passed_s` is a stopwatch."""

    def __init__(self, most: int, passed_s: Stopwatch) -> None:
        self._most = most
        self._passed_s = passed_s
        self._phases: dict[Connection, Phase] = {}
        self._waiting = _Waiting()
        self._from: defaultdict[str, _Waiting] = defaultdict(_Waiting)
        self._counts = _Counts()
        self._held: dict[Connection, int] = {}
        self._held_bytes = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._phases))

    def __len__(self) -> int:
        return len(self._phases)

    def is_stuck(self) -> bool:
        """Whether all places are taken, and by nobody who could be closed for a new
        one."""
        return len(self._phases) >= self._most and self._waiting.longest() is None

    def enter(self, connection: Connection) -> None:
        """It has a place; another connection is closed for it if there is none left. It
        cannot be closed for others itself before it has `move`d."""
        if len(self._phases) >= self._most and (leaves := self._next_to_go()):
            leaves.cut()
        self._phases[connection] = Phase.OURS

    def _next_to_go(self) -> Connection | None:
        now = self._passed_s()
        # Those of the address that keeps us waiting by most.
        most = self._from.get(self._counts.first() or "", self._waiting)
        too_many = max(self._most * SHARE, LEAST_SHARE)
        first = most if self._counts.most >= too_many else self._waiting
        return first.long(now) or most.longest()

    def move(self, connection: Connection, phase: Phase) -> None:
        """It waits for something else from here on."""
        before = self._phases.get(connection)
        if before is None or before is phase:
            return
        now = self._passed_s()
        self._phases[connection] = phase
        self._waiting.move(connection, before, phase, now)
        if connection.address:
            self._move_its_own(connection, before, phase, now)

    def _move_its_own(
        self,
        connection: Connection,
        before: Phase,
        after: Phase,
        now: float,
    ) -> None:
        """Among those of its address."""
        own = self._from[connection.address]
        count = len(own)
        own.move(connection, before, after, now)
        self._counts.change(connection.address, count, len(own))
        if not own:
            del self._from[connection.address]

    def leave(self, connection: Connection) -> None:
        """Its place is free. Nothing happens if it was already."""
        self.move(connection, Phase.OURS)
        if self._phases.pop(connection, None) is None:
            return
        self.let_go(connection)

    def hold(self, connection: Connection, count: int) -> None:
        """So many bytes more of its body are in memory. If that is too much of all, the
        connection whose body has been unfinished for longest is closed; if there is
        none, or it is too much of one, that one. Of one that was closed nothing counts
        any more."""
        if connection not in self._phases:
            return
        own = self._held[connection] = self._held.get(connection, 0) + count
        self._held_bytes += count
        if own > OWN_BODIES_BYTES:
            connection.cut()
        elif self._held_bytes > BODIES_BYTES:
            (self._waiting.first(Phase.BODY) or connection).cut()

    def let_go(self, connection: Connection) -> None:
        """Nothing of its body is in memory any more."""
        self._held_bytes -= self._held.pop(connection, 0)
