"""The folder `templates/`: finds a template and its locale variants, and
compiles each version once.

Markdown, layouts and CSS are turned into plain Jinja-HTML when a file changes,
never per message.
"""

from __future__ import annotations

import mimetypes
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import css_inline
from jinja2 import Template, TemplateSyntaxError, nodes
from markdown_it import MarkdownIt

from drip.core.channels import CHANNELS
from drip.core.message import Attachment, Pieced
from drip.core.shortage import shortage
from drip.errors import DripError, Place, nearest
from drip.folders import content, paths_below
from drip.paths import inside, within
from drip.rendering.bounds import check_bounds
from drip.rendering.limits import TooMuch
from drip.rendering.links import links_in, tracked_links
from drip.rendering.naming import (
    DATED,
    ENDINGS,
    bare_name,
    dated_in,
    front_matter,
    locale_in,
    variants_for,
)
from drip.rendering.sandbox import Blank, Sandbox
from drip.rendering.shield import shielded, shielded_html
from drip.rendering.specialising import Specialised, specialised
from drip.rendering.text import text_of_html, text_of_markdown

FOLDER = "templates"
# Of a text, before its characters are counted.
MOST_BYTES = 2 * 1024 * 1024
ATTACHMENT_BYTES = 10 * 1024 * 1024
LAYOUT = "_layout.html"
# After so many messages in a row that went past the limits and took so long, no
# more are tried until the file changes.
MOST_EXCEEDED, COSTLY_S = 3, 0.5
# From so many messages of one occurrence on a template is specialised for it,
# which takes as long as filling in some hundred.
WORTH_IT = 30
MOST_SPECIAL = 20
BLOCK = re.compile(r"\{%-?\s*block\s+body\s*-?%\}")
ENDBLOCK = re.compile(r"\{%-?\s*endblock(?:\s+body)?\s*-?%\}")
EXTENDS = re.compile(r"^\s*\{%-?\s*extends\s+[\"']([^\"']+)[\"']\s*-?%\}", re.S)
FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.S)
ISSUE_BODY = re.compile(r"\{\{-?\s*issue\.body\s*-?\}\}")
# A picture whose address is neither a whole one nor filled in.
PICTURE = re.compile(
    r"""(<img\b[^<>]*?\ssrc\s*=\s*["'])(?![A-Za-z][\w+.-]*:|//|["'#])([^"'{}]+)(["'])""",
    re.I,
)
MARKDOWN = MarkdownIt("commonmark", {"html": True, "typographer": False}).enable(
    "table"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file of `templates/`: its front matter and body, and the line at
    which the body begins.
    """

    path: Path
    name: str
    front: Mapping[str, str]
    body: str
    first_line: int

    def front_line(self, name: str) -> int:
        """The line in which a key of the front matter stands."""
        lines = self.path.read_text("utf-8-sig").splitlines()[: self.first_line]
        return next(
            (n for n, each in enumerate(lines, 1) if each.startswith(f"{name}:")), 1
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template in one locale, ready to be filled in.

    Headers are None where the template gives none.

    `locale` is the language it is written in, None for the workspace's own.
    """

    name: str
    place: Place
    html: Template | None
    text: Template
    subject: Template | None
    preheader: Template | None
    sender: str | None
    locale: str | None
    html_bytes: int = 0
    # Of which the templates were made, to be specialised.
    html_source: str | None = None
    text_source: str = ""
    # The links that it may ask for.
    links: frozenset[str] = frozenset()
    # Files of the folder that the HTML shows.
    pictures: tuple[Attachment, ...] = ()
    _exceeded: list[str] = field(default_factory=list, repr=False)
    _uses: Counter[str] = field(default_factory=Counter, repr=False)
    _special: dict[str, tuple[Specialised | None, Specialised | None]] = field(
        default_factory=dict, repr=False
    )

    def pieces(
        self, templates: Templates, values: dict[str, Any], known: Mapping[str, Any]
    ) -> tuple[Pieced | None, Pieced]:
        """HTML and text filled in.

        `known` are those of the values that are the same for everybody at this
        occurrence.
        """
        about = repr(sorted(known.items()))
        self._uses[about] += 1
        if self._uses[about] == WORTH_IT:
            if len(self._special) >= MOST_SPECIAL:
                self._special.clear()
            self._special[about] = self._specialised(templates, known)
        special_html, special_text = self._special.get(about, (None, None))
        html = None
        if self.html is not None:
            html = _filled(templates.html, self.html, special_html, values)
        return html, _filled(templates.plain, self.text, special_text, values)

    def tried(self, exceeded: TooMuch | None, took_s: float = 0) -> None:
        """Remembers whether a message went past the limits.

        Each may take two seconds, and ten thousand may wait. What fails soon
        costs nothing, and may be one contact's fault, of whom a value is large.
        """
        if exceeded is None:
            self._exceeded.clear()
        elif took_s >= COSTLY_S:
            self._exceeded.append(str(exceeded))

    @property
    def given_up(self) -> str | None:
        """Why no more messages are tried by it; None as long as they are."""
        return self._exceeded[-1] if len(self._exceeded) >= MOST_EXCEEDED else None

    def _specialised(
        self, templates: Templates, known: Mapping[str, Any]
    ) -> tuple[Specialised | None, Specialised | None]:
        html = None
        if self.html_source is not None:
            html = specialised(
                templates.html, templates.html.parse(self.html_source), known
            )
        return html, specialised(
            templates.plain, templates.plain.parse(self.text_source), known
        )


def _filled(
    sandbox: Sandbox,
    plain: Template,
    special: Specialised | None,
    values: dict[str, Any],
) -> Pieced:
    if special is None:
        return Pieced(sandbox.pieces(plain, values))
    return Pieced(special.pieces(sandbox, values))


@dataclass
class Templates:
    """The templates of a workspace. `currency` is what the filter `money` prints."""

    workspace: Path
    currency: str = "USD"
    # Links of mails lead over `tracked`, a function that each message is given.
    tracks: bool = False
    _compiled: dict[tuple[str, str, str, str], Compiled] = field(default_factory=dict)
    _contents: dict[tuple[str, str], Source | None] = field(default_factory=dict)
    _texts: dict[tuple[bool, bool, str], Template] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.html = Sandbox(autoescape=True, currency=self.currency)
        self.plain = Sandbox(autoescape=False, currency=self.currency)
        self.notes = Sandbox(autoescape=False, currency=self.currency, unknown=Blank)
        self._inliner = css_inline.CSSInliner(
            keep_style_tags=True, load_remote_stylesheets=False
        )

    @property
    def folder(self) -> Path:
        return self.workspace / FOLDER

    def names(self) -> list[str]:
        """Every template's name, without locale and ending; parts begin with
        `_`, dated content with its date.
        """
        return sorted(
            {
                bare_name(path, self.folder)
                for path in self._files()
                if not DATED.match(path.name)
            }
        )

    def get(
        self,
        name: str,
        locale: str | None,
        channel: str = "email",
        content: Source | None = None,
    ) -> Compiled:
        """A template in the nearest locale there is, with the text of `content`
        where it says `{{ issue.body }}`.

        Raises DripError if it is missing or cannot be compiled.
        """
        key = (name, locale or "", channel, content.name if content else "")
        if key not in self._compiled:
            self._compiled[key] = self._compile(name, locale, channel, content)
        return self._compiled[key]

    def attachment(self, name: str) -> Attachment:
        """A file of the folder that goes along with a message.

        Raises DripError if it is missing or too large.
        """
        path = within(self.folder, name)
        if path is None or not path.is_file():
            raise DripError(
                f"there is no file `{name}` to attach",
                help=f"put it into {FOLDER}/{name}",
            )
        if path.stat().st_size > ATTACHMENT_BYTES:
            raise DripError(
                f"`{name}` is too large to attach",
                help="the most is 10 MB; link to it instead",
            )
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Attachment(
            path.name,
            f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
            path.read_bytes(),
        )

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
                path = within(self.folder, f"{name}{variant}{ending}")
                if path is not None and path.is_file():
                    return self._read(path)
        return None

    def variants(self) -> dict[str, list[str | None]]:
        """The locales in which each template is written, None for the one without."""
        found: dict[str, set[str | None]] = {}
        for path in self._files():
            found.setdefault(bare_name(path, self.folder), set()).add(locale_in(path))
        return {
            name: sorted(locales, key=lambda each: each or "")
            for name, locales in found.items()
        }

    def files(self, name: str) -> list[Source]:
        """Every file of a template: its locales, its channels."""
        return [
            self._read(path)
            for path in self._files()
            if bare_name(path, self.folder) == name
        ]

    def content(self, folder: str, occurrence: str) -> Source | None:
        """The dated file (`2026-11-26-title.md`) of a content folder for an
        occurrence.
        """
        day = occurrence[:10]
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            return None
        if (folder, day) not in self._contents:
            found = self._dated(folder, day)
            self._contents[folder, day] = self._read(found[0]) if found else None
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
        return [self._read(path) for path in self._dated(folder)]

    def _dated(self, folder: str, day: str = "") -> list[Path]:
        """The dated files of a content folder, in their order; what lies
        outside of `templates/` is none.
        """
        directory = within(self.folder, folder)
        if directory is None:
            return []
        found = [
            path
            for path in dated_in(directory)
            if path.name.startswith(day) and path.stem[10:11] in ("", "-")
        ]
        return [path for path in found if inside(path, self.folder)]

    def strays(self) -> list[str]:
        """The files that lie outside of the folder, to which links lead;
        nothing reads them.
        """
        found = sorted(
            path for path in paths_below(self.folder) if not inside(path, self.folder)
        )
        names = [
            path.relative_to(self.folder)
            for path in found
            if not path.name.startswith(".")
        ]
        return [f"{FOLDER}/{name.as_posix()}" for name in names]

    def markdown(self, source: Source) -> str:
        """The HTML of a Markdown body, Jinja left in place."""
        return shielded(source.body, MARKDOWN.render)

    def _files(self) -> Iterator[Path]:
        for path in paths_below(self.folder):
            parts = path.relative_to(self.folder).parts
            hidden = path.name == "README.md" or any(
                part.startswith(("_", ".")) for part in parts
            )
            if (
                path.is_file()
                and path.name.endswith(ENDINGS)
                and not hidden
                and inside(path, self.folder)
            ):
                yield path

    def _read(self, path: Path) -> Source:
        name = f"{FOLDER}/{path.relative_to(self.folder).as_posix()}"
        try:
            raw = content(path, MOST_BYTES)
            if len(raw) > MOST_BYTES:
                raise DripError(
                    f"the file has more than {MOST_BYTES:,} bytes", place=Place(name)
                )
            text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except OSError as error:
            raise shortage(error) or DripError(
                f"the file cannot be read: {error.strerror}", place=Place(name)
            ) from None
        except UnicodeDecodeError:
            help = "save it as UTF-8 in your editor"
            raise DripError(
                "the file is not UTF-8 text", help=help, place=Place(name)
            ) from None
        check_bounds(text, Place(name))
        found = FRONT.match(text)
        front = front_matter(found[1], name) if found else {}
        body = text[found.end() :] if found else text
        first = text[: found.end()].count("\n") + 1 if found else 1
        return Source(path, name, front, body, first)

    def _compile(
        self, name: str, locale: str | None, channel: str, content: Source | None
    ) -> Compiled:
        source = self.source(name, locale, CHANNELS[channel].endings)
        if source is None:
            raise self._missing(name, channel)
        source = self._with_content(source, content)
        text_file = self.source(name, locale, (".txt",))
        text_file = text_file and self._with_content(text_file, content)
        place = Place(source.name)
        bare = not CHANNELS[channel].has_pages or source.name.endswith(".txt")
        html_source, pictures = (
            (None, ()) if bare else self._with_pictures(self._page(source), source)
        )
        text_source = self._text(
            source,
            None if source.name.endswith((".sms", ".push")) else text_file,
            html_source,
        )
        if html_source and self.tracks and channel == "email":
            html_source = tracked_links(html_source)
        front = source.front
        return Compiled(
            name=name,
            place=place,
            html=self._template(self.html, html_source, source)
            if html_source is not None
            else None,
            text=self._template(self.plain, text_source, source),
            subject=self.line(front.get("subject"), source.name),
            preheader=self.line(front.get("preheader"), source.name),
            sender=front.get("from"),
            locale=locale_in(source.path),
            html_bytes=len(html_source.encode()) if html_source is not None else 0,
            html_source=html_source,
            text_source=text_source,
            links=links_in(
                html_source or "",
                text_source,
                *front.values(),
                *(content.front.values() if content else ()),
            ),
            pictures=pictures,
        )

    def _with_pictures(
        self, html: str, source: Source
    ) -> tuple[str, tuple[Attachment, ...]]:
        """Pictures that are files (`<img src="logo.png">`) go along with the
        message. Raises DripError for one that cannot.

        They are looked for beside the template, then in the folder itself.
        """
        found: dict[str, Attachment] = {}

        def shown(match: re.Match[str]) -> str:
            name = unquote(unescape(match[2]))
            lines = enumerate(source.body.splitlines(), source.first_line)
            place = Place(
                source.name,
                next((number for number, line in lines if match[2] in line), None),
            )
            beside = (source.path.parent.relative_to(self.folder) / name).as_posix()
            known = within(self.folder, beside)
            path = beside if known and known.is_file() else name.lstrip("/")
            try:
                file = self.attachment(path)
            except DripError as error:
                help = f"put it beside the template or into {FOLDER}/, or give its whole address (https://…)"
                raise DripError(
                    error.sentence.replace("to attach", "to show"),
                    help=help,
                    place=place,
                ) from None
            if not file.content_type.startswith("image/"):
                raise DripError(
                    f"`{name}` is no picture",
                    help="use a PNG, JPEG or GIF",
                    place=place,
                )
            number = f"{sha256(file.data).hexdigest()[:20]}@drip"
            found[number] = replace(file, content_id=number)
            return f"{match[1]}cid:{number}{match[3]}"

        return PICTURE.sub(shown, html), tuple(found.values())

    def _with_content(self, source: Source, content: Source | None) -> Source:
        """The file with the occurrence's text in its place, so that both are
        laid out and styled as one.
        """
        if content is None:
            return source
        text = content.body
        if source.name.endswith(".html"):
            text = self.markdown(content)
        elif source.name.endswith(".txt"):
            text = text_of_markdown(text)
        return replace(source, body=ISSUE_BODY.sub(lambda _: text, source.body))

    def line(self, text: str | None, where: str) -> Template | None:
        """A header's text as a template. Raises DripError if its Jinja is wrong."""
        if text is None:
            return None
        try:
            return self.of_text(self.plain, text)
        except TemplateSyntaxError as error:
            raise DripError(f"`{text}`: {error.message}", place=Place(where)) from None

    def fill(self, text: str, values: Mapping[str, Any]) -> str:
        """A short text for colleagues, as a task's title: what is unknown reads
        `?`. Raises DripError for wrong Jinja.
        """
        try:
            template = self.of_text(self.notes, text)
            return " ".join(self.notes.render(template, dict(values)).split())
        except Exception as error:
            # Filters can fail in any way; whatever it was, it is this one text's.
            raise shortage(error) or DripError(
                f"`{text}` cannot be filled in: {error}"
            ) from None

    def of_text(self, sandbox: Sandbox, text: str) -> Template:
        """A text as a template, compiled once. Raises jinja2.TemplateSyntaxError."""
        key = (sandbox.undefined is Blank, bool(sandbox.autoescape), text)
        if key not in self._texts:
            self._texts[key] = sandbox.from_string(text)
        return self._texts[key]

    def _missing(self, name: str, channel: str) -> DripError:
        endings = CHANNELS[channel].endings
        if name in self.names():
            ways = " or ".join(f"{FOLDER}/{name}{ending}" for ending in endings[:2])
            return DripError(
                f"the template `{name}` has no text for {channel}", help=f"write {ways}"
            )
        help = (
            nearest(name, self.names(), what="templates")
            or f"write {FOLDER}/{name}{endings[0]}"
        )
        return DripError(f"there is no template `{name}`", help=help)

    def _page(self, source: Source) -> str:
        """The whole page as plain Jinja-HTML, styles inlined."""
        if source.name.endswith(".mjml"):
            return self._mjml(source)
        body = self.markdown(source) if source.name.endswith(".md") else source.body
        layout = source.front.get(
            "layout", LAYOUT if source.name.endswith(".md") else ""
        )
        if found := EXTENDS.match(body):
            layout, body = found[1], body[found.end() :]
        page = (
            self._in_layout(body, layout, source)
            if layout and layout != "none"
            else body
        )
        # Without styles of its own there is nothing to inline.
        return shielded_html(page, self._inliner.inline) if "<style" in page else page

    def _mjml(self, source: Source) -> str:
        """The page that an MJML file describes.

        Raises DripError if it is wrong, or the extra is not installed.
        """
        try:
            import mrml
        except ImportError:
            help = "pip install 'drip[mjml]'"
            raise DripError(
                "MJML templates need an extra package",
                help=help,
                place=Place(source.name),
            ) from None
        try:
            return shielded(source.body, lambda text: str(mrml.to_html(text).content))
        except OSError as error:
            raise shortage(error) or DripError(
                f"the MJML cannot be read: {error}", place=Place(source.name)
            ) from None

    def _in_layout(self, body: str, layout: str, source: Source) -> str:
        path = within(self.folder, layout)
        if path is None or not path.is_file():
            if layout == LAYOUT and "layout" not in source.front:
                return f"<!DOCTYPE html>\n<html><body>\n{body}\n</body></html>\n"
            raise DripError(
                f"there is no layout `{layout}`",
                help=f"write {FOLDER}/{layout}",
                place=Place(source.name),
            )
        frame = self._read(path).body
        around = _around_the_block(frame)
        if around is None or BLOCK.search(around[2]):
            sentence = (
                "a layout has one place for the text: {% block body %}{% endblock %}"
            )
            raise DripError(sentence, place=Place(f"{FOLDER}/{layout}"))
        inside = _around_the_block(body)
        return f"{around[0]}{inside[1] if inside else body}{around[2]}"

    def _text(self, source: Source, text_file: Source | None, html: str | None) -> str:
        if text_file is not None:
            return text_file.body
        if source.name.endswith(".md"):
            return text_of_markdown(source.body)
        if source.name.endswith((".sms", ".push", ".txt")):
            return source.body
        return shielded(html or "", text_of_html)

    def _template(self, sandbox: Sandbox, text: str, source: Source) -> Template:
        try:
            return sandbox.from_string(text)
        except TemplateSyntaxError as error:
            raise self._syntax(error, source) from None

    def _syntax(self, error: TemplateSyntaxError, source: Source) -> DripError:
        """The same mistake found in the file as it was written, for its line."""
        line = None
        try:
            self.plain.from_string(source.body)
        except TemplateSyntaxError as own:
            line = own.lineno + source.first_line - 1
        said = str(error.message)
        if found := re.match(r"No filter named '([^']+)'", said):
            uses = (
                n
                for n, each in enumerate(source.body.splitlines(), source.first_line)
                if re.search(rf"\|\s*{found[1]}\b", each)
            )
            help = (
                nearest(found[1], self.plain.filters)
                or "templates/README.md lists those there are"
            )
            return DripError(
                f"there is no filter `{found[1]}`",
                help=help,
                place=Place(source.name, next(uses, line)),
            )
        return DripError(
            said,
            help="compare its braces and its `{% end… %}`",
            place=Place(source.name, line),
        )

    def tree(self, text: str) -> nodes.Template:
        """The syntax tree of a text. Raises jinja2.TemplateSyntaxError."""
        return self.plain.parse(text)


def _around_the_block(text: str) -> tuple[str, str, str] | None:
    """What stands before, in and behind `{% block body %}`; None if there is none."""
    begin = BLOCK.search(text)
    end = begin and ENDBLOCK.search(text, begin.end())
    return (
        (text[: begin.start()], text[begin.end() : end.start()], text[end.end() :])
        if begin and end
        else None
    )
