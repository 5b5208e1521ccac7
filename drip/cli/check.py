"""`drip check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from drip.cli.context import App, json_option, pass_app, read_clock
from drip.cli.screen import print_json, say
from drip.errors import DripError, Place, Problem, nearest
from drip.lint.rules import RULES, finding
from drip.lint.variables import FieldStats
from drip.storage.base.opening import is_missing
from drip.storage.people import field_stats
from drip.workspace import Workspace


@click.command()
@click.argument("files", nargs=-1)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
)
@click.option(
    "--explain",
    metavar="CODE",
    help="What a code means, why it matters, and what to do.",
)
@json_option
@pass_app
def check(
    app: App, files: tuple[str, ...], style: str, explain: str | None, as_json: bool
) -> None:
    """Reads campaigns, settings and templates and reports every problem in them.

    \b
    Example: drip check
             drip check campaigns/birthday.yaml
             drip check --explain maybe-unknown

    Errors keep a campaign from running, warnings do not, notes are worth a thought. What people are like (whose
    first name is unknown?) is read from the database, if there is one. Ends with 1 if there is an error.
    """
    if explain is not None:
        _explain(explain)
        return
    workspace = app.workspace()
    people, events = _known(workspace)
    everything = [*workspace.problems(people, events), *_exposed(workspace)]
    problems = [problem for problem in everything if _wanted(problem, files)]
    for problem in problems:
        if as_json or style == "json":
            print_json(_row(problem))
        elif style == "github":
            say(_github(problem))
        else:
            say(*problem.lines(), "")
    errors = sum(problem.level == "error" for problem in problems)
    if not as_json and style == "text":
        count = len(workspace.loaded.campaigns) + len(workspace.loaded.broken)
        found = _counted(problems) if problems else "no problems"
        say(
            f"{count} campaign(s), {len(workspace.templates.names())} template(s): {found}."
        )
    raise click.exceptions.Exit(1 if errors else 0)


def _exposed(workspace: Workspace) -> Iterator[Problem]:
    """What other users of this machine can read of people's data: the first of it says that there is some."""
    for path in islice(workspace.exposed(), 1):
        name = str(
            path.relative_to(workspace.root)
            if path.is_relative_to(workspace.root)
            else path
        )
        yield finding(
            "exposed",
            Place(name),
            "other users of this machine can read what is kept of people here",
        )


def _counted(problems: list[Problem]) -> str:
    levels = Counter(problem.level for problem in problems)
    return ", ".join(
        f"{levels[level]} {level}(s)"
        for level in ("error", "warning", "note")
        if levels[level]
    )


def _known(workspace: Workspace) -> tuple[FieldStats, set[str]]:
    """What the database knows of people and events; nothing where there is none."""
    if workspace.loaded.settings is None or is_missing(workspace.database_place()):
        return FieldStats(), set()
    settings = workspace.settings
    try:
        with (
            workspace.database(read_clock()) as database,
            database.read() as connection,
        ):
            shares, longest = (
                field_stats.unknown_shares(connection, settings),
                field_stats.longest_texts(connection, settings),
            )
            return FieldStats(shares, longest), field_stats.event_names(connection)
    except DripError as error:
        # The files can be looked at all the same.
        say(
            f"note: nothing is known of the people: {error.sentence} ({error.help})",
            err=True,
        )
        return FieldStats(), set()


def _explain(code: str) -> None:
    if code not in RULES:
        raise DripError(
            f"There is no code `{code}`.",
            help=nearest(code, RULES, what="codes") or ", ".join(sorted(RULES)),
        )
    rule = RULES[code]
    say(
        f"{rule.code} ({rule.level})",
        "",
        *_wrapped(rule.why),
        "",
        *_wrapped(f"What to do: {rule.remedy}"),
    )


def _wrapped(text: str) -> list[str]:
    return click.wrap_text(text, width=100).splitlines()


def _wanted(problem: Problem, files: tuple[str, ...]) -> bool:
    return not files or any(
        Path(problem.place.file).name == Path(file).name for file in files
    )


def _row(problem: Problem) -> dict[str, object]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "level": problem.level,
        "code": problem.code,
        "sentence": problem.sentence,
        "help": problem.help,
    }


def _github(problem: Problem) -> str:
    place = problem.place
    level = {"error": "error", "warning": "warning", "note": "notice"}[problem.level]
    text = f"{problem.sentence}{f' ({problem.help})' if problem.help else ''}"
    return f"::{level} file={place.file},line={place.line or 1},col={place.column or 1}::{text}"
