"""`drip run`: the daemon, in the foreground."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from datetime import datetime

import click

from drip.cli.context import App, endpoint, json_option, now_option, pass_app
from drip.cli.log_lines import log_to_stderr
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.serve import Endpoint, behind_option, dashboard_option, served
from drip.core.shortage import Shortage
from drip.daemon import Daemon, Trust
from drip.engine.dispatch_result import DispatchResult
from drip.errors import DripError
from drip.storage.base.database import Database
from drip.storage.operating.holds import EVERYTHING, held_scopes

# Of `--metrics`: Prometheus has one, whoever looks at `/health` another.
FIGURES_CONNECTIONS = 16


@click.command()
@click.option("--once", is_flag=True, help="Do all that is due now, then end.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="Seconds between beats.",
)
@click.option(
    "--after-clock-jump",
    is_flag=True,
    help="The clock is right, although it jumped by more than a day.",
)
@click.option(
    "--after-restore",
    is_flag=True,
    help="The database was put back from a backup, and that is as it should be.",
)
@click.option(
    "--senders",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that send, for large volumes.",
)
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    callback=endpoint,
    help="Answer Prometheus there; on this machine alone unless a host is named.",
)
@click.option(
    "--serve",
    "pages",
    metavar="[HOST:]PORT",
    callback=endpoint,
    help="Serve the pages and the dashboard too, as `drip serve` does.",
)
@behind_option
@dashboard_option
@now_option
@json_option
@pass_app
def run(
    app: App,
    once: bool,
    every: float,
    after_clock_jump: bool,
    after_restore: bool,
    senders: int,
    metrics: Endpoint,
    pages: Endpoint,
    behind: str,
    dashboard: Endpoint,
    now: str | None,
    as_json: bool,
) -> None:
    """The daemon: plans and sends until it is stopped by Ctrl-C or SIGTERM, which
    finish what is in flight.

    \b
    Example: drip run
             drip run --once
             drip run --senders 2

    A second daemon on the same database waits until the first one ends.

    It ends before it sends if the clock has jumped by more than a day since the last
    beat, or if the database is older than it was: both would look like a day of
    arrears. The two `--after-` options say that you have looked."""
    log_to_stderr(as_json)
    workspace = app.workspace()
    clock = app.clock(workspace, now)
    trust = Trust(after_clock_jump, after_restore)
    with workspace.database(clock()) as database:
        daemon = Daemon(workspace, database, clock, trust, senders=senders)
        # What is in flight is finished: a mail that is cut off may have left, and would
        # be held for a person to settle.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop.set())
        if once:
            _run_once(daemon, database, as_json)
        others = FIGURES_CONNECTIONS if metrics else 0
        with (
            _answering(daemon, database, clock, metrics),
            served(workspace, database, clock, pages, dashboard, behind, others),
        ):
            daemon.run(every)


def _run_once(daemon: Daemon, database: Database, as_json: bool) -> None:
    """One beat, and what came of it. Raises click's Exit, or what keeps messages from
    leaving."""
    result = daemon.run_once()
    with database.read() as connection:
        held = sorted(held_scopes(connection))
    if as_json:
        print_json(_row(result))
    else:
        _print(result, held)
    _raise_trouble(result)
    # By which cron and scripts hear of it.
    unsent = result.failed or result.held or result.again
    raise click.exceptions.Exit(1 if unsent else 0)


def _row(result: DispatchResult) -> JsonRow:
    return {
        "sent": result.sent,
        "failed": result.failed,
        "held": result.held,
        "again": result.again,
        "trouble": result.trouble,
    }


def _print(result: DispatchResult, held: list[str]) -> None:
    if held:
        names = ("everything" if scope == EVERYTHING else scope for scope in held)
        say(f"Held back: {', '.join(names)}.")
    counts = f"{result.sent} sent, {result.failed} failed, {result.held} held."
    if result.again:
        counts += f" {result.again} did not leave and will be tried again."
    say(counts)


def _raise_trouble(result: DispatchResult) -> None:
    """Raises a Shortage where it is for want of something, DripError for other
    trouble."""
    if not result.trouble:
        return
    sentence = f"{result.trouble} The messages wait in the outbox."
    if result.lacking:
        raise Shortage(sentence, result.help or "")
    raise DripError(sentence, help=result.help)


@contextlib.contextmanager
def _answering(
    daemon: Daemon,
    database: Database,
    clock: Callable[[], datetime],
    at: Endpoint,
) -> Iterator[None]:
    """Prometheus is answered meanwhile, if that is wanted."""
    if at is None:
        yield
        return
    # On a port of its own: figures say how much a shop sends, and are for no stranger.
    # The server of pages: half a second to import.
    from drip.daemon.metrics import registry_of
    from drip.web.figures import make_figures
    from drip.web.server import listen, serving

    app = make_figures(registry_of(database, clock, daemon.tasks), daemon.tasks)
    with serving(app, listen(*at), most=FIGURES_CONNECTIONS):
        yield
