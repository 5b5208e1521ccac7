"""What is in a folder.

One that cannot be listed now raises OSError: it never looks empty.

`pathlib`'s globs do not say so: from Python 3.13 on they pass over whatever cannot be
listed.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def names_in(folder: Path) -> list[str]:
    """The names in it, in order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    # File systems list in any order, and what is read first decides in ties.
    return sorted(path.name for path in folder.iterdir())


def paths_below(folder: Path) -> list[Path]:
    """Files and folders in it and in its folders, in order.

    None if there is no such folder. Links are not followed.
    """
    if not folder.is_dir():
        return []
    found = os.walk(folder, onerror=_raise)
    return sorted(
        Path(where, name)
        for where, folders, files in found
        for name in (*folders, *files)
    )


def content(path: Path, most: int) -> bytes:
    """What is in a file, up to one byte more than `most`.

    Raises OSError; a pipe or a device is never waited for.
    """
    with os.fdopen(
        os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb"
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file with a text")
        return file.read(most + 1)


def _raise(error: OSError) -> None:
    raise error
