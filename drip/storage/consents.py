"""The log behind consents: who said what, when, how, with what proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from drip.storage.schema import consent_log


@dataclass(frozen=True, slots=True)
class Word:
    """One line of the log. `source` is a file, a page or a campaign's step; `proof` what was kept of a confirmation."""

    topic: str
    channel: str
    given: bool
    at: datetime
    source: str
    address: str | None
    recorded_at: datetime
    proof: Mapping[str, str] | None


def log_of(connection: Connection, contact_id: int) -> Sequence[Word]:
    """A contact's whole log, oldest first."""
    log = consent_log.c
    columns = (log.topic, log.channel, log.given, log.at, log.source, log.address, log.recorded_at, log.proof)
    statement = select(*columns).where(log.contact_id == contact_id).order_by(log.id)
    return [Word(*row) for row in connection.execute(statement)]


def latest(connection: Connection, contact_id: int) -> list[Word]:
    """The newest word about each topic and channel."""
    return list({(each.topic, each.channel): each for each in log_of(connection, contact_id)}.values())
