"""`drip preview`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from drip import papers, private
from drip.cli.caps import show_caps
from drip.cli.context import App, json_option, no_campaign, now_option, pass_app
from drip.cli.outage import show_outage
from drip.cli.screen import print_json, say
from drip.cli.show import Shown, picture, timeline
from drip.cli.tables import bar, draw
from drip.cli.texts import entry_row
from drip.errors import Problem
from drip.language.phrases import span
from drip.preview.forecast import Forecast, Sums, forecast, summed
from drip.preview.outages import Effect, effects
from drip.preview.report import report
from drip.preview.samples import Sample, Samples
from drip.preview.simulator import Outage
from drip.preview.trying import tried
from drip.storage.base.database import Database
from drip.storage.reading.ledger import LedgerRow
from drip.storage.reading.pressure import Pressure
from drip.workspace import OWN, Workspace

# A simulation goes from one tick to the next: centuries of them would never end.
FURTHEST = timedelta(days=5 * 366)
# Told the instant that a simulation has come to.
Progress = Callable[[datetime], None]


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
    """Who will get what, when; and who will not, and why. Nothing is sent, nothing is
    changed.

    \b
    Example: drip preview
             drip preview birthday --days 90
             drip preview --contact ana --json
             drip preview --html report
             drip preview --caps --try "offers: 1 per week"
             drip preview --outage "36 hours from 2026-12-04 18:00"

    It is the daemon's own planner on a copy of the database and a clock that runs
    ahead."""
    with app.opened(now) as (workspace, database, at):
        first = _first(app, workspace, start, at)
        last = first + timedelta(days=days)
        _refuse_unknown(workspace, campaigns)
        other = _tried(workspace, trial) if trial else None
        down = _outage(app, workspace, outage, at, last) if outage else None
        _warn_of_broken(workspace)
        zone = workspace.settings.timezone
        looked = _Looked(workspace, database, at, first, last, zone, campaigns, contact)
        if caps or trial:
            looked.print_caps(other, trial, as_json)
        elif down:
            looked.print_outage(down, as_json)
        elif as_json:
            looked.print_rows()
        elif contact:
            looked.draw_timeline()
        elif html is not None:
            looked.write_page(Path(html))
        else:
            looked.draw_picture()


def _first(
    app: App,
    workspace: Workspace,
    start: str | None,
    now: datetime,
) -> datetime:
    """From when on it is shown. Raises click.BadParameter."""
    first = app.instant(workspace, start) if start else now
    if abs(first - now) >= FURTHEST:
        raise click.BadParameter("--from lies more than five years away")
    return first


@dataclass(frozen=True, slots=True)
class _Looked:
    """The time between two instants, simulated from `now` on, and the ways to show
    it."""

    workspace: Workspace
    database: Database
    now: datetime
    first: datetime
    last: datetime
    zone: str
    campaigns: tuple[str, ...]
    contact: str | None

    def print_caps(
        self,
        other: Workspace | None,
        trial: str | None,
        as_json: bool,
    ) -> None:
        as_is = self._sums(self.workspace).pressure
        would_be = self._pressure_under(other) if other else None
        show_caps(as_is, would_be, trial, as_json)

    def _pressure_under(self, other: Workspace) -> Pressure:
        # Other processes would read the files, which do not have what is tried.
        return self._sums(other, shares=1).pressure

    def print_outage(self, down: Outage, as_json: bool) -> None:
        show_outage(self._effects(down), down, self.zone, as_json)

    def _effects(self, down: Outage) -> Sequence[Effect]:
        with self._forecast() as found, self._forecast(outage=down) as without:
            return effects(found.entries(), without.entries(), down)

    def print_rows(self) -> None:
        with self._forecast() as found:
            for entry in found.entries():
                print_json(entry_row(entry, self.zone))

    def draw_timeline(self) -> None:
        with self._forecast() as found:
            draw(timeline(self._shown(self._titles), list(found.entries())))

    def write_page(self, folder: Path) -> None:
        """One page of HTML, with samples of what is sent."""
        samples = Samples()
        with self._forecast(seen=samples.look) as found:
            chosen = list(filter(self._is_asked_for, samples.chosen()))
            business = self.workspace.settings.business_name
            page = report(found, chosen, self._titles, self.zone, business)
        written = write_page(folder, page)
        papers.note(self.workspace.root / OWN, written)
        say(f"Wrote {written}")

    def _is_asked_for(self, sample: Sample) -> bool:
        return not self.campaigns or sample.campaign in self.campaigns

    def draw_picture(self) -> None:
        found = self._sums(self.workspace).summary
        # Of a campaign that is gone runs may go on, and nothing knows its title.
        names = {key: key for key in found.campaigns}
        draw(picture(self._shown({**names, **self._titles}), found))

    def _shown(self, titles: Mapping[str, str]) -> Shown:
        return Shown(titles, self.first, self.last, self.zone)

    @property
    def _titles(self) -> dict[str, str]:
        campaigns = self.workspace.loaded.campaigns
        return {key: campaign.title for key, campaign in campaigns.items()}

    @contextmanager
    def _forecast(self, **more: Any) -> Iterator[Forecast]:
        with looking_ahead(
            self.workspace,
            self.database,
            self.now,
            self.last,
            self.contact,
            since=self.first,
            campaigns=self.campaigns,
            **more,
        ) as found:
            yield found

    def _sums(self, workspace: Workspace, shares: int | None = None) -> Sums:
        with progress_bar(self.now, self.last) as progress:
            return summed(
                workspace,
                self.database,
                self.now,
                self.last,
                since=self.first,
                campaigns=self.campaigns,
                progress=progress,
                shares=shares,
            )


@contextmanager
def looking_ahead(
    workspace: Workspace,
    database: Database,
    now: datetime,
    until: datetime,
    *about: Any,
    **more: Any,
) -> Iterator[Forecast]:
    """As `forecast`, with a bar that shows how far it is."""
    with ExitStack() as stack:
        with progress_bar(now, until) as progress:
            found = stack.enter_context(
                forecast(
                    workspace,
                    database,
                    now,
                    until,
                    *about,
                    **more,
                    progress=progress,
                )
            )
        yield found


def coming(*asked: Any, **more: Any) -> list[LedgerRow]:
    """All lines of what `looking_ahead` finds."""
    # Before the copy of the database that they are read from is deleted.
    with looking_ahead(*asked, **more) as found:
        return list(found.entries())


def _tried(workspace: Workspace, trial: str) -> Workspace:
    """The same workspace under other caps. Raises DripError."""
    other = Workspace(workspace.root, workspace.environment)
    other.loaded = tried(workspace.loaded, trial)
    return other


def write_page(folder: Path, page: str) -> Path:
    """The page, whole or not at all."""
    # It shows people with their messages: other users of the machine get neither.
    private.folder(folder)
    path = folder / "preview.html"
    making = folder / "preview.html.new"
    private.write(making, page.encode())
    # POSIX rename(2) replaces it at once: a browser never loads half a page.
    making.rename(path)
    return path


def _outage(
    app: App,
    workspace: Workspace,
    text: str,
    now: datetime,
    last: datetime,
) -> Outage:
    """`36 hours from 2026-12-04 18:00`. Raises click.BadParameter."""
    length, word, start = text.partition(" from ")
    form = "`36 hours from 2026-12-04 18:00`"
    try:
        long = span(length)
    except ValueError as wrong:
        raise click.BadParameter(f"--outage: {wrong}; write {form}") from None
    if not word:
        raise click.BadParameter(f"--outage is written as {form}")
    begins = app.instant(workspace, start.strip())
    # Of one that lies outside nothing could be seen, which would look like no harm.
    if not now <= begins < last:
        raise click.BadParameter(
            "--outage begins outside of what the preview shows; see --days"
        )
    return Outage(begins, begins + long)


def _refuse_unknown(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Raises DripError for a campaign that there is not."""
    known = {*workspace.loaded.campaigns, *workspace.loaded.broken}
    for name in names:
        if name not in known:
            raise no_campaign(name, known)


def _warn_of_broken(workspace: Workspace) -> None:
    errors = [problem for problem in workspace.problems() if problem.level == "error"]
    # A broken campaign is left out, and a preview without it would look complete.
    if errors:
        say(_broken_sentence(errors), err=True)


def _broken_sentence(errors: Sequence[Problem]) -> str:
    files = ", ".join(sorted({problem.place.file for problem in errors}))
    return f"warning: {len(errors)} error(s) in {files}: `drip check` shows them"


@contextmanager
def progress_bar(start: datetime, end: datetime) -> Iterator[Progress]:
    """A bar that shows how far a simulation is, where somebody watches."""
    with bar("Looking ahead", (end - start).total_seconds()) as show:
        yield lambda now: show((now - start).total_seconds())
