"""What every command shares: the workspace, the clock, how rows are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from drip.core.calendar import local, zone
from drip.core.fields import FIRST_YEAR, LAST_YEAR
from drip.importing.values import parse_instant
from drip.storage.base.database import Database
from drip.storage.reading.ledger import LedgerRow
from drip.workspace import Workspace

Command = TypeVar("Command", bound=Callable[..., Any])
CLOCK_FORMAT = "%Y-%m-%d %H:%M"


@dataclass
class App:
    """One call of the command line."""

    folder: str
    environment: Mapping[str, str]

    def workspace(self) -> Workspace:
        """Raises DripError if the folder is no workspace."""
        return Workspace(Path(self.folder), self.environment)

    def clock(self, workspace: Workspace, now: str | None) -> Callable[[], datetime]:
        """The real clock, or one that stood at `now` when it was made and goes on from there."""
        if now is None:
            return read_clock
        return partial(read_clock, self.instant(workspace, now) - read_clock())

    def now(self, workspace: Workspace, now: str | None) -> datetime:
        """The instant to judge at."""
        return self.instant(workspace, now) if now else read_clock()

    def instant(self, workspace: Workspace, text: str) -> datetime:
        """A time as people type it, in the workspace's zone. Raises click.BadParameter."""
        try:
            found = parse_instant(text, workspace.timezone)
        except ValueError as wrong:
            raise click.BadParameter(str(wrong)) from None
        if not FIRST_YEAR < found.year < LAST_YEAR:
            raise click.BadParameter(
                f"the year of `{text}` is not between {FIRST_YEAR} and {LAST_YEAR}"
            )
        return found

    @contextlib.contextmanager
    def opened(self, now: str | None) -> Iterator[tuple[Workspace, Database, datetime]]:
        """The workspace, its database and the time."""
        workspace = self.workspace()
        instant = self.now(workspace, now)
        with workspace.database(instant) as database:
            yield workspace, database, instant


pass_app = click.make_pass_decorator(App)


def read_clock(ahead: timedelta = timedelta(0)) -> datetime:
    """The time, to the millisecond, as all instants here are; or that of a clock that is so far ahead."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000) + ahead


def now_option(command: Command) -> Command:
    return click.option(
        "--now", metavar="TIME", help="Another clock, as `2026-11-26 9:00`."
    )(command)


def json_option(command: Command) -> Command:
    return click.option(
        "--json", "as_json", is_flag=True, help="JSON lines, for scripts."
    )(command)


def entry_row(entry: LedgerRow, timezone: str) -> dict[str, Any]:
    """A line of the ledger with the stable keys of `--json`."""
    where = zone(entry.zone or timezone)
    return {
        "at": instant_text(entry.at),
        "local": entry.at.astimezone(where).isoformat(timespec="minutes"),
        "campaign": entry.campaign,
        "step": entry.step,
        "contact": entry.contact,
        "record": entry.record,
        "occurrence": entry.occurrence,
        "channel": entry.channel,
        "outcome": entry.outcome,
        "code": entry.code,
        "sentence": entry.sentence,
        "place": entry.place,
        "until": instant_text(entry.until) if entry.until else None,
    }


def instant_text(at: datetime) -> str:
    """2026-11-26T16:00:00Z; with milliseconds only where there are some."""
    precision = "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def local_text(at: datetime, zone_name: str) -> str:
    return local(at, zone(zone_name)).strftime(CLOCK_FORMAT)


def ago(then: datetime, now: datetime) -> str:
    """`3 minutes ago`."""
    passed = max(now - then, timedelta(0))
    for length, word in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        number = int(passed.total_seconds() // length)
        if number:
            return f"{number} {word}{'s' if number > 1 else ''} ago"
    return "just now"


def endpoint(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[str, int] | None:
    """An option's host and port: `9464`, or `0.0.0.0:9464`."""
    host, _, port = (text or "").rpartition(":")
    if text is not None and not (
        port.isascii() and port.isdigit() and 0 < int(port) < 65536
    ):
        raise click.BadParameter(f"`{text}` is no port; write 9464 or 127.0.0.1:9464")
    return (host or "127.0.0.1", int(port)) if text else None
