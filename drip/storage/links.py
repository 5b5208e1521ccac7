"""Where links of messages lead that go over a page of ours, and what was seen of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.schema import deliveries
from drip.storage.schema_operating import links


def keep(connection: Connection, known: Mapping[str, str]) -> None:
    """Remembers where links lead, by their names."""
    rows = [{"name": name, "address": address} for name, address in known.items()]
    connection.execute(insert_or(links).on_conflict_do_nothing(index_elements=["name"]), rows)


def address_of(connection: Connection, name: str) -> str | None:
    """Where a link leads; None for one that was in no message."""
    found: str | None = connection.execute(select(links.c.address).where(links.c.name == name)).scalar()
    return found


def clicked_lately(connection: Connection, message_id: int, since: datetime) -> set[str]:
    """Which links of a message were followed since an instant, by their names."""
    where = (deliveries.c.message_id == message_id, deliveries.c.kind == "clicked", deliveries.c.at >= since)
    return set(connection.scalars(select(deliveries.c.reason).where(*where)))
