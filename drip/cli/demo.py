"""`drip init` and `drip demo`."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import click

from drip.cli.context import App, now_option, pass_app
from drip.cli.preview import looking_ahead
from drip.cli.sample import SampleFiles, copy_sample, write_people
from drip.cli.schema import write_schemas
from drip.cli.screen import draw, say
from drip.cli.show import Shown, picture
from drip.core.fields import FIRST_YEAR, LAST_YEAR
from drip.core.message import Transport
from drip.errors import DripError
from drip.importing import importer
from drip.importing.rows import open_table
from drip.importing.values import parse_instant
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
    for name in ("campaigns", "templates"):
        if (folder / name).exists():
            raise DripError(
                f"{folder / name} is there already.",
                help="name another folder; nothing was changed",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy_sample(folder, _today(now).date())
        (folder / ".gitignore").open("a", encoding="utf-8").write(
            ".drip/\n*.rejected.csv\n"
        )
    except OSError as error:
        raise DripError(
            f"{error.filename or folder} cannot be written: {error.strerror}."
        ) from None
    write_schemas(Workspace(folder, app.environment))
    say(f"A workspace is in {folder}. Next: cd {folder} && drip check")


def _today(now: str | None) -> datetime:
    try:
        found = parse_instant(now, "UTC") if now else datetime.now().astimezone()
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from None
    if not FIRST_YEAR < found.year < LAST_YEAR:
        raise click.BadParameter(
            f"the year of `{now}` is not between {FIRST_YEAR} and {LAST_YEAR}"
        )
    return found


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
    """Shows it all in a workspace of its own: people, preview, and a month of mails as files.

    Example: drip demo
    """
    root = folder or Path(tempfile.mkdtemp(prefix="drip-demo-"))
    if (root / "campaigns").exists():
        raise DripError(
            f"There is a workspace in {root} already.",
            help="name another folder with --dir",
        )
    root.mkdir(parents=True, exist_ok=True)
    today = _today(now).date()
    copy_sample(root, today)
    people = write_people(root, today)
    environment = {
        name: value
        for name, value in app.environment.items()
        if name != "DRIP_DATABASE"
    }
    workspace = Workspace(root, environment)
    at = app.now(workspace, now)
    with workspace.database(at) as database:
        say(f"1. Invented people go into a fresh workspace, {root}")
        for what, report in import_people(workspace, database, people, at).items():
            say(f"   {report.new} {what}, {len(report.rejected)} rejected")
        end = at + timedelta(days=DAYS)
        say("", f"2. What would happen in the next {DAYS} days (drip preview)", "")
        titles = {
            key: campaign.title for key, campaign in workspace.loaded.campaigns.items()
        }
        with looking_ahead(workspace, database, at, end) as found:
            draw(
                picture(
                    Shown(titles, at, end, workspace.settings.timezone),
                    found.sums().summary,
                )
            )
        say(
            "",
            f"3. The daemon runs through these {DAYS} days on a virtual clock (drip run)",
        )
        sent = _run(workspace, database, at, end)
    _where_to_look(root, sent)


def import_people(
    workspace: Workspace, database: Database, people: SampleFiles, at: datetime
) -> dict[str, importer.ImportReport]:
    """Brings the invented people in; what came of each file."""
    settings, contacts = workspace.settings, people.contacts
    return {
        "contacts": importer.import_contacts(
            database, settings, open_table(contacts), {}, contacts.name, at
        ),
        "vehicles": importer.import_records(
            database, settings, "vehicle", open_table(people.vehicles), {}, at
        ),
        "leases": importer.import_records(
            database, settings, "lease", open_table(people.leases), {}, at
        ),
        "events": importer.import_events(
            database, settings, open_table(people.events), {}
        ),
    }


def _run(
    workspace: Workspace, database: Database, start: datetime, end: datetime
) -> int:
    transports: dict[str, Transport] = workspace.transports()
    tally = simulate(
        database,
        workspace.campaign_set(database, start),
        workspace.templates,
        transports,
        start,
        end,
    )
    return tally.sent


def _where_to_look(root: Path, sent: int) -> None:
    say(
        f"   {sent} messages are in {root / '.drip' / 'out'}: mails as .eml for your mail program, letters as .html",
        "",
        "Look around:",
        f"   cd {root}",
        "   drip log --contact ana",
        "   drip explain ana",
        "   drip status",
    )
