"""`drip diff`."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import click

from drip.cli.context import (
    App,
    instant_text,
    json_option,
    local_text,
    now_option,
    pass_app,
)
from drip.cli.preview import coming
from drip.cli.screen import TerminalTable, draw, print_json, say
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
    app: App, other: str, days: int, style: str, now: str | None, as_json: bool
) -> None:
    """Who is affected by a change of the files: gained, lost, moved, newly capped, and the line that does it.

    \b
    Example: drip diff HEAD
             drip diff main --format github
             drip diff ../shop-before

    Compares the preview of the other files (a git revision, or a folder that is a workspace) with that of the
    files as they are now, for the same people. Ends with 1 if anything changes for anybody.
    """
    with (
        app.opened(now) as (workspace, database, at),
        tempfile.TemporaryDirectory(prefix="drip-diff-") as folder,
    ):
        before = Workspace(_other(workspace.root, other, Path(folder)), app.environment)
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
        _github(changes, zone)
    else:
        _show(changes, zone, at, end)
    raise click.exceptions.Exit(1 if changes else 0)


def _other(root: Path, other: str, folder: Path) -> Path:
    """The other files: a folder as it is, or a revision unpacked. Raises DripError for neither."""
    if (Path(other) / "campaigns").is_dir():
        return Path(other)
    if Path(other).is_dir():
        raise DripError(
            f"There is no workspace in {other}: the folder `campaigns/` is missing."
        )
    prefix = _git(root, "rev-parse", "--show-prefix").decode().strip()
    packed = _git(
        root,
        "archive",
        "--format=tar",
        f"{other}:{prefix}" if prefix else other,
        "campaigns",
        "templates",
    )
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError:
        raise DripError(
            "git is not installed.", help="name a folder that holds the other files"
        ) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        help = "name a revision like HEAD or main in which the workspace is, or a folder that holds the other files"
        raise DripError(
            f"git cannot give the other files: {said[-1] if said else 'no reason given'}.",
            help=help,
        )
    return done.stdout


def _files(before: Workspace, after: Workspace) -> ComparedFiles:
    steps: dict[tuple[str, str], tuple[int, int]] = {}
    for key, campaign in after.loaded.campaigns.items():
        starts = sorted({step.place.line or 0 for step in campaign.steps})
        for step in campaign.steps:
            line = step.place.line or 0
            following = next((start for start in starts if start > line), 10**6)
            steps[key, step.id] = (line, following - 1)
    return ComparedFiles(_texts(before), _texts(after), steps)


def _texts(workspace: Workspace) -> dict[str, str]:
    found = {}
    for pattern in ("campaigns/*.yaml", "templates/**/*"):
        for path in sorted(workspace.root.glob(pattern)):
            text = path.suffix in (
                ".yaml",
                ".md",
                ".html",
                ".txt",
                ".sms",
                ".push",
                ".mjml",
            )
            if (
                text
                and path.is_file()
                and inside(path, workspace.root / pattern.partition("/")[0])
            ):
                found[path.relative_to(workspace.root).as_posix()] = path.read_text(
                    "utf-8", "replace"
                )
    return found


def _show(changes: list[Change], zone: str, at: datetime, end: datetime) -> None:
    until = local_text(end, zone)[:10]
    if not changes:
        say(f"Nothing changes for anybody until {until}.")
        return
    table = TerminalTable("What changes, and by which line")
    for name in ("Campaign", "Step", "People", "", "For example", "Line"):
        table.add_column(
            name, justify="right" if name == "People" else "left", overflow="fold"
        )
    for (campaign, step, kind), members in grouped(changes).items():
        people = {(each.contact, each.record) for each in members}
        table.add_row(
            campaign,
            step,
            f"{len(people):,}",
            WORDS[kind],
            _example(members[0], zone),
            str(members[0].cause or ""),
        )
    draw(table)
    affected = {each.contact for each in changes}
    say(f"{len(changes):,} message(s) of {len(affected):,} people until {until}.")


def _example(change: Change, zone: str) -> str:
    times = " → ".join(
        local_text(each, zone) if each else "never"
        for each in (change.before, change.after)
    )
    why = f" ({change.why})" if change.why and change.kind != "gained" else ""
    return f"{change.contact}: {times}{why}"


def _github(changes: list[Change], zone: str) -> None:
    """Annotations of a pull request, each at the line that causes it."""
    for (campaign, step, kind), members in grouped(changes).items():
        cause = members[0].cause
        place = (
            f"file={cause.file},line={cause.line or 1}"
            if cause
            else f"file=campaigns/{campaign}.yaml,line=1"
        )
        people = len({(each.contact, each.record) for each in members})
        say(
            f"::notice {place}::{campaign}, {step}: {people} people {WORDS[kind]}, as {_example(members[0], zone)}"
        )


def _row(change: Change) -> dict[str, object]:
    return {
        "change": change.kind,
        "campaign": change.campaign,
        "step": change.step,
        "contact": change.contact,
        "record": change.record,
        "before": instant_text(change.before) if change.before else None,
        "after": instant_text(change.after) if change.after else None,
        "why": change.why,
        "place": str(change.cause) if change.cause else None,
    }
