"""Files that are open to nobody but their owner.

From the moment that they are there, whatever the umask.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
# Reading, writing or entering, for the group and for everybody.
OTHERS = 0o077
SCRATCH = "drip-copy-"


def folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing.

    One that is there stays as it is.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(FOLDER, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """For `open(…, "w", opener=…)`.

    A file that is there is closed to others before anything is written into it.

    What is no file (a terminal, a pipe), or another user's, is written to as it is.
    """
    number = os.open(path, flags, FILE)
    found = os.fstat(number)
    if (
        stat.S_ISREG(found.st_mode)
        and found.st_mode & OTHERS
        and found.st_uid == os.geteuid()
    ):
        os.fchmod(number, FILE)
    return number


def create(path: Path) -> int:
    """The descriptor of a fresh file in place of what was there.

    Where that was a link, the link goes.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE)


def write(path: Path, content: bytes) -> None:
    """A fresh file that holds this."""
    with os.fdopen(create(path), "wb") as file:
        file.write(content)


def exposed(paths: Iterable[Path]) -> Iterator[Path]:
    """Those of these files and folders that others may read, write or enter.

    What is not there is left out.

    None where a platform has no such permissions.
    """
    if os.name != "posix":
        return
    for path in paths:
        if path.exists() and path.stat().st_mode & OTHERS:
            yield path


def protect(path: Path) -> bool:
    """Closes a file or folder to others.

    Whether it is closed now (some disks keep no permissions).
    """
    path.chmod(FOLDER if path.is_dir() else FILE)
    return not path.stat().st_mode & OTHERS


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for copies of people's data, gone afterwards.

    If the process is killed, it goes with the next `sweep`.
    """
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as name:
        number = os.open(name, os.O_RDONLY)
        try:
            # The kernel gives it back when the process dies.
            fcntl.flock(number, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(number)


def sweep() -> None:
    """Copies that killed processes of this user have left are gone. Raises OSError."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        try:
            _sweep(path)
        except FileNotFoundError:
            # Its process has ended meanwhile, and taken it along.
            continue


def _sweep(path: Path) -> None:
    # An empty one may be just about to be filled.
    if (
        path.is_symlink()
        or path.stat().st_uid != os.geteuid()
        or not any(path.iterdir())
    ):
        return
    number = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    except BlockingIOError:
        return
    finally:
        os.close(number)
