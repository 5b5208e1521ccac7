"""`drip preview`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click
from rich.progress import Progress

from drip.cli.caps import show_caps
from drip.cli.context import App, console, entry_row, json_option, now_option, pass_app, print_json
from drip.cli.outage import show_outage
from drip.cli.show import Shown, picture, timeline
from drip.core.message import Message
from drip.engine.book import Book
from drip.engine.dispatcher import Ready
from drip.errors import DripError, nearest
from drip.language.phrases import span
from drip.preview.outages import effects
from drip.preview.pressure import pressure, tried
from drip.preview.report import Period, report
from drip.preview.samples import Samples
from drip.preview.simulator import Nowhere, Outage, rehearsal, simulate
from drip.storage import people
from drip.storage.database import Database
from drip.storage.ledger import Entry, entries
from drip.workspace import Workspace

FURTHEST = timedelta(days=5 * 366)


@click.command()
@click.argument("campaigns", nargs=-1, metavar="[CAMPAIGN…]")
@click.option("--days", type=click.IntRange(1, 730), default=30, show_default=True, help="How far to look.")
@click.option("--from", "start", metavar="TIME", help="Show from here on; everything before is simulated too.")
@click.option("--contact", metavar="KEY", help="One contact's timeline.")
@click.option("--html", metavar="DIR", help="Write it as one page: DIR/preview.html, with rendered samples.")
@click.option("--caps", is_flag=True, help="Who displaces whom under the caps, and who is at a limit.")
@click.option("--try", "trial", metavar="CAPS", help="With --caps: what others would change, as `promo: 1 per week`.")
@click.option("--outage", metavar="SPAN", help="Rehearse a downtime: `36 hours from 2026-12-04 18:00`.")
@now_option
@json_option
@pass_app
def preview(
    app: App,
    campaigns: tuple[str, ...],
    days: int,
    start: str | None,
    contact: str | None,
    html: str | None,
    caps: bool,
    trial: str | None,
    outage: str | None,
    now: str | None,
    as_json: bool,
) -> None:
    """Who will get what, when; and who will not, and why. Nothing is sent, nothing is changed.

    \b
    Example: drip preview
             drip preview birthday --days 90
             drip preview --contact ana --json
             drip preview --html report
             drip preview --caps --try "offers: 1 per week"
             drip preview --outage "36 hours from 2026-12-04 18:00"

    It is the daemon's own planner on a copy of the database and a clock that runs ahead.
    """
    with app.opened(now) as (workspace, database, at):
        first = app.instant(workspace, start) if start else at
        if not at - FURTHEST < first < at + FURTHEST:
            raise click.BadParameter("--from lies more than five years away")
        last = first + timedelta(days=days)
        _known_campaigns(workspace, campaigns)
        samples = Samples()
        down = _outage(app, workspace, outage, at, last) if outage else None
        found = coming(workspace, database, at, last, contact, since=first, campaigns=campaigns, seen=samples.look)
        _broken(workspace)
        if caps or trial:
            other = None
            if trial:
                changed = Workspace(workspace.root, workspace.environment)
                changed.loaded = tried(workspace.loaded, trial)
                other = pressure(coming(changed, database, at, last, contact, since=first, campaigns=campaigns))
            show_caps(pressure(found), other, trial, as_json)
            return
        if down:
            without = coming(workspace, database, at, last, contact, since=first, campaigns=campaigns, outage=down)
            show_outage(effects(found, without, down), down, workspace.settings.timezone, as_json)
            return
        titles = {key: campaign.title for key, campaign in workspace.loaded.campaigns.items()}
        if html is not None:
            period = Period(first, last, workspace.settings.timezone, titles)
            chosen = [each for each in samples.chosen() if not campaigns or each.campaign in campaigns]
            path = _written(Path(html), report(found, chosen, period, workspace.settings.business_name))
            click.echo(f"Wrote {path}")
            return
        if as_json:
            for entry in found:
                print_json(entry_row(entry, workspace.settings.timezone))
            return
        titles |= {entry.campaign: titles.get(entry.campaign, entry.campaign) for entry in found}
        shown = Shown(found, titles, first, last, workspace.settings.timezone)
        console().print(timeline(shown) if contact else picture(shown))


def coming(
    workspace: Workspace,
    database: Database,
    now: datetime,
    until: datetime,
    contact: str | None = None,
    *,
    since: datetime | None = None,
    campaigns: tuple[str, ...] = (),
    outage: Outage | None = None,
    seen: Callable[[Ready, Message], None] = lambda ready, message: None,
) -> list[Entry]:
    """The ledger of a simulation from `now` to `until`. Raises DripError for an unknown contact."""
    contact_id = contact_number(database, contact) if contact else None
    if not Book(workspace.settings, dict(workspace.loaded.campaigns)).stands_alone():
        contact_id = None
    with rehearsal(database, now, contact_id) as copy, _progress(now, until) as progress:
        book = workspace.book(copy, now)
        transports = dict.fromkeys(workspace.settings.transports, Nowhere())
        simulate(copy, book, workspace.templates, transports, now, until, progress, outage, seen)
        with copy.read() as connection:
            return list(entries(connection, since=since or now, until=until, contact=contact, campaigns=campaigns))


def contact_number(database: Database, key: str) -> int:
    """The number of a contact. Raises DripError for an unknown key."""
    with database.read() as connection:
        found = people.contacts_by_key(connection, [key])
    if key not in found:
        raise DripError(f"There is no contact `{key}`.", help="`drip import contacts FILE` brings contacts in")
    return found[key].id


def _written(folder: Path, page: str) -> Path:
    """The page, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path, making = folder / "preview.html", folder / "preview.html.new"
    making.write_text(page, "utf-8")
    making.rename(path)
    return path


def _outage(app: App, workspace: Workspace, text: str, now: datetime, last: datetime) -> Outage:
    """`36 hours from 2026-12-04 18:00`. Raises click.BadParameter."""
    length, word, start = text.partition(" from ")
    try:
        long = span(length)
    except ValueError as wrong:
        raise click.BadParameter(f"--outage: {wrong}; write `36 hours from 2026-12-04 18:00`") from None
    if not word:
        raise click.BadParameter("--outage is written as `36 hours from 2026-12-04 18:00`")
    begins = app.instant(workspace, start.strip())
    if not now <= begins < last:
        raise click.BadParameter("--outage begins outside of what the preview shows; see --days")
    return Outage(begins, begins + long)


def _known_campaigns(workspace: Workspace, names: tuple[str, ...]) -> None:
    known = {*workspace.loaded.campaigns, *workspace.loaded.broken}
    for name in names:
        if name not in known:
            raise DripError(f"There is no campaign `{name}`.", help=nearest(name, known, what="campaigns"))


def _broken(workspace: Workspace) -> None:
    errors = [problem for problem in workspace.problems() if problem.level == "error"]
    if errors:
        files = ", ".join(sorted({problem.place.file for problem in errors}))
        click.echo(f"warning: {len(errors)} error(s) in {files}: `drip check` shows them", err=True)


@contextmanager
def _progress(start: datetime, end: datetime) -> Iterator[Callable[[datetime], None]]:
    total = (end - start).total_seconds()
    with Progress(transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Looking ahead", total=total)
        yield lambda now: bar.update(task, completed=(now - start).total_seconds())
