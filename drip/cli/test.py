"""`drip test`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from drip.cli.context import App, json_option, no_campaign, pass_app
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw, words
from drip.errors import Problems
from drip.language.updating import with_expectations
from drip.preview.testing import Result, Stage, TimelineEntry
from drip.workspace import Workspace

PASSED, FAILED = ("✓ ", "green"), ("✗ ", "red")
# Of a line that both sides have, of one that is missing, and of one too many: its sign
# and how it is drawn.
BOTH, MISSING, EXTRA = (" ", ""), ("-", "red"), ("+", "yellow")


@click.command("test")
@click.argument("campaigns", nargs=-1)
@click.option(
    "--update",
    is_flag=True,
    help="Writes what was observed into the files, for you to review.",
)
@json_option
@pass_app
def test(app: App, campaigns: tuple[str, ...], update: bool, as_json: bool) -> None:
    """Plays the `tests:` of the campaign files on a virtual clock. Nothing is sent, no
    database is touched.

    \b
    Example: drip test
             drip test birthday --update

    Ends with 1 if a test fails.
    """
    workspace = app.workspace()
    results = play(workspace, campaigns)
    failed = [(key, result) for key, result in results if not result.passed]
    if update:
        _update(workspace, failed)
        return
    for key, result in results:
        if as_json:
            print_json(_row(key, result))
        else:
            _draw(key, result)
    if not as_json:
        passed = len(results) - len(failed)
        say(f"{len(results)} test(s): {passed} passed, {len(failed)} failed.")
    raise click.exceptions.Exit(1 if failed else 0)


def play(workspace: Workspace, campaigns: tuple[str, ...]) -> list[tuple[str, Result]]:
    """Every test of these campaigns (all, if none are named), by campaign. Raises
    DripError for unknown or broken ones."""
    known = workspace.loaded.campaigns
    _refuse_unreadable(workspace, campaigns)
    stage = Stage(workspace.settings, workspace.templates)
    try:
        return [
            (key, stage.play(known[key], test))
            for key in sorted(known)
            if not campaigns or key in campaigns
            for test in known[key].tests
        ]
    finally:
        stage.close()


def _refuse_unreadable(workspace: Workspace, campaigns: Sequence[str]) -> None:
    """Raises Problems for a broken campaign among these (any, if none are named),
    DripError for one that there is not."""
    loaded = workspace.loaded
    for name in campaigns:
        if name in loaded.broken:
            raise Problems(
                problem
                for problem in loaded.problems
                if Path(problem.place.file).stem == name
            )
        if name not in loaded.campaigns:
            raise no_campaign(name, loaded.campaigns)
    # Or a file with a mistake would pass for one whose tests pass.
    if loaded.broken and not campaigns:
        raise Problems(
            problem for problem in loaded.problems if problem.level == "error"
        )


def _draw(key: str, result: Result) -> None:
    mark = PASSED if result.passed else FAILED
    draw(words(mark, f"{key}: {result.test.name}"))
    if not result.passed:
        draw(_side_by_side(result))


def _side_by_side(result: Result) -> TerminalTable:
    table = TerminalTable()
    add_columns(table, "", "Expected", "Observed", "Why", overflow="fold")
    for expected, observed in result.pairs():
        sign, style = BOTH
        if observed is None:
            sign, style = MISSING
        elif expected is None:
            sign, style = EXTRA
        why = _why(expected, observed)
        table.add_row(sign, _cell(expected), _cell(observed), why, style=style)
    return table


def _why(expected: TimelineEntry | None, observed: TimelineEntry | None) -> str:
    """Why something happened; of what did not happen, the line that expects it."""
    if observed:
        return observed.why or ""
    return str(expected.place) if expected and expected.place else ""


def _cell(line: TimelineEntry | None) -> str:
    return f"{line.wall:%Y-%m-%d} {line.wall:%-H:%M}  {line.text}" if line else ""


def _row(key: str, result: Result) -> JsonRow:
    return {
        "campaign": key,
        "test": result.test.name,
        "passed": result.passed,
        "place": str(result.test.place),
        "expected": [_line_row(line) for line in result.expected],
        "observed": [_line_row(line) for line in result.observed],
    }


def _line_row(line: TimelineEntry) -> JsonRow:
    return {
        "at": line.wall.isoformat(timespec="minutes"),
        "line": line.text,
        "why": line.why,
    }


def _update(workspace: Workspace, failed: Sequence[tuple[str, Result]]) -> None:
    by_campaign: dict[str, list[Result]] = defaultdict(list)
    for key, result in failed:
        by_campaign[key].append(result)
    for key, results in by_campaign.items():
        _rewrite(workspace.root, f"campaigns/{key}.yaml", results)
    if not failed:
        say("Every test passes as it is.")


def _rewrite(root: Path, name: str, results: Sequence[Result]) -> None:
    """Writes what was observed into a campaign's file."""
    path = root / name
    observed = {
        result.test.place: [(line.wall, line.text) for line in result.observed]
        for result in results
    }
    text = with_expectations(path.read_text("utf-8"), name, observed)
    path.write_text(text, "utf-8")
    say(
        f"{name}: {len(results)} test(s) rewritten. Look at the change before you keep "
        "it."
    )
