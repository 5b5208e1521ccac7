"""The folder `templates/`: which files there are, and what is in each.

What a link leads to outside of the folder is not read.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drip.core.channels import CHANNELS
from drip.core.message import Attachment
from drip.core.shortage import shortage
from drip.errors import DripError, Place
from drip.folders import content, paths_below
from drip.paths import inside, within
from drip.rendering.bounds import check_bounds
from drip.rendering.naming import (
    DATED,
    ENDINGS,
    bare_name,
    dated_in,
    front_matter,
    locale_in,
    variants_for,
)

FOLDER = "templates"
# Of a text, before its characters are counted.
MOST_BYTES = 2 * 1024 * 1024
# Base64 makes a third more of it (RFC 2045, section 6.8), and mail servers have a
# limit for the whole (RFC 1870).
ATTACHMENT_BYTES = 10 * 1024 * 1024
# A file whose first line is no `---`, or that lacks the second one, is all text.
FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.S)


@dataclass(frozen=True, slots=True)
class Source:
    """One file of `templates/`: its front matter and body, and the line at which the
    body begins.
    """

    path: Path
    name: str
    front: Mapping[str, str]
    body: str
    first_line: int

    def front_line(self, name: str) -> int:
        """The line in which a key of the front matter stands; 1 if it is not there."""
        # Some editors begin a file with a byte order mark: the first key would not be
        # found.
        lines = self.path.read_text("utf-8-sig").splitlines()[: self.first_line]
        for number, line in enumerate(lines, 1):
            if line.startswith(f"{name}:"):
                return number
        return 1

    def line_of(self, text: str) -> int | None:
        """The line of the file in which the body first says this."""
        for number, line in self.lines():
            if text in line:
                return number
        return None

    def lines(self) -> Iterator[tuple[int, str]]:
        """The body's lines with their numbers in the file."""
        return enumerate(self.body.splitlines(), self.first_line)


