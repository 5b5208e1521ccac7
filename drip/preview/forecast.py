"""What the coming time holds: a simulation on a copy of the database, and its ledger,
line by line or in sums."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from drip.core.message import Message
from drip.engine.campaign_set import campaign_set_of
from drip.engine.last_check import Ready
from drip.preview.simulator import Nowhere, Outage, rehearsal, simulate
from drip.process import own_zones, unhurried
from drip.storage.base.copying import WHOLE, CopiedPart
from drip.storage.base.database import Database
from drip.storage.people import contacts as contact_store
from drip.storage.reading import ledger, pressure, summary
from drip.storage.reading.ledger import LedgerRow
from drip.storage.reading.pressure import Pressure
from drip.storage.reading.summary import Summary
from drip.workspace import Workspace

# A process of its own takes a second to begin. More than these would mostly wait for
# one disk.
WORTH_SHARING = 10_000
MOST_SHARES = 8
Progress = Callable[[datetime], None]


@dataclass(frozen=True, slots=True)
class Sums:
    """What the coming time holds in sums.

    That is what leaves, what does not and why, and what caps do.
    """

    summary: Summary
    pressure: Pressure

    def __add__(self, other: Sums) -> Sums:
        """Of two ledgers that have nobody in common."""
        return Sums(
            self.summary + other.summary,
            self.pressure + other.pressure,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """The ledger that a simulation left, from `since` to `until`.

    Of one contact or some campaigns if that was asked.
    """

    connection: Connection
    since: datetime
    until: datetime
    contact: str | None = None
    campaigns: tuple[str, ...] = ()

    def entries(self, contact: str | None = None) -> Iterator[LedgerRow]:
        """Its lines, oldest first; with `contact`, that one's alone."""
        return ledger.entries(
            self.connection,
            since=self.since,
            until=self.until,
            contact=contact or self.contact,
            campaigns=self.campaigns,
        )

    def sums(self) -> Sums:
        """Everybody's lines in sums."""
        about = (self.connection, self.since, self.until, self.campaigns)
        return Sums(
            summary.summary(*about),
            pressure.pressure(*about),
        )

    def busiest(self, most: int) -> list[str]:
        """The contacts about whom there is most to say, in order of their keys."""
        return summary.busiest(
            self.connection, self.since, self.until, self.campaigns, most
        )


@contextmanager
def forecast(
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
    progress: Progress = lambda now: None,
) -> Iterator[Forecast]:
    """What a simulation from `now` to `until` comes to.

    Raises DripError for an unknown contact.
    """
    contact_id = contact_number(database, contact) if contact else None
    part = WHOLE
    if contact_id is not None:
        # Copying one person takes a moment, copying a million some seconds.
        others = _alone(workspace, database)
        part = WHOLE if others is None else CopiedPart(contact_id, events=others)
    with rehearsal(database, now, part) as copy:
        simulate(
            copy,
            workspace.campaign_set(copy, now),
            workspace.templates,
            dict.fromkeys(workspace.settings.transports, Nowhere()),
            now,
            until,
            progress,
            outage,
            seen,
        )
        with copy.read() as connection:
            key = _key_of(connection, contact_id)
            yield Forecast(
                connection,
                since or now,
                until,
                key,
                campaigns,
            )


def _key_of(connection: Connection, contact_id: int | None) -> str | None:
    """A contact's key as it is in the end.

    A sign-up that nobody has confirmed by then is erased, and its lines have another.
    """
    if contact_id is None:
        return None
    contact = contact_store.contacts_by_id(connection, [contact_id]).get(contact_id)
    return contact.key if contact else None


def summed(
    workspace: Workspace,
    database: Database,
    now: datetime,
    until: datetime,
    *,
    since: datetime | None = None,
    campaigns: tuple[str, ...] = (),
    progress: Progress = lambda now: None,
    shares: int | None = None,
) -> Sums:
    """The sums of a `forecast`, each of some processes taking a share of the contacts.

    `shares` is how many; None: as many as help.
    """
    events = _alone(workspace, database)
    if shares is None:
        shares = _worth(database)
    if events is None or shares < 2:
        with forecast(
            workspace,
            database,
            now,
            until,
            since=since,
            campaigns=campaigns,
            progress=progress,
        ) as found:
            return found.sums()
    own, *others = (
        _Share(
            n,
            shares,
            events,
            now,
            until,
            since or now,
            campaigns,
        )
        for n in range(shares)
    )
    root, environment = workspace.root, dict(workspace.environment)
    # Begun anew, since a database that is open does not survive being forked.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(shares - 1, fresh) as pool:
        asked = [
            pool.submit(
                _sums_of_share,
                root,
                environment,
                share,
            )
            for share in others
        ]
        sums = own.sums(
            workspace,
            database,
            progress,
        )
        return sum((answer.result() for answer in asked), start=sums)


def _worth(database: Database) -> int:
    """How many processes help."""
    processors = len(os.sched_getaffinity(0))
    with database.read() as connection:
        contacts = contact_store.count(connection)
    return min(
        MOST_SHARES,
        processors,
        contacts // WORTH_SHARING,
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """Every `of`-th contact, simulated from `now` to `until`."""

    nth: int
    of: int
    events: tuple[str, ...]
    now: datetime
    until: datetime
    since: datetime
    campaigns: tuple[str, ...]

    def sums(
        self,
        workspace: Workspace,
        database: Database,
        progress: Progress,
    ) -> Sums:
        part = CopiedPart(
            None,
            self.nth,
            self.of,
            self.events,
        )
        with rehearsal(
            database,
            self.now,
            part,
        ) as copy:
            simulate(
                copy,
                workspace.campaign_set(copy, self.now),
                workspace.templates,
                dict.fromkeys(workspace.settings.transports, Nowhere()),
                self.now,
                self.until,
                progress,
            )
            with copy.read() as connection:
                found = Forecast(
                    connection, self.since, self.until, campaigns=self.campaigns
                )
                return found.sums()


def _sums_of_share(root: Path, environment: Mapping[str, str], share: _Share) -> Sums:
    # Whoever ends it has its copy cleared away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unhurried()
    own_zones()
    workspace = Workspace(root, environment)
    with workspace.database(share.now) as database:
        return share.sums(workspace, database, lambda now: None)


def _alone(workspace: Workspace, database: Database) -> tuple[str, ...] | None:
    """The events that are needed of everybody, if what happens to a contact hangs on no
    other.

    None if it does (`CampaignSet.alone`).
    """
    with database.read() as connection:
        campaign_set = campaign_set_of(connection, workspace.loaded)
        campaign_set.read_versions(connection)
    return campaign_set.alone()


def contact_number(database: Database, key: str) -> int:
    """The number of a contact. Raises DripError for an unknown key."""
    with database.read() as connection:
        return contact_store.contact_of_key(connection, key).id
