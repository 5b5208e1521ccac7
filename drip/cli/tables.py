"""What is drawn: tables, pictures and bars, in colour where a person looks at them.

Whatever a value holds, it neither steers the terminal nor begins a line of its own
(`core.characters.shown`), and its brackets are no markup. Apart from `screen`, since
rich takes longer to import than most commands have to say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

from drip.core.characters import shown

__all__ = ["Group", "Padding", "RenderableType", "Text"]
TO_THE_LEFT: dict[str, Any] = {"pad_edge": False, "title_justify": "left"}
# Where nobody looks at it.
WIDTH = 100


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
    """Cells and headings that are texts are one line each; `lines` draws it with lines
    between them."""

    def __init__(self, title: str = "", *, lines: bool = False, **options: Any) -> None:
        edges = box.SQUARE if lines else box.SIMPLE_HEAD
        heading = shown(title) if title else None
        super().__init__(box=edges, title=heading, **{**TO_THE_LEFT, **options})

    def add_column(
        self,
        header: RenderableType = "",
        footer: RenderableType = "",
        **options: Any,
    ) -> None:
        super().add_column(_cell(header), footer, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*map(_cell, cells), **options)


def add_columns(
    table: TerminalTable,
    *names: str,
    right: Collection[str] = (),
    **options: Any,
) -> None:
    """Columns by their headings; those that `right` names are of numbers."""
    for name in names:
        justify: JustifyMethod = "right" if name in right else "left"
        table.add_column(name, justify=justify, **options)


def _cell(content: RenderableType | None) -> RenderableType:
    return words(content) if isinstance(content, str) else content or Text()


def draw(*parts: RenderableType) -> None:
    """Prints tables and words, in colour where a person looks at it."""
    # In a file or a pipe the width must not depend on the terminal that it was made in.
    width = None if sys.stdout.isatty() else WIDTH
    # Without markup, a campaign named `[red]` is drawn by its name.
    console = Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
        soft_wrap=False,
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
