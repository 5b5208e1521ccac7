"""MIME, files and SMTP. The SMTP server is a real one on loopback; faulty ones are scripted sockets."""

from __future__ import annotations

import email
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from hypothesis import given
from hypothesis import strategies as st

from drip.core.message import (
    Attachment,
    Mailbox,
    Message,
    Pieced,
    Refused,
    Sent,
    TransportDown,
)
from drip.transports import mime
from drip.transports.files import FilesTransport
from drip.transports.memory import MemoryTransport
from drip.transports.mime import to_bytes
from drip.transports.smtp import SmtpTransport
from tests.smtp_sink import Sink

MESSAGE = Message(
    channel="email",
    to=Mailbox("Ana Morales", "ana@example.com"),
    sender=Mailbox("Maple", "hello@maple.example"),
    subject="Hello",
    text="Dear Ana,\n.dot\n",
    html="<p>Dear Ana</p>",
    message_id="abc@maple.example",
    date=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    headers={"List-Id": "<news.maple.example>"},
)


def parsed(message: Message) -> EmailMessage:
    return cast(
        EmailMessage, email.message_from_bytes(to_bytes(message), policy=default)
    )


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_message_parses_back_to_what_it_was() -> None:
    found = parsed(MESSAGE)
    assert found["Subject"] == "Hello"
    assert found["Message-ID"] == "<abc@maple.example>"
    assert found["List-Id"] == "<news.maple.example>"
    assert body(found, "plain").rstrip() == "Dear Ana,\n.dot"
    assert body(found, "html").rstrip() == "<p>Dear Ana</p>"


