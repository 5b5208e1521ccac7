"""Where links of messages lead that go over a page of ours, and who followed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, null, select
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import deliveries, links
from drip.storage.base.sql import first_row, typed_rows

_delivery = deliveries.c
_link = links.c


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a link leads, and in whose messages alone it was, as far as is known.

    `contact_id` is None where it was in several people's.
    """

    address: str
    contact_id: int | None


def _keep() -> Insert:
    statement = insert_or(links)
    # A row that nothing would change in is left alone: links that everybody gets are
    # by far the most.
    another_contact = and_(
        _link.contact_id.is_not(None),
        func.coalesce(statement.excluded.contact_id, 0) != _link.contact_id,
    )
    return statement.on_conflict_do_update(
        index_elements=["name"], set_={"contact_id": null()}, where=another_contact
    )


_KEEP = _keep()


def keep(connection: Connection, known: Mapping[str, Lead]) -> None:
    """Remembers where links lead, by their names.

    One that was one contact's, and is another's too, is nobody's from then on.
    """
    rows = [
        {
            "name": name,
            "address": lead.address,
            "contact_id": lead.contact_id,
        }
        for name, lead in known.items()
    ]
    connection.execute(_KEEP, rows)


def address_of(connection: Connection, name: str) -> str | None:
    """Where a link leads; None for one that was in no message."""
    own = select(_link.address).where(_link.name == name)
    return first_row(connection, own, into=str)


def clicked_lately(
    connection: Connection,
    message_id: int,
    since: datetime,
) -> set[str]:
    """Which links of a message were followed since an instant, by their names."""
    followed = select(_delivery.reason).where(
        _delivery.message_id == message_id,
        _delivery.kind == "clicked",
        _delivery.at >= since,
    )
    return set(typed_rows(connection, followed, into=str))
