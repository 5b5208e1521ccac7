"""`drip check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import click

from drip.cli.context import App, json_option, pass_app, read_clock
from drip.cli.screen import JsonRow, print_json, say
from drip.errors import DripError, Level, Place, Problem, nearest
from drip.lint.rules import RULES, finding
from drip.lint.variables import FieldStats
from drip.storage.base.places import is_missing
from drip.workspace import Workspace

# In letters, of an explanation.
WIDTH = 100
EXPOSED = "other users of this machine can read what is kept of people here"
# GitHub's words for our levels.
GITHUB_LEVELS: dict[Level, str] = {
    "error": "error",
    "warning": "warning",
    "note": "notice",
}


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
    app: App,
    files: tuple[str, ...],
    style: str,
    explain: str | None,
    as_json: bool,
) -> None:
    """Reads campaigns, settings and templates and reports every problem in them.

    \b
    Example: drip check
             drip check campaigns/birthday.yaml
             drip check --explain maybe-unknown

    Errors keep a campaign from running, warnings do not, notes are worth a thought.
    What people are like (whose first name is unknown?) is read from the database, if
    there is one. Ends with 1 if there is an error."""
    if explain is not None:
        _explain(explain)
        return
    workspace = app.workspace()
    problems = _problems(workspace, files)
    style = "json" if as_json else style
    for problem in problems:
        _print(problem, style)
    if style == "text":
        say(_summary(workspace, problems))
    # Warnings end with 0: a build that breaks on advice makes people turn it off.
    errors = any(problem.level == "error" for problem in problems)
    raise click.exceptions.Exit(1 if errors else 0)


def _problems(workspace: Workspace, files: Collection[str]) -> list[Problem]:
    """All problems of these files; of every one, if none are named."""
    people, events = _known(workspace)
    found = [*workspace.problems(people, events), *_exposed(workspace)]
    names = {Path(file).name for file in files}
    return [
        problem
        for problem in found
        if not names or Path(problem.place.file).name in names
    ]


def _exposed(workspace: Workspace) -> Iterator[Problem]:
    """What other users of this machine can read of people's data: the first of it says
    that there is some."""
    for path in islice(workspace.exposed(), 1):
        place = Place(_shown_path(path, workspace.root))
        yield finding("exposed", place, EXPOSED)


def _shown_path(path: Path, root: Path) -> str:
    # As people write it; a database may lie elsewhere.
    inside = path.is_relative_to(root)
    return str(path.relative_to(root) if inside else path)


def _known(workspace: Workspace) -> tuple[FieldStats, set[str]]:
    """What the database knows of people and events; nothing where there is none."""
    if workspace.loaded.settings is None or is_missing(workspace.database_place()):
        return FieldStats(), set()
    try:
        return _asked(workspace)
    except DripError as error:
        # The files can be looked at all the same.
        unknown = f"{error.sentence} ({error.help})"
        say(f"note: nothing is known of the people: {unknown}", err=True)
        return FieldStats(), set()


def _asked(workspace: Workspace) -> tuple[FieldStats, set[str]]:
    """Raises DripError for a database that cannot be opened."""
    # With SQLAlchemy, which a workspace without a database does not need: 0.3 s.
    from drip.storage.people import field_stats

    settings = workspace.settings
    with workspace.database(read_clock()) as database, database.read() as connection:
        shares = field_stats.unknown_shares(connection, settings)
        longest = field_stats.longest_texts(connection, settings)
        return FieldStats(shares, longest), field_stats.event_names(connection)


def _print(problem: Problem, style: str) -> None:
    if style == "json":
        print_json(_row(problem))
    elif style == "github":
        say(_github(problem))
    else:
        say(*problem.lines(), "")


def _row(problem: Problem) -> JsonRow:
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
    """An annotation of a pull request."""
    # As GitHub Actions reads it from a build's output; line and column count from 1.
    place, level = problem.place, GITHUB_LEVELS[problem.level]
    where = f"file={place.file},line={place.line or 1},col={place.column or 1}"
    help = f" ({problem.help})" if problem.help else ""
    return f"::{level} {where}::{problem.sentence}{help}"


def _summary(workspace: Workspace, problems: Sequence[Problem]) -> str:
    """`9 campaign(s), 14 template(s): 1 error(s), 2 note(s).`"""
    campaigns = len(workspace.loaded.campaigns) + len(workspace.loaded.broken)
    templates = len(workspace.templates.names())
    levels = Counter(problem.level for problem in problems)
    found = ", ".join(
        f"{levels[level]} {level}(s)" for level in GITHUB_LEVELS if levels[level]
    )
    counts = f"{campaigns} campaign(s), {templates} template(s)"
    return f"{counts}: {found or 'no problems'}."


def _explain(code: str) -> None:
    """Raises DripError for a code that there is not."""
    if code not in RULES:
        known = ", ".join(sorted(RULES))
        raise DripError(
            f"There is no code `{code}`.",
            help=nearest(code, RULES, what="codes") or known,
        )
    rule = RULES[code]
    remedy = f"What to do: {rule.remedy}"
    title = f"{rule.code} ({rule.level})"
    say(title, "", *_wrapped(rule.why), "", *_wrapped(remedy))


def _wrapped(text: str) -> list[str]:
    return click.wrap_text(text, width=WIDTH).splitlines()
