"""`drip import`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from drip.cli.context import App, json_option, now_option, pass_app, print_json
from drip.errors import DripError
from drip.importing import importer
from drip.importing.rows import open_table, write_rejected

SHOWN = 20


@click.command("import")
@click.argument("what", metavar="contacts|events|KIND")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--map", "mapping", multiple=True, metavar="COLUMN=FIELD", help="The field that a column holds.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")
@now_option
@json_option
@pass_app
def import_(
    app: App, what: str, file: Path, mapping: tuple[str, ...], dry_run: bool, now: str | None, as_json: bool
) -> None:
    """Reads people from CSV (any delimiter and encoding) or JSON lines, plain or gzipped.

    \b
    Example: drip import contacts people.csv
             drip import vehicle cars.csv --map reg_no=key
             drip import events orders.jsonl --dry-run

    Contacts are updated by `key`; an empty cell changes nothing. A column named after a topic is consent to
    it: yes, no, or the date it was given. Rows that cannot be are listed with their reason and written to
    FILE.rejected.csv; the others are kept. Importing a file twice changes nothing.
    """
    with app.opened(now) as (workspace, database, at), _progress(file) as tick:
        table = open_table(file)
        settings, named = workspace.settings, _mapping(mapping)
        if what == "contacts":
            report = importer.import_contacts(
                database, settings, table, named, file.name, at, dry_run=dry_run, progress=tick
            )
        elif what == "events":
            report = importer.import_events(database, settings, table, named, dry_run=dry_run, progress=tick)
        else:
            report = importer.import_records(database, settings, what, table, named, at, dry_run=dry_run, progress=tick)
    _show(report, what, dry_run, as_json)
    if report.rejected and not dry_run:
        target = write_rejected(file, report.rejected)
        click.echo(f"The rejected rows are in {target}.", err=True)
    raise click.exceptions.Exit(1 if report.rejected else 0)


def _show(report: importer.Report, what: str, dry_run: bool, as_json: bool) -> None:
    if as_json:
        counts = {"new": report.new, "changed": report.changed, "same": report.same, "consents": report.consents}
        rejected = [{"line": row.line, "reason": why} for row, why in report.rejected]
        print_json({"what": what, "dry_run": dry_run, **counts, "rejected": rejected, "notes": report.notes})
        return
    for note in report.notes[:SHOWN]:
        click.echo(f"note: {note}", err=True)
    for row, why in report.rejected[:SHOWN]:
        click.echo(f"line {row.line}: {why}", err=True)
    if len(report.rejected) > SHOWN:
        click.echo(f"… and {len(report.rejected) - SHOWN} more", err=True)
    would = "would be " if dry_run else ""
    consents = f", {report.consents} new consent(s)" if report.consents else ""
    click.echo(
        f"{what}: {report.new} {would}new, {report.changed} changed, {report.same} the same as before, "
        f"{len(report.rejected)} rejected{consents}."
    )


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    for column, equals, field in split:
        if not (column and equals and field):
            raise DripError(f"`--map {column}` does not name a field.", help="write --map COLUMN=FIELD")
    return {column: field for column, _, field in split}


@contextmanager
def _progress(file: Path) -> Iterator[Callable[[int], None]]:
    """Counts rows on standard error where a person looks at it."""
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"Reading {file.name}", total=None)
        yield lambda rows: bar.update(task, completed=rows)
