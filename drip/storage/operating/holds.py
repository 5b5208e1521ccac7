"""What is held back: by the operator, or by the program itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from drip.storage.base.schema import holds
from drip.storage.base.sql import count_changed, typed_rows

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Hold:
    """Since when something is held back, and why where the program did it."""

    at: datetime
    reason: str | None


class _HeldScope(NamedTuple):
    scope: str
    at: datetime
    reason: str | None


_HOLDS = select(holds).order_by(holds.c.scope)


def hold(
    connection: Connection,
    scope: str,
    now: datetime,
    reason: str | None = None,
) -> None:
    """Holds back a campaign, or everything.

    `reason` says why the program itself does it.
    """
    # The first hold stays, with its instant and reason.
    row = {"scope": scope, "at": now, "reason": reason}
    connection.execute(insert_or(holds).values(row).on_conflict_do_nothing())


def let_go(connection: Connection, scope: str) -> bool:
    """Whether there was such a hold; there is none now."""
    return count_changed(connection, delete(holds).where(holds.c.scope == scope)) == 1


def held_scopes(connection: Connection) -> dict[str, Hold]:
    """What is held back."""
    held = typed_rows(connection, _HOLDS, into=_HeldScope)
    return {row.scope: Hold(row.at, row.reason) for row in held}
