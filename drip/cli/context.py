"""What every command shares: the workspace, the clock, the options that many of them
have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from drip.core.fields import FIRST_YEAR, LAST_YEAR
from drip.errors import DripError, nearest
from drip.importing.instants import parse_instant
from drip.workspace import Workspace

# Of SQLAlchemy, which `drip check` does without where there is no database.
if TYPE_CHECKING:
    from sqlalchemy import Connection

    from drip.storage.base.database import Database

Command = TypeVar("Command", bound=Callable[..., Any])
MOST_PORTS = 65_535


@dataclass
class App:
    """One call of the command line."""

    folder: str
    environment: Mapping[str, str]

    def workspace(self) -> Workspace:
        """Raises DripError if the folder is no workspace."""
        return Workspace(Path(self.folder), self.environment)

    def clock(self, workspace: Workspace, now: str | None) -> Callable[[], datetime]:
        """The real clock, or one that stood at `now` when it was made and goes on from
        there."""
        if now is None:
            return read_clock
        return partial(read_clock, self.instant(workspace, now) - read_clock())

    def now(self, workspace: Workspace, now: str | None) -> datetime:
        """The instant to judge at."""
        return self.instant(workspace, now) if now else read_clock()

    def instant(self, workspace: Workspace, text: str) -> datetime:
        """A time as people type it, in the workspace's zone. Raises
        click.BadParameter."""
        return typed_instant(text, workspace.timezone)

    @contextlib.contextmanager
    def opened(self, now: str | None) -> Iterator[tuple[Workspace, Database, datetime]]:
        """The workspace, its database and the time."""
        workspace = self.workspace()
        instant = self.now(workspace, now)
        with workspace.database(instant) as database:
            yield workspace, database, instant

    @contextlib.contextmanager
    def reading(self) -> Iterator[tuple[Workspace, Connection]]:
        """The workspace, and its database as it is at one instant."""
        # One snapshot: what the daemon writes meanwhile would tear figures apart that
        # belong together.
        with (
            self.opened(None) as (workspace, database, _),
            database.read() as connection,
        ):
            yield workspace, connection


pass_app = click.make_pass_decorator(App)


def app_of(context: click.Context) -> App:
    """The call that a group's own command is part of."""
    app = context.find_object(App)
    assert app
    return app


def read_clock(ahead: timedelta = timedelta(0)) -> datetime:
    """The time, to the millisecond, as all instants here are; or that of a clock that
    is so far ahead."""
    now = datetime.now(UTC)
    # What the database gives back has no more than that, and would not equal it.
    return now.replace(microsecond=now.microsecond // 1000 * 1000) + ahead


def typed_instant(text: str, timezone: str) -> datetime:
    """A time as people type it, on the wall clock of a zone. Raises
    click.BadParameter."""
    try:
        found = parse_instant(text, timezone)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from None
    # Days are added to it and zones applied, which fails at the ends of the calendar.
    if not FIRST_YEAR < found.year < LAST_YEAR:
        years = f"between {FIRST_YEAR} and {LAST_YEAR}"
        raise click.BadParameter(f"the year of `{text}` is not {years}")
    return found


def no_campaign(name: str, known: Iterable[str]) -> DripError:
    """That there is no campaign of this name, and which one may be meant."""
    help = nearest(name, known, what="campaigns")
    return DripError(f"There is no campaign `{name}`.", help=help)


def now_option(command: Command) -> Command:
    return click.option(
        "--now",
        metavar="TIME",
        help="Another clock, as `2026-11-26 9:00`.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="JSON lines, for scripts.",
    )(command)


def endpoint(
    context: click.Context,
    option: click.Parameter,
    text: str | None,
) -> tuple[str, int] | None:
    """An option's host and port: `9464`, or `0.0.0.0:9464`."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    # `isdigit` alone takes superscripts and the digits of other scripts.
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= MOST_PORTS):
        raise click.BadParameter(f"`{text}` is no port; write 9464 or 127.0.0.1:9464")
    # What nobody has opened on purpose is for this machine alone.
    return host or "127.0.0.1", int(port)
