"""What is printed, line by line: with `tables`, the only module of the command line
that writes to the terminal.

Whatever a value holds, it neither steers the terminal nor begins a line of its own
(`core.characters.shown`), and its brackets are no markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from drip.core.characters import json_text, shown
from drip.errors import DripError, Problems

# A line of `--json`, by its stable keys.
JsonRow = dict[str, object]


def say(*lines: str, err: bool = False, bold: bool = False) -> None:
    """Prints each as one line, to standard output or standard error."""
    # A contact's name may hold an escape sequence, or a line break that makes a line of
    # its own.
    for line in lines or ("",):
        click.secho(shown(line), err=err, bold=bold or None)


def print_json(row: Mapping[str, Any]) -> None:
    say(json_text(row))


def sure(question: str) -> None:
    """Raises click.Abort unless the answer is yes."""
    # On standard error: standard output may be a file, and nobody would see it.
    click.confirm(shown(question), abort=True, err=True)


def ask(question: str) -> str:
    """What is typed, unseen, and typed again."""
    return str(
        click.prompt(
            shown(question),
            hide_input=True,
            confirmation_prompt=True,
            err=True,
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
