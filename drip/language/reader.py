"""YAML to plain data with places. Every scalar stays the string that was written.

Read from PyYAML's C event stream instead of composed nodes: the same exact positions in
one pass, and depth, anchors and aliases are refused before anything is built, so no
file can blow up the reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

import yaml

from drip.core.characters import hidden_in
from drip.core.shortage import shortage
from drip.errors import Level, Place, Problem, Problems, nearest
from drip.folders import content

Data: TypeAlias = "str | list[Data] | dict[str, Data]"
Route = tuple[str | int, ...]
Result = TypeVar("Result")
# Larger than any campaign, small enough that a wrong file costs no memory worth a word.
MOST_BYTES = 256 * 1024
# Of one text in it. Mails have files of their own.
LONGEST_TEXT = 5_000
# What reads the data later calls itself for what is nested, so the depth has an end.
DEEPEST = 32
# More than anybody reads at once.
MOST_PROBLEMS = 100
SETTINGS_FILE = "_settings.yaml"


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
        """Where a value (or its key) stands.

        For what is not in the file it is the nearest enclosing value.
        """
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
        """Adds a problem of the value at `route`, or of its key."""
        self.report(
            self.place(route, key=key),
            sentence,
            help,
            level=level,
            code=code,
        )

    def report(
        self,
        place: Place,
        sentence: str,
        help: str | None = None,
        *,
        level: Level = "error",
        code: str = "invalid",
    ) -> None:
        """Adds a problem at a place, with the source line that it stands in."""
        # One slip of the indent makes a problem of every line below it.
        if len(self.problems) >= MOST_PROBLEMS:
            return
        source = self._source_line(place)
        self.problems.append(Problem(place, sentence, help, source, level, code))

    def _source_line(self, place: Place) -> str | None:
        """The line of a place as it was written."""
        if place.line is None or not 0 < place.line <= len(self.lines):
            return None
        return self.lines[place.line - 1]

    def unknown(
        self,
        route: Route,
        what: str,
        name: str,
        known: Iterable[str],
        remedy: str | None = None,
        *,
        key: bool = False,
    ) -> None:
        """Adds that there is no such topic, sender, … of this name.

        The help is the name that was meant; where none is near, `remedy`.
        """
        self.problem(
            route,
            f"there is no {what} `{name}`",
            nearest(name, known, what=f"{what}s") or remedy,
            key=key,
        )

    def attempt(
        self,
        route: Route,
        read: Callable[[], Result],
        help: str | None = None,
        *,
        key: bool = False,
    ) -> Result | None:
        """What `read` returns; None where it raises ValueError.

        The error's sentence is then a problem of the value at `route`.
        """
        try:
            return read()
        except ValueError as wrong:
            self.problem(
                route,
                str(wrong),
                help,
                key=key,
            )
        return None

    @property
    def broken(self) -> bool:
        """Whether anything is wrong beyond warnings and notes."""
        return any(problem.level == "error" for problem in self.problems)

    def at(self, *names: str | int) -> Spot:
        """The value under these keys and numbers."""
        return Spot(self, names)


@dataclass(frozen=True, slots=True)
class Spot:
    """A value of a document, by its route: what is wrong there is said of it."""

    document: Document
    route: Route

    def at(self, *names: str | int) -> Spot:
        """The value under these keys and numbers of this one."""
        return Spot(self.document, (*self.route, *names))

    def place(self, *, key: bool = False) -> Place:
        """Where the value stands, or its key."""
        return self.document.place(self.route, key=key)

    def items(self, data: Data | None) -> Iterator[tuple[Spot, Data]]:
        """One value, or each of a list of them, with its spot; nothing for None."""
        for route, item in items_at(self.route, data):
            yield Spot(self.document, route), item

    def problem(
        self,
        sentence: str,
        help: str | None = None,
        *,
        key: bool = False,
    ) -> None:
        """Adds a problem of the value, or of its key."""
        self.document.problem(self.route, sentence, help, key=key)

    def attempt(
        self,
        read: Callable[[], Result],
        help: str | None = None,
    ) -> Result | None:
        """What `read` returns; None where it raises ValueError, which is said here."""
        return self.document.attempt(self.route, read, help)

    def unknown(self, what: str, name: str, known: Iterable[str]) -> None:
        """Adds that there is no such topic, sender, … of this name."""
        self.document.unknown(self.route, what, name, known)


def declare(section: str) -> str:
    """The remedy for a name that exists nowhere."""
    return f"declare it under `{section}:` in {SETTINGS_FILE}"


def items_at(route: Route, data: Data | None) -> Iterator[tuple[Route, Data]]:
    """One value, or each of a list of them, with its route; nothing for None."""
    if isinstance(data, list):
        for number, item in enumerate(data):
            yield (*route, number), item
    elif data is not None:
        yield route, data


def read(path: Path, name: str) -> Document:
    """The document in a file, `name` being how people know the file.

    Raises Problems if it is no YAML of ours, Shortage if the machine cannot open it
    now.
    """
    return parse(_decoded(_bytes_of(path, name), name), name)


def _bytes_of(path: Path, name: str) -> bytes:
    """What a file holds. Raises Problems, or Shortage."""
    try:
        raw = content(path, MOST_BYTES)
    except OSError as error:
        sentence = f"the file cannot be read: {error.strerror}"
        # Too many open files are no fault of this one: it would look as if it were
        # gone.
        raise shortage(error) or _unreadable(name, sentence) from None
    if len(raw) > MOST_BYTES:
        raise _unreadable(name, f"the file has more than {MOST_BYTES:,} bytes")
    return raw


def _decoded(raw: bytes, name: str) -> str:
    """A file's text. Raises Problems where it is not UTF-8."""
    try:
        # Windows' editors put a byte order mark before the text (`-sig`).
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        problem = Problem(
            Place(name, line),
            "the file is not UTF-8 text",
            "save it as UTF-8 in your editor",
        )
        raise Problems([problem]) from None


