"""What a server's refusals are worth: one that takes nobody may mean us, and proves
nothing about a recipient."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from drip.core.answers import without_addresses
from drip.core.message import MOST_REFUSED
from drip.engine.dispatch_result import COSTLY, DispatchResult
from drip.engine.last_check import Ready
from drip.storage.people import contacts as contact_store
from drip.storage.people import suppressions
from drip.storage.people.contacts import address_of
from drip.storage.sending import relays

DEAD = "the address is dead"
REFUSES = (
    "check `user` and the password, and ask whoever runs the server whether this "
    "machine may send through it. Nobody was given up; one recipient at a time is "
    "tried, and what is still refused after three days waits for `drip release`"
)


@dataclass
class ServerTrust:
    """The server behind a channel in one delivery.

    `relay` is None where nobody has to get to know us: there every answer counts.
    """

    channel: str
    relay: str | None = None
    # Whether it has taken a recipient: what is ready says so, and the transport.
    accepts: bool = True
    # Whether the database knows that.
    known: bool = field(init=False)
    # Whether it has taken a recipient in this delivery.
    took: bool = False
    # What was heard before the server had taken anybody, as far as was known then.
    _unproven: set[int] = field(default_factory=set)
    # Whether the database may have refusals since it last took a message.
    _refusals: bool = True

    def __post_init__(self) -> None:
        self.known = self.accepts

    def heard(self, message_ids: Collection[int]) -> None:
        """How these ended was heard just now."""
        if not self.accepts:
            self._unproven.update(message_ids)

    def stored(self, message_ids: Collection[int]) -> None:
        """How these ended is in the database."""
        self._unproven.difference_update(message_ids)

    def sent(self, connection: Connection) -> None:
        """It takes messages, so that what it refuses is not about us."""
        if self.known and self._refusals:
            relays.sent(connection, self.channel)
            self._refusals = False

    def shown(self, connection: Connection, now: datetime) -> None:
        """It has just shown that it takes somebody.

        What it refused before that proves nothing, and is offered once more.
        """
        if self.relay is not None:
            relays.accepted(
                connection,
                self.channel,
                self.relay,
                now,
            )
        self.accepts = self.known = True

    def has_accepted(self, connection: Connection) -> bool:
        """Whether it has taken somebody, by what all who send together know."""
        if not self.accepts and self.relay is not None:
            self.accepts = relays.accepts(
                connection,
                self.channel,
                self.relay,
            )
            self.known = self.accepts
        return self.accepts

    def refused_in_row(
        self,
        connection: Connection,
        ready: Ready,
        answer: str,
        now: datetime,
    ) -> int:
        """How many recipients it has refused since it last took a message.

        They are different ones, and this one is among them.
        """
        self._refusals = True
        return relays.refused(
            connection,
            self.channel,
            ready.id,
            ready.contact.id,
            answer,
            now,
        )

    def proves_nothing(
        self,
        connection: Connection,
        ready: Ready,
        answer: str,
        now: datetime,
    ) -> bool:
        """Whether a refusal may be about us.

        The server had taken nobody when it was heard; or it has refused so many in a
        row that this is so again, and nobody of these is given up.
        """
        # With several connections an answer may be stored after the server has taken
        # somebody, though it was given before.
        if ready.id in self._unproven:
            return True
        if self.relay is None:
            return False
        in_row = self.refused_in_row(
            connection,
            ready,
            answer,
            now,
        )
        if in_row < MOST_REFUSED:
            return False
        # From here on it has to show anew that it takes anybody.
        self.accepts = self.known = False
        self._take_back(connection)
        return True

    def _take_back(self, connection: Connection) -> None:
        """Those whom it refused since it last took somebody are no dead addresses."""
        refused = relays.doubt(connection, self.channel)
        contacts = contact_store.contacts_by_id(connection, refused)
        for contact in contacts.values():
            if address := address_of(contact, self.channel):
                suppressions.take_back(connection, address, DEAD)

    def doubt(
        self,
        connection: Connection,
        ready: Ready,
        answer: str,
        now: datetime,
        result: DispatchResult,
    ) -> None:
        """It has refused one more, and taken nobody: too many, and it is about us."""
        count = self.refused_in_row(connection, ready, answer, now)
        # One refusal may well be about the recipient: a list has dead addresses.
        if count < MOST_REFUSED:
            return
        result.stuck(self._about_us(count, answer), REFUSES, COSTLY)

    def _about_us(self, count: int, answer: str) -> str:
        # Servers repeat the address that they refuse; a log is no place for it.
        return (
            f"The mail server {self.relay} has refused {count} recipients and taken "
            f"nobody since, so this may be about us ({without_addresses(answer)})."
        )
