"""Who orders something from a terminal, and why."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping
from datetime import datetime

import click
from sqlalchemy import Connection

from drip.cli.context import App, Command
from drip.commands.orders import Order
from drip.workspace import Workspace

# For whoever shares an account with others, or has none of their own, as in a
# container.
NAMED_BY = "DRIP_BY"


def why_option(command: Command) -> Command:
    return click.option(
        "--why",
        metavar="TEXT",
        help="Why, for whoever asks later (`drip log --audit`).",
    )(command)


def order_of(app: App, at: datetime, why: str | None) -> Order:
    """What was typed, as an order of whoever typed it."""
    return Order(_name(app.environment), at, why)


@contextlib.contextmanager
def ordering(
    app: App,
    why: str | None,
    now: str | None = None,
) -> Iterator[tuple[Workspace, Connection, Order]]:
    """What was typed, being carried out: all of it in one transaction, or nothing."""
    # An order without its row in the audit, or the row without the order, would be a
    # lie.
    with app.opened(now) as (workspace, database, at), database.write() as connection:
        yield workspace, connection, order_of(app, at, why)


def _name(environment: Mapping[str, str]) -> str:
    """DRIP_BY, or the name of the system's user; the number of one without a name."""
    named = environment.get(NAMED_BY, "").strip()
    return named or _user_name()


def _user_name() -> str:
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        # As in a container that runs under a number which no /etc/passwd knows.
        return f"user {number}"
