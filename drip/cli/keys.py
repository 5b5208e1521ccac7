"""`drip keys`: tokens by which other programs come in, and the keys that sign links."""

from __future__ import annotations

from collections.abc import Sequence

import click

from drip.cli.context import App, app_of, json_option, pass_app
from drip.cli.ordering import ordering, why_option
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import instant_or_none, instant_text
from drip.commands import access
from drip.storage.operating import api_keys
from drip.storage.operating.api_keys import ApiKey

# A shop's program that is broken into must not make up what people want: art. 7(1) of
# the GDPR has us demonstrate consent.
# `consent`, `answers`, `clicks` and `coupons` say for somebody what only they can say.
# `dashboard` looks at its pages, as JSON.
SCOPES = ("events", "contacts", "consent", "answers", "clicks", "coupons", "dashboard")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def keys(context: click.Context, as_json: bool) -> None:
    """Tokens by which a shop or a booking system posts to `/api/events` and
    `/api/contacts`.

    \b
    Example: drip keys
             drip keys add shop --scope events --scope contacts
             drip keys revoke shop
             drip keys rotate
    """
    if context.invoked_subcommand:
        return
    with app_of(context).reading() as (_, connection):
        found = api_keys.listed(connection)
    if not as_json:
        draw(_table(found))
        return
    for key in found:
        print_json(_row(key))


def _row(key: ApiKey) -> JsonRow:
    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": instant_text(key.created_at),
        "revoked_at": instant_or_none(key.revoked_at),
    }


def _table(found: Sequence[ApiKey]) -> TerminalTable:
    table = TerminalTable()
    add_columns(table, "Name", "Good for", "Since", "Revoked")
    for key in found:
        table.add_row(
            key.name,
            ", ".join(sorted(key.scopes)),
            instant_text(key.created_at),
            instant_or_none(key.revoked_at) or "",
        )
    return table


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
@why_option
@pass_app
def add(app: App, name: str, scopes: tuple[str, ...], why: str | None) -> None:
    """Makes a token and prints it, this once: only a hash of it is kept.

    Example: drip keys add shop --scope events

    `events` and `contacts` are for what happens and what people are like. That somebody
    consents (a contact's field named after a topic, `TOPIC.confirmed`,
    `TOPIC.requested`), answers a survey, follows a link or redeems a code needs
    `consent`, `answers`, `clicks` or `coupons` besides."""
    with ordering(app, why) as (_, connection, order):
        token = access.add_key(connection, order, name, scopes)
    say(token)
    # On standard error: `TOKEN=$(drip keys add …)` has to hold the token alone.
    say("Keep it well: it is not shown again.", err=True)


@keys.command("revoke")
@click.argument("name")
@why_option
@pass_app
def revoke(app: App, name: str, why: str | None) -> None:
    """A token is good no more.

    Example: drip keys revoke shop --why "it was in a public repository"
    """
    with ordering(app, why) as (_, connection, order):
        access.revoke_key(connection, order, name)
    say(f"{name} is revoked.")


@keys.command("rotate")
@click.option(
    "--leaked",
    is_flag=True,
    help="Somebody else may have the old keys: links signed by them are good no more.",
)
@why_option
@pass_app
def rotate(app: App, leaked: bool, why: str | None) -> None:
    """Signs the links of new messages by a new key. Links that are out there stay good.

    \b
    Example: drip keys rotate
             drip keys rotate --leaked

    With `--leaked` the links of messages that were sent before do not work any more,
    unsubscribing by them neither: write to those people anew."""
    with ordering(app, why) as (_, connection, order):
        gone = access.rotate_link_keys(connection, order, leaked=leaked)
    lost = f" {gone} old one(s) are gone." if gone else ""
    say(f"New links are signed by a new key.{lost}")
