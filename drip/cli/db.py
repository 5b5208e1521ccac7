"""`drip db`: the database and what lies beside it."""

from __future__ import annotations

import click

from drip import private
from drip.cli.context import App, pass_app, read_clock
from drip.cli.ordering import order_of, why_option
from drip.cli.screen import say
from drip.commands.orders import note
from drip.errors import DripError
from drip.storage.base.opening import upgrade
from drip.storage.base.places import is_missing


@click.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
@why_option
@pass_app
def db_upgrade(app: App, why: str | None) -> None:
    """Brings an older database to this version's tables.

    Example: drip db upgrade
    """
    workspace = app.workspace()
    place = workspace.database_place()
    if is_missing(place):
        raise DripError(
            f"There is no database at {place}.",
            help="it is made by the first command that needs it",
        )
    before, after = upgrade(place)
    # Nothing was changed, and the audit has no row of it.
    if before == after:
        say(f"The database is up to date ({after}).")
        return
    now = read_clock()
    # Not in the migrations' transaction: those that make the table have to be done.
    with workspace.database(now) as database, database.write() as connection:
        note(connection, order_of(app, now, why), "db upgrade", f"{before} to {after}")
    say(f"Upgraded from {before} to {after}.")


@db.command("protect")
@pass_app
def db_protect(app: App) -> None:
    """Closes `.drip` and the database to other users of this machine.

    Example: drip db protect
    """
    closed = 0
    still_open = []
    # GDPR art. 32(1): on a machine that others use, file modes are what keeps people's
    # data from them.
    for path in app.workspace().exposed():
        if private.protect(path):
            closed += 1
        else:
            still_open.append(path)
    # As on FAT and on shares of Windows, where setting a mode does nothing.
    if still_open:
        raise DripError(
            f"The disk keeps no permissions: {still_open[0]} stays open to others.",
            help="put the workspace on another disk, or mount this one with `umask=077`",
        )
    if closed:
        say(f"{closed} file(s) and folder(s) are closed to other users.")
    else:
        say("Nothing was open to others.")


@db.command("scrub")
@why_option
@pass_app
def db_scrub(app: App, why: str | None) -> None:
    """Clears what is left of erased people in files, however large the database is: it
    is written anew, and nobody else can write meanwhile.

    Example: drip db scrub
    """
    with app.opened(None) as (workspace, database, now):
        # First, since the file is written anew outside of any transaction.
        with database.write() as connection:
            note(connection, order_of(app, now, why), "db scrub")
        if left := workspace.clear(database, now, thorough=True):
            raise DripError(
                f"Something is left: {left}.",
                help="try it again when nobody else uses the database",
            )
    say("Nothing is left of erased people.")
