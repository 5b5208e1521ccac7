"""`drip log` and `drip explain`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import click

from drip.cli.context import (
    App,
    entry_row,
    instant_text,
    json_option,
    now_option,
    pass_app,
    read_clock,
)
from drip.cli.preview import progress_bar
from drip.cli.screen import draw, print_json, say, words
from drip.cli.show import Shown, timeline
from drip.core.calendar import local, zone
from drip.preview.explaining import AHEAD, TICK, Explained, explained
from drip.storage.reading.ledger import LedgerRow, entries
from drip.workspace import Workspace

FOLLOW_EVERY_S = 1.0


@click.command()
@click.option("--since", metavar="TIME", help="From this time on.")
@click.option("--contact", metavar="KEY", help="One contact's lines.")
@click.option("--campaign", metavar="NAME", help="One campaign's lines.")
@click.option("--follow", is_flag=True, help="Go on with what is new, until Ctrl-C.")
@json_option
@pass_app
def log(
    app: App,
    since: str | None,
    contact: str | None,
    campaign: str | None,
    follow: bool,
    as_json: bool,
) -> None:
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
                found = list(
                    entries(
                        connection,
                        since=start,
                        until=until,
                        contact=contact,
                        campaigns=chosen,
                    )
                )
            _print(found, workspace, as_json)
            if not follow:
                return
            start = (until or read_clock()) + TICK
            try:
                time.sleep(FOLLOW_EVERY_S)
            except KeyboardInterrupt:
                return


def _print(found: Sequence[LedgerRow], workspace: Workspace, as_json: bool) -> None:
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
        say(
            f"{row['local']}  {entry.outcome:<8}  {entry.contact}{record}  {entry.campaign}{step}{why}"
        )


@click.command()
@click.argument("contact")
@click.argument("campaign", required=False)
@now_option
@json_option
@pass_app
def explain(
    app: App, contact: str, campaign: str | None, now: str | None, as_json: bool
) -> None:
    """Why a contact got something or did not: past and coming, with reason, place and next instant.

    \b
    Example: drip explain ana
             drip explain ana newsletter
    """
    with app.opened(now) as (workspace, database, at):
        with progress_bar(at, at + AHEAD) as progress:
            found = explained(workspace, database, contact, campaign, at, progress)
        timezone = workspace.settings.timezone
        if as_json:
            for entry in (*found.past, *found.coming):
                print_json({**entry_row(entry, timezone), "coming": entry.at > at})
            for name, reason in found.nothing.items():
                place = str(reason.place)
                print_json(
                    {
                        "contact": contact,
                        "campaign": name,
                        "outcome": None,
                        "code": reason.code,
                        "sentence": reason.sentence,
                        "place": place,
                    }
                )
            for each in found.given_up:
                print_json(
                    {
                        "contact": contact,
                        "campaign": None,
                        "outcome": None,
                        "code": "suppressed",
                        "channel": each.channel,
                        "sentence": each.reason,
                        "at": each.at.isoformat(),
                    }
                )
            if found.sign_up:
                until = (
                    instant_text(found.sign_up.until) if found.sign_up.until else None
                )
                print_json(
                    {
                        "contact": contact,
                        "campaign": None,
                        "outcome": None,
                        "code": "sign-up",
                        "sentence": found.known_by(zone(timezone)),
                        "until": until,
                    }
                )
            return
        if known_by := found.known_by(zone(timezone)):
            draw(words(f"{contact} is {known_by}.", style="yellow"))
        for each in found.given_up:
            since = local(each.at, zone(timezone))
            said = f"{each.address} is never written to again since {since:%a %-d %b %Y %H:%M}: {each.reason}"
            draw(words(said, style="red"))
        if found.past or found.coming:
            _show_explained(workspace, found, at)
        for name, reason in found.nothing.items():
            draw(
                words(
                    (name, "bold"),
                    f": nothing. {reason.code}: {reason.sentence} [{reason.place}]",
                )
            )


def _show_explained(workspace: Workspace, found: Explained, at: datetime) -> None:
    for title, lines in (
        (f"{found.contact.key}, so far", found.past),
        (f"Coming in {AHEAD.days} days, if nothing new happens", found.coming),
    ):
        draw(words(title, style="bold"))
        titles = {entry.campaign: entry.campaign for entry in lines}
        draw(
            timeline(Shown(titles, at, at + AHEAD, workspace.settings.timezone), lines)
        )
        say()
