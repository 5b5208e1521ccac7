"""From a file to plain Jinja-HTML and Jinja-text: Markdown, MJML, layouts, CSS, and
pictures that are files.

All of it is done when a file changes, never per message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from html import unescape
from urllib.parse import unquote

import css_inline
from markdown_it import MarkdownIt

from drip.core.message import Attachment
from drip.core.shortage import shortage
from drip.errors import DripError, Place
from drip.rendering.shield import shielded, shielded_html
from drip.rendering.sources import FOLDER, Source, TemplateFolder
from drip.rendering.text import text_of_html, text_of_markdown

LAYOUT = "_layout.html"
# Of channels that show nothing but text.
BARE = (".sms", ".push", ".txt")
# As Jinja takes them: `-` eats the blanks before or behind a tag.
BLOCK = re.compile(r"\{%-?\s*block\s+body\s*-?%\}")
ENDBLOCK = re.compile(r"\{%-?\s*endblock(?:\s+body)?\s*-?%\}")
EXTENDS = re.compile(r"^\s*\{%-?\s*extends\s+[\"']([^\"']+)[\"']\s*-?%\}", re.S)
ISSUE_BODY = re.compile(r"\{\{-?\s*issue\.body\s*-?\}\}")
# A picture whose address is neither a whole one nor filled in.
PICTURE = re.compile(
    r"""(<img\b[^<>]*?\ssrc\s*=\s*["'])(?![A-Za-z][\w+.-]*:|//|["'#])([^"'{}]+)(["'])""",
    re.I,
)
MARKDOWN = MarkdownIt("commonmark", {"html": True, "typographer": False})
MARKDOWN.enable("table")
# A style sheet elsewhere would be fetched from this machine, by whoever writes a
# template.
_INLINER = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)


def markdown(source: Source) -> str:
    """The HTML of a Markdown body, Jinja left in place."""
    return shielded(source.body, MARKDOWN.render)


def with_content(
    source: Source,
    content: Source | None,
) -> Source:
    """The file with the occurrence's text in its place, so that both are laid out
    and styled as one.
    """
    if content is None:
        return source
    text = content.body
    if source.name.endswith(".html"):
        text = markdown(content)
    elif source.name.endswith(".txt"):
        text = text_of_markdown(text)
    return replace(source, body=ISSUE_BODY.sub(lambda _: text, source.body))


def text_of(
    source: Source,
    text_file: Source | None,
    html: str | None,
) -> str:
    """The text part: of a file of its own, or derived from the template."""
    if text_file is not None and not source.name.endswith((".sms", ".push")):
        return text_file.body
    if source.name.endswith(".md"):
        return text_of_markdown(source.body)
    if source.name.endswith(BARE):
        return source.body
    return shielded(html or "", text_of_html)


def page_of(
    folder: TemplateFolder,
    source: Source,
) -> str:
    """The whole page as plain Jinja-HTML, styles inlined.

    Raises DripError for a layout that is missing or has no place for the text, and for
    MJML that is wrong.
    """
    if source.name.endswith(".mjml"):
        return _mjml(source)
    is_markdown = source.name.endswith(".md")
    body = markdown(source) if is_markdown else source.body
    layout = source.front.get("layout", LAYOUT if is_markdown else "")
    if found := EXTENDS.match(body):
        layout, body = found[1], body[found.end() :]
    if layout and layout != "none":
        body = _in_layout(folder, body, layout, source)
    # Without styles of its own there is nothing to inline.
    return shielded_html(body, _INLINER.inline) if "<style" in body else body


def _mjml(source: Source) -> str:
    """The page that an MJML file describes.

    Raises DripError if it is wrong, or the extra is not installed.
    """
    try:
        import mrml
    except ImportError:
        raise DripError(
            "MJML templates need an extra package",
            help="pip install 'drip[mjml]'",
            place=Place(source.name),
        ) from None
    try:
        return shielded(source.body, lambda text: str(mrml.to_html(text).content))
    except OSError as error:
        raise shortage(error) or DripError(
            f"the MJML cannot be read: {error}", place=Place(source.name)
        ) from None


# --- layouts


@dataclass(frozen=True, slots=True)
class _Block:
    """What stands before, in and behind `{% block body %}`."""

    before: str
    inner: str
    behind: str


def _in_layout(
    folder: TemplateFolder,
    body: str,
    layout: str,
    source: Source,
) -> str:
    """The text in its frame; without a `_layout.html` in the plainest."""
    path = folder.file(layout)
    if path is None:
        if layout == LAYOUT and "layout" not in source.front:
            return f"<!DOCTYPE html>\n<html><body>\n{body}\n</body></html>\n"
        raise DripError(
            f"there is no layout `{layout}`",
            help=f"write {FOLDER}/{layout}",
            place=Place(source.name),
        )
    frame = _block(folder.read(path).body)
    if frame is None or BLOCK.search(frame.behind):
        raise DripError(
            "a layout has one place for the text: {% block body %}{% endblock %}",
            place=Place(f"{FOLDER}/{layout}"),
        )
    own = _block(body)
    return f"{frame.before}{own.inner if own else body}{frame.behind}"


def _block(text: str) -> _Block | None:
    """None for a text that has no such block."""
    begin = BLOCK.search(text)
    end = begin and ENDBLOCK.search(text, begin.end())
    if begin is None or end is None:
        return None
    return _Block(
        text[: begin.start()],
        text[begin.end() : end.start()],
        text[end.end() :],
    )


# --- pictures


def with_pictures(
    folder: TemplateFolder,
    html: str,
    source: Source,
) -> tuple[str, tuple[Attachment, ...]]:
    """Pictures that are files (`<img src="logo.png">`) go along with the message.

    They are looked for beside the template, then in the folder itself. Raises
    DripError for one that cannot go along.
    """
    found: dict[str, Attachment] = {}

    def shown(match: re.Match[str]) -> str:
        picture = _picture(folder, match[2], source)
        found[picture.content_id] = picture
        return f"{match[1]}cid:{picture.content_id}{match[3]}"

    return PICTURE.sub(shown, html), tuple(found.values())


def _picture(
    folder: TemplateFolder,
    address: str,
    source: Source,
) -> Attachment:
    """The file that an address within a page names, by a name made of what is in it."""
    name = unquote(unescape(address))
    place = Place(source.name, source.line_of(address))
    try:
        file = folder.attachment(_path_of(folder, name, source))
    except DripError as error:
        raise DripError(
            error.sentence.replace("to attach", "to show"),
            help=f"put it beside the template or into {FOLDER}/,"
            " or give its whole address (https://…)",
            place=place,
        ) from None
    if not file.content_type.startswith("image/"):
        raise DripError(
            f"`{name}` is no picture", help="use a PNG, JPEG or GIF", place=place
        )
    # By what is in it, so that a picture that is shown twice goes along once.
    digest = sha256(file.data).hexdigest()
    return replace(file, content_id=f"{digest[:20]}@drip")


def _path_of(
    folder: TemplateFolder,
    name: str,
    source: Source,
) -> str:
    """Beside the template, if it is there, else in the folder itself."""
    beside = source.path.parent.relative_to(folder.folder) / name
    path = beside.as_posix()
    return path if folder.file(path) else name.lstrip("/")
