"""The templates of a workspace: each version of a file is compiled once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Template, TemplateSyntaxError, nodes

from drip.core.channels import CHANNELS
from drip.core.message import Attachment
from drip.core.shortage import shortage
from drip.errors import DripError, Place, nearest
from drip.rendering.compiled import Compiled, CompiledText
from drip.rendering.links import links_in, tracked_links
from drip.rendering.naming import locale_in
from drip.rendering.pages import page_of, text_of, with_content, with_pictures
from drip.rendering.pieces import PieceCache
from drip.rendering.sandbox import Blank, Sandbox
from drip.rendering.sources import FOLDER, Source, TemplateFolder


@dataclass
class Templates(TemplateFolder):
    """`currency` is what the filter `money` prints.

    `tracks`: links of mails lead over `tracked`, a function that each message is given.
    """

    currency: str = "USD"
    tracks: bool = False
    _compiled: dict[tuple[str, str, str, str], Compiled] = field(
        default_factory=dict, init=False, repr=False
    )
    _texts: dict[tuple[bool, bool, str], Template] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        self.html = Sandbox(autoescape=True, currency=self.currency)
        self.plain = Sandbox(autoescape=False, currency=self.currency)
        self.notes = Sandbox(autoescape=False, currency=self.currency, unknown=Blank)
        self.pieces = PieceCache()

    def get(
        self,
        name: str,
        locale: str | None,
        channel: str = "email",
        content: Source | None = None,
    ) -> Compiled:
        """A template in the nearest locale there is, with the text of `content` where
        it says `{{ issue.body }}`.

        Raises DripError if it is missing or cannot be compiled.
        """
        # The text of an occurrence is laid out within the template, so each has its
        # own.
        key = (name, locale or "", channel, content.name if content else "")
        if key not in self._compiled:
            self._compiled[key] = self._compile(name, locale, channel, content)
        return self._compiled[key]

    # --- short texts

    def line(
        self,
        text: str | None,
        where: str,
    ) -> Template | None:
        """A header's text as a template. Raises DripError if its Jinja is wrong."""
        if text is None:
            return None
        try:
            return self.of_text(self.plain, text)
        except TemplateSyntaxError as error:
            raise DripError(f"`{text}`: {error.message}", place=Place(where)) from None

    def fill(
        self,
        text: str,
        values: Mapping[str, Any],
    ) -> str:
        """A short text for colleagues, as a task's title: what is unknown reads `?`.

        Raises DripError for wrong Jinja.
        """
        try:
            template = self.of_text(self.notes, text)
            return " ".join(self.notes.render(template, dict(values)).split())
        except Exception as error:
            # Filters can fail in any way; whatever it was, it is this one text's.
            raise shortage(error) or DripError(
                f"`{text}` cannot be filled in: {error}"
            ) from None

    def of_text(
        self,
        sandbox: Sandbox,
        text: str,
    ) -> Template:
        """A text as a template, compiled once. Raises jinja2.TemplateSyntaxError."""
        key = (sandbox.undefined is Blank, bool(sandbox.autoescape), text)
        if key not in self._texts:
            self._texts[key] = sandbox.from_string(text)
        return self._texts[key]

    def tree(self, text: str) -> nodes.Template:
        """The syntax tree of a text. Raises jinja2.TemplateSyntaxError."""
        return self.plain.parse(text)

    # --- compiling

    def _compile(
        self,
        name: str,
        locale: str | None,
        channel: str,
        content: Source | None,
    ) -> Compiled:
        """Raises DripError with the place of what is wrong."""
        found = self.source(name, locale, CHANNELS[channel].endings)
        if found is None:
            raise self._missing(name, channel)
        source = with_content(found, content)
        text_file = self.source(name, locale, (".txt",))
        text_file = text_file and with_content(text_file, content)
        # The text is derived from the page before its links are led over ours: whoever
        # reads it sees where they lead.
        html, pictures = self._html(source, channel)
        text = text_of(source, text_file, html)
        if html and self.tracks and channel == "email":
            html = tracked_links(html)
        front = source.front
        issue = content.front.values() if content else ()
        return Compiled(
            name=name,
            place=Place(source.name),
            html=None if html is None else self._compiled_text(self.html, html, source),
            text=self._compiled_text(self.plain, text, source),
            subject=self.line(front.get("subject"), source.name),
            preheader=self.line(front.get("preheader"), source.name),
            sender=front.get("from"),
            locale=locale_in(source.path),
            links=links_in(html or "", text, *front.values(), *issue),
            pictures=pictures,
        )

    def _html(
        self,
        source: Source,
        channel: str,
    ) -> tuple[str | None, tuple[Attachment, ...]]:
        """The page and its pictures, where there is a page."""
        if source.name.endswith(".txt") or not CHANNELS[channel].has_pages:
            return None, ()
        return with_pictures(self, page_of(self, source), source)

    def _compiled_text(
        self,
        sandbox: Sandbox,
        text: str,
        source: Source,
    ) -> CompiledText:
        try:
            return CompiledText(text, sandbox.from_string(text), sandbox)
        except TemplateSyntaxError as error:
            raise self._wrong(error, source) from None

    # --- what is wrong

    def _missing(self, name: str, channel: str) -> DripError:
        """Whether the name is unknown, or only this channel's text."""
        first, *others = CHANNELS[channel].endings
        names = self.names()
        if name in names:
            ways = " or ".join(f"{FOLDER}/{name}{end}" for end in (first, *others[:1]))
            sentence = f"the template `{name}` has no text for {channel}"
            return DripError(sentence, help=f"write {ways}")
        return DripError(
            f"there is no template `{name}`",
            help=nearest(name, names, what="templates")
            or f"write {FOLDER}/{name}{first}",
        )

    def _wrong(
        self,
        error: TemplateSyntaxError,
        source: Source,
    ) -> DripError:
        """The same mistake found in the file as it was written, for its line."""
        line = self._line_of_mistake(source)
        sentence = str(error.message)
        if found := re.match(r"No filter named '([^']+)'", sentence):
            return self._no_filter(found[1], source, line)
        return DripError(
            sentence,
            help="compare its braces and its `{% end… %}`",
            place=Place(source.name, line),
        )

    def _line_of_mistake(self, source: Source) -> int | None:
        try:
            self.plain.from_string(source.body)
        except TemplateSyntaxError as error:
            return error.lineno + source.first_line - 1
        return None

    def _no_filter(
        self,
        name: str,
        source: Source,
        line: int | None,
    ) -> DripError:
        """With the line that uses it, which Jinja does not tell."""
        used = re.compile(rf"\|\s*{name}\b")
        uses = (number for number, text in source.lines() if used.search(text))
        known = nearest(name, self.plain.filters)
        return DripError(
            f"there is no filter `{name}`",
            help=known or "templates/README.md lists those there are",
            place=Place(source.name, next(uses, line)),
        )
