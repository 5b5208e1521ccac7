"""`drip preview`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from drip import papers, private
from drip.cli.caps import show_caps
from drip.cli.context import App, entry_row, json_option, now_option, pass_app
from drip.cli.outage import show_outage
from drip.cli.screen import bar, draw, print_json, say
from drip.cli.show import Shown, picture, timeline
from drip.errors import DripError, nearest
from drip.language.phrases import span
from drip.preview.forecast import Forecast, Sums, forecast, summed
from drip.preview.outages import effects
from drip.preview.report import report
from drip.preview.samples import Samples
from drip.preview.simulator import Outage
from drip.preview.trying import tried
from drip.storage.base.database import Database
from drip.storage.reading.ledger import LedgerRow
from drip.workspace import OWN, Workspace

FURTHEST = timedelta(days=5 * 366)


@click.command()
@click.argument("campaigns", nargs=-1, metavar="[CAMPAIGN…]")
@click.option(
    "--days",
    type=click.IntRange(1, 730),
    default=30,
    show_default=True,
    help="How far to look.",
)
@click.option(
    "--from",
    "start",
    metavar="TIME",
    help="Show from here on; everything before is simulated too.",
)
@click.option("--contact", metavar="KEY", help="One contact's timeline.")
@click.option(
    "--html",
    metavar="DIR",
    help="Write it as one page: DIR/preview.html, with rendered samples.",
)
@click.option(
    "--caps",
    is_flag=True,
    help="Who displaces whom under the caps, and who is at a limit.",
)
@click.option(
    "--try",
    "trial",
    metavar="CAPS",
    help="With --caps: what others would change, as `promo: 1 per week`.",
)
@click.option(
    "--outage",
    metavar="SPAN",
    help="Rehearse a downtime: `36 hours from 2026-12-04 18:00`.",
)
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
        other = _tried(workspace, trial) if trial else None
        down = _outage(app, workspace, outage, at, last) if outage else None
        asked = partial(
            looking_ahead,
            workspace,
            database,
            at,
            last,
            contact,
            since=first,
            campaigns=campaigns,
        )

        def sums(of: Workspace, shares: int | None = None) -> Sums:
            with progress_bar(at, last) as progress:
                return summed(
                    of,
                    database,
                    at,
                    last,
                    since=first,
                    campaigns=campaigns,
                    progress=progress,
                    shares=shares,
                )

        _broken(workspace)
        zone = workspace.settings.timezone
        titles = {
            key: campaign.title for key, campaign in workspace.loaded.campaigns.items()
        }
        if caps or trial:
            # Other processes would read the files, which do not have what is tried.
            as_is = sums(workspace).pressure
            show_caps(as_is, sums(other, 1).pressure if other else None, trial, as_json)
        elif down:
            with asked() as found, asked(outage=down) as without:
                show_outage(
                    effects(found.entries(), without.entries(), down),
                    down,
                    zone,
                    as_json,
                )
        elif as_json:
            with asked() as found:
                for entry in found.entries():
                    print_json(entry_row(entry, zone))
        elif contact:
            with asked() as found:
                draw(timeline(Shown(titles, first, last, zone), list(found.entries())))
        elif html is not None:
            samples = Samples()
            with asked(seen=samples.look) as found:
                chosen = [
                    each
                    for each in samples.chosen()
                    if not campaigns or each.campaign in campaigns
                ]
                page = report(
                    found, chosen, titles, zone, workspace.settings.business_name
                )
            written = _written(Path(html), page)
            papers.note(workspace.root / OWN, written)
            say(f"Wrote {written}")
        else:
            coming_time = sums(workspace).summary
            titles |= {key: titles.get(key, key) for key in coming_time.campaigns}
            draw(picture(Shown(titles, first, last, zone), coming_time))


@contextmanager
def looking_ahead(
    workspace: Workspace,
    database: Database,
    now: datetime,
    until: datetime,
    *about: Any,
    **more: Any,
) -> Iterator[Forecast]:
    """As `foreseen`, with a bar that shows how far it is."""
    with ExitStack() as stack:
        with progress_bar(now, until) as progress:
            found = stack.enter_context(
                forecast(
                    workspace, database, now, until, *about, **more, progress=progress
                )
            )
        yield found


def coming(*asked: Any, **more: Any) -> list[LedgerRow]:
    """All lines of what `looking_ahead` finds."""
    with looking_ahead(*asked, **more) as found:
        return list(found.entries())


def _tried(workspace: Workspace, trial: str) -> Workspace:
    """The same workspace under other caps. Raises DripError."""
    other = Workspace(workspace.root, workspace.environment)
    other.loaded = tried(workspace.loaded, trial)
    return other


def _written(folder: Path, page: str) -> Path:
    """The page, whole or not at all."""
    private.folder(folder)
    path, making = folder / "preview.html", folder / "preview.html.new"
    private.write(making, page.encode())
    making.rename(path)
    return path


def _outage(
    app: App, workspace: Workspace, text: str, now: datetime, last: datetime
) -> Outage:
    """`36 hours from 2026-12-04 18:00`. Raises click.BadParameter."""
    length, word, start = text.partition(" from ")
    try:
        long = span(length)
    except ValueError as wrong:
        raise click.BadParameter(
            f"--outage: {wrong}; write `36 hours from 2026-12-04 18:00`"
        ) from None
    if not word:
        raise click.BadParameter(
            "--outage is written as `36 hours from 2026-12-04 18:00`"
        )
    begins = app.instant(workspace, start.strip())
    if not now <= begins < last:
        raise click.BadParameter(
            "--outage begins outside of what the preview shows; see --days"
        )
    return Outage(begins, begins + long)


def _known_campaigns(workspace: Workspace, names: tuple[str, ...]) -> None:
    known = {*workspace.loaded.campaigns, *workspace.loaded.broken}
    for name in names:
        if name not in known:
            raise DripError(
                f"There is no campaign `{name}`.",
                help=nearest(name, known, what="campaigns"),
            )


def _broken(workspace: Workspace) -> None:
    errors = [problem for problem in workspace.problems() if problem.level == "error"]
    if errors:
        files = ", ".join(sorted({problem.place.file for problem in errors}))
        say(
            f"warning: {len(errors)} error(s) in {files}: `drip check` shows them",
            err=True,
        )


@contextmanager
def progress_bar(
    start: datetime, end: datetime
) -> Iterator[Callable[[datetime], None]]:
    """A bar that shows how far a simulation is, where somebody watches."""
    with bar("Looking ahead", (end - start).total_seconds()) as show:
        yield lambda now: show((now - start).total_seconds())
