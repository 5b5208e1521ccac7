"""What one delivery did, and how long a channel is left alone of which nothing
leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from drip.core.lifecycle import Cause, MessageState, Outcome
from drip.core.shortage import Shortage

# A channel of which nothing leaves is left alone for so long, first and at most: where
# nobody answers; where somebody does and each try costs something (a server that
# refuses a login locks out who insists); where the other side wants less at once.
DOWN = (timedelta(seconds=10), timedelta(minutes=5))
COSTLY = (timedelta(minutes=1), timedelta(hours=1))
# A domain that wants less is left alone for half a minute first, half an hour at most.
CLOSED = (timedelta(seconds=30), timedelta(minutes=30))
_COUNTED = ("sent", "failed", "held", "unknown", "again", "given_back")


@dataclass
class DispatchResult:
    """What one call of `dispatch` did.

    `trouble` says what keeps messages from leaving, if anything does. `more`: it ended
    before everything was handed over, so that others get their turn. `again_at`: the
    next message may begin then, by a rate.
    """

    sent: int = 0
    failed: int = 0
    held: int = 0
    # Held, or to go again: nobody knows whether they left.
    unknown: int = 0
    again: int = 0
    given_back: int = 0
    more: bool = False
    again_at: datetime | None = None
    trouble: str | None = None
    help: str | None = None
    # The trouble is what this machine lacks, and no channel's.
    lacking: bool = False
    # The channel by which nothing leaves, and for how long it is left alone (first, and
    # at most).
    troubled: str = ""
    pause: tuple[timedelta, timedelta] = DOWN

    @property
    def moved(self) -> bool:
        """Whether anything has changed that the planner has to look at."""
        return bool(self.sent or self.failed or self.held or self.given_back)

    def count(self, outcome: Outcome) -> None:
        """One attempt more came to this."""
        if outcome.cause is Cause.OPEN:
            self.unknown += 1
        if outcome.state is MessageState.SENT:
            self.sent += 1
        elif outcome.state is MessageState.FAILED:
            self.failed += 1
        elif outcome.state is MessageState.HELD:
            self.held += 1
        elif outcome.state is MessageState.PENDING or outcome.maybe_left:
            self.again += 1
        else:
            self.given_back += 1

    def stuck(
        self,
        sentence: str,
        help: str,
        pause: tuple[timedelta, timedelta] = DOWN,
    ) -> None:
        """Nothing more leaves; what was said first counts."""
        if not self.trouble:
            self.trouble, self.help, self.pause = sentence, help, pause

    def lacks(self, lack: Shortage) -> None:
        """The machine lacks something; nobody is left alone for it."""
        self.trouble, self.help, self.lacking = lack.sentence, lack.help, True

    def wait_until(self, at: datetime) -> None:
        """There is something to do then; the earliest counts."""
        self.again_at = at if self.again_at is None else min(at, self.again_at)

    def add(self, other: DispatchResult) -> None:
        """Counts another round's together with this one's.

        Of two troubles the newest is the one that is reported.
        """
        for name in _COUNTED:
            setattr(
                self,
                name,
                getattr(self, name) + getattr(other, name),
            )
        self.more |= other.more
        if other.again_at is not None:
            self.wait_until(other.again_at)
        if other.trouble:
            self.trouble, self.help = other.trouble, other.help
            self.pause, self.lacking = other.pause, other.lacking
        self.troubled = other.troubled or self.troubled
