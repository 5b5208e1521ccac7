"""`drip serve`: pages that links lead to, what providers and other programs post, and
the operator's dashboard."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from drip.cli.context import App, endpoint, now_option, pass_app
from drip.cli.log_lines import log_to_stderr
from drip.cli.screen import say
from drip.errors import DripError
from drip.process import raise_file_limit
from drip.storage.base.database import Database
from drip.workspace import Workspace

if TYPE_CHECKING:
    from starlette.applications import Starlette

Endpoint = tuple[str, int] | None
# Connections of pages and dashboard together, and how few make no sense; of these an
# eighth is the dashboard's, so that whoever floods the pages never locks an operator
# out.
MOST_CONNECTIONS, LEAST_CONNECTIONS, DASHBOARD_SHARE = 1_000, 64, 8
# Files for everything else. In the load test a daemon with pages has 35 open, and up to
# 62 of connections that are just being closed; mail servers may have 20 connections
# each, the dashboard opens the database in processes of its own.
RESERVED_FILES = 128


def dashboard_endpoint(
    context: click.Context,
    option: click.Parameter,
    text: str,
) -> Endpoint:
    """As `endpoint`; `off` for none."""
    return None if text == "off" else endpoint(context, option, text)


dashboard_option = click.option(
    "--dashboard",
    metavar="[HOST:]PORT",
    default="8081",
    show_default=True,
    callback=dashboard_endpoint,
    help="Where operators log in; on this machine alone unless a host is named. `off` for none.",
)


behind_option = click.option(
    "--behind",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The web server before it, which says where requests come from (X-Forwarded-For). Several with commas, networks as 10.0.0.0/8.",
)


@click.command()
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    default="8080",
    show_default=True,
    callback=endpoint,
    help="The pages for recipients. On this machine alone unless a host is named.",
)
@behind_option
@dashboard_option
@now_option
@click.option("--json", "as_json", is_flag=True, help="Log as JSON lines.")
@pass_app
def serve(
    app: App,
    listen: tuple[str, int],
    behind: str,
    dashboard: Endpoint,
    now: str | None,
    as_json: bool,
) -> None:
    """Pages for recipients (unsubscribe, preferences, confirm, survey, sign-up),
    webhooks of mail providers, the API for other programs; and, on a port of its own,
    the dashboard.

    \b
    Example: drip serve
             drip serve --listen 0.0.0.0:8080
             drip serve --dashboard off

    Put it behind a web server that speaks HTTPS for `public_url`. It runs beside `drip
    run`."""
    log_to_stderr(as_json)
    workspace = app.workspace()
    clock = app.clock(workspace, now)
    # SIGTERM ends it as Ctrl-C does.
    with (
        contextlib.suppress(KeyboardInterrupt),
        workspace.database(clock()) as database,
        served(workspace, database, clock, listen, dashboard, behind),
    ):
        threading.Event().wait()


@contextlib.contextmanager
def served(
    workspace: Workspace,
    database: Database,
    clock: Callable[[], datetime],
    pages: Endpoint,
    dashboard: Endpoint,
    behind: str,
    others: int = 0,
) -> Iterator[None]:
    """The pages and the dashboard are served meanwhile, if that is wanted; `others` are
    connections that this process may have besides. Raises DripError."""
    most = _most_connections(RESERVED_FILES + others)
    # Beside a daemon that serves nothing: it needs its files all the same.
    if pages is None:
        yield
        return
    # Slow to import (half a second), and few commands want it.
    from drip.web.server import listen, serving

    servers = list(_servers(workspace.settings.public_url, pages, dashboard, most))
    with contextlib.ExitStack() as stack:
        # All of them first: where one port is taken, nothing is served.
        sockets = [listen(*server.at) for server in servers]
        for server, listening in zip(servers, sockets, strict=True):
            app = server.make(workspace, database, clock, time.monotonic)
            stack.enter_context(serving(app, listening, behind, server.most))
            say(server.sentence, err=True)
        yield


@dataclass(frozen=True, slots=True)
class _ServedApp:
    """What makes an application, where it listens, with how many connections, and what
    is said of it."""

    make: Callable[..., Starlette]
    at: tuple[str, int]
    most: int
    sentence: str


def _servers(
    public_url: str | None,
    pages: tuple[str, int],
    dashboard: Endpoint,
    most: int,
) -> Iterator[_ServedApp]:
    """Those that are wanted. Raises DripError if that is none."""
    from drip.web import make_app
    from drip.web.dashboard import make_dashboard

    host, port = pages
    few = most // DASHBOARD_SHARE if dashboard else 0
    if public_url:
        where = f"http://{host}:{port}; links lead to {public_url}"
        yield _ServedApp(make_app, pages, most - few, f"Pages are served at {where}.")
    elif dashboard is None:
        raise DripError(
            "Links do not lead to pages yet: `public_url` is missing in the settings.",
            help=f"write `public_url: http://localhost:{port}` to try it here, the "
            "public address later",
        )
    else:
        here = f"`public_url: http://localhost:{port}` in the settings would do it here"
        say(f"Pages are not served: {here}.", err=True)
    if dashboard:
        where = f"http://{dashboard[0]}:{dashboard[1]}"
        yield _ServedApp(
            make_dashboard,
            dashboard,
            few,
            f"The dashboard is at {where}.",
        )


def _too_few_files(files: int, least: int) -> DripError:
    return DripError(
        f"This process may have {files:,} files open at once, and drip needs {least}.",
        help="allow more: `ulimit -n 1024` in the shell, `LimitNOFILE=1024` in the "
        "systemd unit, `--ulimit nofile=1024` for Docker",
    )


def _most_connections(reserved: int) -> int:
    """How many connections there may be at once, so that so many files are left for
    everything else. Raises DripError."""
    files = raise_file_limit()
    least = reserved + LEAST_CONNECTIONS
    if files < least:
        raise _too_few_files(files, least)
    return min(MOST_CONNECTIONS, files - reserved)
