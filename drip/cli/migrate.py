"""`drip migrate-runs`."""

from __future__ import annotations

import click

from drip.cli.context import App, json_option, now_option, pass_app
from drip.cli.ordering import order_of, why_option
from drip.cli.screen import JsonRow, print_json, say
from drip.commands.moving import migrate_runs as move_runs
from drip.core.campaign import Campaign
from drip.engine.migrating import Move, Plan, plan_moves
from drip.errors import DripError, nearest
from drip.workspace import Workspace

# Of a version's hash, enough to tell it from the others.
SHOWN_OF_VERSION = 8


@click.command("migrate-runs")
@click.argument("campaign")
@click.option(
    "--yes",
    is_flag=True,
    help="Do it; without this it only shows what would change.",
)
@why_option
@now_option
@json_option
@pass_app
def migrate_runs(
    app: App,
    campaign: str,
    yes: bool,
    why: str | None,
    now: str | None,
    as_json: bool,
) -> None:
    """Moves the people in a campaign to its newest version, by the ids of their steps.

    \b
    Example: drip migrate-runs welcome
             drip migrate-runs welcome --yes

    A run finishes on the version it started with unless you do this. Ends with 1 if
    some cannot be moved."""
    with app.opened(now) as (workspace, database, at):
        known = _readable(workspace, campaign)
        campaign_set = workspace.campaign_set(database, at)
        order = order_of(app, at, why)
        with database.write() as connection:
            # What is shown is what would be done: the same plan, not carried out.
            if yes:
                plan = move_runs(connection, order, campaign_set, known)
            else:
                plan = plan_moves(connection, campaign_set, known)
    if as_json:
        for move in plan.moves:
            print_json(_row(move))
    else:
        _print_moves(plan)
    _print_stuck(known, plan)
    if not as_json:
        say(_summary(plan, yes))
    raise click.exceptions.Exit(1 if plan.stuck else 0)


def _readable(workspace: Workspace, key: str) -> Campaign:
    """Raises DripError for a campaign that there is not, or that has errors."""
    known = workspace.loaded.campaigns
    if key in known:
        return known[key]
    help = nearest(key, known, what="campaigns")
    if key in workspace.loaded.broken:
        help = "`drip check` shows its errors"
    raise DripError(f"There is no campaign `{key}` that can be read.", help=help)


def _row(move: Move) -> JsonRow:
    return {
        "version": move.version,
        "step": move.step,
        "count": move.count,
        "to": str(move.to) if move.to else None,
    }


def _where(move: Move) -> str:
    version = move.version[:SHOWN_OF_VERSION]
    return f"{move.count:,} at `{move.step}` of version {version}"


def _print_moves(plan: Plan) -> None:
    for move in plan.moves:
        if move.to:
            say(f"{_where(move)}: to {move.to}")


def _print_stuck(campaign: Campaign, plan: Plan) -> None:
    for move in plan.stuck:
        say(
            f"{campaign.place}: {_where(move)} cannot be moved: there is no such step "
            "now.",
            f"help: give the step that replaces it `id: {move.step}`, or let them "
            "finish on their version",
            err=True,
        )


def _summary(plan: Plan, done: bool) -> str:
    if not plan.moves:
        return "Everybody is in the newest version."
    what = "moved" if done else "to be moved; add --yes to do it"
    return f"{plan.movable:,} run(s) {what}."
