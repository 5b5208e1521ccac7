"""The worker's own side: it confines itself, then answers one question after the
other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Mapping
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

from drip.core.shortage import shortage
from drip.errors import DripError
from drip.process import own_zones, unhurried
from drip.worker.answers import Answers, out_of_memory
from drip.worker.frames import FrameKind, packed, receive, send, unpacked
from drip.worker.values import problem_row

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

    def note(what: str) -> None:
        send(pipe, FrameKind.NOTE, what.encode("utf-8", "replace"))

    answers = Answers(root, environment, note)
    kind = FrameKind.BEGUN
    with contextlib.closing(answers), contextlib.suppress(OSError):
        # What is left of the memory after an attempt that took all of it is not enough
        # for the next one.
        while kind is not FrameKind.OUT_OF_MEMORY:
            _, question = receive(partial(_taken, pipe))
            kind, body = _answer(pipe, answers, question)
            send(pipe, kind, body)


def _confine(
    memory_bytes: int,
    nice: int,
    own_folder: str,
) -> None:
    """So much memory, so little haste, and a folder of its own."""
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
    _signal_when_closed(parent.sentinel)
    # It may have gone before a signal was asked for.
    if wait([parent.sentinel], 0):
        raise SystemExit("The server has gone.")


def _signal_when_closed(pipe: int) -> None:
    # A negative number is a group's.
    fcntl(pipe, F_SETOWN, -os.getpid())
    flags = fcntl(pipe, F_GETFL)
    fcntl(pipe, F_SETFL, flags | os.O_ASYNC)


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
    pipe: socket.socket,
    answers: Answers,
    question: bytes,
) -> tuple[FrameKind, bytes]:
    try:
        asked = unpacked(question)
        answers.look()
        send(pipe, FrameKind.BEGUN)
        found = answers.answer(asked.pop("what"), **asked)
        if isinstance(found, bytes):
            return FrameKind.HTML, found
        return FrameKind.JSON, packed(found)
    except Exception as error:
        return _why_not(error)


def _why_not(error: Exception) -> tuple[FrameKind, bytes]:
    """Of what nobody foresaw the kind alone: its words can hold what is known of
    people."""
    if out_of_memory(error):
        return FrameKind.OUT_OF_MEMORY, b""
    if lack := shortage(error):
        row = {"sentence": lack.sentence, "help": lack.help}
        return FrameKind.LACKS, packed(row)
    if isinstance(error, DripError):
        return FrameKind.WRONG, packed(problem_row(error))
    return FrameKind.FAILED, type(error).__name__.encode()