def parse(text: str, name: str) -> Document:
    """The document in a text. Raises Problems if its YAML cannot be read at all."""
    document = Document(name, text)
    try:
        _NodeBuilder(document).build()
    except yaml.MarkedYAMLError as error:
        place = _marked_place(name, error)
        document.report(place, *_plain_words(document, error))
        raise Problems(document.problems) from None
    except yaml.YAMLError as error:
        place = _reader_place(name, text, error)
        document.report(place, "the file holds a character that text cannot have")
        raise Problems(document.problems) from None
    except _Stop:
        raise Problems(document.problems) from None
    return document


def _unreadable(name: str, sentence: str) -> Problems:
    """The one problem of a file that cannot be read at all."""
    return Problems([Problem(Place(name), sentence)])


def _marked_place(name: str, error: yaml.MarkedYAMLError) -> Place:
    """Where libyaml's parser found something wrong."""
    mark = error.problem_mark or error.context_mark
    # libyaml counts lines and columns from 0, people from 1.
    return Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)


def _reader_place(name: str, text: str, error: yaml.YAMLError) -> Place:
    """Where libyaml's reader found a character that cannot be."""
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return Place(name)
    return Place(name, text[:position].count("\n") + 1)


class _Stop(Exception):
    """A problem after which the rest of the file cannot be understood."""


@dataclass(slots=True)
class _Container:
    """A list or a mapping that is still open, and the key whose value comes next."""

    data: list[Data] | dict[str, Data]
    route: Route
    key: str | None = None

    @property
    def wants_key(self) -> bool:
        """Whether a key comes next, and not a value."""
        return self.key is None and isinstance(self.data, dict)

    @property
    def next_route(self) -> Route:
        """Where the next value stands."""
        if isinstance(self.data, list):
            return (*self.route, len(self.data))
        assert self.key is not None
        return (*self.route, self.key)

    def put(self, value: Data) -> None:
        """Takes the next value."""
        if isinstance(self.data, list):
            self.data.append(value)
            return
        assert self.key is not None
        # A key that stands here twice keeps its first value; that it does is an error.
        self.data.setdefault(self.key, value)
        self.key = None


ENDS = yaml.SequenceEndEvent | yaml.MappingEndEvent
VALUES = yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent


