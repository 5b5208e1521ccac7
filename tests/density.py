"""How dense the code is to read: `python -m tests.density [FOLDER]` prints the figures, and a test holds them.

A line should say one thing and a function one thought. Neither can be counted, but what stands for it can: the
nodes of the syntax tree that a line and a function hold. Well-kept projects of the field have 4 to 8 nodes a line
and 31 to 78 a function. Migrations are left out, since a tool writes them.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "drip"


@dataclass(frozen=True)
class Density:
    """The figures of one folder; `names_used_twice` are of classes."""

    nodes_per_line: float
    nodes_per_function: float
    width: int
    kept_from_the_formatter: int
    comments_per_100_lines: float
    names_used_twice: tuple[str, ...]


# What the house keeps to: the most of each, and of comments the least.
AIM = Density(
    nodes_per_line=6.5,
    nodes_per_function=60,
    width=80,
    kept_from_the_formatter=10,
    comments_per_100_lines=4,
    names_used_twice=(),
)


def density(folder: Path) -> Density:
    """Counts the Python files under a folder; the width is that below which nine lines in ten stay."""
    texts = [path.read_text("utf-8") for path in sources(folder)]
    trees = [ast.parse(text) for text in texts]
    lines = [line for text in texts for line in text.splitlines()]
    code = [line for line in lines if line.strip() and not is_comment(line)]
    widths = sorted(map(len, code))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    return Density(
        nodes_per_line=len(nodes) / len(code),
        nodes_per_function=statistics.median(map(size, functions)),
        width=widths[int(len(widths) * 0.9)],
        kept_from_the_formatter=sum(text.count("# fmt: " + "skip") for text in texts),
        comments_per_100_lines=100 * sum(map(is_comment, lines)) / len(code),
        names_used_twice=tuple(name for name, count in classes.items() if count > 1),
    )


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def sources(folder: Path) -> Iterator[Path]:
    """The files that people write."""
    for path in sorted(folder.rglob("*.py")):
        if "migrations" not in path.parts:
            yield path


def is_comment(line: str) -> bool:
    return line.strip().startswith("#")


def size(node: ast.AST) -> int:
    """How many nodes there are in it, itself among them."""
    return sum(1 for _ in ast.walk(node))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE
    found = density(folder)
    for name, aim in vars(AIM).items():
        value = getattr(found, name)
        shown = f"{value:.1f}" if isinstance(value, float) else value
        sys.stdout.write(f"{name.replace('_', ' '):24} {shown} (aim: {aim})\n")


if __name__ == "__main__":
    main()
