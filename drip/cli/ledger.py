"""`drip log` and `drip explain`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
from sqlalchemy import Connection

from drip.cli.context import App, json_option, now_option, pass_app, read_clock
from drip.cli.preview import progress_bar
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.show import Shown, timeline
from drip.cli.tables import draw, words
from drip.cli.texts import entry_row, instant_or_none, instant_text
from drip.core.calendar import local, zone
from drip.preview.explaining import AHEAD, TICK, Explained, explained
from drip.storage.base.database import Database
from drip.storage.operating import audit
from drip.storage.operating.audit import AuditRow
from drip.storage.people.suppressions import GivenUp
from drip.storage.reading.ledger import LedgerRow, entries
from drip.workspace import Workspace

# Each time is one query: faster would keep the database busy for nobody.
FOLLOW_EVERY_S = 1.0


@click.command()
@click.option("--since", metavar="TIME", help="From this time on.")
@click.option("--contact", metavar="KEY", help="One contact's lines.")
@click.option("--campaign", metavar="NAME", help="One campaign's lines.")
@click.option(
    "--audit",
    "ordered",
    is_flag=True,
    help="What people ordered instead, and why.",
)
@click.option("--follow", is_flag=True, help="Go on with what is new, until Ctrl-C.")
@json_option
@pass_app
def log(
    app: App,
    since: str | None,
    contact: str | None,
    campaign: str | None,
    ordered: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """What was decided and done, oldest first.

    \b
    Example: drip log --since 2026-11-22 --campaign newsletter
             drip log --contact ana --json
             drip log --audit --since 2026-11-22
    """
    with app.opened(None) as (workspace, database, _):
        start = app.instant(workspace, since) if since else None
        asked = _LogRequest(workspace.timezone, contact, campaign, as_json)
        print_since = asked.print_orders if ordered else asked.print_ledger
        if follow:
            _follow(database, start, print_since)
        else:
            with database.read() as connection:
                print_since(connection, start, None)


Printing = Callable[[Connection, datetime | None, datetime | None], None]


def _follow(database: Database, start: datetime | None, print_since: Printing) -> None:
    """Prints what is new, again and again, until Ctrl-C."""
    while True:
        # Up to a fixed instant, or a line that is written meanwhile would be printed
        # twice or not at all.
        until = read_clock()
        with database.read() as connection:
            print_since(connection, start, until)
        start = until + TICK
        if not _waited():
            return


def _waited() -> bool:
    """Whether nobody has pressed Ctrl-C meanwhile."""
    try:
        time.sleep(FOLLOW_EVERY_S)
    except KeyboardInterrupt:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _LogRequest:
    """Whose lines `drip log` is asked for, and how they are printed."""

    timezone: str
    contact: str | None
    campaign: str | None
    as_json: bool

    def print_ledger(
        self,
        connection: Connection,
        since: datetime | None,
        until: datetime | None,
    ) -> None:
        """What happened to messages and runs."""
        found = entries(
            connection,
            since=since,
            until=until,
            contact=self.contact,
            campaigns=(self.campaign,) if self.campaign else (),
        )
        # All of it before the first line: whoever reads slowly would keep the snapshot
        # open.
        for entry in list(found):
            row = entry_row(entry, self.timezone)
            if self.as_json:
                print_json(row)
            else:
                say(_ledger_line(entry, row["local"]))

    def print_orders(
        self,
        connection: Connection,
        since: datetime | None,
        until: datetime | None,
    ) -> None:
        """What people ordered."""
        asked = self.campaign, self.contact
        for order in audit.orders(connection, since, until, *asked):
            self._print_order(order)

    def _print_order(self, order: AuditRow) -> None:
        if self.as_json:
            print_json(_order_row(order, self.timezone))
        else:
            say(_order_line(order, self.timezone))


def _ledger_line(entry: LedgerRow, wall: str) -> str:
    step = f" {entry.step}" if entry.step else ""
    record = f"/{entry.record}" if entry.record else ""
    place = f" ({entry.place})" if entry.place else ""
    why = f"  {entry.code}: {entry.sentence}{place}" if entry.code else ""
    who = f"{entry.contact}{record}"
    return f"{wall}  {entry.outcome:<8}  {who}  {entry.campaign}{step}{why}"


def _order_row(order: AuditRow, timezone: str) -> JsonRow:
    return {
        "at": instant_text(order.at),
        "local": _wall(order.at, timezone),
        "by": order.by,
        "command": order.command,
        "about": order.about,
        "contact": order.contact,
        "why": order.why,
    }


def _order_line(order: AuditRow, timezone: str) -> str:
    """`2026-11-28T14:05-06:00  ana  hold newsletter: wrong price`."""
    about = " ".join(text for text in (order.about, order.contact) if text)
    why = f": {order.why}" if order.why else ""
    said = f"{order.command} {about}".rstrip()
    return f"{_wall(order.at, timezone)}  {order.by}  {said}{why}"


def _wall(at: datetime, timezone: str) -> str:
    return at.astimezone(zone(timezone)).isoformat(timespec="minutes")


@click.command()
@click.argument("contact")
@click.argument("campaign", required=False)
@now_option
@json_option
@pass_app
def explain(
    app: App,
    contact: str,
    campaign: str | None,
    now: str | None,
    as_json: bool,
) -> None:
    """Why a contact got something or did not: past and coming, with reason, place and
    next instant.

    \b
    Example: drip explain ana
             drip explain ana newsletter
    """
    with app.opened(now) as (workspace, database, at):
        with progress_bar(at, at + AHEAD) as progress:
            found = explained(workspace, database, contact, campaign, at, progress)
        timezone = workspace.settings.timezone
        if not as_json:
            _print_explained(workspace, found, at)
            return
        for row in _explained_rows(found, contact, timezone, at):
            print_json(row)


def _explained_rows(
    found: Explained,
    contact: str,
    timezone: str,
    at: datetime,
) -> Iterator[Mapping[str, Any]]:
    for entry in (*found.past, *found.coming):
        yield {**entry_row(entry, timezone), "coming": entry.at > at}
    # That nothing comes is an answer too: without a line it would look as if nobody had
    # looked.
    for campaign, reason in found.nothing.items():
        nothing = _nothing_row(contact, campaign, reason.code, reason.sentence)
        yield {**nothing, "place": str(reason.place)}
    for address in found.given_up:
        yield _given_up_row(contact, address)
    if found.sign_up:
        known_by = found.known_by(zone(timezone))
        nothing = _nothing_row(contact, None, "sign-up", known_by)
        yield {**nothing, "until": instant_or_none(found.sign_up.until)}


def _nothing_row(
    contact: str,
    campaign: str | None,
    code: str,
    sentence: str | None,
) -> JsonRow:
    """That nothing happens, and why."""
    return {
        "contact": contact,
        "campaign": campaign,
        "outcome": None,
        "code": code,
        "sentence": sentence,
    }


def _given_up_row(contact: str, address: GivenUp) -> JsonRow:
    return {
        "contact": contact,
        "campaign": None,
        "outcome": None,
        "code": "suppressed",
        "channel": address.channel,
        "sentence": address.reason,
        "at": address.at.isoformat(),
    }


def _print_explained(workspace: Workspace, found: Explained, at: datetime) -> None:
    here = zone(workspace.settings.timezone)
    if known_by := found.known_by(here):
        draw(words(f"{found.contact.key} is {known_by}.", style="yellow"))
    for address in found.given_up:
        since = f"{local(address.at, here):%a %-d %b %Y %H:%M}"
        said = f"{address.address} is never written to again since {since}"
        draw(words(f"{said}: {address.reason}", style="red"))
    if found.past or found.coming:
        _draw_timelines(workspace, found, at)
    for campaign, reason in found.nothing.items():
        said = f": nothing. {reason.code}: {reason.sentence} [{reason.place}]"
        draw(words((campaign, "bold"), said))


def _draw_timelines(workspace: Workspace, found: Explained, at: datetime) -> None:
    coming = f"Coming in {AHEAD.days} days, if nothing new happens"
    timelines = {f"{found.contact.key}, so far": found.past, coming: found.coming}
    for title, lines in timelines.items():
        draw(words(title, style="bold"))
        titles = {entry.campaign: entry.campaign for entry in lines}
        shown = Shown(titles, at, at + AHEAD, workspace.settings.timezone)
        draw(timeline(shown, lines))
        say()
