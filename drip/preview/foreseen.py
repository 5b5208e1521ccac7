"""What the coming time holds: a simulation on a copy of the database, and its ledger, line by line or in sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from drip.core.message import Message
from drip.engine.book import Book
from drip.engine.dispatcher import Ready
from drip.errors import DripError
from drip.preview.simulator import Nowhere, Outage, rehearsal, simulate
from drip.storage import ledger, people, summary
from drip.storage.database import Database
from drip.storage.ledger import Entry
from drip.storage.summary import Summary
from drip.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The ledger that a simulation left, from `since` to `until`; of one contact or some campaigns if that was asked."""

    connection: Connection
    since: datetime
    until: datetime
    contact: str | None = None
    campaigns: tuple[str, ...] = ()

    def entries(self, contact: str | None = None) -> Iterator[Entry]:
        """Its lines, oldest first; with `contact`, that one's alone."""
        whose = contact or self.contact
        return ledger.entries(
            self.connection, since=self.since, until=self.until, contact=whose, campaigns=self.campaigns
        )

    def summary(self) -> Summary:
        """Everybody's lines in sums."""
        return summary.summary(self.connection, self.since, self.until, self.campaigns)

    def busiest(self, most: int) -> list[str]:
        """The contacts of whom most is to be told, in order of their keys."""
        return summary.busiest(self.connection, self.since, self.until, self.campaigns, most)


@contextmanager
def foreseen(
    workspace: Workspace,
    database: Database,
    now: datetime,
    until: datetime,
    contact: str | None = None,
    *,
    since: datetime | None = None,
    campaigns: tuple[str, ...] = (),
    outage: Outage | None = None,
    seen: Callable[[Ready, Message], None] = lambda ready, message: None,
    progress: Callable[[datetime], None] = lambda now: None,
) -> Iterator[Foreseen]:
    """What a simulation from `now` to `until` comes to. Raises DripError for an unknown contact."""
    contact_id = contact_number(database, contact) if contact else None
    if not Book(workspace.settings, dict(workspace.loaded.campaigns)).stands_alone():
        contact_id = None
    with rehearsal(database, now, contact_id) as copy:
        book = workspace.book(copy, now)
        transports = dict.fromkeys(workspace.settings.transports, Nowhere())
        simulate(copy, book, workspace.templates, transports, now, until, progress, outage, seen)
        with copy.read() as connection:
            yield Foreseen(connection, since or now, until, contact, campaigns)


def contact_number(database: Database, key: str) -> int:
    """The number of a contact. Raises DripError for an unknown key."""
    with database.read() as connection:
        found = people.contacts_by_key(connection, [key])
    if key not in found:
        raise DripError(f"There is no contact `{key}`.", help="`drip import contacts FILE` brings contacts in")
    return found[key].id
