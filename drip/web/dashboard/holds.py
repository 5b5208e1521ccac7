"""Who holds what back, since when and why."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from drip.storage.operating import audit
from drip.storage.operating import holds as hold_store
from drip.storage.operating.audit import AuditRow
from drip.storage.operating.holds import Hold


def hold_values(hold: Hold, order: AuditRow | None) -> dict[str, Any]:
    """Since when something is held, and by whom and why; drip's own reason, where it
    was nobody."""
    by_person = order if hold.reason is None else None
    return {
        "at": hold.at,
        "reason": hold.reason,
        "by": by_person.by if by_person else None,
        "why": by_person.why if by_person else None,
    }


def hold_of(connection: Connection, scope: str) -> dict[str, Any] | None:
    """What holds a campaign, or everything (`*`), back; None if nothing does."""
    hold = hold_store.held_scopes(connection).get(scope)
    return hold_values(hold, audit.holders(connection).get(scope)) if hold else None
