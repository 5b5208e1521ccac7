"""What is ordered on the dashboard."""

from __future__ import annotations

from starlette.requests import Request

from drip.commands.orders import Order
from drip.web.dashboard.state import dashboard_of


def order_of(request: Request) -> Order:
    """A button that was pressed, as an order of whoever is logged in; `why` is what
    they wrote beside it."""
    by = request.state.session.operator.name
    return Order(by, dashboard_of(request).state.clock(), request.state.form.get("why"))
