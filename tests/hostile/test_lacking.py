"""What this very process lacks while one stage is at work: files by a real limit, the rest as the system would say it."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from drip.core.fields import parse_zone
from drip.core.message import Message, Receipt, Transport
from drip.core.shortage import Shortage, said, shortage
from drip.engine.composing import compose_for_run
from drip.engine.dispatcher import Dispatcher
from drip.engine.entry import Enroller
from drip.engine.tick import tick
from drip.importing.rows import open_table
from drip.inbound import mail
from drip.rendering.templates import Templates
from drip.storage.operating import daemons, holds
from drip.storage.sending import outbox
from drip.transports.files import FilesTransport
from drip.transports.smtp import SmtpTransport
from drip.transports.webhook import WebhookTransport
from tests.mail_server import MailServer
from tests.test_webhook import server
from tests.world import LETTER, World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 16:00")
LAYOUT = "<html><body>{% block body %}{% endblock %}</body></html>"


@contextlib.contextmanager
def no_file_left() -> Iterator[None]:
    """Meanwhile this process may open nothing more: every number below the limit is taken."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def states(made: World) -> dict[str, int]:
    with made.database.read() as connection:
        found = outbox.count_by_state(connection)
    return {state: count for (_, state), count in found.items()}


def letters(world: Worlds, campaign: str = LETTER, people: int = 1) -> World:
    made = world({"letter": campaign})
    made.contacts("key,email", *(f"p{n},p{n}@example.com" for n in range(people)))
    made.tick("2026-11-26 09:00")
    return made


# --- writing a message


