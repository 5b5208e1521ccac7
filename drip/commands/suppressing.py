"""Never writing to an address again."""

from __future__ import annotations

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.storage.people import suppressions

UNSAID = "an operator said so"
# So much of the keyed hash tells one address from another; the address itself is kept
# nowhere.
SHOWN_OF_HASH = 16


def suppress(connection: Connection, order: Order, address: str) -> None:
    """`address` in its normal form is never written to again, whoever has it. Only its
    keyed hash is kept."""
    suppressions.suppress(connection, address, order.why or UNSAID, order.at)
    note(connection, order, "suppress", _shown_hash(connection, address))


def _shown_hash(connection: Connection, address: str) -> str:
    key = suppressions.suppression_key(connection)
    return suppressions.digest(key, address)[:SHOWN_OF_HASH]
