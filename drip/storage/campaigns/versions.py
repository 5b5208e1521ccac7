"""The versions of campaigns, so that runs can finish on the one that they began on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from drip.storage.base.schema import campaign_versions
from drip.storage.base.sql import first_row, upsert

_version = campaign_versions.c

# A version that comes back, because a file was put back, is the newest again.
_KEEP = upsert(campaign_versions, "seen_at")


def keep_version(
    connection: Connection,
    campaign: str,
    version: str,
    text: str,
    now: datetime,
) -> None:
    """Keeps a campaign's text as the newest one."""
    row = {
        "campaign": campaign,
        "version": version,
        "text": text,
        "seen_at": now,
    }
    connection.execute(_KEEP, row)


def version_text(connection: Connection, campaign: str, version: str) -> str | None:
    """The text of a version kept earlier."""
    own = select(_version.text).where(
        _version.version == version,
        _version.campaign == campaign,
    )
    return first_row(connection, own, into=str)


def newest_version(connection: Connection, campaign: str) -> str | None:
    """The text of the newest version kept of a campaign."""
    # For a file that cannot be read now: people go on by what it said last.
    own = select(_version.text).where(_version.campaign == campaign)
    return first_row(
        connection, own.order_by(_version.seen_at.desc()).limit(1), into=str
    )
