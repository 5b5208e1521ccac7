"""Alarms: said in the log under a stable action, and kept for `drip status` and whoever the settings name."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import Connection

from drip.storage import alarms


def alarm(
    connection: Connection, log: logging.Logger, action: str, about: str, sentence: str, now: datetime, help: str = ""
) -> None:
    """Raises an alarm; it is news once a day. `about` is the campaign or channel, `help` the remedy."""
    whole = f"{sentence} Help: {help}." if help else sentence
    if alarms.raised(connection, action, about, whole, now):
        log.error("%s", whole, extra={"action": action})
