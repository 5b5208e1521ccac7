"""What is printed: the only module of the command line that writes to the terminal.

Whatever a value holds, it neither steers the terminal nor begins a line of its own (`core.characters.shown`), and its brackets are
no markup.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

from drip.core.characters import json_text, shown
from drip.errors import DripError, Problems

__all__ = ["Group", "Padding", "RenderableType", "Text"]
# Where nobody looks at it.
WIDTH = 100


def say(*lines: str, err: bool = False, bold: bool = False) -> None:
    """Prints each as one line, to standard output or standard error."""
    for line in lines or ("",):
        click.secho(shown(line), err=err, bold=bold or None)


def print_json(row: Mapping[str, Any]) -> None:
    say(json_text(row))


def words(*parts: str | tuple[str, str] | Text, style: str = "") -> Text:
    """One line of a picture: texts, or texts with a style."""
    made = Text(style=style)
    for part in parts:
        if isinstance(part, Text):
            made.append_text(part)
        else:
            text, how = (part, "") if isinstance(part, str) else part
            made.append(shown(text), how or None)
    return made


def stacked(*lines: Text, style: str = "") -> Text:
    """Lines below one another."""
    return Text("\n", style=style).join(lines)


class TerminalTable(RichTable):
    """Cells and headings that are texts are one line each; `lines` draws it with lines between them."""

    def __init__(self, title: str = "", *, lines: bool = False, **options: Any) -> None:
        edges = box.SQUARE if lines else box.SIMPLE_HEAD
        options = {"pad_edge": False, "title_justify": "left", **options}
        super().__init__(box=edges, title=shown(title) if title else None, **options)

    def add_column(
        self, header: RenderableType = "", footer: RenderableType = "", **options: Any
    ) -> None:
        super().add_column(_cell(header), footer, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*map(_cell, cells), **options)


def _cell(content: RenderableType | None) -> RenderableType:
    return words(content) if isinstance(content, str) else content or Text()


def draw(*parts: RenderableType) -> None:
    """Prints tables and words, in colour where a person looks at it."""
    width = None if sys.stdout.isatty() else WIDTH
    console = Console(
        highlight=False, markup=False, emoji=False, width=width, soft_wrap=False
    )
    for part in parts:
        console.print(part)


@contextmanager
def bar(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar on standard error that shows how far it is, where somebody watches."""
    with Progress(transient=True, disable=not sys.stderr.isatty()) as shows:
        task = shows.add_task(shown(label), total=total)
        yield lambda done: shows.update(task, completed=done)


@contextmanager
def counted_rows(label: str) -> Iterator[Callable[[int], None]]:
    """Counts rows on standard error where a person looks at it."""
    described = TextColumn("{task.description}", markup=False)
    columns = (described, TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as shows:
        task = shows.add_task(shown(label), total=None)
        yield lambda rows: shows.update(task, completed=rows)


def sure(question: str) -> None:
    """Raises click.Abort unless the answer is yes."""
    click.confirm(shown(question), abort=True, err=True)


def ask(question: str) -> str:
    """What is typed, unseen, and typed again."""
    return str(
        click.prompt(
            shown(question), hide_input=True, confirmation_prompt=True, err=True
        )
    )


def complain(error: DripError) -> int:
    """An error on standard error: sentence, place, help. Returns the exit code."""
    if isinstance(error, Problems):
        for problem in error.problems:
            say(*problem.lines(), err=True)
        return 2
    place = f"{shown(str(error.place))}: " if error.place else ""
    click.echo(
        f"{place}{click.style('error', fg='red', bold=True)}: {shown(error.sentence)}",
        err=True,
    )
    if error.help:
        say(f"help: {error.help}", err=True)
    return 2


def misused(error: click.ClickException) -> int:
    """How a command is called, on standard error. Returns the exit code."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context and isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(*context.get_help().splitlines(), err=True)
        return 2
    if context:
        say(
            *context.get_usage().splitlines(),
            f"Try '{context.command_path} --help' for help.",
            "",
            err=True,
        )
    say(f"Error: {error.format_message()}", err=True)
    return 2
