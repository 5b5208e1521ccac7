"""The versions of campaigns, so that runs can finish on the one that they began on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from drip.storage.base.schema import campaign_versions
from drip.storage.base.sql import first_row, upsert

# A version that comes back, because a file was put back, is the newest again.
_KEEP = upsert(campaign_versions, "seen_at")
_v = campaign_versions.c


def keep_version(
    connection: Connection, campaign: str, version: str, text: str, now: datetime
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
    own = select(_v.text).where(
        _v.version == version,
        _v.campaign == campaign,
    )
    return first_row(connection, own, into=str)


def newest_version(connection: Connection, campaign: str) -> str | None:
    """The text of the newest version kept of a campaign."""
    own = select(_v.text).where(_v.campaign == campaign)
    return first_row(connection, own.order_by(_v.seen_at.desc()).limit(1), into=str)
