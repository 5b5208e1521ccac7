"""`drip check`."""

from __future__ import annotations

from pathlib import Path

import click

from drip.cli.context import App, json_option, pass_app, print_json
from drip.errors import Problem


@click.command()
@click.argument("files", nargs=-1)
@click.option("--format", "style", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@json_option
@pass_app
def check(app: App, files: tuple[str, ...], style: str, as_json: bool) -> None:
    """Reads campaigns, settings and templates and reports every problem in them.

    \b
    Example: drip check
             drip check campaigns/birthday.yaml

    Ends with 1 if there is an error.
    """
    workspace = app.workspace()
    problems = [problem for problem in workspace.problems() if _wanted(problem, files)]
    for problem in problems:
        if as_json or style == "json":
            print_json(_row(problem))
        elif style == "github":
            click.echo(_github(problem))
        else:
            click.echo(problem.text() + "\n")
    errors = sum(problem.level == "error" for problem in problems)
    if not as_json and style == "text":
        count = len(workspace.loaded.campaigns) + len(workspace.loaded.broken)
        found = f"{errors} error(s), {len(problems) - errors} warning(s)" if problems else "no problems"
        click.echo(f"{count} campaign(s), {len(workspace.templates.names())} template(s): {found}.")
    raise click.exceptions.Exit(1 if errors else 0)


def _wanted(problem: Problem, files: tuple[str, ...]) -> bool:
    return not files or any(Path(problem.place.file).name == Path(file).name for file in files)


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
