"""`drip test`."""

from __future__ import annotations

from pathlib import Path

import click

from drip.cli.context import App, json_option, pass_app
from drip.cli.screen import TerminalTable, draw, print_json, say, words
from drip.errors import DripError, Problems, nearest
from drip.language.updating import with_expectations
from drip.preview.testing import Result, Stage, TimelineEntry
from drip.workspace import Workspace


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
    """Plays the `tests:` of the campaign files on a virtual clock. Nothing is sent, no database is touched.

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
            _show(key, result)
    if not as_json:
        say(
            f"{len(results)} test(s): {len(results) - len(failed)} passed, {len(failed)} failed."
        )
    raise click.exceptions.Exit(1 if failed else 0)


def play(workspace: Workspace, campaigns: tuple[str, ...]) -> list[tuple[str, Result]]:
    """Every test of these campaigns (all, if none are named), by campaign. Raises DripError for unknown or broken ones."""
    known = workspace.loaded.campaigns
    for name in campaigns:
        if name in workspace.loaded.broken:
            raise Problems(
                [
                    each
                    for each in workspace.loaded.problems
                    if Path(each.place.file).stem == name
                ]
            )
        if name not in known:
            raise DripError(
                f"There is no campaign `{name}`.",
                help=nearest(name, known, what="campaigns"),
            )
    if workspace.loaded.broken and not campaigns:
        raise Problems(
            [each for each in workspace.loaded.problems if each.level == "error"]
        )
    stage = Stage(workspace.settings, workspace.templates)
    try:
        return [
            (key, stage.play(each, test))
            for key, each in sorted(known.items())
            if not campaigns or key in campaigns
            for test in each.tests
        ]
    finally:
        stage.close()


def _show(key: str, result: Result) -> None:
    mark = ("✓ ", "green") if result.passed else ("✗ ", "red")
    draw(words(mark, f"{key}: {result.test.name}"))
    if result.passed:
        return
    table = TerminalTable()
    for name in ("", "Expected", "Observed", "Why"):
        table.add_column(name, overflow="fold")
    for left, right in result.pairs():
        sign, style = (
            (" ", "") if left and right else ("-", "red") if left else ("+", "yellow")
        )
        why = (
            right.why
            if right and right.why
            else str(left.place)
            if left and left.place and not right
            else ""
        )
        table.add_row(sign, _cell(left), _cell(right), why, style=style)
    draw(table)


def _cell(line: TimelineEntry | None) -> str:
    return f"{line.wall:%Y-%m-%d} {line.wall:%-H:%M}  {line.text}" if line else ""


def _row(key: str, result: Result) -> dict[str, object]:
    def lines(found: tuple[TimelineEntry, ...]) -> list[dict[str, object]]:
        return [
            {
                "at": each.wall.isoformat(timespec="minutes"),
                "line": each.text,
                "why": each.why,
            }
            for each in found
        ]

    return {
        "campaign": key,
        "test": result.test.name,
        "passed": result.passed,
        "place": str(result.test.place),
        "expected": lines(result.expected),
        "observed": lines(result.observed),
    }


def _update(workspace: Workspace, failed: list[tuple[str, Result]]) -> None:
    by_campaign: dict[str, list[Result]] = {}
    for key, result in failed:
        by_campaign.setdefault(key, []).append(result)
    for key, results in by_campaign.items():
        path = workspace.root / "campaigns" / f"{key}.yaml"
        text = path.read_text("utf-8")
        observed = {
            each.test.place: [(line.wall, line.text) for line in each.observed]
            for each in results
        }
        path.write_text(
            with_expectations(text, f"campaigns/{key}.yaml", observed), "utf-8"
        )
        say(
            f"campaigns/{key}.yaml: {len(results)} test(s) rewritten. Look at the change before you keep it."
        )
    if not failed:
        say("Every test passes as it is.")
