"""`drip diff`."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click

from drip.cli.context import App, json_option, now_option, pass_app
from drip.cli.preview import coming
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import change_text, instant_or_none, local_text
from drip.core.campaign import Campaign
from drip.errors import DripError
from drip.paths import inside
from drip.preview.comparing import Change, ComparedFiles, compare, grouped
from drip.workspace import Workspace

WORDS = {
    "gained": "get it now",
    "lost": "do not get it any more",
    "moved": "get it at another time",
    "capped": "are newly held back by a cap",
}
FOLDERS = ("campaigns", "templates")
# Files whose lines can be compared.
TEXTS = (".yaml", ".md", ".html", ".txt", ".sms", ".push", ".mjml")
# Of a step that is the last one in its file.
LAST_LINE = 10**6


@click.command()
@click.argument("other", metavar="REV_OR_DIR")
@click.option(
    "--days",
    type=click.IntRange(1, 400),
    default=30,
    show_default=True,
    help="How far to look ahead.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
)
@now_option
@json_option
@pass_app
def diff(
    app: App,
    other: str,
    days: int,
    style: str,
    now: str | None,
    as_json: bool,
) -> None:
    """Who is affected by a change of the files: gained, lost, moved, newly capped, and
    the line that does it.

    \b
    Example: drip diff HEAD
             drip diff main --format github
             drip diff ../shop-before

    Compares the preview of the other files (a git revision, or a folder that is a
    workspace) with that of the files as they are now, for the same people. Ends with 1
    if anything changes for anybody."""
    with (
        app.opened(now) as (workspace, database, at),
        tempfile.TemporaryDirectory(prefix="drip-diff-") as folder,
    ):
        root = _other(workspace.root, other, Path(folder))
        before = Workspace(root, app.environment)
        end = at + timedelta(days=days)
        changes = compare(
            coming(before, database, at, end),
            coming(workspace, database, at, end),
            _files(before, workspace),
        )
        zone = workspace.settings.timezone
    if as_json or style == "json":
        for change in changes:
            print_json(_row(change))
    elif style == "github":
        _print_annotations(changes, zone)
    else:
        _print(changes, zone, end)
    raise click.exceptions.Exit(1 if changes else 0)


def _other(root: Path, other: str, folder: Path) -> Path:
    """The other files: a folder as it is, or a revision unpacked. Raises DripError for
    neither."""
    if (Path(other) / "campaigns").is_dir():
        return Path(other)
    if Path(other).is_dir():
        raise DripError(
            f"There is no workspace in {other}: the folder `campaigns/` is missing."
        )
    prefix = _git(root, "rev-parse", "--show-prefix").decode().strip()
    revision = f"{other}:{prefix}" if prefix else other
    packed = _git(root, "archive", "--format=tar", revision, *FOLDERS)
    # PEP 706: `data` refuses links and paths that lead out of the folder.
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _git(root: Path, *arguments: str) -> bytes:
    """What git prints. Raises DripError where it cannot."""
    # No shell: a revision may hold whatever a branch is named.
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise DripError(
            "git is not installed.", help="name a folder that holds the other files"
        ) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else "no reason given"
        raise DripError(
            f"git cannot give the other files: {reason}.",
            help="name a revision like HEAD or main in which the workspace is, or a "
            "folder that holds the other files",
        )
    return done.stdout


def _files(before: Workspace, after: Workspace) -> ComparedFiles:
    steps: dict[tuple[str, str], tuple[int, int]] = {}
    for campaign in after.loaded.campaigns.values():
        steps |= _lines(campaign)
    # By the files as they are now, in which an annotation stands.
    return ComparedFiles(_texts(before), _texts(after), steps)


def _lines(campaign: Campaign) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
    """Of each step the lines in which it stands: up to the next one that begins in
    another line."""
    starts = sorted({step.place.line or 0 for step in campaign.steps})
    for step in campaign.steps:
        line = step.place.line or 0
        following = next((start for start in starts if start > line), LAST_LINE)
        yield (campaign.key, step.id), (line, following - 1)


def _texts(workspace: Workspace) -> dict[str, str]:
    """The files of a workspace whose lines can be compared, by their names."""
    root, found = workspace.root, {}
    for folder, pattern in zip(FOLDERS, ("*.yaml", "**/*"), strict=True):
        for path in sorted((root / folder).glob(pattern)):
            ours = path.suffix in TEXTS and path.is_file()
            if ours and inside(path, root / folder):
                name = path.relative_to(root).as_posix()
                found[name] = path.read_text("utf-8", "replace")
    return found


def _print(changes: Sequence[Change], zone: str, end: datetime) -> None:
    until = local_text(end, zone)[:10]
    if not changes:
        say(f"Nothing changes for anybody until {until}.")
        return
    draw(_table(changes, zone))
    affected = {change.contact for change in changes}
    say(f"{len(changes):,} message(s) of {len(affected):,} people until {until}.")


def _table(changes: Sequence[Change], zone: str) -> TerminalTable:
    table = TerminalTable("What changes, and by which line")
    names = ("Campaign", "Step", "People", "", "For example", "Line")
    add_columns(table, *names, right=("People",), overflow="fold")
    for (campaign, step, kind), group in grouped(changes).items():
        table.add_row(
            campaign,
            step,
            f"{_people(group):,}",
            WORDS[kind],
            _example(group[0], zone),
            str(group[0].cause or ""),
        )
    return table


def _people(group: Sequence[Change]) -> int:
    return len({(change.contact, change.record) for change in group})


def _example(change: Change, zone: str) -> str:
    moved = change_text(change.before, change.after, zone)
    return f"{change.contact}: {moved}{_reason(change)}"


def _reason(change: Change) -> str:
    # Of what is gained nothing has to be explained: it leaves.
    told = change.why and change.kind != "gained"
    return f" ({change.why})" if told else ""


def _print_annotations(changes: Sequence[Change], zone: str) -> None:
    """Annotations of a pull request, each at the line that causes it."""
    # One for each step of a campaign, not for each message: GitHub shows ten of a level
    # in a step of a build, and drops the others.
    for (campaign, step, kind), group in grouped(changes).items():
        cause = group[0].cause
        file = cause.file if cause else f"campaigns/{campaign}.yaml"
        line = (cause.line if cause else None) or 1
        about = f"{campaign}, {step}: {_people(group)} people {WORDS[kind]}"
        example = _example(group[0], zone)
        say(f"::notice file={file},line={line}::{about}, as {example}")


def _row(change: Change) -> JsonRow:
    return {
        "change": change.kind,
        "campaign": change.campaign,
        "step": change.step,
        "contact": change.contact,
        "record": change.record,
        "before": instant_or_none(change.before),
        "after": instant_or_none(change.after),
        "why": change.why,
        "place": str(change.cause) if change.cause else None,
    }
