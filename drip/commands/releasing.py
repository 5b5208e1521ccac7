"""Settling held messages: those that may have left, and those that could not be
rendered."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.errors import DripError
from drip.storage.sending import outbox

Settlement = Literal["sent", "again", "dropped"]
SETTLEMENTS: tuple[Settlement, ...] = get_args(Settlement)
STATES: dict[Settlement, str] = {
    "sent": "sent",
    "again": "deferred",
    "dropped": "failed",
}
# A row of the audit names so many messages; thousands can be settled at once.
NAMED = 20


def release(
    connection: Connection,
    order: Order,
    messages: Collection[int] | None,
    settlement: Settlement,
) -> int:
    """Settles these messages, or every held one (None); how many. Raises DripError,
    before anything is settled, for one that is not held."""
    held = {message.id for message in outbox.held(connection)}
    chosen = held if messages is None else set(messages)
    _refuse_others(chosen - held)
    count = outbox.release(connection, chosen, STATES[settlement], order.at)
    note(connection, order, f"release --as {settlement}", _named(chosen))
    return count


def _refuse_others(unknown: set[int]) -> None:
    if unknown:
        raise DripError(
            f"Message {min(unknown)} is not held.",
            help="`drip status` lists the held ones; --all means every one of them",
        )


def _named(numbers: set[int]) -> str:
    """`3 message(s): 17, 18, 19`."""
    count = len(numbers)
    first = ", ".join(map(str, sorted(numbers)[:NAMED]))
    more = " …" if count > NAMED else ""
    return f"{count} message(s): {first}{more}"