class _NodeBuilder:
    """Turns the event stream into data.

    It keeps a stack of what is open instead of calling itself: how deep a file is
    nested does not decide how much of Python's stack it takes.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.lines = document.lines
        self._open: list[_Container] = []

    def build(self) -> None:
        """Reads the whole text."""
        for event in self._events():
            if isinstance(event, ENDS):
                self._open.pop()
            elif isinstance(event, yaml.AliasEvent):
                raise self._stop(
                    event,
                    "aliases (`*name`) are not used here",
                    "put quotes around a text that begins with *",
                )
            elif isinstance(event, VALUES):
                self._refuse(event)
                self._take(event)

    def _take(self, event: yaml.Event) -> None:
        """Takes a key or a value."""
        inner = self._open[-1] if self._open else None
        if inner is not None and inner.wants_key:
            inner.key = self._key(event, inner)
            return
        route = inner.next_route if inner else ()
        self.document.values[route] = _at(event)
        value = self._value(event)
        if inner:
            inner.put(value)
        else:
            self.document.data = value
        if not isinstance(value, str):
            self._open.append(_Container(value, route))

    def _value(self, event: yaml.Event) -> Data:
        """What a value is at first: a text, or something that is filled later."""
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        return {} if isinstance(event, yaml.MappingStartEvent) else []

    def _events(self) -> Iterator[yaml.Event]:
        """The events of the only document of a file."""
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

    def _refuse(self, event: yaml.Event) -> None:
        """Stops at what is more than plain data."""
        # An alias of an alias of … is how a file of a kilobyte becomes gigabytes.
        if getattr(event, "anchor", None):
            raise self._stop(
                event,
                "anchors (`&name`) are not used here",
                "write the text out where it is needed",
            )
        if getattr(event, "tag", None):
            raise self._stop(
                event,
                "tags (`!name`) are not used here",
                "put quotes around the text",
            )
        if len(self._open) > DEEPEST:
            raise self._stop(event, f"this is nested more than {DEEPEST} deep")

    def _key(self, event: yaml.Event, inner: _Container) -> str:
        """A key of a mapping. One that stands there twice is said, and read on."""
        if not isinstance(event, yaml.ScalarEvent):
            raise self._stop(
                event,
                "a key must be a word",
                "put quotes around a text that begins with `{{` or `[`",
            )
        key = str(event.value)
        route = (*inner.route, key)
        if key == "<<":
            raise self._stop(
                event,
                "merge keys (`<<`) are not used here",
                "write the lines out where they are needed",
            )
        if isinstance(inner.data, dict) and key in inner.data:
            line = self.document.keys[route][0]
            self._report(
                event,
                f"`{key}` stands here a second time",
                f"it stands first in line {line}: keep one of them",
            )
        self.document.keys[route] = _at(event)
        if hidden := hidden_in(key):
            self._report(
                event,
                f"this key holds the character {hidden}, which nobody can see",
                "write it anew",
            )
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> str:
        """A text as it was written."""
        value = str(event.value)
        if len(value) > LONGEST_TEXT:
            raise self._stop(
                event,
                f"this text has more than {LONGEST_TEXT:,} characters",
                "what is sent has a file in templates/",
            )
        # Written without quotes, so that a comment may have taken a part of it.
        if event.implicit[0]:
            self._text_lost(event)
        return value

    def _text_lost(self, event: yaml.ScalarEvent) -> None:
        """`subject: We are #1` reads as `We are` (YAML 1.2, section 6.6)."""
        mark = event.end_mark
        assert mark is not None
        line = self.lines[mark.line] if mark.line < len(self.lines) else ""
        # `# like this` is meant as a comment; `#1` hardly ever is.
        found = re.match(r"\s+#(?=[^\s#])", line[mark.column :])
        if not found or not value_is_text(str(event.value)):
            return
        self.document.report(
            Place(self.document.file, mark.line + 1, mark.column + found.end()),
            "the text after `#` is lost: YAML takes it for a comment",
            "put quotes around the whole text, or a space after `#`",
            level="warning",
            code="text-lost",
        )

    def _report(
        self,
        event: yaml.Event,
        sentence: str,
        help: str | None,
    ) -> None:
        """Adds a problem at an event."""
        self.document.report(
            Place(self.document.file, *_at(event)),
            sentence,
            help,
        )

    def _stop(
        self,
        event: yaml.Event,
        sentence: str,
        help: str | None = None,
    ) -> _Stop:
        """What to raise after a problem that nothing can be read behind."""
        self._report(
            event,
            sentence,
            help,
        )
        return _Stop()


def value_is_text(value: str) -> bool:
    """Whether a scalar holds words."""
    return any(char.isalpha() for char in value)


def _at(event: yaml.Event) -> tuple[int, int]:
    """Line and column at which an event begins, from 1."""
    assert event.start_mark is not None
    return event.start_mark.line + 1, event.start_mark.column + 1


def _plain_words(document: Document, error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """A sentence and a remedy for what libyaml says in its own words."""
    message = f"{error.context or ''} {error.problem or ''}"
    mark = error.problem_mark
    number = mark.line if mark else 0
    line = document.lines[number] if number < len(document.lines) else ""
    # YAML reads `{{` as a mapping in a mapping, and complains far from it.
    if re.match(r"[^:]*:\s*\{\{", line):
        return "a text that begins with `{{` needs quotes", 'write it as "{{ … }}"'
    if "mapping values" in message and mark and ":" not in line[: mark.column]:
        # No colon stands before it, so it is not the second one: the indent is wrong.
        message = "block mapping"
    for pattern, sentence, help in PLAIN_WORDS:
        if re.search(pattern, message):
            return sentence, help
    return (
        "this line cannot be read as YAML",
        "compare its indent and its quotes with the lines around it",
    )


# By what libyaml says. The first pattern that fits counts.
PLAIN_WORDS = (
    (
        r"cannot start any token|\\t|tab",
        "a tab, or a character that cannot begin a text, stands here",
        "indent with spaces, and put quotes around a text that begins with @, `, % "
        "or a tab",
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
