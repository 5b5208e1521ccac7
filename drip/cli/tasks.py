"""`drip tasks`: work that campaigns give to colleagues."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from drip import papers, private
from drip.cli.context import App, app_of, json_option, now_option, pass_app
from drip.cli.ordering import ordering, why_option
from drip.cli.screen import JsonRow, print_json, say
from drip.cli.tables import TerminalTable, add_columns, draw
from drip.cli.texts import instant_or_none, instant_text
from drip.commands.settling import TASK_ENDS, TaskEnd, settle_task
from drip.core.sheets import ENCODING, write_sheet
from drip.errors import DripError
from drip.importing.rows import Row, open_table
from drip.storage.campaigns import tasks as store
from drip.storage.campaigns.tasks import Work
from drip.workspace import OWN

COLUMNS = (
    "task",
    "title",
    "assign_to",
    "priority",
    "due",
    "contact",
    "phone",
    "email",
    "record",
    "campaign",
    "notes",
    "state",
    "outcome",
)
# From this priority on a task is drawn in red.
URGENT = 60
TASK_NUMBER = click.IntRange(1, 2**31)


@click.group(invoke_without_command=True)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Those that are done or dropped too.",
)
@click.option("--assign-to", metavar="WHO", help="Only those of one desk.")
@json_option
@click.pass_context
def tasks(
    context: click.Context,
    everything: bool,
    assign_to: str | None,
    as_json: bool,
) -> None:
    """Work that campaigns give to people: the list, done with an outcome, export and
    import.

    \b
    Example: drip tasks --assign-to service-desk
             drip tasks done 12 --outcome "booked for Friday"
             drip tasks export calls.csv
    """
    if context.invoked_subcommand:
        return
    states = ("open", *TASK_ENDS) if everything else ("open",)
    with app_of(context).reading() as (_, connection):
        found = store.listed(connection, states, assign_to)
    if as_json:
        for task in found:
            print_json(_task_row(task))
        return
    draw(_table(found))
    say(f"{len(found)} task(s).")


def _table(found: Sequence[Work]) -> TerminalTable:
    table = TerminalTable()
    names = ("Task", "Due", "Who does it", "What", "For", "Reach them", "State")
    add_columns(table, *names, overflow="fold")
    for task in found:
        # In bold too: whoever sees no red sees that.
        urgent = task.priority > URGENT and task.state == "open"
        table.add_row(
            str(task.number),
            task.due or "",
            task.assign_to,
            task.title,
            task.contact,
            task.phone or task.email or "",
            f"{task.state}: {task.outcome}" if task.outcome else task.state,
            style="bold red" if urgent else "",
        )
    return table


def _task_row(task: Work) -> JsonRow:
    return {
        "task": task.number,
        "title": task.title,
        "assign_to": task.assign_to,
        "priority": task.priority,
        "due": task.due,
        "contact": task.contact,
        "record": task.record,
        "campaign": task.campaign,
        "state": task.state,
        "outcome": task.outcome,
        "notes": task.notes,
        "created_at": instant_text(task.created_at),
        "done_at": instant_or_none(task.done_at),
    }


@tasks.command("done")
@click.argument("number", type=TASK_NUMBER)
@click.option("--outcome", help="What came of it, in your words.")
@why_option
@now_option
@pass_app
def done(
    app: App,
    number: int,
    outcome: str | None,
    why: str | None,
    now: str | None,
) -> None:
    """Settles a task. Campaigns see it as the event `task.done`.

    Example: drip tasks done 12 --outcome "booked for Friday"
    """
    _settle(app, now, number, "done", outcome, why)
    say(f"Task {number} is done.")


@tasks.command("drop")
@click.argument("number", type=TASK_NUMBER)
@click.option("--outcome", metavar="WHY", help="Why nobody will do it.")
@why_option
@now_option
@pass_app
def drop(
    app: App,
    number: int,
    outcome: str | None,
    why: str | None,
    now: str | None,
) -> None:
    """Takes a task off the list without doing it.

    Example: drip tasks drop 12
    """
    _settle(app, now, number, "dropped", outcome, why)
    say(f"Task {number} is dropped.")


def _settle(
    app: App,
    now: str | None,
    number: int,
    end: TaskEnd,
    outcome: str | None,
    why: str | None,
) -> None:
    with ordering(app, why, now) as (workspace, connection, order):
        settle_task(connection, workspace.settings, order, number, end, outcome)


@tasks.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def export(app: App, file: Path) -> None:
    """Writes the open tasks as CSV: a call list, whose columns `state` and `outcome`
    come back with `import`.

    Example: drip tasks export calls.csv
    """
    with app.reading() as (workspace, connection):
        found = store.listed(connection, ("open",))
    # First: a file that nobody notes keeps its people when they are erased.
    papers.note(workspace.root / OWN, file)
    # Names and phone numbers: for whoever calls, and for no other user of the machine.
    with open(
        file,
        "w",
        newline="",
        encoding=ENCODING,
        opener=private.opener,
    ) as opened:
        write_sheet(opened, COLUMNS, map(_cells, found))
    say(f"{len(found)} task(s) are in {file}.")


def _cells(task: Work) -> tuple[object, ...]:
    """A row of `COLUMNS`; the last two are for whoever calls."""
    return (
        task.number,
        task.title,
        task.assign_to,
        task.priority,
        task.due or "",
        task.contact,
        task.phone or "",
        task.email or "",
        task.record or "",
        task.campaign,
        task.notes or "",
        "",
        "",
    )


@tasks.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@why_option
@now_option
@pass_app
def import_(app: App, file: Path, why: str | None, now: str | None) -> None:
    """Takes outcomes back: rows of `export` with a `state` (done or dropped) or an
    `outcome`.

    Example: drip tasks import calls.csv
    """
    table = open_table(file)
    if "task" not in table.columns:
        raise DripError(
            "The file has no column `task`.",
            help="use a file that `drip tasks export` wrote",
        )
    settled = 0
    wrong: list[str] = []
    with ordering(app, why, now) as (workspace, connection, order):
        for row in filter(_is_filled_in, table.rows):
            try:
                number, end, outcome = _settlement(row)
                settle_task(connection, workspace.settings, order, number, end, outcome)
                settled += 1
            # The others are kept: a call list comes back with a typing mistake or two.
            except DripError as error:
                wrong.append(f"line {row.line}: {error.sentence}")
    say(f"{settled} task(s) settled.")
    for line in wrong:
        say(line, err=True)
    raise click.exceptions.Exit(1 if wrong else 0)


def _is_filled_in(row: Row) -> bool:
    # Whoever was not called has neither, and the task stays open.
    return bool(_cell(row, "state") or _cell(row, "outcome"))


def _settlement(row: Row) -> tuple[int, TaskEnd, str | None]:
    """The task of a row, how it ended, and what came of it. Raises DripError for a row
    that does not say so."""
    number = _cell(row, "task")
    state = _cell(row, "state")
    ends: dict[str, TaskEnd] = {"": "done", "done": "done", "dropped": "dropped"}
    # A longer one may not fit the database's integers.
    if not re.fullmatch("[0-9]{1,9}", number) or state not in ends:
        raise DripError(f"`{number}` with `{state}` is no task that is done or dropped")
    return int(number), ends[state], _cell(row, "outcome") or None


def _cell(row: Row, name: str) -> str:
    return row.cells.get(name, "").strip()