HOSTILE = st.text(max_size=300) | st.sampled_from(
    [
        "Eve\r\nBcc: all@x.example",
        'a"b\\c',
        "Doe, John, <evil@x.example>",
        "x\u2028y",
        "=?utf-8?q?x?=",
        "名" * 200,
        "a" * 2000,
        "🎂, 🎉",
    ]
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_name_or_subject_adds_a_recipient_or_a_header(
    name: str, subject: str, text: str
) -> None:
    raw = to_bytes(
        replace(
            MESSAGE,
            to=Mailbox(name, "ana@example.com"),
            subject=subject,
            text=text,
            html=text,
        )
    )
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    head = raw.split(b"\r\n\r\n")[0].decode()
    names = {
        line.split(":")[0]
        for line in head.split("\r\n")
        if not line.startswith((" ", "\t"))
    }
    assert names == {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "List-Id",
        "MIME-Version",
        "Content-Type",
    }
    found = email.message_from_bytes(raw, policy=default)
    assert [
        address.addr_spec for address in cast(AddressHeader, found["To"]).addresses
    ] == ["ana@example.com"]


FILES = st.builds(
    Attachment,
    st.sampled_from(
        ["prices.pdf", 'a"b.pdf', "Preise für März.pdf", "名.txt", "x" * 200 + ".pdf"]
    ),
    st.sampled_from(["application/pdf", "image/png"]),
    st.binary(max_size=200),
    st.sampled_from(["", "", "0123456789abcdef@drip"]),
)


def by_the_standard_library(message: Message) -> EmailMessage:
    """What `EmailMessage` builds of it; line ends in names are spaces, as it would refuse them."""
    made = EmailMessage(policy=default)
    made["From"] = Address(message.sender.name, addr_spec=message.sender.address)
    made["To"] = Address(
        one_line(message.to.name).strip(), addr_spec=message.to.address
    )
    made["Subject"] = one_line(message.subject)
    made.set_content(message.text)
    if message.html is not None:
        made.add_alternative(message.html, subtype="html")
        page = cast(list[EmailMessage], made.get_payload())[-1]
        for each in message.attachments:
            if each.content_id:
                page.add_related(
                    each.data,
                    *each.content_type.split("/"),
                    cid=f"<{each.content_id}>",
                    filename=each.name,
                    disposition="inline",
                )
    for each in message.attachments:
        if not each.content_id:
            made.add_attachment(
                each.data, *each.content_type.split("/"), filename=each.name
            )
    return made


def one_line(text: str) -> str:
    return re.sub("[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text)


def parts(message: EmailMessage) -> list[tuple[object, ...]]:
    """Each part: what it is, what it is called, what is in it."""
    found: list[tuple[object, ...]] = []
    for part in cast(Iterator[EmailMessage], message.walk()):
        kind, content = (
            part.get_content_type(),
            None if part.is_multipart() else part.get_content(),
        )
        if isinstance(content, str):
            content = re.sub("\r\n|[\r\u2028\u2029\x85\x0b\x0c]", "\n", content).rstrip(
                "\n"
            )
        found.append(
            (
                kind,
                part.get_content_disposition(),
                part.get_filename(),
                part["Content-ID"],
                content,
            )
        )
    return found


@given(HOSTILE, HOSTILE, HOSTILE, st.none() | HOSTILE, st.lists(FILES, max_size=3))
def test_a_message_is_what_the_standard_library_would_have_built(
    name: str, subject: str, text: str, html: str | None, files: list[Attachment]
) -> None:
    files = [each for each in files if html is not None or not each.content_id]
    message = replace(
        MESSAGE,
        to=Mailbox(name, "ana@example.com"),
        subject=subject,
        text=text,
        html=html,
        attachments=tuple(files),
    )
    raw = to_bytes(message)
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    ours, theirs = parsed(message), by_the_standard_library(message)
    assert parts(ours) == parts(theirs)
    # What looks like an encoded word the standard library would decode: ours reads as it was written.
    assert str(ours["Subject"]).split() == one_line(subject).split()
    (to,), (meant,) = (
        cast(AddressHeader, each["To"]).addresses for each in (ours, theirs)
    )
    # Python's parser puts a space between two encoded words of a name (RFC 2047 section 6.2 says that there is none).
    assert to.addr_spec == meant.addr_spec
    assert "".join(to.display_name.split()) == "".join(one_line(name).split())
    assert str(ours["From"]) == str(theirs["From"])


def test_naughty_strings_survive_as_names_and_subjects(corpora: Path) -> None:
    lines = [
        line
        for line in (corpora / "naughty-strings" / "blns.txt")
        .read_text("utf-8")
        .splitlines()
        if line
    ]
    for text in lines:
        found = parsed(
            replace(
                MESSAGE, to=Mailbox(text, "ana@example.com"), subject=text, text=text
            )
        )
        assert [
            address.addr_spec for address in cast(AddressHeader, found["To"]).addresses
        ] == ["ana@example.com"], text


PIECES = st.lists(
    HOSTILE
    | st.sampled_from(
        [
            " ",
            "\n",
            "=",
            "\t\n",
            ".",
            ".\n",
            "a" * 60,
            "ü" * 50,
            "x\r",
            "line\n" * 30,
            "ends. " * 90,
            "." * 300,
        ]
    ),
    max_size=8,
)


@given(PIECES)
def test_a_text_of_pieces_reads_as_the_whole_text_would(pieces: list[str]) -> None:
    whole = "".join(pieces)
    one = parsed(replace(MESSAGE, text=whole, html=whole))
    raw = to_bytes(replace(MESSAGE, text=Pieced(pieces), html=Pieced(pieces)))
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"\r" not in raw.replace(
        b"\r\n", b""
    )
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\r\n." not in raw
    other = cast(EmailMessage, email.message_from_bytes(raw, policy=default))
    for kind in ("plain", "html"):
        assert body(other, kind).rstrip("\n") == body(one, kind).rstrip("\n")


def test_every_line_of_a_piece_is_within_the_columns_of_quoted_printable() -> None:
    for more in range(70, 80):
        pieces = [
            "x" * 75,
            "y",
            "z" * 500,
            "é" * 40,
            "\n",
            "w" * 76,
            "v" * 69,
            "u" * 70,
            "a" * (more - 6) + "ééé",
            "." * more,
        ]
        message = replace(MESSAGE, text=Pieced(pieces), html=None)
        raw = to_bytes(message).partition(b"\r\n\r\n")[2]
        assert max(map(len, raw.split(b"\r\n"))) <= 76
        assert body(parsed(message), "plain").rstrip("\n") == "".join(pieces)


def test_files_are_written_whole_and_a_repeat_replaces_its_own(tmp_path: Path) -> None:
    transport = FilesTransport({"folder": str(tmp_path / "out")})
    for _ in range(2):
        assert isinstance(transport.send(MESSAGE), Sent)
    (path,) = (tmp_path / "out").iterdir()
    assert path.suffix == ".eml"
    assert path.read_bytes() == to_bytes(MESSAGE)


def test_what_is_of_no_run_is_gone_from_a_folder_with_whoever_is_erased(
    tmp_path: Path,
) -> None:
    transport, digest = FilesTransport({"folder": str(tmp_path)}), "0123456789abcdef"
    gone = [
        f"test.1764300000000.0.{digest}@x.example",
        f"data.17.{digest}@x.example",
        f"1f.{digest}@x.example",
    ]
    stay = [f"1e.{digest}@x.example", f"alarm.3.{digest}@x.example"]
    for each in (*gone, *stay):
        transport.send(replace(MESSAGE, message_id=each))
    FilesTransport.forget(tmp_path, [0x1F])
    assert sorted(
        path.stem.rpartition("_")[2] for path in tmp_path.iterdir()
    ) == sorted(each[:12] for each in stay)


def test_a_folder_that_cannot_be_takes_no_mail(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(TransportDown, match="Nothing can be written into"):
        FilesTransport({"folder": str(tmp_path / "out")}).send(MESSAGE)


def test_memory_keeps_what_was_sent_and_nothing_else() -> None:
    transport = MemoryTransport(
        answer=lambda message: Refused("no") if message.subject == "x" else Sent("ok")
    )
    transport.send(MESSAGE)
    transport.send(replace(MESSAGE, subject="x"))
    assert [message.subject for message in transport.messages] == ["Hello"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs a `host`"),
        ({"host": "h", "prot": "1"}, "no option `prot`"),
        ({"host": "h", "port": "x"}, "not a number"),
        ({"host": "h", "user": "u"}, "go together"),
        ({"host": "h", "security": "ssl"}, "none of"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SmtpTransport(options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def smtp(port: int, **options: str) -> SmtpTransport:
    return SmtpTransport(
        {
            "host": "127.0.0.1",
            "port": str(port),
            "security": "none",
            "timeout": "5",
            **options,
        }
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Controller]:
    def login(
        server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=data.password == b"right", handled=False)

    controller = Controller(
        Sink(tmp_path / "sink.jsonl"),
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=login,
        auth_require_tls=False,
    )
    controller.start()
    yield controller
    controller.stop()


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_messages_go_over_one_connection_with_login(
    server: Controller, tmp_path: Path
) -> None:
    transport = smtp(server.port, user="maple", password="right")
    for _ in range(3):
        assert isinstance(transport.send(MESSAGE), Sent)
    transport.close()
    transport.close()
    assert len((tmp_path / "sink.jsonl").read_text().splitlines()) == 3


def test_a_wrong_password_is_explained(server: Controller) -> None:
    with pytest.raises(TransportDown, match="The login .* was refused") as error:
        smtp(server.port, user="maple", password="wrong").send(MESSAGE)
    assert "password" in error.value.help


def test_a_refused_connection_is_explained() -> None:
    with pytest.raises(TransportDown, match="There is no connection"):
        smtp(free_port()).send(MESSAGE)


def test_a_server_without_starttls_is_not_talked_to_in_the_clear(
    server: Controller,
) -> None:
    with pytest.raises(TransportDown, match="STARTTLS"):
        smtp(server.port, security="starttls").send(MESSAGE)


@pytest.mark.parametrize(
    "pieces",
    [
        ["<p>Hello, these are ten things for you.</p>\n"],
        ["<p>Dear friend</p>", "Ana", "\n"],
    ],
)
def test_what_all_messages_share_is_encoded_once(pieces: list[str]) -> None:
    html = [f"{each}{'x' * 200}" for each in pieces]
    to_bytes(replace(MESSAGE, html=Pieced(html)))
    before = mime._shared.cache_info()
    for _ in range(5):
        to_bytes(replace(MESSAGE, html=Pieced(html)))
    after = mime._shared.cache_info()
    assert after.hits - before.hits == 5 * len(html) and after.misses == before.misses
