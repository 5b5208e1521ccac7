"""`drip serve`: the pages that links lead to, and what providers and other programs post."""

from __future__ import annotations

import time

import click

from drip.cli.context import App, now_option, pass_app
from drip.cli.run import endpoint, log_to_stderr
from drip.errors import DripError


@click.command()
@click.option(
    "--listen", metavar="[HOST:]PORT", default="8080", show_default=True, callback=endpoint,
    help="On this machine alone unless a host is named.",
)  # fmt: skip
@now_option
@click.option("--json", "as_json", is_flag=True, help="Log as JSON lines.")
@pass_app
def serve(app: App, listen: tuple[str, int], now: str | None, as_json: bool) -> None:
    """Pages for recipients (unsubscribe, preferences, confirm, survey, sign-up), and webhooks of mail providers.

    \b
    Example: drip serve
             drip serve --listen 0.0.0.0:8080

    Put it behind a web server that speaks HTTPS for `public_url`. It runs beside `drip run`.
    """
    # Slow to import, and no other command wants them.
    import uvicorn

    from drip.web import make_app

    log_to_stderr(as_json)
    workspace = app.workspace()
    clock = app.clock(workspace, now)
    if not workspace.settings.public_url:
        raise DripError(
            "Links do not lead to pages yet: `public_url` is missing in the settings.",
            help=f"write `public_url: http://localhost:{listen[1]}` to try it here, the public address later",
        )
    with workspace.database(clock()) as database:
        pages = make_app(workspace, database, clock, time.monotonic)
        host, port = listen
        # Its own log would hold tokens.
        config = uvicorn.Config(pages, host=host, port=port, access_log=False, log_level="warning", server_header=False,
                                date_header=True, timeout_graceful_shutdown=10)  # fmt: skip
        click.echo(
            f"Pages are served at http://{host}:{port}; links lead to {workspace.settings.public_url}.", err=True
        )
        try:
            uvicorn.Server(config).run()
        except SystemExit:
            raise DripError(
                f"Nothing can be served at {host}:{port}: the port is taken.", help="name another port"
            ) from None
