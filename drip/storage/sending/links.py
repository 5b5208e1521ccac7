"""Where links of messages lead that go over a page of ours, and what was seen of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, null, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import deliveries
from drip.storage.base.schema_operating import links


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a link leads, and in whose messages alone it was, as far as is known; None where it was in several people's."""

    address: str
    contact_id: int | None


_KEEP = insert_or(links)
_KEEP = _KEEP.on_conflict_do_update(
    index_elements=["name"],
    set_={"contact_id": null()},
    # A row that nothing would change in is left alone: links that everybody gets are by far the most.
    where=and_(
        links.c.contact_id.is_not(None),
        func.coalesce(_KEEP.excluded.contact_id, 0) != links.c.contact_id,
    ),
)


def keep(connection: Connection, known: Mapping[str, Lead]) -> None:
    """Remembers where links lead, by their names, and that one which was one contact's is another's too."""
    rows = [
        {"name": name, "address": to.address, "contact_id": to.contact_id}
        for name, to in known.items()
    ]
    connection.execute(_KEEP, rows)


def address_of(connection: Connection, name: str) -> str | None:
    """Where a link leads; None for one that was in no message."""
    found: str | None = connection.execute(
        select(links.c.address).where(links.c.name == name)
    ).scalar()
    return found


def clicked_lately(
    connection: Connection, message_id: int, since: datetime
) -> set[str]:
    """Which links of a message were followed since an instant, by their names."""
    where = (
        deliveries.c.message_id == message_id,
        deliveries.c.kind == "clicked",
        deliveries.c.at >= since,
    )
    return set(connection.scalars(select(deliveries.c.reason).where(*where)))
