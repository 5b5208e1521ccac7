"""Alarms: said in the log under a stable action, and kept for `drip status` and whoever
the settings name."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import Connection

from drip.storage.operating import alarms


def alarm(
    connection: Connection,
    log: logging.Logger,
    action: str,
    about: str,
    sentence: str,
    now: datetime,
    help: str = "",
) -> None:
    """Raises an alarm; it is news once a day. `about` is the campaign or channel,
    `help` the remedy."""
    # A server that is down would else fill the log, and a mailbox, by the minute.
    whole = with_remedy(sentence, help)
    if alarms.raised(connection, action, about, whole, now):
        log.error("%s", whole, extra={"action": action})


def with_remedy(sentence: str, help: str | None) -> str:
    """As it stands in the log: `The disk is full. Help: make room on it.`"""
    return f"{sentence} Help: {help}." if help else sentence
