"""What the machine lacks for a moment: files, memory, disk, threads.

It is never about a message, a file or a request.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Iterator


class Shortage(Exception):
    """Something is lacking for a moment.

    Nothing was done, and it is tried again. `help` is the remedy.

    It is no DripError: whoever judges a message, a file or a request by one must not
    take this for it.
    """

    def __init__(self, sentence: str, help: str = "") -> None:
        super().__init__(sentence, help)
        self.sentence, self.help = sentence, help

    def __str__(self) -> str:
        return self.sentence


Words = tuple[str, str]
FILES: Words = (
    "This program may open no more files at the moment.",
    "raise its limit (`LimitNOFILE=` of the service, `ulimit -n`)",
)
ALL_FILES: Words = (
    "This machine can open no more files at the moment.",
    "end the program that holds so many, or raise `fs.file-max`",
)
MEMORY: Words = (
    "There is no memory left at the moment.",
    "end what uses it up, or give the machine or the service more",
)
THREADS: Words = (
    "This machine can start no more threads or processes at the moment.",
    "raise the limit (`TasksMax=` of the service, `ulimit -u`)",
)
DISK: Words = ("The disk is full.", "make room on it")
QUOTA: Words = (
    "What this user may have on the disk is used up.",
    "make room on it, or raise the quota",
)
GROWN: Words = (
    "A file may grow no further.",
    "raise the limit (`LimitFSIZE=` of the service, `ulimit -f`)",
)
BROKEN: Words = ("The disk does not work, or is full.", "look at the disk")
_BY_NUMBER = {
    errno.EMFILE: FILES,
    errno.ENFILE: ALL_FILES,
    errno.ENOMEM: MEMORY,
    errno.ENOBUFS: MEMORY,
    # Of a fork. A socket that would only have to wait says the same, and is waited for
    # where it is used.
    errno.EAGAIN: THREADS,
    errno.ENOSPC: DISK,
    errno.EDQUOT: QUOTA,
    errno.EFBIG: GROWN,
    errno.EIO: BROKEN,
}
# As a library says it that has its own errors.
_BY_WORDS = {
    os.strerror(number): words
    for number, words in _BY_NUMBER.items()
    if number != errno.EAGAIN
}
# Numbers of their own stand in these.
_OTHERS = (ssl.SSLError, socket.gaierror, socket.herror)


def shortage(error: BaseException | None, where: str = "") -> Shortage | None:
    """What an error, or the one that it was made from, says is lacking.

    None if it is about something else.

    `where` names the disk, for whoever has several.
    """
    while error is not None:
        if isinstance(error, Shortage):
            return error
        if words := _words(error):
            return _at(where, *words)
        error = error.__cause__
    return None


def _at(where: str, sentence: str, help: str) -> Shortage:
    if not where:
        return Shortage(sentence, help)
    return Shortage(f"{sentence.removesuffix('.')} ({where}).", help)


@contextlib.contextmanager
def lacking(where: str = "") -> Iterator[None]:
    """What goes wrong meanwhile for want of something is raised as a Shortage."""
    try:
        yield
    except Exception as error:
        raise shortage(error, where) or error from None


def said(text: str) -> Shortage | None:
    """What the words of a library say is lacking."""
    for phrase, words in _BY_WORDS.items():
        if phrase in text:
            return Shortage(*words)
    return None


def _words(error: BaseException) -> Words | None:
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, RuntimeError):
        return THREADS if "can't start new thread" in str(error) else None
    if isinstance(error, OSError) and not isinstance(error, _OTHERS):
        return _BY_NUMBER.get(error.errno or 0)
    return None
