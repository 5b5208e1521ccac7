"""No value begins a header field of its own, or ends the header: judged by the mail that comes out, parsed again."""

from __future__ import annotations

import email
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message as Parsed
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drip.core.message import Attachment, Mailbox, Message
from drip.rendering.messages import Letterhead, Request, render
from drip.rendering.templates import Templates
from drip.transports.mime import to_bytes

ENDS = (
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
    "\r\n\r\n",
    "\n ",
    "\r\n\t",
)
FORGED = "Bcc: stranger@example.net"
PLAIN = Message(
    channel="email",
    to=Mailbox("Ana", "ana@example.com"),
    sender=Mailbox("Maple", "hello@maple.example"),
    subject="Hello",
    text="Hello",
    html="<p>Hello</p>",
    message_id="1@maple.example",
    date=datetime(2026, 11, 26, tzinfo=UTC),
    reply_to=Mailbox("Desk", "desk@maple.example"),
    headers={"List-Id": "<news.maple.example>", "X-Drip-Alarm": "kept"},
    attachments=(
        Attachment("prices.pdf", "application/pdf", b"%PDF"),
        Attachment("logo.png", "image/png", b"x", "1@drip"),
    ),
)


def shape(data: bytes) -> list[list[str]]:
    """The names of the fields of a mail and of each of its parts."""
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", data), "a bare line end"
    assert max(map(len, data.split(b"\r\n"))) <= 998
    parsed: Parsed = email.message_from_bytes(data)
    return [[name.casefold() for name in part] for part in parsed.walk()]


def with_everywhere(text: str) -> Message:
    return replace(
        PLAIN,
        to=Mailbox(text, PLAIN.to.address),
        sender=Mailbox(text, PLAIN.sender.address),
        subject=text,
        reply_to=Mailbox(text, f"desk@maple.example{text}"),
        message_id=f"1{text}@maple.example",
        headers={name: f"{value}{text}" for name, value in PLAIN.headers.items()},
        attachments=tuple(
            replace(each, name=f"{text}{each.name}") for each in PLAIN.attachments
        ),
    )


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_no_value_becomes_a_field(end: str) -> None:
    assert shape(to_bytes(with_everywhere(f"a{end}{FORGED}"))) == shape(to_bytes(PLAIN))


@given(
    st.text(
        st.sampled_from('a:\r\n\0\x0b\x0c\x1c\x85\u2028 \t"\\,;<>@=?ü=_'), max_size=40
    )
)
def test_no_text_at_all_becomes_a_field(text: str) -> None:
    assert shape(to_bytes(with_everywhere(text))) == shape(to_bytes(PLAIN))


def test_the_name_of_an_attachment_stays_its_name() -> None:
    made = replace(
        PLAIN,
        attachments=(Attachment('a\r\nX-Forged: "1', "application/pdf", b"%PDF"),),
    )
    (part,) = [
        each
        for each in email.message_from_bytes(to_bytes(made)).walk()
        if each.get_filename()
    ]
    assert part.get_filename() == 'a  X-Forged: "1' and part["X-Forged"] is None


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_a_line_end_in_front_matter_or_a_template_stays_in_its_field(
    end: str, tmp_path: Path
) -> None:
    (tmp_path / "templates" / "issues").mkdir(parents=True)
    said = json.dumps(f"Hello{end}{FORGED}")  # JSON is YAML
    (tmp_path / "templates" / "issues" / "2026-11-26-x.md").write_text(
        f"---\ntitle: {said}\n---\nNews\n", "utf-8"
    )
    fronts = (
        f"subject: {said}\npreheader: {said}\nfrom: {said}",
        f"subject: {json.dumps(f'{{{{ {said} }}}}')}",
        "subject: '{{ contact.first_name }}'",
        "subject: '{{ issue.title }}'",
    )
    for number, front in enumerate(fronts):
        (tmp_path / "templates" / f"card{number}.md").write_text(
            f"---\n{front}\n---\nHello\n", "utf-8"
        )
    templates = Templates(tmp_path)
    for number in range(len(fronts)):
        message = render(
            templates, _request(templates, f"card{number}", f"Hello{end}{FORGED}")
        )
        parsed = email.message_from_bytes(to_bytes(message))
        assert parsed["Bcc"] is None and len(parsed.get_all("Subject", [])) == 1
        assert "Bcc: stranger@example.net" in str(
            email.header.make_header(email.header.decode_header(parsed["Subject"]))
        )


def _request(templates: Templates, template: str, name: str) -> Request:
    return Request(
        template=template,
        content=templates.content("issues", "2026-11-26"),
        channel="email",
        locale=None,
        own_locale="en",
        to=Mailbox(name, "ana@example.com"),
        sender=Mailbox(name, "hello@maple.example"),
        reply_to=None,
        subject=None,
        preheader=None,
        values={"contact": {"first_name": name}, "business": {"name": name}},
        message_id="1@maple.example",
        date=datetime(2026, 11, 22, tzinfo=UTC),
        letterhead=Letterhead(name, name, name),
        topic="news",
        attach=(),
        unsubscribe_url=f"https://maple.example/u/{name}",
        unsubscribe_mail=f"mailto:hello@maple.example?subject={name}",
    )
