"""A template filled in for one contact: subject, HTML, text, and the header fields
that marketing mail must have.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from jinja2 import Template
from markupsafe import Markup, escape

from drip.core.addresses import ascii_domain
from drip.core.channels import CHANNELS
from drip.core.message import Attachment, Mailbox, Message, Pieced
from drip.core.shortage import shortage
from drip.errors import DripError, Place
from drip.rendering.compiled import MOST_EXCEEDED, Compiled
from drip.rendering.limits import TooMuch
from drip.rendering.pieces import (
    PieceCache,
    at_the_beginning,
    before_the_end,
    behind_the_last_word,
    without_gaps,
)
from drip.rendering.sources import Source
from drip.rendering.templates import Templates

# Values that are the same for everybody who gets a message at one occurrence.
FOR_ALL = ("business", "topic")
# RFC 3834 section 5: no auto-reply is wanted; the headers of lists say so too.
ANSWERED_BY_NOBODY = {"Auto-Submitted": "auto-generated"}
FOOTER = "font:12px/1.5 sans-serif;color:#595959;text-align:center;padding:16px"


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

    - `values`: plain data, as `contact`, the record, `event`.
    - `locale` is the contact's, `own_locale` the language of templates that name none:
      dates and amounts are written in the language of the template.
    - `subject` and `preheader` of the step come before the template's own.
    - `letterhead`: None for transactional messages, which carry no way to unsubscribe.
    - `dot`: a picture of one dot that says that the message was shown.
    - `trap`: a link that no person sees.
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
    dot: str | None = None
    trap: str | None = None


def render(
    templates: Templates,
    request: Request,
) -> Message:
    """The message.

    Raises RenderError with the template's place, and Shortage for what the machine
    lacks, which is about no message.
    """
    compiled, attachments = _files(templates, request)
    if reason := compiled.given_up:
        raise RenderError(
            f"{request.template} is not tried any more, since {MOST_EXCEEDED} messages"
            f" in a row took long and failed: {reason}",
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
        # Filters and templates can fail in any way; but for a shortage it is this one
        # message's.
        lack = shortage(error)
        raise lack or _explained(templates, compiled, request, error) from None
    compiled.tried(None)
    return message


def signed_links(
    public_url: str | None,
    purpose: str,
    token: str,
    sender: Mailbox,
) -> tuple[str | None, str]:
    """The page for a purpose, if there is a `public_url`, and the mail to the sender
    that says the same.
    """
    page = f"{public_url}/{purpose}/{token}" if public_url else None
    # Nothing in a purpose or a token has to be quoted (RFC 3986 section 2.3).
    address = quote(sender.address, safe="@")
    return page, f"mailto:{address}?subject={purpose}%20{token}"


def _files(
    templates: Templates,
    request: Request,
) -> tuple[Compiled, tuple[Attachment, ...]]:
    """The template and what goes along with it."""
    name, locale = request.template, request.locale
    try:
        compiled = templates.get(
            name,
            locale,
            request.channel,
            request.content,
        )
        attachments = tuple(map(templates.attachment, request.attach))
    except DripError as error:
        raise RenderError(error.sentence, help=error.help, place=error.place) from None
    except OSError as error:
        raise shortage(error) or RenderError(
            f"a file of {name} cannot be read: {error.strerror}",
            help="let drip's user read what is in templates/",
        ) from None
    return compiled, attachments


def _filled(
    templates: Templates,
    compiled: Compiled,
    request: Request,
    attachments: tuple[Attachment, ...],
) -> Message:
    """Raises what Jinja raises, and TooMuch past the limits."""
    values, known = _values(templates, compiled, request)
    html, text = compiled.pieces(values, known)
    text = without_gaps(text, templates.pieces)
    if html is not None:
        html = _with_counters(html, request, templates.pieces)
        attachments += compiled.pictures
    # What everybody gets is in the page before the footer looks for what is missing.
    headers = ANSWERED_BY_NOBODY
    if request.letterhead:
        headers = _list_headers(request)
        text = _with_text_footer(text, request, request.letterhead)
        if html is not None:
            html = _with_footer(
                html,
                request,
                request.letterhead,
                templates.pieces,
            )
    return Message(
        channel=request.channel,
        to=request.to,
        sender=request.sender,
        subject=values["subject"],
        text=text,
        html=html,
        message_id=request.message_id,
        date=request.date,
        reply_to=request.reply_to,
        headers=headers,
        attachments=attachments,
    )


# --- what is filled in


def _values(
    templates: Templates,
    compiled: Compiled,
    request: Request,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All values, and those of them that are the same for everybody at this
    occurrence.
    """
    values = dict(request.values)
    values["locale"] = compiled.locale or request.own_locale
    if request.letterhead:
        values["topic"] = request.letterhead.topic_title
    known = {name: values[name] for name in ("locale", *FOR_ALL) if name in values}
    if request.content:
        front = request.content.front
        values["issue"] = _issue(templates, front, values)
        if not any("{" in text for text in front.values()):
            known["issue"] = values["issue"]
    # Both are made before either is known to the other.
    headers = {
        "subject": _header(
            templates,
            request.subject,
            compiled.subject,
            values,
        ),
        "preheader": _header(
            templates,
            request.preheader,
            compiled.preheader,
            values,
        ),
    }
    return values | headers, known


