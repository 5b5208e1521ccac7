"""The open connections of one server: how many there may be, and which one is closed for a new one."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Protocol

# Of one address, when all places are taken: it makes room for itself from here on.
SHARE = 1 / 8
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
    """Connections that keep us waiting; in each phase the one that has done so for longest comes first."""

    def __init__(self) -> None:
        self._of: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase if phase is not Phase.OURS}

    def move(self, connection: Connection, before: Phase, after: Phase) -> None:
        if before is not Phase.OURS:
            self._of[before].pop(connection, None)
        if after is not Phase.OURS:
            self._of[after][connection] = None

    def first(self, *phases: Phase) -> Connection | None:
        return next((each for phase in phases or self._of for each in self._of[phase]), None)


class Connections:
    """At most `most`. When there are so many, `make_room` closes one; each step takes the same time however many there are."""

    def __init__(self, most: int) -> None:
        self._most = most
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
        return len(self._phases) >= self._most and self._waiting.first() is None

    def enter(self, connection: Connection) -> bool:
        """Whether it has a place; for it another connection is closed if there is none left. It cannot be closed for others
        before it has `move`d."""
        if len(self._phases) >= self._most and not self._make_room(connection.address):
            return False
        self._phases[connection] = Phase.OURS
        if connection.address:
            self._from.setdefault(connection.address, (set(), _Waiting()))[0].add(connection)
        return True

    def _make_room(self, address: str) -> bool:
        own, own_waiting = self._from.get(address, ((), self._waiting))
        leaves = (own_waiting if len(own) >= self._most * SHARE else self._waiting).first()
        if leaves:
            leaves.cut()
        return leaves is not None

    def move(self, connection: Connection, phase: Phase) -> None:
        """It waits for something else from here on."""
        before = self._phases.get(connection)
        if before is None or before is phase:
            return
        self._phases[connection] = phase
        self._waiting.move(connection, before, phase)
        if connection.address:
            self._from[connection.address][1].move(connection, before, phase)

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
