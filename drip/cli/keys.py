"""`drip keys`: tokens by which other programs come in, and the keys that sign links."""

from __future__ import annotations

import secrets

import click

from drip.cli.context import App, instant_text, json_option, pass_app
from drip.cli.screen import TerminalTable, draw, print_json, say
from drip.core.characters import hidden_in
from drip.errors import DripError
from drip.storage.base.database import add_link_key, drop_link_keys
from drip.storage.operating import api_keys

# `consent`, `answers`, `clicks` and `coupons` say for somebody what only they can say. `dashboard` looks at its pages, as JSON.
SCOPES = ("events", "contacts", "consent", "answers", "clicks", "coupons", "dashboard")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def keys(context: click.Context, as_json: bool) -> None:
    """Tokens by which a shop or a booking system posts to `/api/events` and `/api/contacts`.

    \b
    Example: drip keys
             drip keys add shop --scope events --scope contacts
             drip keys revoke shop
             drip keys rotate
    """
    if context.invoked_subcommand:
        return
    app = context.find_object(App)
    assert app
    with app.opened(None) as (_, database, _now), database.read() as connection:
        found = api_keys.listed(connection)
    rows = [
        {
            "name": each.name,
            "scopes": sorted(each.scopes),
            "created_at": instant_text(each.created_at),
            "revoked_at": instant_text(each.revoked_at) if each.revoked_at else None,
        }
        for each in found
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = TerminalTable()
    for name in ("Name", "Good for", "Since", "Revoked"):
        table.add_column(name)
    for row in rows:
        table.add_row(
            str(row["name"]),
            ", ".join(row["scopes"] or []),
            str(row["created_at"]),
            str(row["revoked_at"] or ""),
        )
    draw(table)


@keys.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it is good for.",
)
@pass_app
def add(app: App, name: str, scopes: tuple[str, ...]) -> None:
    """Makes a token and prints it, this once: only a hash of it is kept.

    Example: drip keys add shop --scope events

    `events` and `contacts` are for what happens and what people are like. That somebody consents (a contact's field named after
    a topic, `TOPIC.confirmed`, `TOPIC.requested`), answers a survey, follows a link or redeems a code needs `consent`,
    `answers`, `clicks` or `coupons` besides.
    """
    if hidden := hidden_in(name):
        raise DripError(
            f"The name holds the character {hidden}, which nobody can see.",
            help="type it anew",
        )
    token = f"drip_{secrets.token_urlsafe(32)}"
    with app.opened(None) as (_, database, now), database.write() as connection:
        if not api_keys.add(connection, name, token, scopes, now):
            raise DripError(
                f"There is a key `{name}` already.",
                help="name it otherwise; revoked ones keep their names",
            )
    say(token)
    say("Keep it well: it is not shown again.", err=True)


@keys.command("revoke")
@click.argument("name")
@pass_app
def revoke(app: App, name: str) -> None:
    """A token is good no more.

    Example: drip keys revoke shop
    """
    with app.opened(None) as (_, database, now), database.write() as connection:
        if not api_keys.revoke(connection, name, now):
            raise DripError(
                f"There is no key `{name}` that is good.", help="`drip keys` lists them"
            )
    say(f"{name} is revoked.")


@keys.command("rotate")
@click.option(
    "--leaked",
    is_flag=True,
    help="Somebody else may have the old keys: links signed by them are good no more.",
)
@pass_app
def rotate(app: App, leaked: bool) -> None:
    """Signs the links of new messages by a new key. Links that are out there stay good.

    \b
    Example: drip keys rotate
             drip keys rotate --leaked

    With `--leaked` the links of messages that were sent before do not work any more, unsubscribing by them neither: write to
    those people anew.
    """
    with app.opened(None) as (_, database, now), database.write() as connection:
        before = drop_link_keys(connection) if leaked else 0
        add_link_key(connection, now)
    say(
        f"New links are signed by a new key.{f' {before} old one(s) are gone.' if before else ''}"
    )
