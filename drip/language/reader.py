"""YAML to plain data with places. Every scalar stays the string that was written.

Read from PyYAML's C event stream instead of composed nodes: the same exact positions in one pass, and
depth, anchors and aliases are refused before anything is built, so no file can blow up the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from drip.core.characters import hidden_in
from drip.core.shortage import shortage
from drip.errors import Level, Place, Problem, Problems
from drip.folders import content

Data: TypeAlias = "str | list[Data] | dict[str, Data]"
Route = tuple[str | int, ...]
MOST_BYTES = 256 * 1024
# Of one text in it. Mails have files of their own.
LONGEST_TEXT = 5_000
DEEPEST = 32
# More than anybody reads at once.
MOST_PROBLEMS = 100


@dataclass
class Document:
    """One file: its data, where everything stands, and the problems found so far."""

    file: str
    text: str
    data: Data = ""
    values: dict[Route, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Route, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.text.splitlines()

    def place(self, route: Sequence[str | int] = (), *, key: bool = False) -> Place:
        """Where a value (or its key) stands; the nearest enclosing one for what is not in the file."""
        path = tuple(route)
        if key and path in self.keys:
            return Place(self.file, *self.keys[path])
        while path not in self.values and path:
            path = path[:-1]
        return Place(self.file, *self.values.get(path, (1, 1)))

    def problem(
        self,
        route: Sequence[str | int],
        sentence: str,
        help: str | None = None,
        *,
        key: bool = False,
        level: Level = "error",
        code: str = "invalid",
    ) -> None:
        self.report(self.place(route, key=key), sentence, help, level=level, code=code)

    def report(
        self,
        place: Place,
        sentence: str,
        help: str | None = None,
        *,
        level: Level = "error",
        code: str = "invalid",
    ) -> None:
        if len(self.problems) >= MOST_PROBLEMS:
            return
        known = place.line is not None and place.line <= len(self.lines)
        source = self.lines[place.line - 1] if known and place.line else None
        self.problems.append(Problem(place, sentence, help, source, level, code))

    @property
    def broken(self) -> bool:
        return any(problem.level == "error" for problem in self.problems)


def read(path: Path, name: str) -> Document:
    """The document in a file, `name` being how people know the file. Raises Problems if it is no YAML of ours, Shortage if the
    machine cannot open it now."""
    try:
        raw = content(path, MOST_BYTES)
    except OSError as error:
        raise shortage(error) or _unreadable(
            name, f"the file cannot be read: {error.strerror}"
        ) from None
    if len(raw) > MOST_BYTES:
        raise _unreadable(name, f"the file has more than {MOST_BYTES:,} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        sentence = "the file is not UTF-8 text"
        raise Problems(
            [Problem(Place(name, line), sentence, "save it as UTF-8 in your editor")]
        ) from None
    return parse(text, name)


def parse(text: str, name: str) -> Document:
    """The document in a text. Raises Problems if its YAML cannot be read at all."""
    document = Document(name, text)
    try:
        _NodeBuilder(document).build()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        document.report(place, *_plain_words(document, error))
        raise Problems(document.problems) from None
    except yaml.YAMLError as error:
        document.report(
            _reader_place(name, text, error),
            "the file holds a character that text cannot have",
        )
        raise Problems(document.problems) from None
    except _Stop:
        raise Problems(document.problems) from None
    return document


def _unreadable(name: str, sentence: str) -> Problems:
    return Problems([Problem(Place(name), sentence)])


def _reader_place(name: str, text: str, error: yaml.YAMLError) -> Place:
    position = getattr(error, "position", None)
    return (
        Place(name, text[:position].count("\n") + 1)
        if isinstance(position, int)
        else Place(name)
    )


class _Stop(Exception):
    """A problem after which the rest of the file cannot be understood."""


class _NodeBuilder:
    """Turns the event stream into data, keeping a stack of what is open instead of calling itself."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.lines = document.lines

    def build(self) -> None:
        open_: list[tuple[Data, Route, list[str]]] = []
        for event in self._events():
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                open_.pop()
                continue
            if isinstance(event, yaml.AliasEvent):
                raise self._stop(
                    event,
                    "aliases (`*name`) are not used here",
                    "put quotes around a text that begins with *",
                )
            if not isinstance(
                event,
                yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent,
            ):
                continue
            self._refuse(event, len(open_))
            container, route, pending = open_[-1] if open_ else ("", (), [])
            if isinstance(container, dict) and not pending:
                pending.append(self._key(event, container, route))
                continue
            here = self._route(container, route, pending)
            self.document.values[here] = _at(event)
            value: Data = {} if isinstance(event, yaml.MappingStartEvent) else []
            if isinstance(event, yaml.ScalarEvent):
                value = self._scalar(event)
            self._put(container, value, pending)
            if not open_ and not isinstance(event, yaml.ScalarEvent):
                self.document.data = value
            if not isinstance(value, str):
                open_.append((value, here, []))

    def _events(self) -> Iterator[yaml.Event]:
        documents = 0
        for event in yaml.parse(self.document.text, Loader=yaml.CSafeLoader):
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise self._stop(
                    event,
                    "a second document begins here",
                    "one file holds one campaign: remove the `---`",
                )
            yield event

    def _refuse(self, event: yaml.Event, depth: int) -> None:
        if getattr(event, "anchor", None):
            raise self._stop(
                event,
                "anchors (`&name`) are not used here",
                "write the text out where it is needed",
            )
        if getattr(event, "tag", None):
            raise self._stop(
                event, "tags (`!name`) are not used here", "put quotes around the text"
            )
        if depth > DEEPEST:
            raise self._stop(event, f"this is nested more than {DEEPEST} deep")

    def _key(self, event: yaml.Event, container: dict[str, Data], route: Route) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._stop(
                event,
                "a key must be a word",
                "put quotes around a text that begins with `{{` or `[`",
            )
        key = str(event.value)
        here = (*route, key)
        if key == "<<":
            raise self._stop(
                event,
                "merge keys (`<<`) are not used here",
                "write the lines out where they are needed",
            )
        if key in container:
            line = self.document.keys[here][0]
            self.document.report(
                Place(self.document.file, *_at(event)),
                f"`{key}` stands here a second time",
                f"it stands first in line {line}: keep one of them",
            )
        self.document.keys[here] = _at(event)
        if hidden := hidden_in(key):
            place = Place(self.document.file, *_at(event))
            self.document.report(
                place,
                f"this key holds the character {hidden}, which nobody can see",
                "write it anew",
            )
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> str:
        value = str(event.value)
        if len(value) > LONGEST_TEXT:
            raise self._stop(
                event,
                f"this text has more than {LONGEST_TEXT:,} characters",
                "what is sent has a file in templates/",
            )
        if event.implicit[0]:
            self._text_lost(event)
        return value

    def _text_lost(self, event: yaml.ScalarEvent) -> None:
        """`subject: We are #1` reads as `We are`."""
        mark = event.end_mark
        assert mark is not None
        rest = (
            self.lines[mark.line][mark.column :] if mark.line < len(self.lines) else ""
        )
        found = re.match(r"\s+#(?=[^\s#])", rest)
        if found and value_is_text(str(event.value)):
            place = Place(self.document.file, mark.line + 1, mark.column + found.end())
            self.document.report(
                place,
                "the text after `#` is lost: YAML takes it for a comment",
                "put quotes around the whole text, or a space after `#`",
                level="warning",
                code="text-lost",
            )

    def _route(self, container: Data, route: Route, pending: list[str]) -> Route:
        if isinstance(container, dict):
            return (*route, pending[0])
        return (*route, len(container)) if isinstance(container, list) else route

    def _put(self, container: Data, value: Data, pending: list[str]) -> None:
        if isinstance(container, dict):
            container.setdefault(pending.pop(), value)
        elif isinstance(container, list):
            container.append(value)
        else:
            self.document.data = value

    def _stop(self, event: yaml.Event, sentence: str, help: str | None = None) -> _Stop:
        self.document.report(Place(self.document.file, *_at(event)), sentence, help)
        return _Stop()