def _issue(
    templates: Templates,
    front: Mapping[str, str],
    values: dict[str, Any],
) -> dict[str, str]:
    return {
        name: _header(templates, text, None, values) for name, text in front.items()
    }


def _header(
    templates: Templates,
    own: str | None,
    given: Template | None,
    values: dict[str, Any],
) -> str:
    """One line: the step's own text, else the template's; empty without either."""
    if own and "{" not in own:
        return " ".join(own.split())
    template = templates.line(own, "") if own else given
    if template is None:
        return ""
    return " ".join(templates.plain.render(template, values).split())


# --- what is put in


def _with_counters(
    html: Pieced,
    request: Request,
    cache: PieceCache,
) -> Pieced:
    """The page with the link that no person sees, and the dot."""
    if request.trap:
        # First of all links: whoever follows one after the other comes by here.
        unseen = 'tabindex="-1" aria-hidden="true" style="display:none"'
        trap = f'<a href="{request.trap}" {unseen}></a>'
        html = at_the_beginning(html, trap, cache)
    if request.dot:
        dot = f'<img src="{request.dot}" width="1" height="1" alt="">'
        html = before_the_end(html, dot, cache)
    return html


def _with_footer(
    html: Pieced,
    request: Request,
    letterhead: Letterhead,
    cache: PieceCache,
) -> Pieced:
    """The page with the postal address and the way out, where its own footer lacks
    them.
    """
    link = request.unsubscribe_url or request.unsubscribe_mail
    missing = []
    # CAN-SPAM (15 U.S.C. 7704(a)(5)) asks for both in every marketing mail.
    if str(escape(letterhead.business_address)) not in html:
        missing.append(escape(_imprint(letterhead)))
    if str(escape(link)) not in html:
        missing.append(Markup('<a href="{}">Unsubscribe</a>').format(link))
    if not missing:
        return html
    footer = f'<p style="{FOOTER}">{"<br>".join(missing)}</p>\n'
    return before_the_end(html, footer, cache)


def _with_text_footer(
    text: Pieced,
    request: Request,
    letterhead: Letterhead,
) -> Pieced:
    """The same for the text, behind the mark of a signature."""
    link = request.unsubscribe_url or request.unsubscribe_mail
    lines = []
    if letterhead.business_address not in text:
        lines.append(_imprint(letterhead))
    if link not in text:
        lines.append(f"Unsubscribe: {link}")
    if not lines:
        return text
    # Mail programs know a signature by these two dashes and the blank (RFC 3676
    # section 4.3).
    footer = "\n".join(lines)
    return behind_the_last_word(text, f"\n\n-- \n{footer}\n")


def _imprint(letterhead: Letterhead) -> str:
    return f"{letterhead.business_name}, {letterhead.business_address}"


def _list_headers(request: Request) -> dict[str, str]:
    """RFC 2369 List-Unsubscribe and RFC 2919 List-Id; RFC 8058 one-click where there
    is a web address.
    """
    # Header fields of lists are for programs, and in ASCII.
    _, _, domain = ascii_domain(request.sender.address).rpartition("@")
    by_mail = f"<{request.unsubscribe_mail}>"
    headers = {"List-Id": f"<{request.topic}.{domain}>"}
    if not request.unsubscribe_url:
        headers["List-Unsubscribe"] = by_mail
        return headers
    headers["List-Unsubscribe"] = f"<{request.unsubscribe_url}>, {by_mail}"
    headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


# --- what is wrong


def _explained(
    templates: Templates,
    compiled: Compiled,
    request: Request,
    error: Exception,
) -> RenderError:
    """What Jinja says in the words of the guides, with its line."""
    said = str(getattr(error, "message", None) or error)
    template = request.template
    if found := re.search(r"has no attribute '([^']+)'", said):
        name = found[1]
        return RenderError(
            f"`{name}` is not known for this contact, and {template} needs it",
            help=f"write `{{{{ …{name}|default('…') }}}}`, or ask for it in the"
            f" audience (`{name}: known`)",
            place=_line_of(templates, request, name, compiled.place),
        )
    if found := re.search(r"'([^']+)' is undefined", said):
        return RenderError(
            f"`{found[1]}` does not exist here, and {template} uses it",
            place=_line_of(templates, request, found[1], compiled.place),
        )
    return RenderError(f"{template} cannot be filled in: {said}", place=compiled.place)


def _line_of(
    templates: Templates,
    request: Request,
    name: str,
    place: Place,
) -> Place:
    """Where the template uses a name, as far as that can be found."""
    endings = CHANNELS[request.channel].endings
    source = templates.source(request.template, request.locale, endings)
    if source is None:
        return place
    used = re.compile(rf"\{{[{{%].*\b{re.escape(name)}\b")
    for number, line in source.lines():
        if used.search(line):
            return Place(place.file, number)
    return place