@dataclass
class TemplateFolder:
    """The templates of a workspace, as files."""

    workspace: Path
    _contents: dict[tuple[str, str], Source | None] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def folder(self) -> Path:
        return self.workspace / FOLDER

    def names(self) -> list[str]:
        """Every template's name, without locale and ending.

        Parts begin with `_`, dated content with its date.
        """
        undated = (path for path in self._files() if not DATED.match(path.name))
        return sorted({bare_name(path, self.folder) for path in undated})

    def source(
        self,
        name: str,
        locale: str | None,
        endings: tuple[str, ...] = CHANNELS["email"].endings,
    ) -> Source | None:
        """The file behind a template: `card.de-AT.md`, then `card.de.md`, then
        `card.md`.
        """
        for variant in variants_for(locale):
            for ending in endings:
                path = self.file(f"{name}{variant}{ending}")
                if path is not None:
                    return self.read(path)
        return None

    def variants(self) -> dict[str, list[str | None]]:
        """The locales in which each template is written, None for the one without."""
        found: dict[str, set[str | None]] = {}
        for path in self._files():
            found.setdefault(bare_name(path, self.folder), set()).add(locale_in(path))
        return {name: sorted(locales, key=_in_order) for name, locales in found.items()}

    def files(self, name: str) -> list[Source]:
        """Every file of a template: its locales, its channels."""
        paths = (path for path in self._files() if bare_name(path, self.folder) == name)
        return [self.read(path) for path in paths]

    def file(self, name: str) -> Path | None:
        """A file of the folder; None if it is not there, or outside."""
        # A name can have `..` in it, and would lead to any file of the machine
        # (CWE-22).
        path = within(self.folder, name)
        return path if path is not None and path.is_file() else None

    def attachment(self, name: str) -> Attachment:
        """A file of the folder that goes along with a message.

        Raises DripError if it is missing or has more than 10 MB.
        """
        path = self.file(name)
        if path is None:
            raise DripError(
                f"there is no file `{name}` to attach",
                help=f"put it into {FOLDER}/{name}",
            )
        if path.stat().st_size > ATTACHMENT_BYTES:
            raise DripError(
                f"`{name}` is too large to attach",
                help="the most is 10 MB; link to it instead",
            )
        return Attachment(path.name, _kind_of(path), path.read_bytes())

    def strays(self) -> list[str]:
        """The files that lie outside of the folder, to which links lead.

        Nothing reads them.
        """
        return [
            f"{FOLDER}/{path.relative_to(self.folder).as_posix()}"
            for path in paths_below(self.folder)
            if self._is_stray(path)
        ]

    def _is_stray(self, path: Path) -> bool:
        return not path.name.startswith(".") and not inside(path, self.folder)

    # --- dated content

    def content(
        self,
        folder: str,
        occurrence: str,
    ) -> Source | None:
        """The dated file (`2026-11-26-title.md`) of a content folder for an
        occurrence.
        """
        day = occurrence[:10]
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            return None
        if (folder, day) not in self._contents:
            paths = self._dated(folder, day)
            self._contents[folder, day] = self.read(paths[0]) if paths else None
        return self._contents[folder, day]

    def newest_content(self, folder: str) -> str | None:
        """The date of the newest dated file of a content folder."""
        return max((path.name[:10] for path in self._dated(folder)), default=None)

    def content_folders(self) -> list[str]:
        """The folders that hold dated files."""
        dated = {path.parent for path in self._files() if DATED.match(path.name)}
        return sorted(path.relative_to(self.folder).as_posix() for path in dated)

    def contents(self, folder: str) -> list[Source]:
        """Every dated file of a content folder."""
        return [self.read(path) for path in self._dated(folder)]

    def _dated(
        self,
        folder: str,
        day: str = "",
    ) -> list[Path]:
        """The dated files of a content folder, of one day or of all, in their order."""
        directory = within(self.folder, folder)
        if directory is None:
            return []
        return [
            path
            for path in dated_in(directory)
            if path.name.startswith(day)
            and path.stem[10:11] in ("", "-")
            and inside(path, self.folder)
        ]

    # --- reading

    def read(self, path: Path) -> Source:
        """A file of the folder.

        Raises DripError for one that cannot be read, or is none that a mail needs, and
        Shortage.
        """
        name = f"{FOLDER}/{path.relative_to(self.folder).as_posix()}"
        text = _text_of(path, Place(name))
        # Before any parser sees it: what is built to be slow is refused here.
        check_bounds(text, Place(name))
        found = FRONT.match(text)
        if found is None:
            return Source(path, name, {}, text, first_line=1)
        first_line = found[0].count("\n") + 1
        front = front_matter(found[1], name)
        return Source(
            path,
            name,
            front,
            text[found.end() :],
            first_line,
        )

    def _files(self) -> Iterator[Path]:
        """Those that are templates, or parts of some."""
        for path in paths_below(self.folder):
            if path.is_file() and self._is_template(path):
                yield path

    def _is_template(self, path: Path) -> bool:
        """Not a guide, a part, or what a link leads to outside."""
        if path.name == "README.md" or not path.name.endswith(ENDINGS):
            return False
        parts = path.relative_to(self.folder).parts
        hidden = any(part.startswith(("_", ".")) for part in parts)
        return not hidden and inside(path, self.folder)


def _in_order(locale: str | None) -> str:
    return locale or ""


def _text_of(path: Path, place: Place) -> str:
    """A file's text, with line ends of one kind."""
    try:
        data = content(path, MOST_BYTES)
    except OSError as error:
        raise shortage(error) or DripError(
            f"the file cannot be read: {error.strerror}", place=place
        ) from None
    if len(data) > MOST_BYTES:
        raise DripError(f"the file has more than {MOST_BYTES:,} bytes", place=place)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DripError(
            "the file is not UTF-8 text",
            help="save it as UTF-8 in your editor",
            place=place,
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _kind_of(path: Path) -> str:
    """The media type of a file, by its name."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    # Without it mail programs guess, mostly Latin-1 (RFC 2046 section 4.1.2).
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
