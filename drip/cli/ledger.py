"""`drip log` and `drip explain`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import click
from rich.text import Text

from drip.cli.context import App, console, entry_row, json_option, now_option, pass_app, print_json, read_clock
from drip.cli.preview import coming
from drip.cli.show import Shown, timeline
from drip.errors import DripError, nearest
from drip.preview.explaining import why_nothing
from drip.preview.foreseen import contact_number
from drip.preview.simulator import rehearsal
from drip.storage import people
from drip.storage.copying import Part
from drip.storage.ledger import Entry, entries
from drip.workspace import Workspace

AHEAD = timedelta(days=60)
FOLLOW_EVERY_S = 1.0
TICK = timedelta(milliseconds=1)


@click.command()
@click.option("--since", metavar="TIME", help="From this time on.")
@click.option("--contact", metavar="KEY", help="One contact's lines.")
@click.option("--campaign", metavar="NAME", help="One campaign's lines.")
@click.option("--follow", is_flag=True, help="Go on with what is new, until Ctrl-C.")
@json_option
@pass_app
def log(app: App, since: str | None, contact: str | None, campaign: str | None, follow: bool, as_json: bool) -> None:
    """What was decided and done, oldest first.

    \b
    Example: drip log --since 2026-11-22 --campaign newsletter
             drip log --contact ana --json
    """
    with app.opened(None) as (workspace, database, _):
        start = app.instant(workspace, since) if since else None
        chosen = (campaign,) if campaign else ()
        while True:
            until = read_clock() if follow else None
            with database.read() as connection:
                found = list(entries(connection, since=start, until=until, contact=contact, campaigns=chosen))
            _print(found, workspace, as_json)
            if not follow:
                return
            start = (until or read_clock()) + TICK
            try:
                time.sleep(FOLLOW_EVERY_S)
            except KeyboardInterrupt:
                return


def _print(found: Sequence[Entry], workspace: Workspace, as_json: bool) -> None:
    timezone = workspace.timezone
    for entry in found:
        row = entry_row(entry, timezone)
        if as_json:
            print_json(row)
            continue
        place = f" ({entry.place})" if entry.place else ""
        why = f"  {entry.code}: {entry.sentence}{place}" if entry.code else ""
        step = f" {entry.step}" if entry.step else ""
        record = f"/{entry.record}" if entry.record else ""
        click.echo(f"{row['local']}  {entry.outcome:<8}  {entry.contact}{record}  {entry.campaign}{step}{why}")


@click.command()
@click.argument("contact")
@click.argument("campaign", required=False)
@now_option
@json_option
@pass_app
def explain(app: App, contact: str, campaign: str | None, now: str | None, as_json: bool) -> None:
    """Why a contact got something or did not: past and coming, with reason, place and next instant.

    \b
    Example: drip explain ana
             drip explain ana newsletter
    """
    with app.opened(now) as (workspace, database, at):
        number = contact_number(database, contact)
        with rehearsal(database, at, Part(number)) as copy:
            book = workspace.book(copy, at)
        names = [campaign] if campaign else sorted(book.campaigns)
        if campaign and campaign not in book.campaigns:
            raise DripError(
                f"There is no campaign `{campaign}`.", help=nearest(campaign, book.campaigns, what="campaigns")
            )
        with database.read() as connection:
            past = list(entries(connection, until=at, contact=contact, campaigns=tuple(names)))
            person = people.contacts_by_id(connection, [number])[number]
        ahead = coming(workspace, database, at, at + AHEAD, contact, since=at + TICK, campaigns=tuple(names))
        silent = [name for name in names if name not in {entry.campaign for entry in (*past, *ahead)}]
        with database.read() as connection:
            reasons = {name: why_nothing(connection, book, book.campaigns[name], person, at) for name in silent}
        timezone = workspace.settings.timezone
        if as_json:
            for entry in (*past, *ahead):
                print_json({**entry_row(entry, timezone), "coming": entry.at > at})
            for name, reason in reasons.items():
                place = str(reason.place)
                print_json({"contact": contact, "campaign": name, "outcome": None, "code": reason.code,
                            "sentence": reason.sentence, "place": place})  # fmt: skip
            return
        if past or ahead:
            _show_explained(workspace, contact, past, ahead, at)
        for name, reason in reasons.items():
            console().print(
                Text.assemble((name, "bold"), f": nothing. {reason.code}: {reason.sentence} [{reason.place}]")
            )


def _show_explained(
    workspace: Workspace, contact: str, past: Sequence[Entry], ahead: Sequence[Entry], at: datetime
) -> None:
    out = console()
    for title, found in (
        (f"{contact}, so far", past),
        (f"Coming in {AHEAD.days} days, if nothing new happens", ahead),
    ):
        out.print(Text(title, style="bold"))
        titles = {entry.campaign: entry.campaign for entry in found}
        out.print(timeline(Shown(titles, at, at + AHEAD, workspace.settings.timezone), found))
        out.print()
