"""A template filled in for one contact: subject, HTML, text, and the header
fields that marketing mail must have.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from jinja2 import Template
from markupsafe import Markup, escape

from drip.core.addresses import ascii_domain
from drip.core.channels import CHANNELS
from drip.core.message import Attachment, Mailbox, Message, Pieced
from drip.core.shortage import shortage
from drip.errors import DripError, Place
from drip.rendering.limits import TooMuch
from drip.rendering.templates import (
    MOST_EXCEEDED,
    Compiled,
    Source,
    Templates,
)

# Values that are the same for everybody who gets a message at one occurrence.
FOR_ALL = ("business", "topic")
# RFC 3834 section 5: no auto-reply is wanted; the headers of lists say so too.
ANSWERED_BY_NOBODY = {"Auto-Submitted": "auto-generated"}
_BODY = re.compile(r"<body\b[^<>]*>", re.I)
_GAP = re.compile(r"\n\s*\n\s*\n+")


class RenderError(DripError):
    """This message cannot be made: a value is missing, or the template is wrong."""


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What every marketing message says of its sender."""

    business_name: str
    business_address: str
    topic_title: str


@dataclass(frozen=True, slots=True)
class Request:
    """One message to be made.

    `values` is plain data: `contact`, the record, `event`.

    `locale` is the contact's, `own_locale` the language of templates that name
    none: dates and amounts are written in the language of the template.

    `subject` and `preheader` of the step come before the template's own.
    `letterhead` is None for transactional messages, which carry no way to
    unsubscribe.
    """

    template: str
    content: Source | None
    channel: str
    locale: str | None
    own_locale: str
    to: Mailbox
    sender: Mailbox
    reply_to: Mailbox | None
    subject: str | None
    preheader: str | None
    values: Mapping[str, Any]
    message_id: str
    date: datetime
    letterhead: Letterhead | None
    topic: str | None
    attach: tuple[str, ...]
    unsubscribe_url: str | None
    unsubscribe_mail: str
    # A picture of one dot that says that the message was shown, and a link that
    # no person sees.
    dot: str | None = None
    trap: str | None = None


def render(templates: Templates, request: Request) -> Message:
    """The message.

    Raises RenderError with the template's place, and Shortage for what the
    machine lacks, which is about no message.
    """
    try:
        compiled = templates.get(
            request.template, request.locale, request.channel, request.content
        )
        attachments = tuple(templates.attachment(name) for name in request.attach)
    except DripError as error:
        raise RenderError(error.sentence, help=error.help, place=error.place) from None
    except OSError as error:
        sentence = f"a file of {request.template} cannot be read: {error.strerror}"
        raise shortage(error) or RenderError(
            sentence, help="let drip's user read what is in templates/"
        ) from None
    if reason := compiled.given_up:
        sentence = f"{request.template} is not tried any more, since {MOST_EXCEEDED} messages in a row took long and failed: {reason}"
        raise RenderError(
            sentence,
            help="write it simpler; a changed file is tried at once",
            place=compiled.place,
        )
    began_s = time.monotonic()
    try:
        message = _filled(templates, compiled, request, attachments)
    except TooMuch as error:
        compiled.tried(error, time.monotonic() - began_s)
        raise _explained(templates, compiled, request, error) from None
    except Exception as error:
        # Filters and templates can fail in any way; but for a shortage it is
        # this one message's.
        raise shortage(error) or _explained(
            templates, compiled, request, error
        ) from None
    compiled.tried(None)
    return message


def signed_links(
    public_url: str | None, purpose: str, token: str, sender: Mailbox
) -> tuple[str | None, str]:
    """The page for a purpose, if there is a `public_url`, and the mail to the
    sender that says the same.
    """
    web = f"{public_url}/{purpose}/{token}" if public_url else None
    # Nothing in a purpose or a token has to be quoted (RFC 3986 section 2.3).
    return web, f"mailto:{quote(sender.address, safe='@')}?subject={purpose}%20{token}"


def _filled(
    templates: Templates,
    compiled: Compiled,
    request: Request,
    attachments: tuple[Attachment, ...],
) -> Message:
    link = request.unsubscribe_url or request.unsubscribe_mail
    values: dict[str, Any] = dict(request.values) | {
        "locale": compiled.locale or request.own_locale
    }
    if request.letterhead:
        values["topic"] = request.letterhead.topic_title
    known = {
        "locale": values["locale"],
        **{name: values[name] for name in FOR_ALL if name in values},
    }
    if request.content:
        front = request.content.front
        values["issue"] = {
            name: _header(templates, text, None, values) for name, text in front.items()
        }
        if not any("{" in text for text in front.values()):
            known["issue"] = values["issue"]
    subject = _header(templates, request.subject, compiled.subject, values)
    preheader = _header(templates, request.preheader, compiled.preheader, values)
    values |= {"subject": subject, "preheader": preheader}
    html, told = compiled.pieces(templates, values, known)
    text = _without_gaps(told)
    if request.trap and html is not None:
        # First of all links: whoever follows one after the other comes by here.
        html = _at_the_beginning(
            html,
            f'<a href="{request.trap}" tabindex="-1" aria-hidden="true" style="display:none"></a>',
        )
    if request.dot and html is not None:
        html = _before_the_end(
            html, f'<img src="{request.dot}" width="1" height="1" alt="">'
        )
    if request.letterhead:
        html = html if html is None else _with_footer(html, request.letterhead, link)
        text = _with_text_footer(text, request.letterhead, link)
    return Message(
        channel=request.channel,
        to=request.to,
        sender=request.sender,
        subject=subject,
        text=text,
        html=html,
        message_id=request.message_id,
        date=request.date,
        reply_to=request.reply_to,
        headers=_list_headers(request) if request.letterhead else ANSWERED_BY_NOBODY,
        attachments=(*attachments, *compiled.pictures)
        if html is not None
        else attachments,
    )


