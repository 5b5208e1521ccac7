"""The worker's own side: it confines itself, then answers one question after the
other."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path

from drip.core.shortage import shortage
from drip.errors import DripError
from drip.process import own_zones, unhurried
from drip.worker.answers import Answers, out_of_memory
from drip.worker.frames import FrameKind, packed, receive, send, unpacked

# One that nobody has asked anything for so long gives its memory back; the next is
# begun when it is needed.
IDLE_S = 600


def serve(
    pipe: socket.socket,
    root: Path,
    environment: Mapping[str, str],
    memory_bytes: int,
    nice: int,
    own_folder: str,
) -> None:
    """Answers until whoever started it has gone, or has not asked for long."""
    _confine(memory_bytes, nice, own_folder)
    unhurried()
    own_zones()
    pipe.settimeout(IDLE_S)
    answers = Answers(
        root,
        environment,
        lambda what: send(pipe, FrameKind.NOTE, what.encode("utf-8", "replace")),
    )
    kind = FrameKind.BEGUN
    with contextlib.suppress(OSError):
        while kind is not FrameKind.OUT_OF_MEMORY:
            _, question = receive(lambda length: _taken(pipe, length))
            kind, answer = _answer(pipe, answers, question)
            send(pipe, kind, answer)


def _confine(memory_bytes: int, nice: int, own_folder: str) -> None:
    # A group of its own, so that it is ended with all that it began, and Ctrl-C is the
    # server's alone.
    os.setpgid(0, 0)
    _end_with_parent()
    os.nice(nice)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # What is known of people does not lie about in a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Copies of the database lie where whoever ends it clears away; what it begins
    # itself inherits the variable.
    os.putenv("TMPDIR", own_folder)
    tempfile.tempdir = own_folder


def _end_with_parent() -> None:
    """The kernel ends the group at the moment in which the server has gone, even by
    SIGKILL and in the middle of anything: it tells by SIGIO that a pipe has closed
    (fcntl(2), O_ASYNC), and that ends a process which does not expect it."""
    # Whoever started the server can have ignored or blocked it, which is inherited.
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
    parent = multiprocessing.parent_process()
    assert parent is not None
    leash = parent.sentinel
    fcntl.fcntl(leash, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
    if wait([leash], 0):
        raise SystemExit("The server has gone.")


def _taken(pipe: socket.socket, length: int) -> bytes:
    """So many bytes. Raises OSError at the end, and if nothing comes for long."""
    found = b""
    while len(found) < length:
        more = pipe.recv(length - len(found))
        if not more:
            raise ConnectionResetError
        found += more
    return found


def _answer(
    pipe: socket.socket, answers: Answers, question: bytes
) -> tuple[FrameKind, bytes]:
    try:
        asked = unpacked(question)
        answers.look()
        send(pipe, FrameKind.BEGUN)
        found = answers.answer(asked.pop("what"), **asked)
        return (
            (FrameKind.HTML, found)
            if isinstance(found, bytes)
            else (FrameKind.JSON, packed(found))
        )
    except Exception as error:
        if out_of_memory(error):
            return FrameKind.OUT_OF_MEMORY, b""
        if lack := shortage(error):
            return FrameKind.LACKS, packed(
                {"sentence": lack.sentence, "help": lack.help}
            )
        if isinstance(error, DripError):
            place = str(error.place) if error.place else None
            return FrameKind.WRONG, packed(
                {"sentence": error.sentence, "help": error.help, "place": place}
            )
        return FrameKind.FAILED, type(error).__name__.encode()
