"""The workspace's files as they are in force: read anew when one has changed, all or
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from drip.core.message import Transport
from drip.engine.campaign_set import CampaignSet
from drip.storage.base.database import Database
from drip.workspace import Workspace

# By channel.
Options = Mapping[str, Mapping[str, str]]


class FilesInForce:
    """`workspace`, `campaign_set` and `transports` are those in force. Settings that
    cannot be read leave the last good ones.

    `changed` are the channels whose transport was set up otherwise at the last reading
    than before it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.transports: Mapping[str, Transport] = {}
        self.changed: set[str] = set()
        self._campaign_set: CampaignSet | None = None
        self._options: Options = {}
        self._seen: object = None

    @property
    def are_in_force(self) -> bool:
        """Whether they have been read."""
        return self._campaign_set is not None

    @property
    def campaign_set(self) -> CampaignSet:
        """The campaigns, once the files were read."""
        assert self._campaign_set
        return self._campaign_set

    def read(
        self,
        database: Database,
        now: datetime,
        found: Callable[[Workspace], None] = lambda fresh: None,
    ) -> bool:
        """Whether other files are in force now. `found` gets what was read, before it
        is.

        Raises DripError if a transport cannot be set up; it is tried again then.
        """
        seen = self.workspace.fingerprint()
        if seen == self._seen:
            return False
        fresh = Workspace(self.workspace.root, self.workspace.environment)
        found(fresh)
        good = not self.are_in_force or fresh.loaded.settings is not None
        if good:
            self._take(fresh, database, now)
        self._seen = seen
        return good

    def close(self) -> None:
        """Lets go of the transports' connections. May be called twice."""
        for transport in self.transports.values():
            transport.close()

    def _take(
        self,
        fresh: Workspace,
        database: Database,
        now: datetime,
    ) -> None:
        """All of them or none: nothing is in force before all could be set up."""
        transports = fresh.transports()
        campaign_set = fresh.campaign_set(database, now)
        self.close()
        options = fresh.transport_options()
        self.changed = _changed(self._options, options)
        self.workspace = fresh
        self._options = options
        self._campaign_set = campaign_set
        self.transports = transports


def _changed(before: Options, after: Options) -> set[str]:
    return {
        channel for channel, options in before.items() if after.get(channel) != options
    }
