"""Holding a campaign, or stopping everything, and letting it go on.

Neither ends by itself: a hold lasts until somebody lets it go.
"""

from __future__ import annotations

from sqlalchemy import Connection

from drip.commands.orders import Order, note
from drip.storage.operating import holds as hold_store
from drip.storage.operating.holds import EVERYTHING
from drip.storage.sending import outbox, rate_limits


def hold(connection: Connection, order: Order, campaign: str) -> None:
    """Nobody enters a campaign and nothing of it leaves; people stay where they are."""
    hold_store.hold(connection, campaign, order.at)
    note(connection, order, "hold", campaign)


def let_go(connection: Connection, order: Order, campaign: str) -> bool:
    """A campaign goes on; whether it was held."""
    was = hold_store.let_go(connection, campaign)
    outbox.wake_paused(connection, campaign, order.at)
    note(connection, order, "hold --off", campaign)
    return was


def stop(connection: Connection, order: Order) -> None:
    """Everything stops, within one beat of the daemon."""
    hold_store.hold(connection, EVERYTHING, order.at)
    note(connection, order, "stop", EVERYTHING)


def go_on(connection: Connection, order: Order) -> bool:
    """Everything goes on; whether it was stopped."""
    was = hold_store.let_go(connection, EVERYTHING)
    outbox.wake_paused(connection, None, order.at)
    # Whoever says so has looked: what was left alone is tried at once.
    rate_limits.open_all(connection)
    note(connection, order, "stop --off", EVERYTHING)
    return was
