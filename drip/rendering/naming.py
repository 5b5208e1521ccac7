"""How files of `templates/` are called, and what stands between the `---` at
their beginning.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from drip.errors import DripError, Place
from drip.folders import names_in

# The longest ending of a name is its own.
ENDINGS = (".letter.html", ".md", ".html", ".mjml", ".txt", ".sms", ".push")
# It takes a parser a second for a hundred thousand.
LONGEST_FRONT = 20_000
DATED = re.compile(r"\d{4}-\d\d-\d\d")
_LOCALE = re.compile(r"\.[a-z]{2}(-[A-Za-z]{2,4})?$")


def front_matter(text: str, name: str) -> dict[str, str]:
    """What the lines between the `---` say. Raises DripError with its place."""
    if len(text) > LONGEST_FRONT:
        raise DripError(
            f"there are more than {LONGEST_FRONT:,} characters between the `---`",
            help="keep subject, preheader, sender and layout there, and the rest in the"
            " text",
            place=Place(name, 1),
        )
    data = _yaml(text, name)
    if data in (None, ""):
        return {}
    if not isinstance(data, dict) or not _are_texts(data):
        raise DripError(
            "the lines between the `---` hold keys with plain texts",
            help="write `subject: …`, and put quotes around a text that begins with {{",
            place=Place(name, 2),
        )
    return {str(key): value for key, value in data.items()}


def _yaml(text: str, name: str) -> object:
    """All values as texts, whatever YAML makes of `yes` and `1.10` elsewhere."""
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except RecursionError:
        raise DripError(
            "the lines between the `---` are nested too deep",
            help="write keys with plain texts, as `subject: …`",
            place=Place(name, 1),
        ) from None
    except yaml.YAMLError as error:
        # YAML counts lines from zero, and one stands above them: the first `---`.
        mark = getattr(error, "problem_mark", None)
        raise DripError(
            "the lines between the `---` cannot be read",
            help="put quotes around a text that holds a colon, or begins with {{",
            place=Place(name, mark.line + 2 if mark else 1),
        ) from None


def _are_texts(data: dict[Any, Any]) -> bool:
    return all(isinstance(value, str) for value in data.values())


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
    ending = next(ending for ending in ENDINGS if name.endswith(ending))
    return _LOCALE.sub("", name.removesuffix(ending))


def locale_in(path: Path) -> str | None:
    """The locale that a file name names."""
    found = re.search(r"\.([a-z]{2}(?:-[A-Za-z]{2,4})?)(\.letter)?\.\w+$", path.name)
    return found[1] if found else None
