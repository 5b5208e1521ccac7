"""The workspace's files as they are in force: read anew when one has changed, all or
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from drip.core.message import Transport
from drip.engine.campaign_set import CampaignSet
from drip.storage.base.database import Database
from drip.workspace import Workspace


class FilesInForce:
    """`workspace`, `book` and `transports` are those in force. Settings that cannot be
    read leave the last good ones.

    `changed` are the channels whose transport was set up otherwise at the last reading
    than before it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.campaign_set: CampaignSet | None = None
        self.transports: Mapping[str, Transport] = {}
        self.changed: set[str] = set()
        self._options: Mapping[str, Mapping[str, str]] = {}
        self._seen: object = None

    def read(
        self,
        database: Database,
        now: datetime,
        found: Callable[[Workspace], None] = lambda fresh: None,
    ) -> bool:
        """Whether other files are in force now. `found` is told of what was read,
        before it is.

        Raises DripError if a transport cannot be set up; it is tried again then.
        """
        seen = self.workspace.fingerprint()
        if seen == self._seen:
            return False
        fresh = Workspace(self.workspace.root, self.workspace.environment)
        found(fresh)
        good = self.campaign_set is None or fresh.loaded.settings is not None
        if good:
            transports, campaign_set = (
                fresh.transports(),
                fresh.campaign_set(database, now),
            )
            self.close()
            options, before = fresh.transport_options(), self._options
            self.changed = {
                channel for channel in before if options.get(channel) != before[channel]
            }
            self._options = options
            self.workspace, self.campaign_set, self.transports = (
                fresh,
                campaign_set,
                transports,
            )
        self._seen = seen
        return good

    def close(self) -> None:
        """Lets go of the transports' connections. May be called twice."""
        for transport in self.transports.values():
            transport.close()
