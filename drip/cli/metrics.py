"""`drip metrics`."""

from __future__ import annotations

import click

from drip.cli.context import App, pass_app
from drip.cli.screen import say
from drip.daemon.metrics import exposition


@click.command()
@pass_app
def metrics(app: App) -> None:
    """Figures for Prometheus: what waits, what is held, what came back, whether the
    daemon is well.

    \b
    Example: drip metrics > /var/lib/node_exporter/drip.prom

    `drip run --metrics 9464` answers Prometheus itself.
    """
    with app.opened(None) as (_, database, now):
        say(*exposition(database, lambda: now).splitlines())