def _header(
    templates: Templates,
    own: str | None,
    given: Template | None,
    values: dict[str, Any],
) -> str:
    if own and "{" not in own:
        return " ".join(own.split())
    template = templates.line(own, "") if own else given
    if template is None:
        return ""
    return " ".join(templates.plain.render(template, values).split())


def _with_footer(html: Pieced, letterhead: Letterhead, link: str) -> Pieced:
    """The page with the postal address and the way out, where its own footer
    lacks them.
    """
    missing = []
    if str(escape(letterhead.business_address)) not in html:
        missing.append(
            escape(f"{letterhead.business_name}, {letterhead.business_address}")
        )
    if str(escape(link)) not in html:
        missing.append(Markup('<a href="{}">Unsubscribe</a>').format(link))
    if not missing:
        return html
    style = "font:12px/1.5 sans-serif;color:#595959;text-align:center;padding:16px"
    return _before_the_end(html, f'<p style="{style}">{"<br>".join(missing)}</p>\n')


def _before_the_end(html: Pieced, more: str) -> Pieced:
    """The page with more at the end of its body."""
    at = html.lower().rfind("</body>")
    return _put_in(html, more, len(html) if at < 0 else at)


def _at_the_beginning(html: Pieced, more: str) -> Pieced:
    """The page with more at the beginning of its body."""
    found = _BODY.search(html)
    return _put_in(html, more, found.end() if found else 0)


def _put_in(text: Pieced, more: str, at: int) -> Pieced:
    """A text with another one put in."""
    before: list[str] = []
    for number, piece in enumerate(text.pieces):
        if at <= len(piece):
            left, right = _cut(piece, at)
            return Pieced([*before, left, more, right, *text.pieces[number + 1 :]])
        before.append(piece)
        at -= len(piece)
    return Pieced([*before, more])


@lru_cache(1024)
def _cut(piece: str, at: int) -> tuple[str, str]:
    """Kept, so that the halves too are the same objects in every message."""
    return piece[:at], piece[at:]


def _with_text_footer(text: Pieced, letterhead: Letterhead, link: str) -> Pieced:
    lines = []
    if letterhead.business_address not in text:
        lines.append(f"{letterhead.business_name}, {letterhead.business_address}")
    if link not in text:
        lines.append(f"Unsubscribe: {link}")
    return _signed(text, "\n\n-- \n" + "\n".join(lines) + "\n") if lines else text


def _signed(text: Pieced, more: str) -> Pieced:
    """A text with more behind its last word."""
    pieces = list(text.pieces)
    while pieces and not pieces[-1].strip():
        pieces.pop()
    last = [pieces.pop().rstrip()] if pieces else []
    return Pieced([*pieces, *last, more])


def _without_gaps(text: Pieced) -> Pieced:
    """With no more than one empty line at a time.

    Piece by piece, if none of the gaps goes over the end of a piece.
    """
    if not _GAP.search(text):
        return text
    pieces = Pieced([_piece_without_gaps(each) for each in text.pieces])
    return Pieced([_GAP.sub("\n\n", text)]) if _GAP.search(pieces) else pieces


@lru_cache(1024)
def _piece_without_gaps(piece: str) -> str:
    return _GAP.sub("\n\n", piece)


def _list_headers(request: Request) -> dict[str, str]:
    """RFC 2369 List-Unsubscribe and RFC 2919 List-Id; RFC 8058 one-click where
    there is a web address.
    """
    assert request.letterhead
    domain = ascii_domain(request.sender.address).rpartition("@")[2]
    headers = {"List-Id": f"<{request.topic}.{domain}>"}
    if request.unsubscribe_url:
        headers["List-Unsubscribe"] = (
            f"<{request.unsubscribe_url}>, <{request.unsubscribe_mail}>"
        )
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    else:
        headers["List-Unsubscribe"] = f"<{request.unsubscribe_mail}>"
    return headers


def _explained(
    templates: Templates, compiled: Compiled, request: Request, error: Exception
) -> RenderError:
    said = str(getattr(error, "message", None) or error)
    place = compiled.place
    if found := re.search(r"has no attribute '([^']+)'", said):
        sentence = f"`{found[1]}` is not known for this contact, and {request.template} needs it"
        help = f"write `{{{{ …{found[1]}|default('…') }}}}`, or ask for it in the audience (`{found[1]}: known`)"
        return RenderError(
            sentence, help=help, place=_line_of(templates, request, found[1], place)
        )
    if found := re.search(r"'([^']+)' is undefined", said):
        sentence = f"`{found[1]}` does not exist here, and {request.template} uses it"
        return RenderError(
            sentence, place=_line_of(templates, request, found[1], place)
        )
    return RenderError(f"{request.template} cannot be filled in: {said}", place=place)


def _line_of(templates: Templates, request: Request, name: str, place: Place) -> Place:
    source = templates.source(
        request.template, request.locale, CHANNELS[request.channel].endings
    )
    if source is None:
        return place
    for number, line in enumerate(source.body.splitlines(), source.first_line):
        if re.search(rf"\{{[{{%].*\b{re.escape(name)}\b", line):
            return Place(place.file, number)
    return place
