"""`drip operators`: who may log in to the dashboard."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from drip.cli.context import App, app_of, json_option, pass_app
from drip.cli.ordering import ordering, why_option
from drip.cli.screen import ask, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import instant_text
from drip.commands import access
from drip.errors import DripError
from drip.storage.operating import operators as store


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def operators(context: click.Context, as_json: bool) -> None:
    """People who may log in to the dashboard of `drip serve`.

    \b
    Example: drip operators
             drip operators add ana
             drip operators password ana
             drip operators remove ana
    """
    if context.invoked_subcommand:
        return
    with app_of(context).reading() as (_, connection):
        found = store.listed(connection)
    since = {operator.name: instant_text(operator.created_at) for operator in found}
    if as_json:
        for name, at in since.items():
            print_json({"name": name, "created_at": at})
    else:
        draw(_table(since))


def _table(since: Mapping[str, str]) -> TerminalTable:
    table = TerminalTable()
    add_columns(table, "Name", "Since")
    for name, at in since.items():
        table.add_row(name, at)
    return table


@operators.command("add")
@click.argument("name")
@why_option
@pass_app
def add(app: App, name: str, why: str | None) -> None:
    """Lets somebody in. Asks for the password; where nobody is there to type, its first
    line of input is taken.

    Example: drip operators add ana
    """
    # Before anybody has typed a password twice for nothing.
    access.refuse_name(name)
    hashed = _hashed_password()
    with ordering(app, why) as (_, connection, order):
        access.add_operator(connection, order, name, hashed)
    say(f"{name} may log in.")


@operators.command("password")
@click.argument("name")
@why_option
@pass_app
def password(app: App, name: str, why: str | None) -> None:
    """Sets another password. Whoever is logged in by the old one is logged out.

    Example: drip operators password ana
    """
    hashed = _hashed_password()
    with ordering(app, why) as (_, connection, order):
        access.set_password(connection, order, name, hashed)
    say(f"{name} has another password.")


@operators.command("remove")
@click.argument("name")
@why_option
@pass_app
def remove(app: App, name: str, why: str | None) -> None:
    """Lets somebody in no more, and logs them out.

    Example: drip operators remove ana --why "works elsewhere now"
    """
    with ordering(app, why) as (_, connection, order):
        access.remove_operator(connection, order, name)
    say(f"{name} may not log in any more.")


def _typed_password() -> str:
    if sys.stdin.isatty():
        return ask("Password")
    # Never an argument: every user of the machine sees those of all processes.
    return sys.stdin.readline().rstrip("\r\n")


def _hashed_password() -> str:
    """What is kept of the password that is typed. Raises DripError for one that is too
    short or too long."""
    # With the pages of the dashboard beside it, which take half a second to import.
    from drip.web.dashboard.passwords import LONGEST, SHORTEST, hash_of

    given = _typed_password()
    # The length is what counts (NIST SP 800-63B section 3.1.1.2), and no mixture of
    # signs is asked for; the longest bounds the work of hashing it.
    if not SHORTEST <= len(given) <= LONGEST:
        raise DripError(
            f"A password has {SHORTEST} to {LONGEST} letters.",
            help="a few words that do not belong together are a good one",
        )
    return hash_of(given)
