"""`drip migrate-runs`."""

from __future__ import annotations

import click

from drip.cli.context import App, json_option, now_option, pass_app
from drip.cli.screen import print_json, say
from drip.engine.migrating import plan_moves
from drip.errors import DripError, nearest


@click.command("migrate-runs")
@click.argument("campaign")
@click.option(
    "--yes", is_flag=True, help="Do it; without this it only shows what would change."
)
@now_option
@json_option
@pass_app
def migrate_runs(
    app: App, campaign: str, yes: bool, now: str | None, as_json: bool
) -> None:
    """Moves the people in a campaign to its newest version, by the ids of their steps.

    \b
    Example: drip migrate-runs welcome
             drip migrate-runs welcome --yes

    A run finishes on the version it started with unless you do this. Ends with 1 if some cannot be moved.
    """
    with app.opened(now) as (workspace, database, at):
        known = workspace.loaded.campaigns
        if campaign not in known:
            broken = campaign in workspace.loaded.broken
            help = (
                "`drip check` shows its errors"
                if broken
                else nearest(campaign, known, what="campaigns")
            )
            raise DripError(
                f"There is no campaign `{campaign}` that can be read.", help=help
            )
        campaign_set = workspace.campaign_set(database, at)
        with database.write() as connection:
            plan = plan_moves(connection, campaign_set, known[campaign])
            if yes:
                plan.carry_out(connection)
    for move in plan.moves:
        if as_json:
            print_json(
                {
                    "version": move.version,
                    "step": move.step,
                    "count": move.count,
                    "to": str(move.to) if move.to else None,
                }
            )
        elif move.to:
            say(
                f"{move.count:,} at `{move.step}` of version {move.version[:8]}: to {move.to}"
            )
    for move in plan.stuck:
        sentence = f"{move.count:,} at `{move.step}` of version {move.version[:8]} cannot be moved: there is no such step now."
        help = f"give the step that replaces it `id: {move.step}`, or let them finish on their version"
        say(f"{known[campaign].place}: {sentence}", f"help: {help}", err=True)
    if not as_json:
        done = "moved" if yes else "to be moved; add --yes to do it"
        say(
            f"{plan.movable:,} run(s) {done}."
            if plan.moves
            else "Everybody is in the newest version."
        )
    raise click.exceptions.Exit(1 if plan.stuck else 0)
