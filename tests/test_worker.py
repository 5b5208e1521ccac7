"""The process that fills templates in for the pages: what is believed of what it says, and what it has of the files."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from drip.core.shortage import Shortage
from drip.errors import DripError
from drip.storage.base.sqlite import SqliteDatabase
from drip.worker import child
from drip.worker import worker as module
from drip.worker.frames import (
    HEAD,
    MOST_JSON,
    FrameKind,
    Nonsense,
    packed,
    receive,
    send,
    unpacked,
)
from drip.worker.worker import Ended, Failed, Limits, Worker
from tests.world import LETTER, World, at

Worlds = Callable[..., World]
NOW = at("2026-11-26 18:00").isoformat()
PATIENT = Limits(answer_s=30.0)
ASKED = {
    "campaign": "letter",
    "step": "send letter",
    "contact": "ana",
    "channel": "email",
    "locale": None,
}


def made_worker(root: Path, limits: Limits = PATIENT, **environment: str) -> Worker:
    return Worker("The message", root, environment, lambda: 0.0, limits)


# --- what it says


def taken(body: bytes) -> Callable[[int], bytes]:
    """What a socket would give out, in pieces of the lengths that are asked for."""
    rest = bytearray(body)

    def take(length: int) -> bytes:
        found = bytes(rest[:length])
        del rest[:length]
        return found

    return take


def test_what_is_sent_comes_out_as_it_went_in() -> None:
    here, there = socket.socketpair()
    with here, there:
        send(
            here,
            FrameKind.JSON,
            packed({"subject": "Grüße \U0001f600", "half": "\ud83d"}),
        )
        kind, body = receive(there.recv)
    assert kind is FrameKind.JSON and unpacked(body) == {
        "subject": "Grüße \U0001f600",
        "half": "?",
    }


@pytest.mark.parametrize(
    "frame",
    [HEAD.pack(b"x", 0), HEAD.pack(b"j", MOST_JSON + 1), HEAD.pack(b"\0", 2**32 - 1)],
    ids=repr,
)
def test_what_is_no_frame_is_refused_before_anything_of_it_is_read(
    frame: bytes,
) -> None:
    with pytest.raises(Nonsense):
        receive(taken(frame))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000], ids=lambda body: repr(body[:4])
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Nonsense):
        unpacked(body)


def babbling(pipe: socket.socket, *_: object) -> None:
    """In place of a worker: answers with what is no frame."""
    pipe.recv(100)
    pipe.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    pipe.recv(100)


def wrong(pipe: socket.socket, *_: object) -> None:
    """In place of a worker: an error without a sentence."""
    pipe.recv(100)
    send(pipe, FrameKind.WRONG, json.dumps({"sentence": ["a"], "help": None}).encode())
    pipe.recv(100)


def lacking(pipe: socket.socket, *_: object) -> None:
    """In place of a worker: has no file left."""

    class Answers:
        def look(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    kind, question = receive(lambda length: pipe.recv(length, socket.MSG_WAITALL))
    assert kind is FrameKind.ASK
    send(pipe, *child._answer(pipe, Answers(), question))  # type: ignore[arg-type]
    pipe.recv(100)


def beginning(pipe: socket.socket, *_: object) -> None:
    """In place of a worker: would have its time counted anew."""
    pipe.recv(100)
    for _ in range(2):
        send(pipe, FrameKind.BEGUN)
    pipe.recv(100)


def noting(pipe: socket.socket, *_: object) -> None:
    """In place of a worker: never stops telling what it is at."""
    pipe.recv(100)
    send(pipe, FrameKind.BEGUN)
    while True:
        send(pipe, FrameKind.NOTE, b"the template `a`")


@pytest.mark.parametrize("instead", [babbling, wrong, beginning])
def test_nonsense_is_believed_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: Any
) -> None:
    monkeypatch.setattr(module, "serve", instead)
    with pytest.raises(Ended, match="has ended the process that it is made in"):
        made_worker(tmp_path).answer("steps")


def test_what_the_machine_lacks_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "serve", lacking)
    worker = made_worker(tmp_path)
    with pytest.raises(Shortage, match="may open no more files") as raised:
        worker.answer("steps")
    assert "LimitNOFILE" in raised.value.help
    worker.close()


def test_nobody_gets_more_time_by_talking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "serve", noting)
    with pytest.raises(
        Ended, match="longer than 0.5 seconds; it was at the template `a`"
    ):
        made_worker(tmp_path, Limits(answer_s=0.5)).answer("steps")


def test_a_folder_that_is_no_workspace_is_told_as_everywhere(tmp_path: Path) -> None:
    worker = made_worker(tmp_path)
    with pytest.raises(DripError, match="There is no workspace"):
        worker.answer("steps")
    worker.close()


def test_an_error_of_our_own_is_told_by_its_kind_alone(world: Worlds) -> None:
    made = world({"letter": LETTER})
    worker = made_worker(made.root)
    with pytest.raises(Failed, match="^KeyError$"):
        worker.answer("timeline")
    assert worker.answer("steps")["steps"][0]["step"] == "send letter"
    worker.close()


# --- what it has


def confined(
    pipe: socket.socket,
    root: Path,
    environment: Mapping[str, str],
    memory_bytes: int,
    *more: Any,
) -> None:
    """A worker that tells its limits."""
    from drip.worker.child import _confine

    pipe.recv(100)
    _confine(memory_bytes, *more)
    found = [
        resource.getrlimit(each) for each in (resource.RLIMIT_AS, resource.RLIMIT_CORE)
    ]
    send(
        pipe,
        FrameKind.JSON,
        packed(
            [
                *found,
                os.getpgid(0) == os.getpid(),
                os.nice(0) - os.getpriority(os.PRIO_PROCESS, os.getppid()),
            ]
        ),
    )
    pipe.recv(100)


def test_it_has_so_much_memory_no_core_file_and_a_group_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "serve", confined)
    worker = made_worker(tmp_path, Limits(answer_s=30.0, memory_bytes=2**30, nice=5))
    assert worker.answer("limits") == [[2**30, 2**30], [0, 0], True, 5]
    worker.close()


def sharing(
    pipe: socket.socket, root: Path, environment: Mapping[str, str], *limits: Any
) -> None:
    """A worker that has begun a process of its own, and never ends."""
    from drip.worker.child import _confine

    _confine(*limits)
    other = subprocess.Popen(["sleep", "300"])
    pipe.recv(100)
    send(pipe, FrameKind.BEGUN)
    send(pipe, FrameKind.NOTE, str(other.pid).encode())
    pipe.recv(100)


def test_what_it_began_itself_is_ended_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "serve", sharing)
    with pytest.raises(Ended) as ended:
        made_worker(tmp_path, Limits(answer_s=0.5)).answer("steps")
    state = Path(f"/proc/{ended.value.sentence.rpartition(' ')[2].rstrip('.')}/stat")
    until = time.monotonic() + 10
    # Whoever inherits it may not look after it at once.
    while state.exists() and " (sleep) Z " not in state.read_text("utf-8"):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_writes_nothing_into_the_database(world: Worlds) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email,first_name", "ana,ana@example.com,Ana")
    made.run("2026-11-25 00:00", "2026-11-26 17:00")
    before = _rows(made)
    worker = made_worker(made.root)
    about = {"asked": ASKED, "now": NOW}
    assert (
        worker.answer("message", **about, anew=True)["message"]["subject"]
        == "Hello Ana"
    )
    assert b"<em>short</em>" in worker.answer("page", **about)
    assert b"<em>short</em>" in worker.answer(
        "view", run=1, step="send letter", now=NOW
    )
    assert worker.answer("timeline", contact="ana", now=NOW)["past"]
    assert worker.answer("forecast", now=NOW, days=30)["calendar"]["messages"] == 0
    worker.close()
    assert _rows(made) == before


def _rows(made: World) -> object:
    assert isinstance(made.database, SqliteDatabase)
    with made.database.read() as connection:
        return connection.exec_driver_sql("PRAGMA data_version").scalar(), [
            each.outcome for each in made.ledger()
        ]


def test_broken_settings_leave_the_last_good_ones_in_force_for_what_was_sent(
    world: Worlds,
) -> None:
    made = world({"letter": LETTER})
    made.contacts("key,email,first_name", "ana,ana@example.com,Ana")
    made.run("2026-11-25 00:00", "2026-11-26 17:00")
    worker = made_worker(made.root)
    view = {"run": 1, "step": "send letter", "now": NOW}
    assert worker.answer("view", **view)
    made.write("campaigns/_settings.yaml", "timezone: [\n")
    assert worker.answer("view", **view)
    found = worker.answer("message", asked=ASKED, now=NOW, anew=False)
    assert found["message"] is None and found["problems"][0]["place"].startswith(
        "campaigns/_settings.yaml"
    )
    worker.close()
