"""`drip serve`: the pages that links lead to, and what providers and other programs post."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click

from drip.cli.context import App, endpoint, now_option, pass_app
from drip.cli.log_lines import log_to_stderr
from drip.errors import DripError
from drip.storage.database import Database
from drip.workspace import Workspace


@click.command()
@click.option(
    "--listen", metavar="[HOST:]PORT", default="8080", show_default=True, callback=endpoint,
    help="On this machine alone unless a host is named.",
)  # fmt: skip
@click.option(
    "--behind", metavar="ADDRESS", default="127.0.0.1", show_default=True,
    help="The web server before it, which says where requests come from (X-Forwarded-For). Several with commas.",
)  # fmt: skip
@now_option
@click.option("--json", "as_json", is_flag=True, help="Log as JSON lines.")
@pass_app
def serve(app: App, listen: tuple[str, int], behind: str, now: str | None, as_json: bool) -> None:
    """Pages for recipients (unsubscribe, preferences, confirm, survey, sign-up), and webhooks of mail providers.

    \b
    Example: drip serve
             drip serve --listen 0.0.0.0:8080

    Put it behind a web server that speaks HTTPS for `public_url`. It runs beside `drip run`.
    """
    log_to_stderr(as_json)
    workspace = app.workspace()
    clock = app.clock(workspace, now)
    with workspace.database(clock()) as database:
        listening, pages = _pages(workspace, database, clock, listen)
        # Slow to import, and few commands want it.
        from drip.web.server import serve as serve_at

        serve_at(pages, listening, behind)


@contextlib.contextmanager
def served(
    workspace: Workspace, database: Database, clock: Callable[[], datetime], at: tuple[str, int] | None
) -> Iterator[None]:
    """The pages are served meanwhile, if that is wanted. Raises DripError."""
    if at is None:
        yield
        return
    listening, pages = _pages(workspace, database, clock, at)
    from drip.web.server import serving

    with serving(pages, listening):
        yield


def _pages(
    workspace: Workspace, database: Database, clock: Callable[[], datetime], at: tuple[str, int]
) -> tuple[socket.socket, Any]:
    """Where they are served, and what. Raises DripError."""
    from drip.web import make_app
    from drip.web.server import listen as listen_at

    host, port = at
    leads = workspace.settings.public_url
    if not leads:
        raise DripError(
            "Links do not lead to pages yet: `public_url` is missing in the settings.",
            help=f"write `public_url: http://localhost:{port}` to try it here, the public address later",
        )
    listening = listen_at(host, port)
    pages = make_app(workspace, database, clock, time.monotonic)
    click.echo(f"Pages are served at http://{host}:{port}; links lead to {leads}.", err=True)
    return listening, pages