@pytest.mark.parametrize(
    "what", ["template", "layout", "attachment", "picture", "content"]
)
def test_a_file_of_a_message_that_cannot_be_opened_now_is_no_fault_of_the_message(
    world: Worlds, what: str
) -> None:
    campaign = LETTER
    if what == "attachment":
        campaign = LETTER.replace(
            "[send: letter]", "[{ send: letter, attach: price.txt }]"
        )
    if what == "content":
        campaign = LETTER.replace("[send: letter]", "[{ send: letter, content: news }]")
    made = letters(world, campaign)
    made.write("templates/price.txt", "Ten")
    made.write("templates/news/2026-11-26-hello.md", "---\ntitle: Hello\n---\nNews\n")
    made.write("templates/_layout.html", LAYOUT)
    (made.root / "templates" / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    body = {"picture": "![dot](dot.png)", "content": "{{ issue.body }}"}.get(
        what, "Hello"
    )
    made.write("templates/letter.md", f"---\nsubject: Hello\n---\n{body}\n")
    made.reload()
    with no_file_left():
        if what == "content":
            # Whether there is any is asked before anything is judged.
            with pytest.raises(OSError, match="Too many"):
                made.tick(NOW)
            assert not states(made)
        else:
            result = made.tick(NOW)
            assert (
                result.lacking
                and result.trouble
                == "This program may open no more files at the moment."
            )
            assert "LimitNOFILE" in (result.help or "")
            assert states(made) == {"pending": 1}
    assert made.tick(NOW + timedelta(seconds=10)).sent == 1
    assert states(made) == {"sent": 1}


def test_a_file_that_may_not_be_read_holds_its_own_message_alone(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = letters(
        world, LETTER.replace("[send: letter]", "[{ send: letter, attach: price.txt }]")
    )
    made.write("templates/price.txt", "Ten")
    made.write("templates/letter.md", "---\nsubject: Hello\n---\nHello\n")
    made.reload()

    def refused(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("drip.rendering.sources.Path.read_bytes", refused)
        assert made.tick(NOW).trouble is None
    assert states(made) == {"held": 1}


def test_content_that_cannot_be_looked_for_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "templates" / "news").mkdir(parents=True)
    (tmp_path / "templates" / "news" / "2026-11-26-hello.md").write_text("Hello\n")
    templates = Templates(tmp_path)
    with no_file_left(), pytest.raises(OSError, match="Too many"):
        templates.content("news", "2026-11-26")
    assert templates.content("news", "2026-11-26") is not None


def test_files_that_cannot_be_listed_are_not_gone(world: Worlds) -> None:
    made = letters(world)
    with no_file_left(), pytest.raises((OSError, Shortage)):
        made.workspace.fingerprint()
    with no_file_left(), pytest.raises((OSError, Shortage)):
        made.workspace.reload()


@pytest.mark.parametrize(
    "lack",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        BlockingIOError(11, "fork"),
    ],
)
def test_memory_and_threads_are_not_a_templates_either(
    world: Worlds, lack: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = letters(world)

    def fails(*arguments: object) -> None:
        raise lack

    with monkeypatch.context() as patched:
        patched.setattr("drip.rendering.messages._filled", fails)
        assert made.tick(NOW).lacking
    assert states(made) == {"pending": 1}
    assert made.tick(NOW + timedelta(seconds=10)).sent == 1


def test_what_has_left_is_recorded_though_the_next_message_cannot_be_written(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = letters(world, people=3)
    real, begun = compose_for_run, []

    def fails(*about: object) -> Message:
        begun.append(about)
        if len(begun) == 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(*about)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("drip.engine.dispatcher.compose_for_run", fails)
        result = made.tick(NOW)
    assert result.lacking and result.sent == 1
    assert states(made) == {"sent": 1, "pending": 2}
    assert made.tick(NOW + timedelta(seconds=10)).sent == 2
    assert len(made.transport.messages) == 3


# --- handing it over


@pytest.mark.parametrize("kind", ["files", "smtp", "webhook", "by name"])
def test_a_transport_without_a_file_left_is_about_the_machine(
    world: Worlds, tmp_path: Path, kind: str
) -> None:
    made = letters(world, people=3)
    with MailServer() as mails, server(204) as taken:
        host = "localhost" if kind == "by name" else "127.0.0.1"
        smtp = SmtpTransport(
            {
                "host": host,
                "port": str(mails.port),
                "security": "none",
                "hello": "me.example",
            }
        )
        hook = WebhookTransport(
            {"url": f"http://127.0.0.1:{taken.port}/", "secret": "s", "private": "yes"}
        )
        files = FilesTransport({"folder": str(tmp_path / "out")})
        transport: Transport = {
            "smtp": smtp,
            "by name": smtp,
            "webhook": hook,
            "files": files,
        }[kind]
        # What templates hold is known by then.
        made.workspace.templates.get("letter", "en")
        made.transports = {"email": transport}  # type: ignore[dict-item]
        with no_file_left():
            result = made.tick(NOW)
        assert result.lacking and "files" in (result.trouble or ""), result
        assert set(states(made)) <= {"pending", "deferred"}, states(made)
        with made.database.read() as connection:
            assert not holds.held_scopes(connection)
        # Nobody is left alone for it.
        assert made.tick(NOW + timedelta(seconds=1)).sent == 3
        assert states(made) == {"sent": 3}
        smtp.close()


def test_a_full_disk_keeps_no_other_channel_from_sending(world: Worlds) -> None:
    both = LETTER.replace("[send: letter]", "[{ send: letter, channel: [email, sms] }]")
    made = world(
        {
            "a": both.replace("topic", "priority: high\ntopic"),
            "b": both.replace("[email, sms]", "sms"),
        },
        settings="transports: { email: { use: memory }, sms: { use: memory } }",
    )
    made.contacts("key,email,phone", "ana,ana@example.com,+15550100")
    made.write("templates/letter.sms", "Hello")
    made.tick("2026-11-26 09:00")

    class Full(type(made.transport)):  # type: ignore[misc]
        def send(self, message: Message) -> Receipt:
            raise Shortage("The disk is full (/srv/letters).", "make room on it")

    made.transports = {"email": Full(), "sms": made.transport}
    result = made.tick(NOW)
    assert result.lacking and result.trouble == "The disk is full (/srv/letters)."
    assert [each.channel for each in made.transport.messages] == ["sms"]
    made.transports = {"email": made.transport, "sms": made.transport}
    assert made.tick(NOW + timedelta(seconds=1)).sent == 1


@pytest.mark.file
def test_an_end_that_the_full_disk_did_not_take_is_stored_once_there_is_room(
    world: Worlds,
) -> None:
    made = letters(world, people=3)
    log = Path(f"{made.root}/.drip/drip.db-wal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Filling(type(made.transport)):  # type: ignore[misc]
        def send(self, message: Message) -> Receipt:
            """Takes the message, and meanwhile the disk gets full: no file may grow."""
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
            return super().send(message)  # type: ignore[no-any-return]

    transport = Filling()
    campaign_set, enroller = made.workspace.campaign_set(made.database, NOW), Enroller()
    with made.database.write() as connection:
        number = daemons.start_daemon(connection, 1, NOW)
    dispatcher = Dispatcher(
        made.database,
        made.workspace.templates,
        {"email": transport},
        lambda: NOW,
        number,
    )
    try:
        with pytest.raises(Shortage):
            tick(campaign_set, enroller, dispatcher)
        with pytest.raises(Shortage):
            dispatcher.store()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    left = len(transport.messages)
    assert left == 1
    dispatcher.transports = {"email": made.transport}
    assert tick(campaign_set, enroller, dispatcher).held == 0
    assert states(made) == {"sent": 3}
    assert left + len(made.transport.messages) == 3


# --- what comes in


def test_a_mail_that_cannot_be_read_now_is_not_taken_for_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("drip.inbound.mail.email.message_from_bytes", fails)
    with pytest.raises(Shortage):
        mail.Mail(b"Subject: back\n\nHello\n")


def test_rows_and_zones_are_not_wrong_for_want_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("key\nana\n")
    with no_file_left():
        with pytest.raises(Shortage):
            open_table(path)
        with pytest.raises(Shortage):
            parse_zone("Antarctica/Troll")
    assert parse_zone("Antarctica/Troll")


# --- what a shortage is


@pytest.mark.parametrize(
    "number",
    [
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EAGAIN,
    ],
)
def test_the_system_says_what_is_lacking_by_number(number: int) -> None:
    lack = shortage(OSError(number, os.strerror(number)))
    assert lack and lack.sentence.endswith(".") and lack.help


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "no"),
        PermissionError(13, "no"),
        RecursionError("deep"),
        RuntimeError("boom"),
        ValueError("no"),
        ConnectionRefusedError(111, "no"),
    ],
)
def test_what_is_wrong_is_not_lacking(error: Exception) -> None:
    assert shortage(error) is None


def test_a_library_says_it_in_words() -> None:
    lack = said("OSError: [Errno 24] Too many open files: 'x'")
    assert lack and "files" in lack.sentence
    assert said("the name is too long") is None


def test_a_real_thread_that_cannot_be_started_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*arguments: object, **options: object) -> None:
        raise RuntimeError("can't start new thread")

    for name in ("_start_new_thread", "_start_joinable_thread"):
        monkeypatch.setattr(threading, name, none_left, raising=False)
    try:
        threading.Thread(target=print).start()
    except RuntimeError as error:
        assert shortage(error)