def value_is_text(value: str) -> bool:
    """Whether a scalar holds words."""
    return any(char.isalpha() for char in value)


def _at(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None
    return event.start_mark.line + 1, event.start_mark.column + 1


def _plain_words(document: Document, error: yaml.MarkedYAMLError) -> tuple[str, str]:
    said = f"{error.context or ''} {error.problem or ''}"
    lines = document.lines
    number = error.problem_mark.line if error.problem_mark else 0
    line = lines[number] if number < len(lines) else ""
    if re.match(r"[^:]*:\s*\{\{", line):
        return "a text that begins with `{{` needs quotes", 'write it as "{{ … }}"'
    if (
        "mapping values" in said
        and error.problem_mark
        and ":" not in line[: error.problem_mark.column]
    ):
        said = "block mapping"
    for pattern, sentence, help in _SAID:
        if re.search(pattern, said):
            return sentence, help
    return (
        "this line cannot be read as YAML",
        "compare its indent and its quotes with the lines around it",
    )


_SAID = (
    (
        r"cannot start any token|\\t|tab",
        "a tab, or a character that cannot begin a text, stands here",
        "indent with spaces, and put quotes around a text that begins with @, `, % or a tab",
    ),
    (
        r"mapping values are not allowed",
        "there is a second colon in this text",
        "put quotes around a text that holds a colon and a space",
    ),
    (
        r"quoted scalar",
        "a quote is opened and never closed",
        "close the quote, or double an apostrophe ('') inside",
    ),
    (
        r"block (mapping|collection)|did not find expected '?-",
        "the indent does not fit the lines above",
        "lines that belong together begin in the same column",
    ),
    (
        r"flow|expected ',' or",
        "a bracket is opened and never closed, or a comma is missing",
        "close it, or put quotes around a text that begins with [ or {",
    ),
    (r"could not find expected ':'", "a key without a colon", "write `key: value`"),
    (r"anchor|tag", "a text cannot begin with & or !", "put quotes around it"),
)
