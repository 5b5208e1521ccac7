"""`drip init` and `drip demo`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import click

from drip.cli.context import App, now_option, pass_app, typed_instant
from drip.cli.preview import looking_ahead
from drip.cli.sample import SampleFiles, copy_sample, write_people
from drip.cli.schema import write_schemas
from drip.cli.screen import say
from drip.cli.show import Shown, picture
from drip.cli.tables import draw
from drip.errors import DripError
from drip.importing import importer
from drip.importing.batches import ImportReport
from drip.importing.rows import open_table
from drip.preview.simulator import simulate
from drip.storage.base.database import Database
from drip.workspace import Workspace

DAYS = 30


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@now_option
@pass_app
def init(app: App, folder: Path, now: str | None) -> None:
    """A fresh workspace: sample campaigns, templates, settings, editor set-up.

    Example: drip init shop
    """
    # Before anything is written: half of a sample among one's own files is hard to take
    # apart.
    for name in ("campaigns", "templates"):
        if (folder / name).exists():
            raise DripError(
                f"{folder / name} is there already.",
                help="name another folder; nothing was changed",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy_sample(folder, _today(now))
        # A repository is copied to many machines, and keeps what is committed for good:
        # people's data must not get into it.
        with (folder / ".gitignore").open("a", encoding="utf-8") as ignored:
            ignored.write(".drip/\n*.rejected.csv\n")
    except OSError as error:
        where = error.filename or folder
        raise DripError(f"{where} cannot be written: {error.strerror}.") from None
    write_schemas(Workspace(folder, app.environment))
    say(f"A workspace is in {folder}. Next: cd {folder} && drip check")


def _today(now: str | None) -> date:
    """This machine's day, or that of another clock. Raises click.BadParameter."""
    return (
        typed_instant(now, "UTC").date() if now else datetime.now().astimezone().date()
    )


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="Where; else a temporary folder.",
)
@now_option
@pass_app
def demo(app: App, folder: Path | None, now: str | None) -> None:
    """Shows it all in a workspace of its own: people, preview, and a month of mails as
    files.

    Example: drip demo
    """
    root = folder or Path(tempfile.mkdtemp(prefix="drip-demo-"))
    today = _today(now)
    workspace = _fresh_workspace(app, root, today)
    people = write_people(root, today)
    at = app.now(workspace, now)
    with workspace.database(at) as database:
        say(f"1. Invented people go into a fresh workspace, {root}")
        for what, report in import_people(workspace, database, people, at).items():
            say(f"   {report.new} {what}, {len(report.rejected)} rejected")
        end = at + timedelta(days=DAYS)
        say("", f"2. What would happen in the next {DAYS} days (drip preview)", "")
        # From the same start as the run: both plan the same messages.
        _draw_preview(workspace, database, at, end)
        clock = f"runs through these {DAYS} days on a virtual clock"
        say("", f"3. The daemon {clock} (drip run)")
        sent = _run(workspace, database, at, end)
    _where_to_look(root, sent)


def _fresh_workspace(app: App, root: Path, today: date) -> Workspace:
    """The sample, with a database of its own whatever the environment names. Raises
    DripError for a folder that is one."""
    if (root / "campaigns").exists():
        sentence = f"There is a workspace in {root} already."
        raise DripError(sentence, help="name another folder with --dir")
    root.mkdir(parents=True, exist_ok=True)
    copy_sample(root, today)
    return Workspace(root, _without_database(app.environment))


def _without_database(environment: Mapping[str, str]) -> dict[str, str]:
    # Or the invented people would go into the shop's own database.
    others = dict(environment)
    others.pop("DRIP_DATABASE", None)
    return others


def import_people(
    workspace: Workspace,
    database: Database,
    people: SampleFiles,
    at: datetime,
) -> dict[str, ImportReport]:
    """Brings the invented people in; what came of each file."""
    about = (database, workspace.settings)
    contacts = open_table(people.contacts)
    vehicles, leases = open_table(people.vehicles), open_table(people.leases)
    events = open_table(people.events)
    name = people.contacts.name
    return {
        "contacts": importer.import_contacts(*about, contacts, {}, name, at),
        "vehicles": importer.import_records(*about, "vehicle", vehicles, {}, at),
        "leases": importer.import_records(*about, "lease", leases, {}, at),
        "events": importer.import_events(*about, events, {}),
    }


def _draw_preview(
    workspace: Workspace,
    database: Database,
    start: datetime,
    end: datetime,
) -> None:
    campaigns = workspace.loaded.campaigns
    titles = {key: campaign.title for key, campaign in campaigns.items()}
    shown = Shown(titles, start, end, workspace.settings.timezone)
    with looking_ahead(workspace, database, start, end) as found:
        draw(picture(shown, found.sums().summary))


def _run(
    workspace: Workspace,
    database: Database,
    start: datetime,
    end: datetime,
) -> int:
    """How many messages left."""
    result = simulate(
        database,
        workspace.campaign_set(database, start),
        workspace.templates,
        workspace.transports(),
        start,
        end,
    )
    return result.sent


def _where_to_look(root: Path, sent: int) -> None:
    out = root / ".drip" / "out"
    say(
        f"   {sent} messages are in {out}: mails as .eml for your mail program, "
        "letters as .html",
        "",
        "Look around:",
        f"   cd {root}",
        "   drip log --contact ana",
        "   drip explain ana",
        "   drip status",
    )
