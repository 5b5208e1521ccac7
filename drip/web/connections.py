"""The open connections of one server: how many there may be, and which one is closed for a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Protocol

# Of one address, when all places are taken: from here on those of its own that kept us waiting go first.
SHARE = 1 / 8
# Whoever has kept us waiting for less is spared where somebody has for longer. Where unfinished bodies have taken nearly all places,
# a visitor who has only just come would go before them; and many come at once where we stood still for a moment.
SPARED_S = 1.0
# Bodies of requests that are not answered yet: together, and of one connection (a body has 2 MB at most, and others may wait
# behind it).
BODIES_BYTES, OWN_BODIES_BYTES = 32 * 1024 * 1024, 4 * 1024 * 1024


class Phase(Enum):
    """What a connection waits for. Where the other side keeps us waiting, one is closed for a new one, in this order."""

    HEAD = "it has asked for nothing, or not to the end of the head"
    BODY = "the head is complete, the body is not"
    ANSWER = "it takes its answer slowly"
    OURS = "we have all of the request and write the answer"


class Connection(Protocol):
    """As a server's own connections are. `address` is empty where a trusted web server connects."""

    address: str

    def cut(self) -> None:
        """Ends it at once."""


class _Waiting:
    """Connections that keep us waiting, and since when; in each phase the one that has done so for longest comes first."""

    def __init__(self) -> None:
        self._of: dict[Phase, dict[Connection, float]] = {phase: {} for phase in Phase if phase is not Phase.OURS}

    def move(self, connection: Connection, before: Phase, after: Phase, now: float) -> None:
        if before is not Phase.OURS:
            self._of[before].pop(connection, None)
        if after is not Phase.OURS:
            self._of[after][connection] = now

    def first(self, phase: Phase) -> Connection | None:
        return next(iter(self._of[phase]), None)

    def long(self, now: float) -> Connection | None:
        """The first one that has done so for long."""
        return next((each for each, since in self._firsts() if now - since >= SPARED_S), None)

    def longest(self) -> Connection | None:
        return min(self._firsts(), key=lambda each: each[1], default=(None, 0.0))[0]

    def _firsts(self) -> list[tuple[Connection, float]]:
        return [next(iter(each.items())) for each in self._of.values() if each]


class Connections:
    """At most `most`. When there are so many one is closed for a new one; each step takes the same time however many there are.
    `passed_s` is a stopwatch."""

    def __init__(self, most: int, passed_s: Callable[[], float]) -> None:
        self._most, self._passed_s = most, passed_s
        self._phases: dict[Connection, Phase] = {}
        self._waiting = _Waiting()
        self._from: dict[str, tuple[set[Connection], _Waiting]] = {}
        self._held: dict[Connection, int] = {}
        self._held_bytes = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._phases))

    def __len__(self) -> int:
        return len(self._phases)

    def is_stuck(self) -> bool:
        """Whether all places are taken, and by nobody who could be closed for a new one."""
        return len(self._phases) >= self._most and self._waiting.longest() is None

    def enter(self, connection: Connection) -> None:
        """It has a place; another connection is closed for it if there is none left. It cannot be closed for others itself
        before it has `move`d."""
        if len(self._phases) >= self._most and (leaves := self._next_to_go(connection.address)):
            leaves.cut()
        self._phases[connection] = Phase.OURS
        if connection.address:
            self._from.setdefault(connection.address, (set(), _Waiting()))[0].add(connection)

    def _next_to_go(self, address: str) -> Connection | None:
        own, own_waiting = self._from.get(address, ((), self._waiting))
        before = own_waiting if len(own) >= self._most * SHARE else self._waiting
        now = self._passed_s()
        return before.long(now) or self._waiting.long(now) or before.longest() or self._waiting.longest()

    def move(self, connection: Connection, phase: Phase) -> None:
        """It waits for something else from here on."""
        before = self._phases.get(connection)
        if before is None or before is phase:
            return
        now = self._passed_s()
        self._phases[connection] = phase
        self._waiting.move(connection, before, phase, now)
        if connection.address:
            self._from[connection.address][1].move(connection, before, phase, now)

    def leave(self, connection: Connection) -> None:
        """Its place is free. Nothing happens if it was already."""
        self.move(connection, Phase.OURS)
        if self._phases.pop(connection, None) is None:
            return
        self.let_go(connection)
        if connection.address:
            own, _ = self._from[connection.address]
            own.discard(connection)
            if not own:
                del self._from[connection.address]

    def hold(self, connection: Connection, count: int) -> None:
        """So many bytes more of its body are in memory. If that is too much of all, the connection whose body has been
        unfinished for longest is closed; if there is none, or it is too much of one, that one."""
        own = self._held[connection] = self._held.get(connection, 0) + count
        self._held_bytes += count
        if own > OWN_BODIES_BYTES:
            connection.cut()
        elif self._held_bytes > BODIES_BYTES:
            (self._waiting.first(Phase.BODY) or connection).cut()

    def let_go(self, connection: Connection) -> None:
        """Nothing of its body is in memory any more."""
        self._held_bytes -= self._held.pop(connection, 0)
