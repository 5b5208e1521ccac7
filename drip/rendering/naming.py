"""How files of `templates/` are called, and what stands between the `---` at
their beginning.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from drip.errors import DripError, Place
from drip.folders import names_in

# The longest ending of a name is its own.
ENDINGS = (".letter.html", ".md", ".html", ".mjml", ".txt", ".sms", ".push")
# It takes a parser a second for a hundred thousand.
LONGEST_FRONT = 20_000
DATED = re.compile(r"\d{4}-\d\d-\d\d")


def front_matter(text: str, name: str) -> dict[str, str]:
    """What the lines between the `---` say. Raises DripError with its place."""
    if len(text) > LONGEST_FRONT:
        help = (
            "keep subject, preheader, sender and layout there, and the rest in the text"
        )
        raise DripError(
            f"there are more than {LONGEST_FRONT:,} characters between the `---`",
            help=help,
            place=Place(name, 1),
        )
    try:
        data = yaml.load(text, Loader=yaml.BaseLoader)
    except RecursionError:
        help = "write keys with plain texts, as `subject: …`"
        raise DripError(
            "the lines between the `---` are nested too deep",
            help=help,
            place=Place(name, 1),
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        help = "put quotes around a text that holds a colon, or begins with {{"
        raise DripError(
            "the lines between the `---` cannot be read",
            help=help,
            place=Place(name, line),
        ) from None
    if data in (None, ""):
        return {}
    if not isinstance(data, dict) or not all(
        isinstance(value, str) for value in data.values()
    ):
        help = "write `subject: …`, and put quotes around a text that begins with {{"
        raise DripError(
            "the lines between the `---` hold keys with plain texts",
            help=help,
            place=Place(name, 2),
        )
    return {str(key): value for key, value in data.items()}


def variants_for(locale: str | None) -> list[str]:
    """What stands before the ending, the nearest first: `de-AT` is `.de-AT`,
    `.de`, then nothing.
    """
    parts = re.split("[-_]", locale) if locale else []
    return [f".{'-'.join(parts[:n])}" for n in range(len(parts), 0, -1)] + [""]


def dated_in(folder: Path) -> list[Path]:
    """The files of a folder that are called after a day, in order."""
    return [
        folder / name
        for name in names_in(folder)
        if DATED.match(name) and name.endswith(".md")
    ]


def bare_name(path: Path, folder: Path) -> str:
    """The name by which a campaign calls a file: without locale and ending."""
    name = path.relative_to(folder).as_posix()
    name = name.removesuffix(
        next(ending for ending in ENDINGS if name.endswith(ending))
    )
    return re.sub(r"\.[a-z]{2}(-[A-Za-z]{2,4})?$", "", name)


def locale_in(path: Path) -> str | None:
    """The locale that a file name names."""
    found = re.search(r"\.([a-z]{2}(?:-[A-Za-z]{2,4})?)(\.letter)?\.\w+$", path.name)
    return found[1] if found else None
