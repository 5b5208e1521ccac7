"""`drip operators`: who may log in to the dashboard."""

from __future__ import annotations

import sys

import click

from drip.cli.context import App, instant_text, json_option, pass_app
from drip.cli.screen import TerminalTable, ask, draw, print_json, say
from drip.errors import DripError
from drip.storage.operating import operators as store

LONGEST_NAME = 80


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
    app = context.find_object(App)
    assert app
    with app.opened(None) as (_, database, _now), database.read() as connection:
        rows = [
            {"name": each.name, "created_at": instant_text(each.created_at)}
            for each in store.listed(connection)
        ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = TerminalTable()
    table.add_column("Name")
    table.add_column("Since")
    for row in rows:
        table.add_row(row["name"], row["created_at"])
    draw(table)


@operators.command("add")
@click.argument("name")
@pass_app
def add(app: App, name: str) -> None:
    """Lets somebody in. Asks for the password; where nobody is there to type, its first line of input is taken.

    Example: drip operators add ana
    """
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise DripError(
            "That cannot be a name.", help=f"use up to {LONGEST_NAME} letters"
        )
    password = _password()
    from drip.web.dashboard.passwords import hash_of

    with app.opened(None) as (_, database, now), database.write() as connection:
        if not store.add(connection, name, hash_of(password), now):
            raise DripError(
                f"There is an operator `{name}` already.",
                help="`drip operators password NAME` sets another password",
            )
    say(f"{name} may log in.")


@operators.command("password")
@click.argument("name")
@pass_app
def password(app: App, name: str) -> None:
    """Sets another password. Whoever is logged in by the old one is logged out.

    Example: drip operators password ana
    """
    given = _password()
    from drip.web.dashboard.passwords import hash_of

    with app.opened(None) as (_, database, _now), database.write() as connection:
        _known(store.set_password(connection, name, hash_of(given)), name)
    say(f"{name} has another password.")


@operators.command("remove")
@click.argument("name")
@pass_app
def remove(app: App, name: str) -> None:
    """Lets somebody in no more, and logs them out.

    Example: drip operators remove ana
    """
    with app.opened(None) as (_, database, _now), database.write() as connection:
        _known(store.remove(connection, name), name)
    say(f"{name} may not log in any more.")


def _known(there: bool, name: str) -> None:
    if not there:
        raise DripError(
            f"There is no operator `{name}`.", help="`drip operators` lists them"
        )


def _password() -> str:
    """Raises DripError for one that is too short or too long."""
    from drip.web.dashboard.passwords import LONGEST, SHORTEST

    given = (
        ask("Password") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    )
    if not SHORTEST <= len(given) <= LONGEST:
        raise DripError(
            f"A password has {SHORTEST} to {LONGEST} letters.",
            help="a few words that do not belong together are a good one",
        )
    return given
