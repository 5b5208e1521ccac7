"""An order: who gives it, when, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from drip.core.characters import without_hidden
from drip.storage.operating import audit

# In characters: a name, and a reason that is read in a line of a table.
LONGEST_BY, LONGEST_WHY = 100, 500


@dataclass(frozen=True, slots=True)
class Order:
    """Who orders something, when, and why; `why` is None where nobody asked. Both texts
    are cut and freed of what hides."""

    by: str
    at: datetime
    why: str | None = None

    def __post_init__(self) -> None:
        why = without_hidden(self.why or "").strip()[:LONGEST_WHY]
        object.__setattr__(self, "by", without_hidden(self.by)[:LONGEST_BY])
        object.__setattr__(self, "why", why or None)


def note(
    connection: Connection,
    order: Order,
    command: str,
    about: str | None = None,
    contact_id: int | None = None,
) -> None:
    """Leaves the row that says what was ordered. The transaction is that of the
    change."""
    audit.record(connection, order.at, order.by, command, about, contact_id, order.why)
