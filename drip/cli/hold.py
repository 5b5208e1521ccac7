"""`drip hold`, `stop`, `release` and `suppress`: what leaves and what does not, by an
operator's word."""

from __future__ import annotations

import click

from drip.cli.context import App, no_campaign, pass_app
from drip.cli.ordering import ordering, why_option
from drip.cli.screen import say
from drip.commands import holding
from drip.commands.releasing import SETTLEMENTS, Settlement
from drip.commands.releasing import release as release_messages
from drip.commands.suppressing import suppress as suppress_address
from drip.errors import DripError
from drip.importing.values import parse_email
from drip.workspace import Workspace


@click.command()
@click.argument("campaign")
@click.option("--off", is_flag=True, help="Let it go on.")
@why_option
@pass_app
def hold(app: App, campaign: str, off: bool, why: str | None) -> None:
    """Holds one campaign: nobody enters, nothing of it leaves; people stay where they
    are.

    \b
    Example: drip hold newsletter --why "wrong price in the issue of Thursday"
             drip hold newsletter --off

    It lasts until somebody lets it go. `drip status` says who held it, when and why.
    """
    with ordering(app, why) as (workspace, connection, order):
        _refuse_unknown(workspace, campaign)
        if off:
            was = holding.let_go(connection, order, campaign)
        else:
            holding.hold(connection, order, campaign)
    if off:
        say(f"{campaign} goes on." if was else f"{campaign} was not held.")
    else:
        say(f"{campaign} is held. `drip hold {campaign} --off` lets it go on.")


def _refuse_unknown(workspace: Workspace, campaign: str) -> None:
    """Raises DripError for a campaign that there is not; a broken one can be held."""
    # Runs of it go on by the version they began with, whatever its file says now.
    known = {*workspace.loaded.campaigns, *workspace.loaded.broken}
    if campaign not in known:
        raise no_campaign(campaign, known)


@click.command()
@click.option("--off", is_flag=True, help="Let everything go on.")
@why_option
@pass_app
def stop(app: App, off: bool, why: str | None) -> None:
    """Stops everything within one beat of the daemon; nothing is lost.

    \b
    Example: drip stop --why "the provider is being changed"
             drip stop --off

    It lasts until somebody lets everything go on. `drip status` says who stopped it,
    when and why."""
    with ordering(app, why) as (_, connection, order):
        if off:
            was = holding.go_on(connection, order)
        else:
            holding.stop(connection, order)
    if off:
        say("Everything goes on." if was else "Nothing was stopped.")
    else:
        say("Everything is stopped. `drip stop --off` lets it go on.")


@click.command()
@click.argument("messages", nargs=-1, type=int, metavar="[MESSAGE…]")
@click.option("--all", "everything", is_flag=True, help="Every held message.")
@click.option(
    "--as",
    "settlement",
    type=click.Choice(SETTLEMENTS),
    required=True,
    help="What became of it.",
)
@why_option
@pass_app
def release(
    app: App,
    messages: tuple[int, ...],
    everything: bool,
    settlement: Settlement,
    why: str | None,
) -> None:
    """Settles held messages: those that may have left, and those that could not be
    rendered.

    \b
    Example: drip release 17 18 --as sent
             drip release --all --as again

    `sent`: it did arrive. `again`: judge and send it (again). `dropped`: it did not
    leave, and shall not."""
    # Nothing named is a mistake, and never all of them: some may have left already.
    if not (messages or everything):
        raise DripError(
            "No message was named.",
            help="`drip status` lists the held ones; --all means every one of them",
        )
    chosen = None if everything else messages
    with ordering(app, why) as (_, connection, order):
        count = release_messages(connection, order, chosen, settlement)
    say(f"{count} message(s) settled as {settlement}.")


def _normal(address: str) -> str:
    try:
        return parse_email(address)
    except ValueError as wrong:
        raise DripError(f"{wrong}.") from None


@click.command()
@click.argument("address")
@why_option
@pass_app
def suppress(app: App, address: str, why: str | None) -> None:
    """Never writes to an address again, whoever has it: after a hard bounce or a
    complaint.

    Example: drip suppress old@example.com --why "hard bounce"
    """
    # In its normal form, or a capital letter would let mails through to it.
    address = _normal(address)
    with ordering(app, why) as (_, connection, order):
        suppress_address(connection, order, address)
    # GDPR art. 5(1)(c): what is not needed is not kept, and a hash is enough to
    # recognise the address by.
    say(f"{address} is suppressed. Only its keyed hash is kept.")
